from collections.abc import Mapping
from typing import Any

from django.db import models
from django.utils.functional import cached_property

from audit import chain, clock, identifier
from audit.chain import Link
from audit.entry import LENGTHS, Unstorable, decode
from audit.registry import Severity

PRODUCER_CHARACTERS = 128


class Event(models.Model):
    """One thing that happened. Rows are added by `audit.ingest` and never changed."""

    #: A UUIDv7 given by the producer: a row that arrives twice is one row.
    id = models.UUIDField(primary_key=True, default=identifier.new_uuid, editable=False)
    at = models.DateTimeField("time of the event")
    action = models.CharField(max_length=LENGTHS["action"])
    outcome = models.CharField(max_length=LENGTHS["outcome"])
    severity = models.CharField(
        max_length=LENGTHS["severity"], choices=[(level, level) for level in Severity]
    )
    subject = models.CharField(max_length=LENGTHS["subject"], blank=True)
    subject_version = models.PositiveBigIntegerField(default=0)
    actor = models.CharField(max_length=LENGTHS["actor"], blank=True)
    tenant = models.CharField(max_length=LENGTHS["tenant"], blank=True)
    request_id = models.CharField(max_length=LENGTHS["request_id"], blank=True)
    decision_id = models.CharField(max_length=LENGTHS["decision_id"], blank=True)
    address = models.CharField(max_length=LENGTHS["address"], blank=True)
    producer = models.CharField(max_length=PRODUCER_CHARACTERS)
    #: The event as its producer wrote it: what the chain covers, byte for byte.
    entry = models.TextField()
    #: Its link in the chain of its day (`audit.chain`).
    number = models.PositiveBigIntegerField()
    hash = models.CharField(max_length=64)

    class Meta:
        indexes = [
            models.Index(fields=["subject", "id"], name="audit_event_subject"),
            models.Index(fields=["actor", "id"], name="audit_event_actor"),
            models.Index(fields=["action", "id"], name="audit_event_action"),
            models.Index(fields=["tenant", "id"], name="audit_event_tenant"),
            models.Index(fields=["request_id"], name="audit_event_request"),
            models.Index(fields=["number"], name="audit_event_number"),
        ]

    def __str__(self) -> str:
        return f"{self.at:%Y-%m-%d %H:%M:%S} {self.action} {self.subject}"

    @cached_property
    def said(self) -> Mapping[str, Any]:
        """What the entry says, also of that which has no column. Raises `entry.Unstorable`."""
        return decode(self.entry)

    def shown(self) -> dict[str, Any]:
        """All that the row says, under the names of its columns, and `user_agent` and `detail`.

        These two are None where somebody wrote over the entry: whoever looks into that needs the
        row all the same.
        """
        columns = {field.attname: getattr(self, field.attname) for field in self._meta.fields}
        try:
            return columns | {"user_agent": self.user_agent, "detail": self.detail}
        except Unstorable:
            return columns | {"user_agent": None, "detail": None}

    @property
    def detail(self) -> Any:
        return self.said["detail"]

    @property
    def user_agent(self) -> str:
        return str(self.said["user_agent"])


class Day(models.Model):
    """One UTC day's chain: its head, and once the day is closed what it ended with.

    These rows outlive the events: after a day was dropped they still say how many there were.
    """

    day = models.DateField(primary_key=True)
    height = models.PositiveBigIntegerField("events", default=0)
    hash = models.CharField(max_length=64, default=chain.NOTHING)
    #: Nothing is added from here on; what comes late goes to the dead letters.
    closed_at = models.DateTimeField(null=True, blank=True)
    #: `chain.closing` of this day and of those closed before it, and who signed it how.
    closing = models.CharField(max_length=64, blank=True)
    key_id = models.CharField(max_length=16, blank=True)
    signature = models.CharField(max_length=128, blank=True)
    dropped_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ("-day",)

    def __str__(self) -> str:
        return f"{self.day}"

    @property
    def head(self) -> Link:
        return Link(self.height, self.hash)


class Hold(models.Model):
    """A legal hold: the events of these days are kept, however old they are."""

    first_day = models.DateField()
    last_day = models.DateField()
    reason = models.CharField(max_length=500)
    #: Whoever demanded it, as the trail names actors.
    owner = models.CharField(max_length=LENGTHS["actor"])
    placed_at = models.DateTimeField(default=clock.now)
    released_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=models.Q(first_day__lte=models.F("last_day")), name="audit_hold_in_order"
            )
        ]

    def __str__(self) -> str:
        return f"{self.first_day} to {self.last_day}: {self.reason}"


class Segment(models.Model):
    """Proof that a segment of a spool is in the trail: written in the same transaction.

    A spool's bytes are freed only when their segment is here. A number missing between two that are
    here is a proven loss.
    """

    spool = models.CharField(max_length=PRODUCER_CHARACTERS)
    number = models.PositiveBigIntegerField()
    start_byte = models.PositiveBigIntegerField()
    end_byte = models.PositiveBigIntegerField()
    events = models.PositiveIntegerField()
    damaged = models.PositiveIntegerField(help_text="Pieces of the spool that could not be read.")
    stored_at = models.DateTimeField(default=clock.now)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["spool", "number"], name="audit_segment_once")
        ]
        indexes = [models.Index(fields=["stored_at"], name="audit_segment_stored")]

    def __str__(self) -> str:
        return f"{self.spool}/{self.number}"


class Outbox(models.Model):
    """A change's record, committed with the change and waiting to be moved into the trail."""

    id = models.UUIDField(primary_key=True, default=identifier.new_uuid, editable=False)
    producer = models.CharField(max_length=PRODUCER_CHARACTERS)
    entry = models.TextField()

    class Meta:
        verbose_name_plural = "outbox"

    def __str__(self) -> str:
        return str(self.id)


class DeadLetter(models.Model):
    """What could not be stored as an event, kept as it was, with the reason."""

    class Reason(models.TextChoices):
        #: It reads as no event of ours.
        UNREADABLE = "unreadable"
        #: Bytes of a spool that are no record.
        DAMAGED = "damaged"
        #: The database refused it.
        REFUSED = "refused"
        #: Its day was closed, or dropped.
        LATE = "late"

    at = models.DateTimeField(default=clock.now)
    reason = models.CharField(max_length=10, choices=Reason)
    explanation = models.TextField()
    #: Where it came from: a segment, or the outbox.
    source = models.CharField(max_length=PRODUCER_CHARACTERS + 32)
    producer = models.CharField(max_length=PRODUCER_CHARACTERS)
    entry = models.TextField()
    #: How often it was tried again.
    replays = models.PositiveIntegerField(default=0)

    class Meta:
        indexes = [models.Index(fields=["reason", "id"], name="audit_deadletter_reason")]

    def __str__(self) -> str:
        return f"{self.source}: {self.explanation}"
