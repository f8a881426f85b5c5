"""The process's spool: a file of its own, to which each record is appended with one write().

A file is locked (flock) for as long as its process lives. What is not locked may be adopted: its
process is dead, or has gone on to its next file. `audit.shipping` takes the records from here.
"""

import fcntl
import logging
import os
import re
import socket
import threading
import time
from pathlib import Path

from django.conf import settings

from audit import entry, frames, registry

logger = logging.getLogger(__name__)

SUFFIX = ".spool"
#: Between creation and lock a file has this suffix, so that nobody takes it for a dead process's.
UNLOCKED_SUFFIX = ".new"
FILE_BYTES = 4 * 1024 * 1024
#: File size and quota are looked at after so many bytes, not at every record.
STRIDE_BYTES = 256 * 1024
#: The share of the quota that reports (class R) may fill; the rest keeps changes (S) going.
REPORTS_SHARE = 0.8
RETRY_S = 1.0


class Spool:
    """Appends frames for one process. Its methods are safe in threads and never raise."""

    def __init__(self, directory: Path, quota_bytes: int) -> None:
        self.directory = directory
        self.quota_bytes = quota_bytes
        self.producer = _producer()
        #: Records lost since the spool was last writable; told as one event when it is again.
        self.suppressed = 0
        self._lock = threading.Lock()
        self._fd = -1
        self._number = 0
        self._room_bytes = 0
        self._file_is_bad = False
        self._changes_refused = False
        self._retry_at = 0.0

    def append(self, frame: bytes) -> bool:
        """Write one frame with one write(); False when it was counted as suppressed instead."""
        if self._room_bytes <= 0 and not self._make_room():
            return self._suppress()
        try:
            written = os.write(self._fd, frame)
        except OSError as error:
            return self._fail(error)
        if written != len(frame):
            return self._fail(OSError(f"{written} of {len(frame)} bytes written"))
        self._room_bytes -= written
        return True

    def accepts_changes(self) -> bool:
        """Whether changes (class S) may go on; False when records cannot be kept at all."""
        if self._room_bytes <= 0:
            self._make_room()
        return not self._changes_refused

    def close(self) -> None:
        """Let go of the file, which makes it adoptable. Only without other threads at work."""
        if self._fd >= 0:
            os.close(self._fd)
        self._fd, self._room_bytes = -1, 0

    def _make_room(self) -> bool:
        with self._lock:
            if self._room_bytes > 0:
                return True
            if time.monotonic() < self._retry_at:
                return False
            try:
                return self._prepare()
            except OSError as error:
                self._refuse(f"spool {self.directory}: {error}", changes=True)
                return False

    def _prepare(self) -> bool:
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        used_bytes = size_bytes(self.directory)
        if used_bytes >= self.quota_bytes * REPORTS_SHARE:
            full = used_bytes >= self.quota_bytes
            self._refuse(f"spool {self.directory}: {used_bytes} bytes, quota reached", changes=full)
            return False
        if self._file_is_bad or self._fd < 0 or os.fstat(self._fd).st_size >= FILE_BYTES:
            self._next_file()
        if self.suppressed:
            self._tell()
        self._changes_refused = False
        self._room_bytes = STRIDE_BYTES
        return True

    def _next_file(self) -> None:
        path = self._unused_path()
        unlocked = path.with_suffix(UNLOCKED_SUFFIX)
        fd = os.open(unlocked, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            unlocked.rename(path)
        except OSError:
            os.close(fd)
            raise
        self._file_is_bad = False
        if self._fd < 0:
            self._fd = fd
            return
        # Writers take no lock. dup2 swaps the file under their descriptor at once, and the old
        # file, with its flock, is let go when the last write() that had begun on it is over.
        os.dup2(fd, self._fd, inheritable=False)
        os.close(fd)

    def _unused_path(self) -> Path:
        # A spool that this process made in the same millisecond has the same producer.
        while True:
            self._number += 1
            path = self.directory / f"{self.producer}.{self._number:06d}{SUFFIX}"
            if not path.exists():
                return path

    def _tell(self) -> None:
        draft = entry.Draft(
            action=registry.ACTIONS["audit.suppressed"],
            outcome="recovered",
            subject=self.producer,
            detail={"records": self.suppressed},
        )
        frame = frames.pack(entry.encode(draft)[1])
        if os.write(self._fd, frame) != len(frame):
            raise OSError("disk full")
        self.suppressed = 0

    def _fail(self, error: OSError) -> bool:
        with self._lock:
            self._file_is_bad = True
            self._refuse(f"spool {self.directory}: {error}", changes=True)
        return self._suppress()

    def _refuse(self, reason: str, *, changes: bool) -> None:
        logger.error("%s; records are suppressed%s", reason, ", changes refused" if changes else "")
        self._room_bytes = 0
        self._changes_refused = changes
        self._retry_at = time.monotonic() + RETRY_S

    def _suppress(self) -> bool:
        with self._lock:
            self.suppressed += 1
        return False


_shared: Spool | None = None
_making = threading.Lock()


def shared() -> Spool:
    """This process's spool, in the directory of the settings."""
    global _shared
    if _shared is None:
        with _making:
            if _shared is None:
                _shared = Spool(Path(settings.AUDIT_SPOOL_DIR), settings.AUDIT_SPOOL_QUOTA_BYTES)
    return _shared


def forget() -> None:
    """Let go of this process's spool; the next record opens a new one."""
    global _shared, _making
    if _shared is not None:
        _shared.close()
    _shared, _making = None, threading.Lock()


# A child's records go to a file of its own, and its copy of the descriptor must not keep its
# parent's file locked beyond the parent's death.
os.register_at_fork(after_in_child=forget)


def size_bytes(directory: Path) -> int:
    """What all spools of the directory take."""
    sizes = 0
    with os.scandir(directory) as files:
        for file in files:
            try:
                sizes += file.stat().st_size
            except FileNotFoundError:  # freed by the shipper just now
                continue
    return sizes


def _producer() -> str:
    host = re.sub(r"[^A-Za-z0-9-]", "-", socket.gethostname())[:48]
    return f"{host}.{_boot()}.{os.getpid()}.{time.time_ns() // 1_000_000}"


def _boot() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii")[:8]
    except OSError:
        return "unknown"
