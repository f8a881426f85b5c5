import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

import audit
from audit import frames, ingest, shipping, spool
from audit.ledger import Ledger
from audit.models import DeadLetter, Event, Segment
from tests.audit.conftest import spools

pytestmark = pytest.mark.django_db(transaction=True)


def record(count: int, name: str = "tv") -> None:
    for number in range(count):
        audit.record("gate.refused", subject=f"{name}-{number}")


def times_stored() -> Counter[str]:
    return Counter(Event.objects.values_list("subject", flat=True))


def each_once(count: int, name: str = "tv") -> Counter[str]:
    return Counter(f"{name}-{number}" for number in range(count))


def test_a_spool_is_cut_into_segments_of_five_hundred(parcels):
    record(1200)
    assert [(p.number, len(p.entries)) for p in parcels()] == [(0, 500), (1, 500), (2, 200)]


def test_a_living_process_is_shipped_without_waiting_for_its_end(parcels, spool_dir):
    record(3)
    (parcel,) = parcels()
    ingest.store_segment(parcel)
    record(2, "later")
    (parcel,) = parcels()
    assert (parcel.number, len(parcel.entries)) == (1, 2)
    assert len(spools(spool_dir)) == 1


def test_a_dead_processs_spool_goes_when_all_of_it_is_in_the_trail(parcels, spool_dir):
    record(600)
    spool.forget()
    first, second = parcels()
    ingest.store_segment(second)
    parcels()
    assert len(spools(spool_dir)) == 1
    ingest.store_segment(first)
    parcels()
    assert [path.name for path in spool_dir.iterdir()] == ["shipper.lock"]
    assert times_stored() == each_once(600)


def test_a_segment_the_broker_forgot_is_sent_again_after_a_minute(parcels, clock):
    record(1)
    (lost,) = parcels()
    clock.advance(shipping.RESEND_S - 1)
    assert parcels() == []
    clock.advance(2)
    assert parcels() == [lost]
    ingest.store_segment(lost)
    ingest.store_segment(lost)
    clock.advance(3600)
    assert parcels() == []
    assert times_stored() == each_once(1)


def test_at_most_twenty_segments_are_unconfirmed(parcels):
    record(25 * 500)
    sent = parcels()
    assert len(sent) == 20
    assert parcels() == []
    for parcel in sent[3:]:
        ingest.store_segment(parcel)
    assert len(parcels()) == 5


def test_a_busy_process_does_not_hold_back_the_others(parcels, spool_dir):
    record(25 * 500)
    spool.forget()
    record(1, "quiet")
    assert any("quiet-0" in entry for p in parcels() for entry in p.entries)


def test_a_hand_over_that_fails_is_made_again_in_the_next_round(parcels, spool_dir):
    def broker_is_down(parcel: shipping.Parcel) -> None:
        raise ConnectionError

    record(700)
    with pytest.raises(ConnectionError):
        shipping.ship(spool_dir, broker_is_down)
    sent = parcels()
    for parcel in sent:
        ingest.store_segment(parcel)
    assert times_stored() == each_once(700)


def test_only_one_shipper_works_at_a_time(parcels, spool_dir):
    record(1)
    rounds: list[shipping.Shipment] = []

    def meanwhile(parcel: shipping.Parcel) -> None:
        rounds.append(shipping.ship(spool_dir, meanwhile))

    shipping.ship(spool_dir, meanwhile)
    assert rounds == [shipping.Shipment()]


def test_a_torn_last_record_is_kept_aside_and_the_following_spool_goes_on(deliver, spool_dir):
    record(3)
    spool.shared().append(frames.pack("x" * 50)[:-5])  # killed in the middle of a write
    spool.forget()
    record(2, "next")
    spool.forget()
    deliver()
    assert times_stored() == each_once(3) + each_once(2, "next")
    letter = DeadLetter.objects.get()
    assert letter.reason == "damaged"
    assert "xxxx" in letter.entry
    assert sum(Segment.objects.values_list("damaged", flat=True)) == 1
    assert spools(spool_dir) == []


def test_damage_in_the_middle_of_a_living_spool_does_not_stop_it(deliver):
    record(2)
    spool.shared().append(os.urandom(3 * 1024 * 1024))
    record(2, "after")
    deliver()
    assert times_stored() == each_once(2) + each_once(2, "after")
    assert DeadLetter.objects.exists()


def test_a_lost_ledger_costs_a_resend_and_no_record(parcels, deliver, spool_dir):
    record(700)
    for parcel in parcels():
        ingest.store_segment(parcel)
    for ledger in spool_dir.glob("*.ledger"):
        ledger.unlink()
    record(300, "after")
    deliver()
    assert times_stored() == each_once(700) + each_once(300, "after")


def test_a_ledger_behind_its_markers_costs_a_resend_and_no_record(parcels, deliver, spool_dir):
    record(10)
    (path,) = spools(spool_dir)
    for parcel in parcels():
        ingest.store_segment(parcel)
    ledger = Ledger(path)
    ledger.cut_byte, ledger.next_number, ledger.unstored = 0, 0, []
    ledger.save(sync=False)
    record(10, "after")
    shorter_than_now = Segment.objects.get()
    deliver()
    assert times_stored() == each_once(10) + each_once(10, "after")
    assert Segment.objects.filter(pk=shorter_than_now.pk).exists()


def test_an_unreadable_ledger_is_begun_anew(parcels, deliver, spool_dir):
    record(10)
    parcels()
    for ledger in spool_dir.glob("*.ledger"):
        ledger.write_text('{"next_number": 1')
    deliver()
    assert times_stored() == each_once(10)


def test_a_spool_that_was_removed_before_it_was_stored_is_told(parcels, deliver, spool_dir):
    record(600)
    first, _lost = parcels()
    ingest.store_segment(first)
    (path,) = spools(spool_dir)
    spool.forget()
    path.unlink()
    assert parcels() == []
    deliver()
    (event,) = Event.objects.filter(action="audit.records_missing")
    assert (event.subject, event.severity) == (path.stem, "critical")
    assert (event.detail["segments"], event.detail["events"]) == (1, 100)
    assert times_stored()["tv-0"] == 1
    assert not list(spool_dir.glob(f"{path.stem}.*"))


def test_a_ledger_left_by_a_spool_that_was_stored_is_no_loss(parcels, deliver, spool_dir):
    record(10)
    (parcel,) = parcels()
    ingest.store_segment(parcel)
    (path,) = spools(spool_dir)
    spool.forget()
    path.unlink()
    deliver()
    assert times_stored() == each_once(10)
    assert not list(spool_dir.glob(f"{path.stem}.*"))


def test_what_was_cut_off_a_spool_goes_to_the_dead_letters(parcels, deliver, spool_dir, clock):
    record(100)
    parcels()
    (path,) = spools(spool_dir)
    size_bytes = path.stat().st_size
    os.truncate(path, size_bytes // 2)
    clock.advance(shipping.RESEND_S + 1)
    (parcel,) = parcels()
    ingest.store_segment(parcel)
    letters = list(DeadLetter.objects.order_by("pk").values_list("reason", "entry"))
    assert [reason for reason, _ in letters] == ["damaged", "damaged"]
    assert letters[1][1] == f"{size_bytes - size_bytes // 2} bytes are missing"
    assert 45 <= times_stored().total() <= 50


KILLED = """
import itertools, audit
for number in itertools.count():
    audit.record("gate.refused", subject=f"{PROCESS}-{number}")
    print(number, flush=True)
"""


@pytest.mark.processes
def test_a_process_killed_at_any_moment_loses_nothing_it_had_recorded(deliver, spool_dir: Path):
    recorded = {}
    for round_ in range(5):
        process = subprocess.Popen(
            [sys.executable, "-c", f"PROCESS = {round_}\n{KILLED}"],
            stdout=subprocess.PIPE,
            env=os.environ | {"RUN_DIR": str(spool_dir.parent)},
        )
        assert process.stdout is not None
        for _ in range(100 + 37 * round_):
            last = process.stdout.readline()
        process.kill()
        last = [last, *process.stdout.readlines()][-1]
        process.wait()
        process.stdout.close()
        recorded[round_] = int(last) + 1
    deliver()
    stored = times_stored()
    for round_, count in recorded.items():
        mine = {subject for subject in stored if subject.startswith(f"{round_}-")}
        assert mine >= {f"{round_}-{number}" for number in range(count)}
        assert len(mine) <= count + 1  # the one it recorded but could not print
    assert set(stored.values()) == {1}
    assert spools(spool_dir) == []
