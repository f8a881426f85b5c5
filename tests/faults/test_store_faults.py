"""Redis hangs, dies, crawls and forgets under load: who is let in, what they wait, and after."""

import os
import re
import signal
import statistics
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from typing import NamedTuple
from urllib.parse import urlsplit

import pytest
from redis import Redis

from dev.chaos.stack import WEB, Stack, connect
from dev.test import temporary_directory
from ratelimit import leases
from ratelimit.pace import TIMEOUT_S
from stabilizer.gate.policy import CREATE
from tests.faults.conftest import LONG, Service
from tests.faults.crowd import Crowd, Heard, crowd, p99
from tests.faults.proxy import Proxy

pytestmark = [pytest.mark.processes, pytest.mark.alone]

#: Two processes of four threads each would run eight requests at once: it is the cap that binds.
SLOTS = 6
THREADS = 4
#: A device may ask so often, and of one process while Redis is away.
LIMIT = CREATE[0].limit.quantity
SHARE = LIMIT // len(WEB)
REGULARS = 8
BEFORE_S, AWAY_S, AFTER_S = 3.0, 20.0 if LONG else 3.0, 1.5
#: What the machine may do to a time of ours: two turns of its scheduler.
SLACK_S = 0.02
#: Of a machine that was busy with something else the next seconds are looked at as well.
PATIENCE_S = 6.0
#: As many as are let in and wait for Redis at once, each of which logs it: a request in each
#: thread, those that came together in the event loop, and what the process asks for itself.
WAIT_ONCE = THREADS + 5
RUSH = 40
RUSH_S = 0.3
#: Just not so late that it is no answer.
SLOW_S = 0.8 * TIMEOUT_S


class Fault(NamedTuple):
    """What happens to Redis, what ends it, and how soon each process knows."""

    begin: Callable[[], object]
    end: Callable[[], object]
    known_within_s: float = 1.0


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    """Only web processes: whoever asks MariaDB for something has been let in by the gate."""
    settings = {"SLOTS": str(SLOTS), "THREADS": str(THREADS)}
    with temporary_directory() as directory, Stack(directory, WEB, settings) as stack:
        yield Service(stack)


@pytest.fixture(params=["hung", "dead", "slow"])
def fault(request: pytest.FixtureRequest, service: Service) -> Iterator[Fault]:
    stack = service.stack
    if request.param == "hung":
        pid = stack.redis_pid
        yield Fault(lambda: os.kill(pid, signal.SIGSTOP), lambda: os.kill(pid, signal.SIGCONT))
    elif request.param == "dead":
        yield Fault(stack.kill_redis, stack.start_redis)
    else:
        with slow_way(stack) as proxy:
            # One that is only slow is given eight probes before its limits are kept locally.
            yield Fault(lambda: proxy.slow_down(SLOW_S), proxy.heal, known_within_s=8.0)


@contextmanager
def slow_way(stack: Stack) -> Iterator[Proxy]:
    """The web processes ask Redis through a proxy, for the time of the block."""
    direct = stack.env["REDIS_URL"]
    with Proxy(urlsplit(direct).port or 0) as proxy:
        stack.env["REDIS_URL"] = f"redis://127.0.0.1:{proxy.port}/0"
        start_anew(stack)
        for name in WEB:
            stack.await_start(name)
        try:
            yield proxy
        finally:
            stack.env["REDIS_URL"] = direct
            start_anew(stack)


def start_anew(stack: Stack) -> None:
    """Web processes that read their environment anew; callers wait until they take connections."""
    for name in WEB:
        stack.running[name].process.terminate()
    for name in WEB:
        stack.running.pop(name).process.wait(30)
        stack.start(name)


class Logs:
    """What the web processes say from now on."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._begin = {name: len(service.logs(name)) for name in WEB}

    def of(self, name: str) -> str:
        return self._service.logs(name)[self._begin[name] :]

    def await_(self, words: str, within_s: float) -> None:
        """Return as soon as each process has said so."""
        self._service.await_(
            lambda: all(re.search(words, self.of(name)) for name in WEB), words, within_s
        )


def shares(service: Service) -> int:
    """The slots that the processes hold together, as Redis knows it."""
    with Redis.from_url(service.stack.env["REDIS_URL"]) as client:
        reports = client.hgetall(leases.KEYS[1])
    return sum(int(has.split()[0]) for name, has in reports.items() if name != b"#")


def most_inside(service: Service, codes: dict[str, str]) -> int:
    """How many requests MariaDB sees at once while it answers none and far more want to come in."""
    rush = [
        threading.Thread(
            target=service.post,
            args=(f"/api/v1/pairings/{udid}/credentials/", {}),
            kwargs={"bearer": code},
        )
        for udid, code in list(codes.items())[-RUSH:]
    ]
    waiting = (
        "SELECT COUNT(*) FROM information_schema.processlist"
        " WHERE user = 'service' AND state = 'Waiting for table metadata lock'"
    )
    seen = [0]
    with closing(connect(service.stack.root_url)) as holder, holder.cursor() as cursor:
        cursor.execute("LOCK TABLES pairing_pairing WRITE")
        for each in rush:
            each.start()
        until = time.monotonic() + RUSH_S
        while time.monotonic() < until:
            ((count,),) = service.sql(waiting, root=True)
            seen.append(count)
    for each in rush:
        each.join()
    return max(seen)


def regulars(name: str) -> list[str]:
    return [f"regular-{name}-{number:06d}" for number in range(REGULARS)]


def calm_time(asking: Crowd, usual: Sequence[str]) -> list[Heard]:
    """What newcomers are told while nothing is the matter, and `usual` devices ask as well."""
    asking.regulars = usual
    time.sleep(0.5)
    began = time.monotonic()
    time.sleep(BEFORE_S)
    return asking.newcomers(began, time.monotonic() - 0.2)


def is_right(before: Sequence[Heard], since: Sequence[Heard]) -> bool:
    """Whether p99 has not more than doubled, and the median is what it was."""
    usual, median = (statistics.median(each.took_s for each in heard) for heard in (before, since))
    return p99(since) <= 2 * p99(before) + SLACK_S and median <= usual + SLACK_S


def await_usual_speed(asking: Crowd, before: Sequence[Heard], began: float, least_s: float) -> None:
    """Who comes for pairings is served as fast as `before`, in `least_s` or a little later.

    A busy machine can only lengthen a time, and does not do it for long; waiting for a Redis that
    does not answer would take 50 ms of each request for as long as that lasts.
    """
    time.sleep(max(0, began + least_s - time.monotonic()))
    deadline = time.monotonic() + PATIENCE_S
    while not is_right(before, asking.newcomers(time.monotonic() - 3, time.monotonic() - 0.2)):
        assert time.monotonic() < deadline
        time.sleep(0.5)


def test_a_flushed_redis_gives_quotas_anew_and_no_slot_too_many(service: Service) -> None:
    usual = regulars("flushed")
    with crowd(service.stack, "newcomer-flushed") as asking:
        before = calm_time(asking, usual)
        with Redis.from_url(service.stack.env["REDIS_URL"]) as client:
            client.flushall()
        inside = most_inside(service, asking.codes)
        began = time.monotonic()
        await_usual_speed(asking, before, began, AWAY_S)
        assert shares(service) <= SLOTS
        since = asking.newcomers(began, time.monotonic() - 1)
    assert {each.status for each in (*before, *since)} == {201}
    assert len(WEB) <= inside <= SLOTS
    assert max(asking.admitted(usual).values()) <= 2 * LIMIT


def test_a_missing_redis_costs_50_ms_once_and_lets_nobody_in_who_may_not(
    service: Service, fault: Fault, request: pytest.FixtureRequest
) -> None:
    kind = request.node.callspec.id
    usual, late = regulars(f"{kind}-usual"), regulars(f"{kind}-late")
    with crowd(service.stack, f"newcomer-{kind}") as asking:
        before = calm_time(asking, usual)
        service.await_(lambda: shares(service) == SLOTS, "all slots are shared out", 5)
        # The shares together are the limit; a whole request of each is the least that anybody gets.
        service.await_(
            lambda: all(asking.admitted(usual)[udid] >= len(WEB) * SHARE for udid in usual),
            "each device was given the share of each process",
            PATIENCE_S,
        )
        logs, began = Logs(service), time.monotonic()
        fault.begin()
        try:
            logs.await_(r"store \w+ > local", fault.known_within_s)
            asking.regulars = late
            await_usual_speed(asking, before, began, AWAY_S)
            inside = [most_inside(service, asking.codes)]
            away = asking.newcomers(began, time.monotonic() - 1)
        finally:
            fault.end()
        logs.await_("store local > recovering", 4)
        inside.append(most_inside(service, asking.codes))
        time.sleep(AFTER_S)
        assert shares(service) <= SLOTS
    # Nobody else notices.
    assert {each.status for each in (*before, *away)} == {201}
    waited = [logs.of(name).count(" ratelimit.store store: ") for name in WEB]
    assert max(waited) <= WAIT_ONCE
    # Slots go on with the last share: MariaDB would see eight requests at once without it.
    assert all(len(WEB) <= each <= SLOTS for each in inside)
    # While it is away a limit is each process's share of it, also for who was known before.
    assert max(asking.admitted(late).values()) <= LIMIT
    assert max(asking.admitted(usual).values()) <= LIMIT + SHARE
    assert len(asking.admitted(late)) == REGULARS
    if LONG:
        logs.await_("store recovering > healthy", 70)
