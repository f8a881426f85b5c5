"""Uses up the limits of devices, as another process of the fleet would: `python -m bench.exhaust`.

Reads {"first", "count"}. No process that is measured has seen these devices, so it has to ask Redis
about each.
"""

import asyncio
import json
import sys

import django

django.setup(set_prefix=False)

from bench.devices import Device  # noqa: E402
from ratelimit import limiter  # noqa: E402
from ratelimit.gcra import Charge  # noqa: E402
from stabilizer.gate import identity  # noqa: E402
from stabilizer.gate.control import Control  # noqa: E402

AT_ONCE = 1_000


def main() -> None:
    given = json.load(sys.stdin)
    control = Control()
    numbers = range(given["first"], given["first"] + given["count"])
    # The first look at a caller asks the database, which no event loop may.
    asyncio.run(_charge([_all(control, number) for number in numbers]))
    json.dump(len(numbers), sys.stdout)


async def _charge(devices: list[list[Charge]]) -> None:
    shared = limiter.shared()
    for first in range(0, len(devices), AT_ONCE):
        batch = devices[first : first + AT_ONCE]
        await asyncio.gather(*(shared.charge(charges) for charges in batch))


def _all(control: Control, number: int) -> list[Charge]:
    """Charges that leave nothing of any limit of the device."""
    scope, body = Device(number).scope(), Device(number).body
    arrival = control.arrive(scope["method"], scope["path"], "127.0.0.1", scope["headers"])
    caller = arrival.identify(body)
    charges = identity.charges(arrival.policy, caller)
    return [Charge(limit, key, limit.quantity) for limit, key, _cost in charges]


if __name__ == "__main__":
    main()
