"""What is chained cannot be changed unseen."""

import json
from collections.abc import Callable
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path
from threading import Barrier, Thread

import pytest
from django.db import connection, transaction

import audit
from audit import chain, checkpoints, days, ingest, shipping, signing, verification
from audit.chain import Link
from audit.checkpoints import Checkpoint
from audit.models import Day, Event
from audit.signing import Verifier
from audit.verification import DayReport, Wrong

pytestmark = pytest.mark.django_db(transaction=True)
EVENTS = 30


@pytest.fixture
def trail(deliver: Callable[[], None], tmp_path: Path) -> Path:
    """Thirty events, and the directory of checkpoints after ten and after thirty."""
    for number in range(EVENTS):
        audit.record("gate.refused", subject=f"tv-{number}", detail={"number": number})
        if number in (9, EVENTS - 1):
            deliver()
            assert checkpoints.write(tmp_path) == 1
    return tmp_path


def verify(directory: Path) -> list[DayReport]:
    return list(verification.verify(list(checkpoints.read(directory)), Verifier()))


def only_fault(directory: Path) -> tuple[str, int]:
    (report,) = verify(directory)
    assert report.fault is not None
    return report.fault.wrong, report.fault.number


def event(number: int) -> Event:
    return Event.objects.get(number=number)


def edit(number: int, /, **columns: object) -> None:
    Event.objects.filter(number=number).update(**columns)


def chain_anew(first: int) -> None:
    """What somebody does who knows how the chain is made."""
    head = event(first - 1)
    link = Link(head.number, head.hash)
    for each in Event.objects.filter(number__gte=first).order_by("number"):
        link = link.next(each.producer, each.entry)
        edit(each.number, number=link.number, hash=link.hash)
    Day.objects.update(height=link.number, hash=link.hash)


def test_a_trail_that_nobody_touched_is_right(trail: Path):
    (report,) = verify(trail)
    assert report == DayReport(str(days.today()), EVENTS, 2)


def test_rows_are_numbered_without_gap_and_each_seals_those_before(trail: Path):
    link = chain.START
    for each in Event.objects.order_by("number"):
        link = link.next(each.producer, each.entry)
        assert (each.number, each.hash) == link
    assert Day.objects.get().head == link


def test_an_edited_entry_is_named(trail: Path):
    edit(17, entry=event(17).entry.replace("tv-16", "tv-99"))
    assert only_fault(trail) == (Wrong.ALTERED, 17)


def test_a_column_that_was_edited_beside_its_entry_is_named(trail: Path):
    edit(17, subject="tv-99")
    (report,) = verify(trail)
    assert report.fault is not None
    assert (report.fault.number, report.fault.event) == (17, event(17).pk.hex)
    assert "subject" in report.fault.explanation


def test_an_event_time_that_was_edited_is_named(trail: Path):
    edit(3, at=event(3).at + timedelta(microseconds=1))
    assert only_fault(trail) == (Wrong.ALTERED, 3)


def test_a_deleted_row_is_named(trail: Path):
    Event.objects.filter(number=5).delete()
    assert only_fault(trail) == (Wrong.MISSING, 5)


def test_two_rows_that_were_swapped_are_named(trail: Path):
    seventh, ninth = event(7), event(9)
    names = [field.attname for field in Event._meta.fields if field.name not in ("number", "hash")]
    values = {name: getattr(seventh, name) for name in names}
    Event.objects.filter(pk=seventh.pk).delete()
    edit(9, number=7, hash=seventh.hash)
    Event.objects.create(**values, number=9, hash=ninth.hash)
    assert only_fault(trail) == (Wrong.ALTERED, 7)


def test_hashes_that_were_made_anew_disagree_with_the_checkpoint(trail: Path):
    edit(17, subject="tv-99", entry=event(17).entry.replace("tv-16", "tv-99"))
    chain_anew(17)
    (report,) = verify(trail)
    assert report.fault is not None
    # What was signed before ends with the tenth.
    assert (report.fault.wrong, report.fault.number) == (Wrong.REBUILT, 11)
    assert report.fault.event == event(11).pk.hex


def test_without_checkpoints_hashes_made_anew_are_not_noticed(trail: Path, tmp_path: Path):
    edit(17, subject="tv-99", entry=event(17).entry.replace("tv-16", "tv-99"))
    chain_anew(17)
    assert verify(tmp_path / "elsewhere")[0].fault is None


def test_a_tail_that_was_cut_off_is_named_though_the_head_was_moved(trail: Path):
    Event.objects.filter(number__gt=20).delete()
    assert only_fault(trail) == (Wrong.CUT, 21)
    Day.objects.update(height=20, hash=event(20).hash)
    assert only_fault(trail) == (Wrong.CUT, 21)


def test_a_day_that_was_removed_altogether_is_named(trail: Path):
    Event.objects.all().delete()
    Day.objects.all().delete()
    assert only_fault(trail) == (Wrong.CUT, 1)


def test_a_head_that_was_moved_is_named(trail: Path):
    Day.objects.update(hash=chain.NOTHING)
    assert only_fault(trail) == (Wrong.HEAD, EVENTS)


def test_a_row_that_went_past_the_chain_is_named(trail: Path):
    values = {name: getattr(event(EVENTS), name) for name in ("at", "action", "producer", "entry")}
    Event.objects.create(**values, number=EVENTS + 1, hash=chain.NOTHING)
    assert only_fault(trail) == (Wrong.ALTERED, EVENTS + 1)


def test_a_checkpoint_that_was_forged_is_named(trail: Path):
    (path,) = trail.glob("*.jsonl")
    first, second = path.read_text().splitlines()
    forged = json.loads(second) | {"height": 31}
    path.write_text(f"{first}\n{json.dumps(forged)}\n")
    assert only_fault(trail) == (Wrong.UNSIGNED, 31)


def test_a_checkpoint_of_another_key_is_believed_only_if_the_key_is_given(trail: Path, settings):
    marks = list(checkpoints.read(trail))
    theirs = signing.public_key()
    settings.AUDIT_SIGNING_SECRET = "a secret of another time" * 3
    assert not any(mark.is_signed(Verifier()) for mark in marks)
    assert all(mark.is_signed(Verifier(theirs)) for mark in marks)


def test_a_day_that_did_not_grow_gets_no_second_checkpoint(trail: Path):
    assert checkpoints.write(trail) == 0
    assert len(list(checkpoints.read(trail))) == 2


def test_a_line_that_is_none_is_told_with_its_place(trail: Path):
    (path,) = trail.glob("*.jsonl")
    path.write_text(path.read_text() + "{}\n")
    with pytest.raises(checkpoints.Unreadable, match=r"\.jsonl:3: "):
        list(checkpoints.read(trail))


def test_two_workers_that_seal_one_day_at_once_make_one_chain(parcels):
    for number in range(2_000):
        audit.record("gate.refused", subject=str(number))
    sent: list[shipping.Parcel] = parcels()
    assert len(sent) == 4
    start = Barrier(len(sent))

    def work(parcel: shipping.Parcel) -> None:
        start.wait()
        assert ingest.store_segment(parcel)
        connection.close()

    workers = [Thread(target=work, args=[parcel]) for parcel in sent]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    report = verification.check_day(Day.objects.get(), [], Verifier())
    assert (report.events, report.fault) == (2_000, None)


def test_a_batch_that_is_rolled_back_leaves_the_chain_as_it_was(trail: Path, parcels):
    audit.record("gate.refused")
    (parcel,) = parcels()
    with transaction.atomic():
        ingest.store_segment(parcel)
        transaction.set_rollback(True)
    assert verify(trail)[0] == DayReport(str(days.today()), EVENTS, 2)


def test_events_of_two_days_are_two_chains(parcels, clock):
    audit.record("gate.refused", subject="before midnight")
    clock.advance(24 * 3600)
    audit.record("gate.refused", subject="after midnight")
    (parcel,) = parcels()
    ingest.store_segment(parcel)
    heads = list(Day.objects.order_by("day").values_list("height", flat=True))
    assert heads == [1, 1]
    assert [report.fault for report in verification.verify([], Verifier())] == [None, None]


def test_what_is_signed_says_all_that_a_checkpoint_says():
    mark = Checkpoint("2026-11-26", 7, "ab" * 32, "2026-11-26T10:00:00.000+00:00")
    key_id, signature = signing.sign(mark.text)
    for name, other in {"day": "2026-11-27", "height": 8, "hash": "cd" * 32, "at": "later"}.items():
        forged = Checkpoint(
            **{**asdict(mark), name: other, "key_id": key_id, "signature": signature}
        )
        assert not forged.is_signed(Verifier())
