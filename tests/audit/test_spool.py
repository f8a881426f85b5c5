import fcntl
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

import audit
from audit import frames, spool
from tests.audit.conftest import spools

FRAME = frames.pack("x" * 300)


def texts(path: Path) -> list[str | None]:
    return [piece.text for piece in frames.scan(path.read_bytes(), 0, final=True)]


def is_locked(path: Path) -> bool:
    with path.open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        return False


def test_a_record_is_one_write(monkeypatch):
    audit.record("gate.refused")
    writes = []
    write = os.write

    def counted(fd: int, data: bytes) -> int:
        writes.append(data)
        return write(fd, data)

    monkeypatch.setattr(os, "write", counted)
    audit.record("gate.refused")
    assert len(writes) == 1


def test_only_its_owner_may_read_a_spool(spool_dir):
    audit.record("gate.refused")
    assert spool_dir.stat().st_mode & 0o777 == 0o700
    assert spools(spool_dir)[0].stat().st_mode & 0o777 == 0o600


def test_a_living_process_holds_its_spool(spool_dir):
    audit.record("gate.refused")
    (path,) = spools(spool_dir)
    assert is_locked(path)
    spool.forget()
    assert not is_locked(path)


def test_a_full_file_is_let_go_and_the_next_one_taken(spool_dir, monkeypatch):
    monkeypatch.setattr(spool, "FILE_BYTES", 1000)
    monkeypatch.setattr(spool, "STRIDE_BYTES", 1000)
    own = spool.Spool(spool_dir, quota_bytes=10**9)
    for _ in range(12):
        assert own.append(FRAME)
    first, second, third = spools(spool_dir)
    assert [is_locked(path) for path in (first, second, third)] == [False, False, True]
    assert [len(texts(path)) for path in (first, second, third)] == [4, 4, 4]
    own.close()


def test_a_spool_never_takes_the_file_of_one_made_in_the_same_millisecond(spool_dir, monkeypatch):
    monkeypatch.setattr(spool, "_producer", lambda: "host.boot.1.1")
    for name in ("first", "second"):
        spool.shared().append(frames.pack(name))
        spool.forget()
    assert [texts(path) for path in spools(spool_dir)] == [["first"], ["second"]]


def test_threads_that_write_while_the_file_changes_lose_nothing(spool_dir, monkeypatch):
    monkeypatch.setattr(spool, "FILE_BYTES", 20_000)
    monkeypatch.setattr(spool, "STRIDE_BYTES", 5_000)
    own = spool.Spool(spool_dir, quota_bytes=10**9)
    start = threading.Barrier(6)

    def work(thread: int) -> None:
        start.wait()
        for number in range(1000):
            own.append(frames.pack(f"{thread}/{number}"))

    threads = [threading.Thread(target=work, args=[n]) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    files = spools(spool_dir)
    assert len(files) > 3
    found = [text for path in files for text in texts(path)]
    assert sorted(map(str, found)) == sorted(
        f"{thread}/{n}" for thread in range(6) for n in range(1000)
    )
    own.close()


def test_reports_stop_at_four_fifths_of_the_quota_and_changes_go_on(spool_dir, monkeypatch):
    monkeypatch.setattr(spool, "STRIDE_BYTES", 1000)
    own = spool.Spool(spool_dir, quota_bytes=10_000)
    written = sum(own.append(FRAME) for _ in range(100))
    assert written * len(FRAME) == pytest.approx(8000, abs=1300)
    assert own.suppressed == 100 - written
    assert own.accepts_changes()
    own.close()


def test_a_full_quota_refuses_changes(spool_dir):
    spool_dir.mkdir()
    (spool_dir / "another.spool").write_bytes(b"x" * 10_000)
    own = spool.Spool(spool_dir, quota_bytes=10_000)
    assert not own.append(FRAME)
    assert not own.accepts_changes()


def test_what_was_suppressed_is_told_once_when_there_is_room_again(spool_dir, monkeypatch):
    monkeypatch.setattr(spool, "RETRY_S", 0)
    spool_dir.mkdir()
    obstacle = spool_dir / "another.spool"
    obstacle.write_bytes(b"x" * 10_000)
    own = spool.Spool(spool_dir, quota_bytes=10_000)
    for _ in range(3):
        own.append(FRAME)
    obstacle.unlink()
    assert own.append(FRAME)
    assert own.append(FRAME)
    told, *rest = texts(spools(spool_dir)[0])
    assert '"audit.suppressed"' in str(told)
    assert '{"records":3}' in str(told)
    assert len(rest) == 2
    own.close()


def test_a_write_that_fails_is_counted_and_goes_on_in_a_new_file(spool_dir, monkeypatch):
    monkeypatch.setattr(spool, "RETRY_S", 0)
    own = spool.Spool(spool_dir, quota_bytes=10**9)
    assert own.append(FRAME)
    full = os.open("/dev/full", os.O_WRONLY)
    os.dup2(full, own._fd)  # from here on the disk is full
    assert not own.append(FRAME)
    assert own.suppressed == 1
    assert own.append(FRAME)
    assert [len(texts(path)) for path in spools(spool_dir)] == [1, 2]
    own.close()
    os.close(full)


FORKING = """
import os, sys, time, audit
audit.record("gate.refused", subject="parent")
if os.fork() == 0:
    audit.record("gate.refused", subject="child")
    time.sleep(60)
print("forked", flush=True)
os.kill(os.getpid(), 9)
"""


@pytest.mark.processes
def test_a_forked_child_has_a_spool_of_its_own_and_does_not_hold_its_parents(spool_dir):
    process = subprocess.Popen(
        [sys.executable, "-c", FORKING + "#" + str(spool_dir)],
        stdout=subprocess.PIPE,
        env=os.environ | {"RUN_DIR": str(spool_dir.parent)},
        process_group=0,
    )
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == b"forked\n"
        process.wait(10)
        parents = [path for path in spools(spool_dir) if f".{process.pid}." in path.name]
        assert len(parents) == 1
        assert '"parent"' in str(texts(parents[0]))
        for _ in range(1000):
            children = [path for path in spools(spool_dir) if path not in parents]
            if children and texts(children[0]):
                break
            threading.Event().wait(0.01)
        assert not is_locked(parents[0])
        assert is_locked(children[0])
        assert '"child"' in str(texts(children[0]))
    finally:
        os.killpg(process.pid, 9)
        process.stdout.close()
