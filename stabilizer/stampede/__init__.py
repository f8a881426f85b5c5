"""Many devices at once: the load process that shows whether all of them are served.

It knows the service only through HTTP. Nothing here imports Django, so that the load costs little
beside what it loads.
"""
