"""Rows that are read often: what each level costs, what it spares, and how much it holds."""

from collections.abc import Iterator

from bench.place import Place
from bench.row import Row, at_least, at_most

US, CPU = "us", "us of CPU"
#: Who asks for one row at the same moment.
AT_ONCE = 64


def rows(place: Place) -> Iterator[Row]:
    """All in one process, the levels in turn."""
    reads, calls = (200, 100) if place.quick else (1_000, 300)
    given = {"rounds": place.rounds, "reads": reads, "calls": calls, "at_once": AT_ONCE}
    taken = place.told("bench.reads", given)
    p50 = {name: tuple(each) for name, each in taken["p50_us"].items()}
    yield Row("plans and policies, whole in each process, p50", US, p50["snapshot"])
    yield Row("a subscriber from this process, p50", US, p50["process"], goal=at_most(20))
    yield Row("a subscriber from Redis, p50", US, p50["redis"])
    yield Row("a subscriber from MariaDB, p50", US, p50["database"])
    yield Row("a subscriber nobody has, MariaDB and put into Redis, p50", US, p50["miss"])
    yield Row(
        "from MariaDB to this process, p50", US, p50["database"], p50["process"], at_least(10)
    )
    peer = "from django-redis to from our Redis level, p50"
    yield Row(peer, US, p50["django-redis"], p50["redis"])
    yield Row("forgetting a row at its commit, p50", US, p50["forget"], goal=at_most(50))
    yield from calls_of(taken)
    yield from spared(taken)


def calls_of(taken: dict[str, dict[str, list[float]]]) -> Iterator[Row]:
    """GET /api/v1/subscribers/CODE/ as a thread has it: middleware, view, answer."""
    cpu = {name: tuple(each) for name, each in taken["get_us"].items()}
    what = "GET /subscribers/CODE/, a call of the web process"
    yield Row(f"{what}, from its own rows to from MariaDB", CPU, cpu["process"], cpu["database"])
    yield Row(f"{what}, from Redis to from MariaDB", CPU, cpu["redis"], cpu["database"])


def spared(taken: dict[str, dict[str, list[float]]]) -> Iterator[Row]:
    """What the database does not hear."""
    loads = {name: tuple(each) for name, each in taken["loads"].items()}
    what = f"queries when {AT_ONCE} threads ask for one row that nobody has"
    yield Row(f"{what}, ours to django-redis", "queries", loads["ours"], loads["django-redis"])
    shares = {name: tuple(each) for name, each in taken["shares"].items()}
    for level in ("process", "redis", "database"):
        what = f"of reads of 5,000 subscribers by Zipf, answered by the level {level}"
        yield Row(what, "%", shares[level])
