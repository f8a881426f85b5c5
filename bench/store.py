"""What the gate asks of Redis: calls, processor time, memory; and what makes them grow."""

import itertools
from collections.abc import Iterator
from contextlib import ExitStack, closing
from functools import partial
from urllib.parse import urlsplit

from redis import Redis

from bench import doors, saturation
from bench.devices import Device
from bench.doors import Door
from bench.place import Place
from bench.redis_usage import Usage
from bench.rounds import in_turn
from bench.row import Row, at_most

IN_FLIGHT = 64
FEW, MANY, QUICK_MANY = 1_000, 1_000_000, 5_000
PROCESSES = 16
#: New ones for each figure; each asks at most five times, so that none is refused.
DEVICES = 20_000
#: Other devices than those of the measures on the same Redis.
FIRST_KEPT = 1 << 21
#: Databases of the same Redis for the few and for the many.
DATABASES = 16
LIMITS = ("udid", "fingerprint", "network")
#: Keys as the gate makes them, in use for an hour.
FILL = """
local now = redis.call('TIME')[1]
for i = ARGV[1], ARGV[2] do
  local digest = redis.sha1hex(i):sub(1, 24)
  for _, limit in ipairs(KEYS) do
    redis.call('SET', limit .. digest, string.format('%d000000', now + 3600), 'PX', 3600000)
  end
end
"""
FILLED_AT_ONCE = 10_000


def rows(place: Place) -> Iterator[Row]:
    """Memory first: Redis frees a million identities long after it was told to."""
    yield memory(place)
    yield from admitted(place)
    yield from leases(place)


def admitted(place: Place) -> Iterator[Row]:
    """A gate of which Redis keeps few identities, and one of which it keeps many."""
    many = QUICK_MANY if place.quick else MANY
    firsts = itertools.count(step=DEVICES)
    with ExitStack() as stack:
        measures = {}
        for number, identities in enumerate((FEW, many)):
            url = _database(place, 1 + number)
            client = stack.enter_context(closing(Redis.from_url(url)))
            stack.callback(client.flushdb, asynchronous=True)
            _fill(client, identities)
            gate = stack.enter_context(doors.uvicorn("gate", place, REDIS_URL=url))
            measures[identities] = partial(_used, place, gate, client, firsts)
        taken = in_turn(place.rounds, measures)
    calls = tuple(calls for calls, _ in taken[FEW])
    cpu_us = {identities: tuple(us for _, us in each) for identities, each in taken.items()}
    what = f"of Redis per admitted request, {IN_FLIGHT} in flight"
    yield Row(f"calls {what}", "calls", calls, goal=at_most(0.2))
    yield Row(f"CPU {what}", "us of CPU", cpu_us[FEW])
    yield Row(
        f"CPU of Redis per admitted request, {many:,} identities to {FEW:,}",
        "us of CPU",
        cpu_us[many],
        cpu_us[FEW],
        at_most(1.2),
    )


def _used(place: Place, gate: Door, client: Redis, firsts: Iterator[int]) -> tuple[float, float]:
    """Calls of Redis, and microseconds of its processor time, per admitted request."""
    first = next(firsts)
    devices = [Device(number).request() for number in range(first, first + DEVICES)]
    before = Usage.of(client)
    load = saturation.load(place, gate.port, devices, clients=IN_FLIGHT, load_s=place.load_s)
    used = Usage.of(client) - before
    admitted = load.answered(200)
    return used.calls / admitted, used.cpu_s / admitted * 1e6


def leases(place: Place) -> Iterator[Row]:
    """Slots are leased by processes: their number is what calls may grow with."""
    given = {"rounds": place.rounds, "seconds": 1.5 if place.quick else 4}
    taken = place.told("bench.fleet", given | {"processes": PROCESSES, "in_flight": IN_FLIGHT})
    idle, loaded, fleet = (tuple(taken[name]) for name in ("idle", "loaded", "fleet"))
    what, unit = "slot calls of Redis,", "calls/s"
    yield Row(f"{what} a loaded process to an idle one", unit, loaded, idle, at_most(1.5))
    to_one = f"{what} {PROCESSES} processes to 1 under the same load"
    yield Row(to_one, unit, fleet, loaded, at_most(1.5 * PROCESSES))


def memory(place: Place) -> Row:
    """Bytes that an identity with three limits in use takes."""
    count = QUICK_MANY if place.quick else 20 * QUICK_MANY
    with closing(Redis.from_url(_database(place, 0))) as client:
        before = Usage.of(client)
        place.told("bench.exhaust", {"first": FIRST_KEPT, "count": count})
        kept = (Usage.of(client) - before).memory / count
    return Row("memory of Redis per identity with three limits", "bytes", (kept,))


def _fill(client: Redis, identities: int) -> None:
    client.flushdb(asynchronous=True)
    keys = [f"rl:{{t1}}:create.{limit}:" for limit in LIMITS]
    for first in range(1, identities + 1, FILLED_AT_ONCE):
        last = min(first + FILLED_AT_ONCE - 1, identities)
        client.eval(FILL, len(keys), *keys, first, last)


def _database(place: Place, number: int) -> str:
    """The URL of another database of the place's Redis; its own for 0."""
    parts = urlsplit(place.env["REDIS_URL"])
    own = int(parts.path.lstrip("/") or 0)
    return parts._replace(path=f"/{(own + number) % DATABASES}").geturl()
