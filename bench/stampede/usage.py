"""What a run costs the server side: processor time, memory, and waiting for row locks."""

import contextlib
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

import psutil

SAMPLE_S = 0.2
#: Work is done when the server side takes less than this share of a core for so long. What is left
#: for later, such as the records of an audit trail, is looked for every second.
QUIET_SHARE = 0.15
QUIET_S = 2.0
#: For work that does not end.
SETTLED_S = 30.0
ROW_LOCKS = ("Innodb_row_lock_time", "Innodb_row_lock_waits")


@dataclass(frozen=True)
class Usage:
    """Since the processes and the database started. MariaDB counts nothing where there is none."""

    cpu_s: float
    lock_wait_ms: int
    lock_waits: int

    @classmethod
    def of(cls, pids: Iterable[int], mariadb_url: str | None) -> Self:
        """Read the counters of the processes `pids` and all their children, and of MariaDB."""
        waits = row_locks(mariadb_url) if mariadb_url else (0, 0)
        return cls(sum(map(_cpu_s, _families(pids))), *waits)

    def since(self, before: "Usage") -> "Usage":
        return Usage(
            self.cpu_s - before.cpu_s,
            self.lock_wait_ms - before.lock_wait_ms,
            self.lock_waits - before.lock_waits,
        )


def settled(read: Callable[[], Usage]) -> Usage:
    """The counters when the work that a crowd has left behind is done too."""
    deadline = time.monotonic() + SETTLED_S
    usage = read()
    while time.monotonic() < deadline:
        time.sleep(QUIET_S)
        before, usage = usage, read()
        if usage.since(before).cpu_s < QUIET_SHARE * QUIET_S:
            break
    return usage


def row_locks(mariadb_url: str) -> tuple[int, int]:
    """Milliseconds that transactions have waited for others' rows, and how often."""
    # Only what measures MariaDB needs its driver.
    import MySQLdb

    connect: Any = MySQLdb.connect
    place = urlsplit(mariadb_url)
    connection = connect(host=place.hostname, port=place.port, user=place.username)
    with contextlib.closing(connection), connection.cursor() as cursor:
        cursor.execute("SHOW GLOBAL STATUS WHERE Variable_name IN %s", [ROW_LOCKS])
        counted = dict(cursor.fetchall())
    wait_ms, waits = (int(counted[name]) for name in ROW_LOCKS)
    return wait_ms, waits


class PeakMemory:
    """The largest resident memory of one of the processes `pids` or their children, in bytes.

    A context manager: it looks every `SAMPLE_S` from the beginning of the block to its end.
    """

    def __init__(self, pids: Iterable[int]) -> None:
        self.peak = 0
        self._processes = list(_families(pids))
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        while True:
            for process in self._processes:
                with contextlib.suppress(psutil.NoSuchProcess):
                    self.peak = max(self.peak, process.memory_info().rss)
            if self._ended.wait(SAMPLE_S):
                return


def _families(pids: Iterable[int]) -> Iterator[psutil.Process]:
    for pid in pids:
        process = psutil.Process(pid)
        yield process
        yield from process.children(recursive=True)


def _cpu_s(process: psutil.Process) -> float:
    """What it has used, and what those of its children had used that have ended."""
    with contextlib.suppress(psutil.NoSuchProcess):
        times = process.cpu_times()
        return float(times.user + times.system + times.children_user + times.children_system)
    return 0.0
