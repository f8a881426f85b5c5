"""Takes records from the spools: cuts segments, hands them over, frees what is in the trail.

Delivery is at least once, and a segment's marker row makes it count once. Nothing is believed but
that row: the broker may lose a segment (it is sent again) or deliver it twice (the second delivery
finds the marker).
"""

import fcntl
import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from django.db.models import Max

from audit import clock, entry, frames, recording, spool
from audit.ledger import SUFFIX as LEDGER_SUFFIX
from audit.ledger import Cut, Ledger
from audit.models import Segment

logger = logging.getLogger(__name__)

SEGMENT_EVENTS = 500
#: Bounds a message to the broker where the events are long.
SEGMENT_BYTES = 1024 * 1024
UNCONFIRMED_SEGMENTS = 20
RESEND_S = 60
DAMAGE_CHARACTERS = 8192


@dataclass(frozen=True, slots=True)
class Parcel:
    """A segment on its way. Every field is plain JSON, because a broker carries it."""

    spool: str
    number: int
    start_byte: int
    end_byte: int
    entries: list[str]
    #: What could not be read, as text, for the dead letters.
    damaged: list[str]

    @property
    def producer(self) -> str:
        return self.spool.rpartition(".")[0]


@dataclass(slots=True)
class Shipment:
    """What one round of shipping did, in segments."""

    sent: int = 0
    freed: int = 0
    unconfirmed: int = 0


class Backlog(NamedTuple):
    """What is not known to be in the trail: how many records, and when the oldest was made."""

    events: int
    oldest_at: datetime | None


HandOver = Callable[[Parcel], None]


class Source:
    """One spool file, opened; `is_final` when its producer is dead or has gone on to another."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.name = path.stem
        self.fd = os.open(path, os.O_RDONLY)
        self.is_final = self._adopt()
        self.ledger = Ledger(path)

    def close(self) -> None:
        os.close(self.fd)

    def free(self) -> int:
        """Forget the segments whose marker is in the trail; how many."""
        cuts = self.ledger.unstored
        if not cuts:
            return 0
        markers = _markers(self.name, cuts)
        self.ledger.unstored = [
            cut for cut in cuts if markers.get(cut.number) != (cut.start_byte, cut.end_byte)
        ]
        if any(cut.number in markers for cut in self.ledger.unstored):
            self._renumber()
        return len(cuts) - len(self.ledger.unstored)

    def cut(self) -> Cut | None:
        """Mark off the next segment, on disk before anyone hears of it; None if there is none."""
        pieces = self._pieces(self.ledger.cut_byte, SEGMENT_BYTES)[0]
        if not pieces:
            return None
        if self.ledger.cut_byte == 0:  # or its ledger was lost: then all is sent once more
            self.ledger.next_number = self._unused_number()
        events = sum(piece.text is not None for piece in pieces)
        cut = Cut(self.ledger.next_number, self.ledger.cut_byte, pieces[-1].end, events)
        self.ledger.next_number += 1
        self.ledger.cut_byte = cut.end_byte
        self.ledger.unstored.append(cut)
        os.fdatasync(self.fd)
        self.ledger.save(sync=True)
        return cut

    def parcel(self, cut: Cut) -> Parcel:
        pieces, data = self._pieces(cut.start_byte, cut.end_byte - cut.start_byte, final=True)
        lost_bytes = cut.end_byte - cut.start_byte - len(data)
        return Parcel(
            spool=self.name,
            number=cut.number,
            start_byte=cut.start_byte,
            end_byte=cut.end_byte,
            entries=[piece.text for piece in pieces if piece.text is not None],
            damaged=[
                _as_text(data[piece.start - cut.start_byte : piece.end - cut.start_byte])
                for piece in pieces
                if piece.text is None
            ]
            + [f"{lost_bytes} bytes are missing"] * bool(lost_bytes),
        )

    def remove_if_done(self) -> None:
        """Delete the files of a dead producer once all of its records are in the trail."""
        if self.is_final and self.ledger.freed_byte >= os.fstat(self.fd).st_size:
            self.path.unlink(missing_ok=True)
            self.ledger.path.unlink(missing_ok=True)

    def waiting_events(self) -> int:
        """Records that are not known to be in the trail."""
        count = sum(cut.events for cut in self.ledger.unstored)
        position = self.ledger.cut_byte
        while pieces := self._pieces(position, SEGMENT_BYTES)[0]:
            count += sum(piece.text is not None for piece in pieces)
            position = pieces[-1].end
        return count

    def oldest_at(self) -> datetime | None:
        """When the first of them was made; None where none waits that can be read."""
        for piece in self._pieces(self.ledger.freed_byte, SEGMENT_BYTES)[0]:
            if piece.text is not None:
                with suppress(entry.Unstorable):
                    made_at: datetime = entry.decode(piece.text)["at"]
                    return made_at
        return None

    def _adopt(self) -> bool:
        try:
            fcntl.flock(self.fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def _renumber(self) -> None:
        # A marker gives this number to other bytes, because the ledger is older than the marker.
        self.ledger.next_number = max(self.ledger.next_number, self._unused_number())
        for cut in self.ledger.unstored:
            cut.number, cut.sent_at = self.ledger.next_number, 0.0
            self.ledger.next_number += 1

    def _unused_number(self) -> int:
        highest = Segment.objects.filter(spool=self.name).aggregate(Max("number"))["number__max"]
        return 0 if highest is None else int(highest) + 1

    def _pieces(
        self, start: int, longest_bytes: int, *, final: bool = False
    ) -> tuple[list[frames.Piece], bytes]:
        data = os.pread(self.fd, longest_bytes, start)
        is_end = len(data) < longest_bytes
        final = final or (self.is_final and is_end)
        pieces = list(islice(frames.scan(data, start, final=final), SEGMENT_EVENTS))
        if not pieces and not is_end:  # more damage than any record is long
            pieces = list(frames.scan(data, start, final=True))
        return pieces, data


def ship(directory: Path, hand_over: HandOver) -> Shipment:
    """One round over all spools of this host: free, send again what is overdue, cut and send anew.

    Only one process does so at a time; for the others the round is empty. Errors of `hand_over` end
    the round, and what was not handed over is sent by the next.
    """
    shipment = Shipment()
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    with _only_shipper(directory) as alone:
        if not alone:
            return shipment
        with _sources(directory) as sources:
            _free(sources, shipment)
            try:
                _send_overdue(sources, hand_over, shipment)
                _send_new(sources, hand_over, shipment)
            finally:
                for source in sources:
                    _settle(source)
        _tell_of_lost_spools(directory)
    return shipment


def backlog(directory: Path) -> Backlog:
    """What waits in this host's spools."""
    if not directory.is_dir():
        return Backlog(0, None)
    with _sources(directory) as sources:
        events = sum(source.waiting_events() for source in sources)
        moments = [at for source in sources if (at := source.oldest_at()) is not None]
        return Backlog(events, min(moments, default=None))


def _free(sources: list[Source], shipment: Shipment) -> None:
    for source in sources:
        shipment.freed += source.free()
        shipment.unconfirmed += len(source.ledger.unstored)


def _send_overdue(sources: list[Source], hand_over: HandOver, shipment: Shipment) -> None:
    for source in sources:
        for cut in source.ledger.unstored:
            # An age below zero is a clock set back: sending once more is harmless.
            if not 0 <= clock.timestamp() - cut.sent_at < RESEND_S:
                _send(source, cut, hand_over, shipment)


def _send_new(sources: list[Source], hand_over: HandOver, shipment: Shipment) -> None:
    """A segment of each spool in turn, so that a busy process does not hold back the others."""
    turns = list(sources)
    while turns and shipment.unconfirmed < UNCONFIRMED_SEGMENTS:
        source = turns.pop(0)
        cut = source.cut()
        if cut is not None:
            shipment.unconfirmed += 1
            _send(source, cut, hand_over, shipment)
            turns.append(source)


def _send(source: Source, cut: Cut, hand_over: HandOver, shipment: Shipment) -> None:
    hand_over(source.parcel(cut))
    cut.sent_at = clock.timestamp()
    shipment.sent += 1


def _tell_of_lost_spools(directory: Path) -> None:
    """A ledger without its spool: somebody has removed records that were not stored."""
    for path in directory.glob(f"*{LEDGER_SUFFIX}"):
        if path.with_suffix(spool.SUFFIX).exists():
            continue
        lost = _unmarked(path.stem, Ledger(path.with_suffix(spool.SUFFIX)).unstored)
        if lost:
            detail: dict[str, entry.JSON] = {
                "segments": len(lost),
                "events": sum(cut.events for cut in lost),
                "bytes": sum(cut.end_byte - cut.start_byte for cut in lost),
            }
            logger.error("audit: spool %s is gone with records that were not stored", path.stem)
            recording.record("audit.records_missing", "lost", subject=path.stem, detail=detail)
        path.unlink(missing_ok=True)


def _unmarked(name: str, cuts: list[Cut]) -> list[Cut]:
    """Those of a spool's segments that are not in the trail."""
    markers = _markers(name, cuts)
    return [cut for cut in cuts if markers.get(cut.number) != (cut.start_byte, cut.end_byte)]


def _markers(name: str, cuts: list[Cut]) -> dict[int, tuple[int, int]]:
    """Which bytes are stored under the numbers of these segments."""
    numbers = [cut.number for cut in cuts]
    stored = Segment.objects.filter(spool=name, number__in=numbers)
    return {marker.number: (marker.start_byte, marker.end_byte) for marker in stored}


def _settle(source: Source) -> None:
    source.ledger.save(sync=False)
    source.remove_if_done()


@contextmanager
def _only_shipper(directory: Path) -> Iterator[bool]:
    fd = os.open(directory / "shipper.lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        yield False
    else:
        yield True
    finally:
        os.close(fd)


@contextmanager
def _sources(directory: Path) -> Iterator[list[Source]]:
    sources: list[Source] = []
    try:
        for path in sorted(directory.glob(f"*{spool.SUFFIX}")):
            with suppress(FileNotFoundError):
                sources.append(Source(path))
        yield sources
    finally:
        for source in sources:
            source.close()


def _as_text(data: bytes) -> str:
    return data.decode("ascii", "backslashreplace")[:DAMAGE_CHARACTERS]
