"""The shipper goes on, whatever is away; and what is in a spool gets to the disk."""

import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

import audit
from audit import ingest, shipper, shipping
from audit.models import Event
from audit.shipper import Shipper, Syncer
from tests.stabilizer import processes

pytestmark = pytest.mark.django_db(transaction=True)


def run_until(stopped: threading.Event, ship: Shipper, reached) -> None:
    thread = threading.Thread(target=ship.run, args=[stopped])
    thread.start()
    try:
        assert reached.wait(30)
    finally:
        stopped.set()
        thread.join()


def test_it_ships_what_comes_until_it_is_stopped(spool_dir):
    stopped, reached = threading.Event(), threading.Event()
    taken: list[str] = []

    def take(parcel: shipping.Parcel) -> None:
        taken.extend(parcel.entries)
        if len(taken) == 1:
            audit.record("gate.refused", subject="second")
        if len(taken) == 2:
            reached.set()

    audit.record("gate.refused", subject="first")
    run_until(stopped, Shipper(spool_dir, take), reached)
    assert ["first" in taken[0], "second" in taken[1]] == [True, True]


def test_a_broker_that_is_away_is_waited_for(spool_dir, monkeypatch, caplog):
    monkeypatch.setattr(shipper, "IDLE_S", 0.01)
    stopped, reached = threading.Event(), threading.Event()
    tries: list[shipping.Parcel] = []

    def take(parcel: shipping.Parcel) -> None:
        tries.append(parcel)
        if len(tries) < 4:
            raise ConnectionError("the broker is away")
        reached.set()

    audit.record("gate.refused")
    run_until(stopped, Shipper(spool_dir, take), reached)
    assert [parcel.number for parcel in tries] == [0, 0, 0, 0]
    lines = [record.getMessage() for record in caplog.records if record.name == "audit.shipper"]
    assert lines[0] == "audit: records stay in the spool: ConnectionError: the broker is away"
    assert len(lines) <= 2


def test_spools_that_have_grown_are_forced_to_disk_once(spool_dir: Path):
    synced: list[str] = []

    def sync(fd: int) -> None:
        synced.append(Path(f"/proc/self/fd/{fd}").readlink().name)

    audit.record("gate.refused")
    (path,) = spool_dir.glob("*.spool")
    syncer = Syncer(spool_dir, sync)
    assert (syncer.sync_grown(), syncer.sync_grown()) == (1, 0)
    audit.record("gate.refused")
    assert (syncer.sync_grown(), syncer.sync_grown()) == (1, 0)
    assert synced == [path.name, path.name]


@pytest.mark.processes
def test_as_a_process_it_ships_to_the_broker_and_ends_when_asked(spool_dir, redis_client):
    audit.record("gate.refused")
    command = [sys.executable, "-m", "manage", "audit", "ship"]
    env = processes.environment(RUN_DIR=str(spool_dir.parent))
    process = subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True)
    with processes.ended(process):
        while not redis_client.llen("celery:audit"):
            assert process.poll() is None
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0


def test_of_two_shippers_one_stands_by(spool_dir, parcels):
    audit.record("gate.refused")
    rounds = []

    def take(parcel: shipping.Parcel) -> None:
        rounds.append(Shipper(spool_dir, take).round())
        ingest.store_segment(parcel)

    first = Shipper(spool_dir, take).round()
    assert (first.sent, [each.sent for each in rounds]) == (1, [0])
    assert Event.objects.count() == 1
