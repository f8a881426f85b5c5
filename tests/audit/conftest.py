"""A spool of its own for every test, and a shipper that stores what it takes from there."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from django.db import connection

from audit import days, ingest, partitions, shipping, spool
from tests.conftest import MovableClock


@pytest.fixture(autouse=True)
def spool_dir(tmp_path: Path, settings) -> Iterator[Path]:
    settings.AUDIT_SPOOL_DIR = tmp_path / "spool"
    spool.forget()
    yield settings.AUDIT_SPOOL_DIR
    spool.forget()


@pytest.fixture
def parcels(spool_dir: Path) -> Callable[[], list[shipping.Parcel]]:
    """One round of shipping; what it handed over, which nobody has stored yet."""

    def ship() -> list[shipping.Parcel]:
        handed_over: list[shipping.Parcel] = []
        shipping.ship(spool_dir, handed_over.append)
        return handed_over

    return ship


@pytest.fixture
def deliver(parcels) -> Callable[[], None]:
    """Ships and stores until the spools have nothing more to give."""

    def deliver_all() -> None:
        while round_ := parcels():
            for parcel in round_:
                ingest.store_segment(parcel)
        parcels()  # frees what the last round stored

    return deliver_all


def spools(directory: Path) -> list[Path]:
    return sorted(directory.glob("*.spool"))


@pytest.fixture
def partitioned(db: None, clock: MovableClock) -> Iterator[None]:
    """Lets a test move the days' partitions; afterwards they are those of today again."""
    yield
    clock.ahead_s = 0
    if partitions.are_used():
        with connection.cursor() as cursor:
            cursor.execute("ALTER TABLE audit_event REMOVE PARTITIONING")
        partitions.first_split(days.today())
