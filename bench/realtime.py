"""Devices that wait on the gateway: what each costs, when it hears, and what a restart does."""

from collections.abc import Iterator

from bench import beside, holding, pushing, restarting
from bench.place import Place
from bench.row import Row


def rows(place: Place) -> Iterator[Row]:
    """Each part on gateways of its own, in processes of their own, as are the devices."""
    for part in (holding, pushing, restarting, beside):
        yield from part.rows(place)
