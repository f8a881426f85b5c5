"""`make stampede`: the same crowd for this service and for what one would put in its place."""
