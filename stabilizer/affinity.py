"""A CPU of its own for each process that serves.

The interpreter's lock lets one thread of a process compute. Where threads run on several CPUs, each
turn takes the lock from one to another: an interrupt, and the caches of what was worked on.
"""

import os


def stay(number: int, processes: int) -> int | None:
    """Keep this process on its CPU, if there is one for each of the host's `processes`.

    `number` is its own among them, from 0 on. Returns the CPU; None where nothing was done, because
    they would have to share one while others are idle, or the system has no such call.
    """
    if not hasattr(os, "sched_setaffinity"):
        return None
    allowed = sorted(os.sched_getaffinity(0))
    if processes > len(allowed):
        return None
    os.sched_setaffinity(0, {allowed[number]})
    return allowed[number]
