"""Steps under pressure: taken by level, forced by somebody for a time, back by themselves."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from threading import Barrier

import pytest
import redis
from django.contrib.auth.models import Permission
from django.db import DatabaseError, connection, transaction
from django.test import Client
from django.urls import reverse

from accounts.models import User
from audit import outbox
from audit.models import Event, Outbox
from ratelimit import flags, revision
from ratelimit import store as store_module
from ratelimit.flags import STEPS, Forced
from ratelimit.models import Flag
from ratelimit.store import Store
from tests.conftest import MovableClock

STEP = flags.SEARCH_OFF


@pytest.fixture(autouse=True)
def nothing_forced(
    redis_client: redis.Redis, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_module, "_shared", store)
    monkeypatch.setattr(flags, "_forced", {})


@pytest.fixture
def flag(db: None) -> Flag:
    Outbox.objects.all().delete()
    return Flag.objects.get(name=STEP.name)


def force(flag: Flag, clock: MovableClock, on: bool = True, seconds: float = 60) -> None:
    until = clock.after(seconds)
    flag.force(on, until=until, owner="olga", reason="a test", actor="person:7")
    flags.reload()


def events() -> list[Event]:
    outbox.move()
    return list(Event.objects.filter(action__startswith="flag.").order_by("pk"))


@pytest.mark.parametrize("step", STEPS, ids=lambda step: step.name)
def test_a_step_is_taken_from_its_level_on(step: flags.Step) -> None:
    assert [flags.taken(step, level) for level in range(4)] == [
        level >= step.level for level in range(4)
    ]


def test_a_request_that_passed_no_gate_is_under_no_pressure() -> None:
    assert not any(flags.asked(step, object()) for step in STEPS)


@pytest.mark.django_db
def test_there_is_a_row_of_every_step_and_none_of_others() -> None:
    Flag.objects.create(name="gone")
    Flag.objects.filter(name=STEP.name).delete()
    flags.ensure_rows()
    assert set(Flag.objects.values_list("name", flat=True)) == flags.BY_NAME.keys()


def test_what_is_forced_holds_at_every_level_and_costs_no_query(
    flag: Flag, clock: MovableClock, django_assert_num_queries
) -> None:
    force(flag, clock, on=True)
    with django_assert_num_queries(0):
        assert [flags.taken(STEP, level) for level in range(4)] == [True] * 4
    force(flag, clock, on=False)
    assert [flags.taken(STEP, level) for level in range(4)] == [False] * 4


def test_it_ends_by_the_clock_even_if_nobody_reads_the_database_again(
    flag: Flag, clock: MovableClock
) -> None:
    force(flag, clock, seconds=60)
    clock.advance(59)
    assert flags.taken(STEP, 0)
    clock.advance(1)
    assert not flags.taken(STEP, 0)
    assert flags.forced() == {}


def test_forcing_is_recorded_with_who_why_and_until_when_and_announced(
    flag: Flag, clock: MovableClock
) -> None:
    before = revision.current()
    force(flag, clock)
    (event,) = events()
    assert (event.action, event.subject, event.actor) == (
        "flag.forced",
        "flag:search_off",
        "person:7",
    )
    assert event.detail["owner"] == "olga"
    assert event.detail["reason"] == "a test"
    assert event.detail["on"] is True
    assert event.detail["until"] == flag.expires_at.isoformat()
    assert revision.current() == before + 1


def test_a_released_flag_follows_the_pressure_again(flag: Flag, clock: MovableClock) -> None:
    force(flag, clock)
    assert flag.release(actor="person:7")
    flags.reload()
    assert not flags.taken(STEP, 0)
    assert not flag.release(actor="person:7")
    assert [event.action for event in events()] == ["flag.forced", "flag.released"]


def test_the_end_is_written_down_and_recorded_once(flag: Flag, clock: MovableClock) -> None:
    force(flag, clock, seconds=60)
    flags.expire()
    assert [event.action for event in events()] == ["flag.forced"]
    clock.advance(61)
    flags.expire()
    flags.expire()
    flag.refresh_from_db()
    assert (flag.forced, flag.owner, flag.expires_at) == (None, "", None)
    assert [(event.action, event.actor) for event in events()] == [
        ("flag.forced", "person:7"),
        ("flag.expired", "time"),
    ]


@pytest.mark.django_db(transaction=True)
def test_of_twelve_processes_that_see_the_end_one_records_it(
    clock: MovableClock, redis_client: redis.Redis
) -> None:
    flags.ensure_rows()
    revision.ensure_row()
    Event.objects.all().delete()
    force(Flag.objects.get(name=STEP.name), clock, seconds=60)
    clock.advance(61)
    together = Barrier(12)

    def expire(_: int) -> int:
        together.wait()
        try:
            return Flag.objects.expire(clock.now())
        finally:
            connection.close()

    with ThreadPoolExecutor(12) as pool:
        assert sorted(pool.map(expire, range(12))) == [0] * 11 + [1]
    assert [event.action for event in events()] == ["flag.forced", "flag.expired"]


def test_what_was_forced_anew_meanwhile_does_not_expire(flag: Flag, clock: MovableClock) -> None:
    force(flag, clock, seconds=60)
    stale = Flag.objects.get(pk=flag.pk)
    force(flag, clock, on=False, seconds=3600)
    assert not stale._free("flag.expired", actor="time")
    flag.refresh_from_db()
    assert flag.forced is False


def test_nothing_is_asked_of_the_database_while_nothing_ends(
    flag: Flag, clock: MovableClock, django_assert_num_queries
) -> None:
    force(flag, clock)
    with django_assert_num_queries(0):
        flags.expire()


@pytest.mark.django_db
@pytest.mark.parametrize("missing", ["owner", "reason", "expires_at"])
def test_no_row_is_forced_without_an_owner_a_reason_and_an_end(
    missing: str, clock: MovableClock
) -> None:
    given = {"owner": "olga", "reason": "a test", "expires_at": clock.after(60)}
    given[missing] = None if missing == "expires_at" else ""
    with pytest.raises(DatabaseError), transaction.atomic():
        Flag.objects.filter(name=STEP.name).update(forced=True, **given)


# The admin.


@pytest.fixture
def admin(client: Client, db: None) -> Client:
    client.force_login(User.objects.create_superuser("admin"))
    return client


def save(client: Client, flag: Flag, **form: object) -> int:
    url = reverse("admin:ratelimit_flag_change", args=[flag.pk])
    given = {"decision": "on", "who": "olga", "why": "a test", "minutes": 5, **form}
    return client.post(url, given).status_code


def test_an_admin_forces_and_releases(admin: Client, flag: Flag, clock: MovableClock) -> None:
    assert save(admin, flag) == 302
    flag.refresh_from_db()
    assert (flag.forced, flag.owner, flag.reason) == (True, "olga", "a test")
    assert abs(flag.expires_at - clock.now() - timedelta(minutes=5)) < timedelta(seconds=10)
    assert save(admin, flag, decision="auto", who="", why="", minutes="") == 302
    assert [event.action for event in events()] == ["flag.forced", "flag.released"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"who": ""},
        {"why": ""},
        {"minutes": ""},
        {"minutes": 0},
        {"minutes": 7 * 24 * 60 + 1},
        {"decision": "maybe"},
    ],
)
def test_forcing_needs_an_owner_a_reason_and_an_end_within_a_week(
    admin: Client, flag: Flag, wrong: dict[str, object]
) -> None:
    assert save(admin, flag, **wrong) == 200
    flag.refresh_from_db()
    assert flag.forced is None
    assert events() == []


def test_staff_without_the_permission_cannot_force(client: Client, flag: Flag) -> None:
    staff = User.objects.create_user("olga", is_staff=True)
    staff.user_permissions.add(Permission.objects.get(codename="view_flag"))
    client.force_login(staff)
    assert save(client, flag) == 403
    staff.user_permissions.add(Permission.objects.get(codename="change_flag"))
    assert save(client, flag) == 302


def test_no_step_is_added_or_deleted(admin: Client, flag: Flag) -> None:
    assert admin.post(reverse("admin:ratelimit_flag_add")).status_code == 403
    assert admin.post(reverse("admin:ratelimit_flag_delete", args=[flag.pk])).status_code == 403


def test_what_is_forced_is_told_by_name(flag: Flag, clock: MovableClock) -> None:
    force(flag, clock)
    assert flags.forced() == {
        STEP.name: Forced(True, flag.expires_at.timestamp(), "olga", "a test")
    }
