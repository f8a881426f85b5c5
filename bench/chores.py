"""Tasks of a measured backlog, by name: of the product's class, and of Celery's own."""

YIELDING, PLAIN = "bench.yielding", "bench.plain"
QUEUE = "chores"
#: Lists in Redis of the numbers of those that have begun, and of those that have run.
BEGUN, DONE = "bench:begun", "bench:done"
READY = "the worker of the chores is ready"
