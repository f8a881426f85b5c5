"""What is where on its way into the trail, and what is not as it should be."""

from dataclasses import dataclass
from pathlib import Path

from django.conf import settings
from django.db.models import Sum

from audit import gaps, partitions, shipping, spool
from audit.models import Day, DeadLetter, Outbox


@dataclass(frozen=True, slots=True)
class Stats:
    #: Files of this host's spools, with what is stored already but not yet freed.
    spool_bytes: int
    #: Records of this host that are not known to be in the trail.
    waiting_events: int
    outbox_rows: int
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
    return Stats(
        spool_bytes=spool.size_bytes(directory) if directory.is_dir() else 0,
        waiting_events=shipping.waiting_events(directory),
        outbox_rows=Outbox.objects.count(),
        stored_events=_events(dropped=False),
        dropped_events=_events(dropped=True),
        dead_letters=DeadLetter.objects.count(),
        late_events=DeadLetter.objects.filter(reason=DeadLetter.Reason.LATE).count(),
        missing_bytes=sum(gap.size_bytes for gap in gaps.find()),
        spilled=" ".join(partitions.spilled()),
    )


def _events(*, dropped: bool) -> int:
    days = Day.objects.filter(dropped_at__isnull=not dropped)
    return int(days.aggregate(events=Sum("height"))["events"] or 0)
