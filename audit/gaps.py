"""Bytes of spools that never came: what lies between two segments that are in the trail."""

from dataclasses import dataclass
from datetime import timedelta

from django.db.models import F, Max, RowRange, Window
from django.db.models.functions import Coalesce

from audit import clock
from audit.models import Segment

#: A segment may overtake another on its way, and is sent again when it was lost there.
PATIENCE = timedelta(minutes=10)


@dataclass(frozen=True, slots=True)
class Gap:
    """The bytes from `start_byte` to before `end_byte` of a spool are in no segment."""

    spool: str
    start_byte: int
    end_byte: int

    @property
    def size_bytes(self) -> int:
        return self.end_byte - self.start_byte


def find() -> list[Gap]:
    """The gaps before segments that have been in the trail for `PATIENCE`.

    Segments may overlap: what was sent twice under two numbers is stored once.
    """
    before = Window(
        Max("end_byte"),
        partition_by=F("spool"),
        order_by=F("start_byte").asc(),
        frame=RowRange(start=None, end=-1),
    )
    rows = Segment.objects.annotate(reached=Coalesce(before, 0)).filter(
        start_byte__gt=F("reached"), stored_at__lt=clock.now() - PATIENCE
    )
    return [Gap(*gap) for gap in rows.values_list("spool", "reached", "start_byte").order_by("pk")]
