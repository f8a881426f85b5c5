"""What a service uses is counted, whichever of its processes uses it."""

import itertools
import os
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from django.db import connection, transaction

from accounts.models import Plan
from bench.stampede import usage
from bench.stampede.usage import PeakMemory, Usage
from tests.stabilizer import processes

LIMIT_S = 10
BURN = "import sys, time\nwhile time.process_time() < 0.3: pass\n"
#: Burns in a child that has ended, and waits; then in one that lives, which waits too.
PARENT = f"""
    import subprocess, sys
    burn = {BURN!r}
    subprocess.run([sys.executable, "-c", burn])
    print("ended", flush=True)
    sys.stdin.readline()
    child = [sys.executable, "-c", burn + "print('alive', flush=True); sys.stdin.readline()"]
    subprocess.run(child, stdin=sys.stdin)
"""


@contextmanager
def running(script: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-u", "-c", textwrap.dedent(script)]
    pipe, env = subprocess.PIPE, {**os.environ, processes.TRACE: ""}
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, env=env, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + LIMIT_S
    while not condition():
        assert time.monotonic() < deadline, "it did not come true in time"
        time.sleep(0.01)


@pytest.mark.processes
def test_processor_time_of_children_counts_alive_and_ended() -> None:
    with running(PARENT) as process:
        assert process.stdout.readline() == "ended\n"
        ended = Usage.of([process.pid], None)
        process.stdin.write("\n")
        process.stdin.flush()
        assert process.stdout.readline() == "alive\n"
        both = Usage.of([process.pid], None)

    # Each burns 0.3 s, which the kernel counts in ticks, and takes some more to start.
    assert 0.25 < ended.cpu_s < 0.55
    assert 0.25 < both.since(ended).cpu_s < 0.55
    assert (both.lock_wait_ms, both.lock_waits) == (0, 0)


@pytest.mark.processes
def test_the_largest_memory_is_remembered() -> None:
    script = """
        import sys
        sys.stdin.readline()
        held = bytearray(100_000_000)
        print("held", flush=True)
        sys.stdin.readline()
        del held
        print("free", flush=True)
        sys.stdin.readline()
    """
    with running(script) as process, PeakMemory([process.pid]) as memory:
        wait_for(lambda: memory.peak > 0)
        before = memory.peak
        process.stdin.write("\n")
        process.stdin.flush()
        assert process.stdout.readline() == "held\n"
        wait_for(lambda: memory.peak > before + 90_000_000)
        process.stdin.write("\n")
        process.stdin.flush()
        assert process.stdout.readline() == "free\n"

    assert before < 90_000_000 < memory.peak


def test_work_that_a_crowd_leaves_behind_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(usage, "QUIET_S", 0.01)
    seconds = iter([1.0, 2.0, 3.0, 3.001, 9.0])

    assert usage.settled(lambda: Usage(next(seconds), 0, 0)).cpu_s == 3.001


def test_work_that_does_not_end_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(usage, "QUIET_S", 0.01)
    monkeypatch.setattr(usage, "SETTLED_S", 0.05)
    seconds = itertools.count(1.0)

    assert usage.settled(lambda: Usage(next(seconds), 0, 0)).cpu_s < 10


def test_waiting_for_anothers_row_is_counted(transactional_db: None) -> None:
    Plan.objects.create(name="contended")
    before = usage.row_locks(processes.database_url())
    thread = threading.Thread(target=_lock)
    with transaction.atomic():
        Plan.objects.select_for_update().get(name="contended")
        thread.start()
        wait_for(_somebody_waits)
    thread.join(LIMIT_S)
    after = usage.row_locks(processes.database_url())

    assert after[1] > before[1]
    assert after[0] >= before[0]


def _lock() -> None:
    try:
        with transaction.atomic():
            Plan.objects.select_for_update().get(name="contended")
    finally:
        connection.close()


def _somebody_waits() -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SHOW GLOBAL STATUS LIKE 'Innodb_row_lock_current_waits'")
        return int(cursor.fetchone()[1]) > 0
