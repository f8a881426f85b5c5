"""What could not be stored is kept, and stored once when it can be."""

import json

import pytest
from django.db import transaction

import audit
from audit import deadletters, entry, frames, ingest, outbox, registry, spool
from audit.deadletters import Replay
from audit.models import DeadLetter, Event

pytestmark = pytest.mark.django_db(transaction=True)


def poison(**fields: object) -> str:
    """An entry that a faulty or foreign producer might write."""
    row = json.loads(entry.encode(entry.Draft(registry.ACTIONS["gate.refused"], "ok"))[1])
    for name, value in fields.items():
        row[entry._FIELDS.index(name)] = value
    return json.dumps(row)


@pytest.fixture
def dead(deliver) -> DeadLetter:
    """A letter whose subject is too long."""
    spool.shared().append(frames.pack(poison(subject="x" * 201)))
    deliver()
    return DeadLetter.objects.get()


def test_after_a_mend_a_letter_is_stored_once(dead: DeadLetter):
    row = json.loads(dead.entry)
    row[entry._FIELDS.index("subject")] = "mended"
    DeadLetter.objects.update(entry=json.dumps(row))
    assert list(deadletters.replay(DeadLetter.objects.all(), actor="person:1")) == [Replay(1, 0)]
    assert Event.objects.get(action="gate.refused").subject == "mended"
    assert not DeadLetter.objects.exists()
    again = ingest.Letter(json.dumps(row), dead.producer, dead.source)
    with transaction.atomic():
        assert ingest.store([again]) == []
    assert Event.objects.filter(action="gate.refused").count() == 1


def test_without_a_mend_it_stays_and_is_counted(dead: DeadLetter):
    assert list(deadletters.replay(DeadLetter.objects.all(), actor="person:1")) == [Replay(0, 1)]
    dead.refresh_from_db()
    assert (dead.reason, dead.replays) == ("unreadable", 1)
    assert "201 characters" in dead.explanation


def test_what_is_damaged_is_no_record_to_be_stored(deliver, spool_dir):
    audit.record("gate.refused", subject="torn")
    audit.record("gate.refused", subject="whole")
    (path,) = spool_dir.glob("*.spool")
    data = bytearray(path.read_bytes())
    data[20] ^= 1
    path.write_bytes(data)
    deliver()
    assert DeadLetter.objects.get().reason == "damaged"
    assert list(deadletters.replay(DeadLetter.objects.all(), actor="person:1")) == [Replay(0, 1)]
    assert Event.objects.get(action="gate.refused").subject == "whole"


def test_many_are_replayed_in_batches(deliver, monkeypatch):
    monkeypatch.setattr(deadletters, "BATCH_ROWS", 4)
    for _ in range(10):
        spool.shared().append(frames.pack(poison(subject="x" * 201)))
    deliver()
    letters = DeadLetter.objects.all()
    assert list(deadletters.replay(letters, actor="person:1")) == [
        Replay(0, 4),
        Replay(0, 4),
        Replay(0, 2),
    ]


def test_who_drops_letters_says_why(dead: DeadLetter):
    assert deadletters.drop(DeadLetter.objects.all(), actor="person:1", why="a test of theirs") == 1
    assert deadletters.drop(DeadLetter.objects.all(), actor="person:1", why="none left") == 0
    outbox.move()
    (event,) = Event.objects.filter(action="audit.letters_dropped")
    assert (event.actor, event.detail["why"]) == ("person:1", "a test of theirs")
