"""What limits add to the processor time of a request: our gate against the throttles of Django."""

from collections.abc import Iterator

from bench.place import Place
from bench.row import Row, at_most

PEERS = {
    "drf": "REST framework's throttles",
    "ratelimit": "django-ratelimit",
    "smart": "django-smart-ratelimit",
}
UNIT = "us of CPU"
NOTE = (
    "of the process alone, with limits less without; the gate's 64 requests in flight share their "
    "calls to Redis, the peers' threads make a call or more for each limit"
)


def rows(place: Place) -> Iterator[Row]:
    """Three limits (the gate: and a slot) on a request that is admitted."""
    # Of short rounds there can be twice as many.
    given = {"rounds": 2 * place.rounds, "requests": 500 if place.quick else 2_000}
    costs = {name: tuple(each) for name, each in place.told("bench.cost", given).items()}
    gate = costs["gate"]
    yield Row("added to an admitted request", UNIT, gate, goal=at_most(60), note=NOTE)
    for name, title in PEERS.items():
        goal = at_most(0.1) if name == "drf" else None
        yield Row(f"added to an admitted request, to {title}", UNIT, gate, costs[name], goal)
