"""Reads of rows, level by level, in this process: `python -m bench.reads`.

Reads {"rounds", "reads", "calls", "at_once"} and answers, by name and round, p50 and processor time
in microseconds, queries, and per cent.
"""

import json
import os
import random
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import accumulate
from statistics import median
from typing import Any

import django

# The product as it is: its middleware and its views are what a call costs.
os.environ["DJANGO_SETTINGS_MODULE"] = "stabilizer.settings"
django.setup(set_prefix=False)

from django.core.cache import cache as peer  # noqa: E402
from django.core.handlers.base import BaseHandler  # noqa: E402
from django.db import connection  # noqa: E402
from django.test import RequestFactory  # noqa: E402

from accounts import snapshot  # noqa: E402
from accounts.models import Tenant  # noqa: E402
from bench.rounds import in_turn  # noqa: E402
from pairing import rows  # noqa: E402
from pairing.models import Smartcard, Subscriber  # noqa: E402
from ratelimit import cache, revision  # noqa: E402
from ratelimit.follower import LOOK_EVERY_S  # noqa: E402
from stabilizer.gate import policy  # noqa: E402

KEPT = 5_000
PEER_S = 60
PATIENT_S = 1.0


class Reads:
    """Subscribers of the demonstration's tenant, and ways to read them."""

    def __init__(self, api_key: str) -> None:
        revision.refresh()
        tenant = Tenant.objects.get(slug="demo")
        self._tenant = tenant.pk
        self.codes = [f"B{number:06d}" for number in range(KEPT)]
        _make(tenant, self.codes)
        self._keys = [f"{tenant.pk}:{code}" for code in self.codes]
        self._handler = BaseHandler()
        self._handler.load_middleware()
        self._bearer = f"Bearer {api_key}"
        self._next = 0

    def p50_us(self, times: int) -> dict[str, Callable[[], float]]:
        """A read of one subscriber with his cards, by where it is found."""
        acts: dict[str, tuple[Callable[[str], object], Callable[[str], object]]] = {
            "snapshot": (_nothing, lambda _: (snapshot.current().plans, policy.DEFAULTS)),
            "process": (rows.SUBSCRIBERS.get, rows.SUBSCRIBERS.get),
            "redis": (self._only_in_redis, rows.SUBSCRIBERS.get),
            "database": (_nothing, _from_database),
            "miss": (self._nowhere, rows.SUBSCRIBERS.get),
            "django-redis": (lambda key: peer.set(key, _from_database(key), PEER_S), peer.get),
            "forget": (_nothing, lambda key: cache.forget([rows.SUBSCRIBERS.row(key)])),
        }
        return {name: partial(self._p50_us, times, *each) for name, each in acts.items()}

    def get_us(self, times: int) -> dict[str, Callable[[], float]]:
        """Processor time of a whole call, by where its rows are found."""
        return {
            "process": partial(self._call_us, times, _nothing),
            "redis": partial(self._call_us, times, rows.SUBSCRIBERS.clear),
            "database": partial(self._uncached_us, times),
        }

    def loads(self, threads: int) -> dict[str, Callable[[], int]]:
        """How often the database is asked for a row that nobody has, by `threads` at once."""
        return {
            "ours": partial(self._loads, threads, rows.SUBSCRIBERS.get),
            "django-redis": partial(self._loads, threads, _peers_way),
        }

    def shares(self, times: int) -> dict[str, float]:
        """Which level answers, in per cent, when few subscribers are read often and many rarely."""
        cache.reset()
        peer.clear()
        weights = list(accumulate(1 / rank for rank in range(1, KEPT + 1)))
        chosen = random.Random(7).choices(self._keys, cum_weights=weights, k=times)
        for key in chosen:
            rows.SUBSCRIBERS.get(key)
        counts = cache.take()
        return {
            level: 100 * counts.get(("cache", "subscriber", level, "hit"), 0) / times
            for level in cache.LEVELS
        }

    def _turn(self) -> str:
        self._next = (self._next + 1) % 500
        return self._keys[self._next]

    def _p50_us(
        self, times: int, before: Callable[[str], object], act: Callable[[str], object]
    ) -> float:
        taken = []
        for _ in range(times):
            key = self._turn()
            before(key)
            began = time.perf_counter_ns()
            act(key)
            taken.append((time.perf_counter_ns() - began) / 1000)
        return median(taken)

    def _only_in_redis(self, key: str) -> None:
        rows.SUBSCRIBERS.get(key)
        rows.SUBSCRIBERS.drop(key)

    def _nowhere(self, key: str) -> None:
        cache.forget([rows.SUBSCRIBERS.row(key)])
        cache.settle()

    def _call_us(self, times: int, before: Callable[[], object]) -> float:
        code = self.codes[0]
        path = f"/api/v1/subscribers/{code}/"
        headers = {"Authorization": self._bearer}
        took_s = 0.0
        self._ask(path, headers)
        for _ in range(times):
            before()
            began = time.process_time()
            self._ask(path, headers)
            took_s += time.process_time() - began
        return took_s / times * 1e6

    def _ask(self, path: str, headers: dict[str, str]) -> None:
        request = RequestFactory().get(path, headers=headers, SERVER_NAME="127.0.0.1")
        response = self._handler.get_response(request)
        response.close()
        if response.status_code != 200:
            raise SystemExit(f"{path}: {response.status_code}")

    def _uncached_us(self, times: int) -> float:
        with _uncached():
            return self._call_us(times, _nothing)

    def _loads(self, threads: int, read: Callable[[str], object]) -> int:
        key = self._turn()
        self._nowhere(key)
        # What this process has forgotten it hears too, and would drop what it reads meanwhile.
        time.sleep(LOOK_EVERY_S)
        cache.follow()
        peer.delete(key)
        together, asked = threading.Barrier(threads), Counter[str]()
        load = rows.SUBSCRIBERS._load

        def counted(of: str) -> Any:
            asked[of] += 1
            return load(of)

        def ask() -> None:
            together.wait()
            read(key)
            connection.close()

        rows.SUBSCRIBERS._load = counted
        try:
            asking = [threading.Thread(target=ask) for _ in range(threads)]
            for thread in asking:
                thread.start()
            for thread in asking:
                thread.join()
        finally:
            rows.SUBSCRIBERS._load = load
        return asked[key]


def _make(tenant: Tenant, codes: list[str]) -> None:
    made = [Subscriber(tenant=tenant, code=code, name=f"Name of {code}") for code in codes]
    Subscriber.objects.bulk_create(made, batch_size=1_000)
    stored = Subscriber.objects.filter(tenant=tenant, code__in=codes)
    cards = [
        Smartcard(tenant=tenant, subscriber=each, sn=f"{each.code}-{number}")
        for each in stored
        for number in range(2)
    ]
    Smartcard.objects.bulk_create(cards, batch_size=1_000)


def _nothing(*_: object) -> None:
    pass


def _from_database(key: str) -> Any:
    return rows.SUBSCRIBERS._load(key)


def _peers_way(key: str) -> Any:
    return peer.get_or_set(key, lambda: _from_database(key), PEER_S)


@contextmanager
def _uncached() -> Iterator[None]:
    """The same code, but each row is read from the database."""
    kept = rows.SUBSCRIBERS
    kept.get = kept._load  # type: ignore[method-assign,assignment]
    try:
        yield
    finally:
        del kept.get


def main() -> None:
    given = json.load(sys.stdin)
    # On a busy machine Redis would be left alone now and then, and something else be measured.
    cache.TIMEOUT_S = PATIENT_S
    reads, rounds = Reads(os.environ["API_KEY"]), given["rounds"]
    taken: dict[str, Any] = {
        "p50_us": in_turn(rounds, reads.p50_us(given["reads"])),
        "get_us": in_turn(rounds, reads.get_us(given["calls"])),
        "loads": in_turn(rounds, reads.loads(given["at_once"])),
    }
    shares = [reads.shares(10 * given["reads"]) for _ in range(rounds)]
    taken["shares"] = {level: [each[level] for each in shares] for level in cache.LEVELS}
    json.dump(taken, sys.stdout)


if __name__ == "__main__":
    main()
