"""What is where on its way into the trail, and what is not as it should be."""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from django.conf import settings
from django.db.models import Sum

from audit import clock, gaps, identifier, partitions, shipping, spool
from audit.models import Day, DeadLetter, Outbox


@dataclass(frozen=True, slots=True)
class Stats:
    #: Files of this host's spools, with what is stored already but not yet freed.
    spool_bytes: int
    #: Records of this host that are not known to be in the trail.
    waiting_events: int
    outbox_rows: int
    #: The age of the oldest of both.
    lag_s: float
    stored_events: int
    dropped_events: int
    dead_letters: int
    #: Of the dead letters, those that came after their day was closed.
    late_events: int
    #: Bytes of spools that never came, though what was written after them did.
    missing_bytes: int
    #: Partitions that hold events and should be empty, as nobody made those of the days.
    spilled: str


def collect() -> Stats:
    """Reads the spools and the chains' heads: for a person or a probe, not for a request."""
    directory = Path(settings.AUDIT_SPOOL_DIR)
    backlog = shipping.backlog(directory)
    return Stats(
        spool_bytes=spool.size_bytes(directory) if directory.is_dir() else 0,
        waiting_events=backlog.events,
        outbox_rows=Outbox.objects.count(),
        lag_s=_lag_s(backlog.oldest_at),
        stored_events=_events(dropped=False),
        dropped_events=_events(dropped=True),
        dead_letters=DeadLetter.objects.count(),
        late_events=DeadLetter.objects.filter(reason=DeadLetter.Reason.LATE).count(),
        missing_bytes=sum(gap.size_bytes for gap in gaps.find()),
        spilled=" ".join(partitions.spilled()),
    )


def _lag_s(oldest_at: datetime | None) -> float:
    moments = [] if oldest_at is None else [oldest_at.timestamp()]
    if first := Outbox.objects.order_by("id").values_list("id", flat=True).first():
        moments.append(identifier.made_at(first))
    return round(max(0.0, clock.timestamp() - min(moments)), 1) if moments else 0.0


def _events(*, dropped: bool) -> int:
    days = Day.objects.filter(dropped_at__isnull=not dropped)
    return int(days.aggregate(events=Sum("height"))["events"] or 0)
