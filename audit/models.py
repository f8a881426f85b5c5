from django.db import models

from audit import clock, identifier
from audit.entry import LENGTHS
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
    user_agent = models.CharField(max_length=LENGTHS["user_agent"], blank=True)
    producer = models.CharField(max_length=PRODUCER_CHARACTERS)
    detail = models.JSONField(default=dict, blank=True)

    class Meta:
        indexes = [
            models.Index(fields=["subject", "id"], name="audit_event_subject"),
            models.Index(fields=["actor", "id"], name="audit_event_actor"),
            models.Index(fields=["action", "id"], name="audit_event_action"),
            models.Index(fields=["tenant", "id"], name="audit_event_tenant"),
            models.Index(fields=["request_id"], name="audit_event_request"),
        ]

    def __str__(self) -> str:
        return f"{self.at:%Y-%m-%d %H:%M:%S} {self.action} {self.subject}"


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

    at = models.DateTimeField(default=clock.now)
    #: Where it came from: a segment, or the outbox.
    source = models.CharField(max_length=PRODUCER_CHARACTERS + 32)
    producer = models.CharField(max_length=PRODUCER_CHARACTERS)
    reason = models.TextField()
    entry = models.TextField()

    def __str__(self) -> str:
        return f"{self.source}: {self.reason}"
