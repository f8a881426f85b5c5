"""What is old goes, as a whole day and proven; what is held or broken stays."""

from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path

import pytest
from django.db import connection

import audit
from audit import chain, checkpoints, days, ingest, outbox, partitions, retention, verification
from audit.models import Day, DeadLetter, Event, Hold, Segment
from audit.retention import Kept, Outcome
from audit.signing import Verifier

pytestmark = pytest.mark.django_db(transaction=True)
DAY_S = 24 * 3600


@pytest.fixture
def old(partitioned, deliver, clock, settings, tmp_path: Path) -> date:
    """Ten events of a day that is 91 days ago, and three of the day after."""
    settings.AUDIT_CHECKPOINT_DIR = tmp_path / "checkpoints"
    day = days.today()
    for count in (10, 3):
        for number in range(count):
            audit.record("gate.refused", subject=str(number))
        deliver()
        clock.advance(DAY_S)
    checkpoints.write(settings.AUDIT_CHECKPOINT_DIR)
    clock.advance(89 * DAY_S)
    partitions.make_ahead()
    return day


def outcomes(**options: object) -> list[Outcome]:
    return list(retention.run(**options))


def test_after_ninety_days_a_day_is_closed_signed_and_dropped(old: date):
    assert outcomes() == [Outcome(old, "dropped", 10)]
    assert Event.objects.count() == 3
    row = Day.objects.get(pk=old)
    assert row.dropped_at is not None
    assert Verifier().signed(verification.closing_text(row), row.key_id, row.signature)
    assert outcomes() == []


def test_what_was_dropped_is_still_proven_to_have_been(old: date, settings):
    outcomes()
    marks = list(checkpoints.read(settings.AUDIT_CHECKPOINT_DIR))
    reports = list(verification.verify(marks, Verifier()))
    assert [(report.events, report.fault) for report in reports] == [(10, None), (3, None)]
    Day.objects.filter(pk=old).update(height=9)
    (report, _) = verification.verify(marks, Verifier())
    assert report.fault is not None


def test_each_closed_day_carries_those_before_it(old: date, clock):
    clock.advance(DAY_S)
    assert [outcome.what for outcome in outcomes()] == ["dropped", "dropped"]
    first, second = Day.objects.order_by("day")
    assert first.closing == chain.closing(chain.NOTHING, str(old), first.head)
    assert second.closing == chain.closing(first.closing, str(second), second.head)


def test_the_trail_says_what_was_dropped(old: date):
    outcomes()
    while outbox.move():
        pass
    events = Event.objects.filter(subject=f"day:{old}").order_by("pk")
    assert [(event.action, event.detail["events"]) for event in events] == [
        ("audit.day_closed", 10),
        ("audit.day_dropped", 10),
    ]


def test_a_dry_run_changes_nothing(old: date):
    assert outcomes(dry_run=True) == [Outcome(old, "due", 10)]
    assert Event.objects.count() == 13
    assert Day.objects.get(pk=old).closed_at is None


def test_a_day_under_a_legal_hold_stays_until_it_is_released(old: date):
    hold = retention.place_hold(
        old - timedelta(days=5), old, reason="case 4711", owner="court", actor="person:1"
    )
    (outcome,) = outcomes()
    assert (outcome.what, Event.objects.count()) == ("held", 13)
    assert "case 4711" in outcome.explanation
    retention.release_hold(hold, actor="person:1")
    retention.release_hold(hold, actor="person:1")
    assert outcomes() == [Outcome(old, "dropped", 10)]
    while outbox.move():
        pass
    actions = Event.objects.filter(subject=f"hold:{hold.pk}").values_list("action", flat=True)
    assert sorted(actions) == ["audit.hold_placed", "audit.hold_released"]


def test_a_hold_of_other_days_holds_nothing(old: date):
    Hold.objects.create(
        first_day=old + timedelta(days=1), last_day=old + timedelta(days=9), reason="x", owner="y"
    )
    assert outcomes() == [Outcome(old, "dropped", 10)]


def test_a_day_that_is_not_as_it_was_sealed_stays_and_those_after_it(old: date, clock):
    Event.objects.filter(number=4, pk__lt=days.floor(old + timedelta(days=1))).delete()
    clock.advance(DAY_S)
    (outcome,) = outcomes()
    assert (outcome.day, outcome.what) == (old, "broken")
    assert "missing" in outcome.explanation
    assert Event.objects.count() == 12


def test_a_day_that_is_not_closed_cannot_be_dropped(old: date):
    day = Day.objects.get(pk=old)
    with pytest.raises(Kept, match="not closed"):
        retention.drop(day)
    day.closed_at = day.closing = day.signature = "forged"
    with pytest.raises(Kept, match="signed by our key"):
        retention.drop(day)
    assert Event.objects.count() == 13


def test_a_late_event_of_a_dropped_day_is_quarantined_and_counted(old: date, parcels, clock):
    clock.advance(-91 * DAY_S)
    audit.record("gate.refused", subject="late")
    clock.advance(91 * DAY_S)
    outcomes()
    (parcel,) = parcels()
    ingest.store_segment(parcel)
    letter = DeadLetter.objects.get()
    assert (letter.reason, days.of(letter.entry[4:36])) == ("late", old)
    assert Event.objects.count() == 3
    assert Day.objects.get(pk=old).height == 10


def test_a_late_event_of_a_day_that_is_still_there_is_chained(old: date, parcels, clock):
    clock.advance(-90 * DAY_S)
    audit.record("gate.refused", subject="late")
    clock.advance(89 * DAY_S)
    (parcel,) = parcels()
    ingest.store_segment(parcel)
    assert Day.objects.get(pk=old + timedelta(days=1)).height == 4


def test_markers_of_spools_are_forgotten_with_the_events(old: date):
    assert Segment.objects.count() == 2
    outcomes()
    assert Segment.objects.count() == 1


def test_days_on_which_nothing_happened_lose_their_partition_as_well(old: date, clock):
    if connection.vendor != "mysql":
        pytest.skip("SQLite has no partitions")
    clock.advance(5 * DAY_S)
    partitions.make_ahead()
    outcomes()
    assert partitions.of_days()[0] == days.oldest_open()


def test_a_drop_while_others_read_is_made_when_they_have_read(
    old: date, deliver: Callable[[], None]
):
    if connection.vendor != "mysql":
        pytest.skip("SQLite has no partitions")
    other = connection.copy()
    with other.cursor() as cursor:
        cursor.execute("BEGIN")
        cursor.execute("SELECT COUNT(*) FROM audit_event")
        tries = iter([None, None, lambda: cursor.execute("COMMIT")])
        # The reader ends while the drop waits for its next try.
        original = partitions._alter

        def patient(wanted: Callable[[], str]) -> None:
            original(wanted, lambda _: act() if (act := next(tries, None)) else None)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(partitions, "_alter", patient)
            assert outcomes() == [Outcome(old, "dropped", 10)]
    other.close()
