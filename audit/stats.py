"""What is where on its way into the trail."""

from dataclasses import dataclass
from pathlib import Path

from django.conf import settings

from audit import shipping, spool
from audit.models import DeadLetter, Event, Outbox


@dataclass(frozen=True, slots=True)
class Stats:
    #: Files of this host's spools, with what is stored already but not yet freed.
    spool_bytes: int
    #: Records of this host that are not known to be in the trail.
    waiting_events: int
    outbox_rows: int
    stored_events: int
    dead_letters: int


def collect() -> Stats:
    """Counts rows and reads the spools: for a person or a probe each minute, not for a request."""
    directory = Path(settings.AUDIT_SPOOL_DIR)
    return Stats(
        spool_bytes=spool.size_bytes(directory) if directory.is_dir() else 0,
        waiting_events=shipping.waiting_events(directory),
        outbox_rows=Outbox.objects.count(),
        stored_events=Event.objects.count(),
        dead_letters=DeadLetter.objects.count(),
    )
