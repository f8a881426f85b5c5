"""What a stream of events is refused with; a WebSocket hears the same codes in its `bye`."""

from ratelimit.problem import QUOTA_EXCEEDED, REDUCED_CAPACITY, Problem, register

register(
    Problem(429, "too_many_connections", "The device has too many connections", QUOTA_EXCEEDED),
    Problem(503, "at_capacity", "No more connections can be held", REDUCED_CAPACITY),
    Problem(503, "draining", "This process ends; another one takes over", REDUCED_CAPACITY),
)
