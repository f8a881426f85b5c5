"""Chains what is in the trail already: entries are put together from their columns and sealed."""

import json
from datetime import UTC

from django.db import migrations, models

import audit.chain
import audit.clock

ROWS = 500


def seal(apps, schema_editor):
    """Give each event the entry its columns tell of, and its link; oldest first."""
    from audit import days

    event, day = apps.get_model("audit", "Event"), apps.get_model("audit", "Day")
    heads = {}
    pending = []
    for row in event.objects.order_by("pk").iterator(chunk_size=ROWS):
        row.entry = _entry(row)
        belongs_to = days.of(row.pk.hex)
        head = heads.get(belongs_to, audit.chain.START).next(row.producer, row.entry)
        heads[belongs_to] = head
        row.number, row.hash = head
        pending.append(row)
        if len(pending) == ROWS:
            event.objects.bulk_update(pending, ["entry", "number", "hash"])
            pending.clear()
    event.objects.bulk_update(pending, ["entry", "number", "hash"])
    day.objects.bulk_create(
        [day(day=each, height=head.number, hash=head.hash) for each, head in heads.items()]
    )


def _entry(row):
    at_us = round(row.at.astimezone(UTC).timestamp() * 1_000_000)
    said = [1, row.pk.hex, at_us, row.action, row.severity, row.outcome, row.subject]
    said += [row.subject_version, row.actor, row.tenant, row.request_id, row.decision_id]
    said += [row.address, row.user_agent, row.detail]
    return json.dumps(said, separators=(",", ":"))


def name_reasons(apps, schema_editor):
    letters = apps.get_model("audit", "DeadLetter").objects
    letters.filter(explanation="damaged in the spool").update(reason="damaged")


class Migration(migrations.Migration):
    # MariaDB ends a transaction with each change of a table.
    atomic = False

    dependencies = [("audit", "0001_initial")]

    operations = [
        migrations.CreateModel(
            name="Day",
            fields=[
                ("day", models.DateField(primary_key=True, serialize=False)),
                ("height", models.PositiveBigIntegerField(default=0, verbose_name="events")),
                ("hash", models.CharField(default=audit.chain.NOTHING, max_length=64)),
                ("closed_at", models.DateTimeField(blank=True, null=True)),
                ("closing", models.CharField(blank=True, max_length=64)),
                ("key_id", models.CharField(blank=True, max_length=16)),
                ("signature", models.CharField(blank=True, max_length=128)),
                ("dropped_at", models.DateTimeField(blank=True, null=True)),
            ],
            options={"ordering": ("-day",)},
        ),
        migrations.CreateModel(
            name="Hold",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("first_day", models.DateField()),
                ("last_day", models.DateField()),
                ("reason", models.CharField(max_length=500)),
                ("owner", models.CharField(max_length=200)),
                ("placed_at", models.DateTimeField(default=audit.clock.now)),
                ("released_at", models.DateTimeField(blank=True, null=True)),
            ],
            options={
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(("first_day__lte", models.F("last_day"))),
                        name="audit_hold_in_order",
                    )
                ],
            },
        ),
        migrations.AddIndex(
            "segment", models.Index(fields=["stored_at"], name="audit_segment_stored")
        ),
        migrations.RenameField("deadletter", "reason", "explanation"),
        migrations.AddField(
            "deadletter",
            "reason",
            models.CharField(
                choices=[
                    ("unreadable", "Unreadable"),
                    ("damaged", "Damaged"),
                    ("refused", "Refused"),
                    ("late", "Late"),
                ],
                default="unreadable",
                max_length=10,
            ),
            preserve_default=False,
        ),
        migrations.RunPython(name_reasons, migrations.RunPython.noop),
        migrations.AddField("deadletter", "replays", models.PositiveIntegerField(default=0)),
        migrations.AddIndex(
            "deadletter", models.Index(fields=["reason", "id"], name="audit_deadletter_reason")
        ),
        migrations.AddField(
            "event", "number", models.PositiveBigIntegerField(default=0), preserve_default=False
        ),
        migrations.AddField(
            "event",
            "hash",
            models.CharField(default="", max_length=64),
            preserve_default=False,
        ),
        migrations.AddField("event", "entry", models.TextField(default=""), preserve_default=False),
        migrations.RunPython(seal),
        migrations.AddIndex(
            "event", models.Index(fields=["number"], name="audit_event_number")
        ),
        migrations.RemoveField("event", "detail"),
        migrations.RemoveField("event", "user_agent"),
    ]
