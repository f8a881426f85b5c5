from collections.abc import Callable
from threading import Barrier, Thread

import pytest
from django.contrib.auth.models import Group
from django.db import connection, transaction

import audit
from audit import outbox
from audit.models import DeadLetter, Event, Outbox

pytestmark = pytest.mark.django_db(transaction=True)


class PowerCut(Exception):
    pass


def change(subject: str = "key-1") -> None:
    Group.objects.create(name=subject)
    audit.record_with_change("key.created", subject=subject, actor="admin")


@transaction.atomic
def broken_by_a_power_cut(*steps: Callable[[], object]) -> None:
    for step in steps:
        step()
    raise PowerCut


def test_a_change_and_its_record_commit_together():
    with transaction.atomic():
        change()
    assert Group.objects.count() == Outbox.objects.count() == 1
    assert outbox.move() == 1
    assert Event.objects.get().subject == "key-1"
    assert not Outbox.objects.exists()


def test_a_change_that_fails_before_its_record_leaves_neither():
    with pytest.raises(PowerCut):
        broken_by_a_power_cut(lambda: Group.objects.create(name="operators"))
    assert Group.objects.count() == Outbox.objects.count() == 0


def test_a_change_that_fails_after_its_record_leaves_neither():
    with pytest.raises(PowerCut):
        broken_by_a_power_cut(change)
    assert Group.objects.count() == Outbox.objects.count() == 0


def test_a_record_costs_its_transaction_one_query(django_assert_num_queries):
    with transaction.atomic(), django_assert_num_queries(1):
        audit.record_with_change("key.created", subject="key-1")


def test_a_move_that_dies_before_its_commit_is_made_again():
    with transaction.atomic():
        change()
    with pytest.raises(PowerCut):
        broken_by_a_power_cut(outbox.move)
    assert (Event.objects.count(), Outbox.objects.count()) == (0, 1)
    outbox.move()
    outbox.move()
    assert (Event.objects.count(), Outbox.objects.count()) == (1, 0)


def test_four_workers_at_once_move_every_record_once():
    for number in range(1200):
        with transaction.atomic():
            audit.record_with_change("key.created", subject=str(number))
    start, moved = Barrier(4), []

    def work() -> None:
        start.wait()
        while rows := outbox.move():
            moved.append(rows)
        connection.close()

    workers = [Thread(target=work) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert sum(moved) == 1200
    assert Event.objects.count() == 1200
    assert not Outbox.objects.exists()


def test_a_row_that_cannot_be_stored_does_not_hold_up_the_others():
    with transaction.atomic():
        change()
    Outbox.objects.create(producer="p", entry="not an entry")
    outbox.move()
    assert Event.objects.count() == 1
    assert DeadLetter.objects.get().source == "outbox"
    assert not Outbox.objects.exists()
