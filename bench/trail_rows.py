"""Acts on the trail, for `bench.trail`: `python -m bench.trail_rows`, told which on stdin."""

import json
import os
import sys
import time
from datetime import timedelta
from typing import Any

import django

# The product as it is: its admin is what is measured.
os.environ["DJANGO_SETTINGS_MODULE"] = "stabilizer.settings"
django.setup(set_prefix=False)

from django.db import connection  # noqa: E402
from django.db.models import Sum  # noqa: E402
from django.test import Client  # noqa: E402
from django.urls import reverse  # noqa: E402

import audit  # noqa: E402
from accounts.models import User  # noqa: E402
from audit import days, partitions, registry  # noqa: E402
from audit.models import Day, Event  # noqa: E402

#: Events that were there before are of so many days.
DAYS = 60
INSERTED = 100_000
#: A row of every second of a day, as the ingest makes them; only the chain is not real.
FILL = """
INSERT INTO audit_event (id, at, action, outcome, severity, subject, subject_version, actor, tenant,
  request_id, decision_id, address, producer, entry, number, hash)
SELECT CONCAT(LPAD(HEX(%s + seq * %s), 12, '0'), '7', LPAD(HEX(seq %% 4096), 3, '0'), '8',
    RIGHT(MD5(seq), 15)),
  FROM_UNIXTIME((%s + seq * %s) / 1000), ELT(1 + seq %% 4, 'gate.refused', 'pairing.created',
    'pairing.approved', 'login.failed'), 'ok', 'info', CONCAT('pairing:', seq * 7919 %% 500000), 1,
  CONCAT('device:', seq * 104729 %% 200000), 'demo', MD5(seq + %s), MD5(seq), '203.0.113.7',
  'bench', REPEAT('x', 300), seq, SHA2(seq, 256)
FROM seq_1_to_{rows}
"""


def fill(given: dict[str, Any]) -> dict[str, int]:
    """Put so many rows into the days before this one, each with a partition of its own."""
    span = min(DAYS, max(2, given["rows"] // INSERTED))
    first = days.today() - timedelta(days=span)
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE audit_event REMOVE PARTITIONING")
    partitions.first_split(first)
    per_day = given["rows"] // span
    for number in range(span):
        day = first + timedelta(days=number)
        # The first day is a small one.
        count = 100 if number == 0 else per_day
        begins_ms = int(days.floor(day)[:12], 16)
        step_ms = 24 * 3600 * 1000 // (count + 1)
        with connection.cursor() as cursor:
            cursor.execute(
                FILL.replace("{rows}", str(count)),
                [begins_ms, step_ms, begins_ms, step_ms, number * per_day],
            )
        Day.objects.create(day=day, height=count)
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE TABLE audit_event")
        cursor.fetchall()
    return {"rows": 100 + per_day * (span - 1)}


def record(given: dict[str, Any]) -> None:
    """Records, as processes leave them."""
    names = [name for name, each in registry.ACTIONS.items() if each.severity != "critical"]
    for number in range(given["rows"]):
        audit.record(
            names[number % len(names)],
            subject=f"pairing:{number % 5000}",
            actor=f"device:{number % 3000}",
            tenant="demo",
            detail={"number": number},
        )


def await_stored(given: dict[str, Any]) -> dict[str, float]:
    """Wait until so many more events are stored; how fast that went."""
    before = _stored()
    began_at = time.monotonic()
    first_at, first = 0.0, 0
    while (more := _stored() - before) < given["rows"]:
        if time.monotonic() - began_at > given["limit_s"]:
            raise SystemExit(f"{more} of {given['rows']} events were stored")
        if more and not first:
            first_at, first = time.monotonic(), more
        time.sleep(0.02)
    took_s = time.monotonic() - first_at
    return {"per_s": (more - first) / took_s, "took_s": took_s}


def pages(given: dict[str, Any]) -> dict[str, list[float]]:
    """How long pages of the admin take, in ms, as a superuser gets them."""
    client = Client(SERVER_NAME="127.0.0.1")
    person, _ = User.objects.get_or_create(username="bench", is_staff=True, is_superuser=True)
    client.force_login(person)
    row = Event.objects.filter(action="pairing.approved").order_by("pk")[50]
    yesterday = str(days.today() - timedelta(days=1))
    asked: dict[str, dict[str, str]] = {
        "first page": {},
        "older page": {"before": Event.objects.order_by("-pk")[5000].pk.hex},
        "by subject": {"subject": row.subject},
        "by actor": {"actor": row.actor},
        "by action": {"action": row.action},
        "by request id": {"request_id": row.request_id},
        "of a day": {"day": yesterday},
    }
    return {name: _times_ms(client, query, given["times"]) for name, query in asked.items()}


def drop(given: dict[str, Any]) -> dict[str, dict[str, float]]:
    """How long it takes to drop the first day, a small one, and the second."""
    small, large = Day.objects.filter(height__gt=0).order_by("day")[:2]
    return {"small": _drop(small), "large": _drop(large)}


def _drop(day: Day) -> dict[str, float]:
    began = time.perf_counter()
    partitions.drop(day.day)
    return {"rows": day.height, "ms": (time.perf_counter() - began) * 1000}


def _times_ms(client: Client, query: dict[str, str], times: int) -> list[float]:
    taken = []
    for _ in range(times):
        began = time.perf_counter()
        answer = client.get(reverse("admin:audit_event_changelist"), query)
        taken.append((time.perf_counter() - began) * 1000)
        if answer.status_code != 200:
            raise SystemExit(f"{query}: {answer.status_code}")
    return taken


def _stored() -> int:
    return int(Day.objects.aggregate(rows=Sum("height"))["rows"] or 0)


ACTS = {"fill": fill, "record": record, "await": await_stored, "pages": pages, "drop": drop}


def main() -> None:
    given = json.load(sys.stdin)
    json.dump(ACTS[given["act"]](given), sys.stdout)


if __name__ == "__main__":
    main()
