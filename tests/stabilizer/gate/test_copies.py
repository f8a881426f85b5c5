"""Lists of a moment ago: given again to the same caller, marked, bounded, renewed now and then."""

import asyncio

import pytest

from accounts import keys, snapshot
from accounts.models import Plan
from ratelimit import flags
from ratelimit.flags import Forced
from stabilizer.gate import copies, policy
from stabilizer.gate.copies import LARGEST_BYTES, OLDEST_S, RENEW_S, Copies
from stabilizer.gate.policy import ALL_BUT_CRITICAL, ONLY_SHEDDABLE
from tests.stabilizer.gate.door import Connection, Door, scope_of

pytestmark = pytest.mark.django_db(transaction=True)
LIST = "/api/v1/devices/"
FOR_EVER = float("inf")


class Answers:
    """Stands for Django: each list is another one."""

    def __init__(self) -> None:
        self.given = 0
        self.status = 200
        self.headers = [(b"content-type", b"application/json"), (b"cache-control", b"no-store")]

    async def __call__(self, scope, receive, send):
        self.given += 1
        headers = [*self.headers, (b"content-length", b"1")]
        await send({"type": "http.response.start", "status": self.status, "headers": headers})
        await send({"type": "http.response.body", "body": b"%d" % self.given})


@pytest.fixture
def answers() -> Answers:
    return Answers()


@pytest.fixture
async def door(gates, answers, hand) -> Door:
    gate = await gates(answers, clock=hand)
    gate.control._pressing.cancel()
    return Door(gate)


@pytest.fixture
def pressed(door, monkeypatch):
    """Lists are stale and the sheddable is refused, as at level 2."""

    def at(below: int = ONLY_SHEDDABLE, *, stale: bool = True) -> None:
        monkeypatch.setattr(flags, "_forced", {flags.LISTS_STALE.name: Forced(stale, FOR_EVER)})
        door.app.control.pressure.refuses_below = below

    return at


def of(key: str, **more: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}", **more}


async def test_the_list_of_a_moment_ago_costs_no_slot_no_thread_and_no_query(
    door, known, key, answers, pressed, hand
):
    first = await door.knock("GET", LIST, headers=of(key))
    pressed()
    hand.advance(3)
    again = await door.knock("GET", LIST, headers=of(key))
    assert (first.status, again.status) == (200, 200)
    assert (first.body, again.body) == (b"1", b"1")
    assert answers.given == 1
    assert again["age"] == "3"
    assert again["cache-control"] == "private, no-cache"
    assert again["degraded"] == "lists_stale"
    assert again["content-type"] == "application/json"
    assert again["content-length"] == "1"
    assert again["x-request-id"] != first["x-request-id"]
    assert "age" not in dict(first.headers)


@pytest.fixture
def poor(tenant, key) -> None:
    """The tenant's plan has three calls a minute."""
    Plan.objects.update(per_minute=3)
    snapshot.reload()


async def test_it_counts_against_the_plan_like_any_other(door, poor, key, answers, pressed):
    await door.knock("GET", LIST, headers=of(key))
    pressed()
    replies = [await door.knock("GET", LIST, headers=of(key)) for _ in range(3)]
    assert [reply.status for reply in replies] == [200, 200, 429]
    assert answers.given == 1
    counts = door.app.control.observer.take()
    assert counts["requests", "devices.list", "answered"] == 3


async def test_one_request_in_five_seconds_renews_it_for_all(
    door, known, key, answers, pressed, hand
):
    await door.knock("GET", LIST, headers=of(key))
    pressed()
    hand.advance(RENEW_S)
    replies = [await door.knock("GET", LIST, headers=of(key)) for _ in range(5)]
    assert [reply.body for reply in replies] == [b"2"] * 5
    assert ["age" in dict(reply.headers) for reply in replies] == [False] + [True] * 4
    assert answers.given == 2


async def test_of_many_that_come_at_once_one_renews_it(door, known, key, answers, pressed, hand):
    await door.knock("GET", LIST, headers=of(key))
    pressed()
    hand.advance(RENEW_S)
    asked = [door.knock("GET", LIST, headers=of(key)) for _ in range(40)]
    assert {reply.status for reply in await asyncio.gather(*asked)} == {200}
    assert answers.given == 2


async def test_where_the_renewal_fails_the_others_have_the_old_one_for_a_minute(
    door, known, key, answers, pressed, hand
):
    await door.knock("GET", LIST, headers=of(key))
    pressed()
    answers.status = 503
    hand.advance(RENEW_S)
    assert (await door.knock("GET", LIST, headers=of(key))).status == 503
    assert (await door.knock("GET", LIST, headers=of(key))).body == b"1"
    hand.advance(OLDEST_S)
    refused = await door.knock("GET", LIST, headers=of(key))
    assert (refused.status, refused.problem["code"]) == (503, "overloaded")


async def test_where_only_the_critical_is_served_nobody_renews_it(
    door, known, key, answers, pressed, hand
):
    await door.knock("GET", LIST, headers=of(key))
    pressed(ALL_BUT_CRITICAL)
    hand.advance(30)
    assert (await door.knock("GET", LIST, headers=of(key))).body == b"1"
    assert answers.given == 1


async def test_a_database_that_is_away_does_not_hide_the_copy(
    door, known, key, answers, pressed, hand
):
    await door.knock("GET", LIST, headers=of(key))
    pressed()
    door.app.control.reads.opened_elsewhere(0, 60)
    hand.advance(30)
    assert (await door.knock("GET", LIST, headers=of(key))).body == b"1"


async def test_while_newcomers_are_shed_lists_are_refused_whatever_is_kept(
    door, known, key, answers, pressed
):
    await door.knock("GET", LIST, headers=of(key))
    pressed()
    door.app.control.shedding.share = 0.5
    assert (await door.knock("GET", LIST, headers=of(key))).status == 503
    door.app.control.shedding.share = 1.0
    assert (await door.knock("GET", LIST, headers=of(key))).body == b"1"


async def test_a_list_that_nobody_asked_for_lately_is_refused(door, known, key, pressed):
    pressed()
    assert (await door.knock("GET", LIST, headers=of(key))).status == 503


async def test_without_pressure_or_with_the_flag_forced_off_each_list_is_new(
    door, known, key, answers, pressed
):
    for _ in range(2):
        await door.knock("GET", LIST, headers=of(key))
    pressed(0, stale=False)
    await door.knock("GET", LIST, headers=of(key))
    assert answers.given == 3


async def test_nobody_gets_what_was_made_for_somebody_else(
    door, known, key, token, answers, pressed
):
    await door.knock("GET", LIST, headers=of(key))
    pressed()
    for who in (
        {},
        of(token),
        of("nobody"),
        of(key, accept="text/html"),
        {"cookie": "sessionid=x"},
    ):
        assert (await door.knock("GET", LIST, headers=who)).status == 503
    for path in (f"{LIST}x/", "/api/v1/subscribers/"):
        assert (await door.knock("GET", path, headers=of(key))).body != b"1"


async def test_another_key_of_the_same_tenant_has_copies_of_its_own(
    door, known, tenant, key, pressed
):
    await door.knock("GET", LIST, headers=of(key))
    other = await asyncio.to_thread(_other_key, tenant)
    pressed()
    assert (await door.knock("GET", LIST, headers=of(other))).status == 503


def _other_key(tenant) -> str:
    from django.db import connection

    try:
        text = keys.create(tenant, "other", ["devices:read"])[1]
        snapshot.reload()
        return text
    finally:
        connection.close()


async def test_each_query_has_its_own_copy(door, known, key, pressed):
    await door.knock("GET", LIST, headers=of(key))
    pressed()
    scope = scope_of("GET", LIST, of(key)) | {"query_string": b"limit=5"}
    connection = Connection([{"type": "http.request", "body": b""}])
    await door.app(scope, connection.receive, connection.send)
    assert connection.reply.status == 503


async def test_an_answer_that_sets_a_cookie_is_never_kept(door, known, key, answers, pressed):
    answers.headers.append((b"Set-Cookie", b"sessionid=secret"))
    await door.knock("GET", LIST, headers=of(key))
    pressed()
    assert (await door.knock("GET", LIST, headers=of(key))).status == 503


def test_copies_take_no_more_than_their_room_and_the_unused_go_first(hand):
    kept = Copies(hand, most_bytes=3 * (1000 + copies.OVERHEAD))
    for name in "abc":
        kept.keep((name,), [], b"x" * 1000)
    kept.find(("a",))
    kept.keep(("d",), [], b"x" * 1000)
    assert [kept.find((name,)) is not None for name in "abcd"] == [True, False, True, True]
    assert kept.size == 3 * (1000 + copies.OVERHEAD)
    kept.keep(("e",), [], b"x" * (LARGEST_BYTES + 1))
    assert kept.find(("e",)) is None


def test_a_copy_that_is_replaced_or_too_old_gives_its_room_back(hand):
    kept = Copies(hand)
    kept.keep(("a",), [], b"long")
    kept.keep(("a",), [], b"s")
    assert kept.size == 1 + copies.OVERHEAD
    hand.advance(OLDEST_S)
    assert kept.find(("a",)) is None
    assert kept.size == 0


def test_only_lists_are_copied():
    assert {each.name for each in policy.DEFAULTS.values() if each.copied} == {
        "devices.list",
        "subscribers.list",
    }
