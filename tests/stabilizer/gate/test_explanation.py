"""Every id that the gate answers with leads to what decided on it."""

import json
from io import StringIO
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import Permission
from django.core.management import call_command
from django.urls import reverse
from django.utils import translation

import audit
from accounts.models import Plan, Tenant, User
from audit import context, days, lookup, trace
from audit.floods import Floods
from audit.models import Event
from pairing import device_code
from stabilizer.gate import explanation
from stabilizer.gate.address import Proxies
from stabilizer.gate.policy import DEFAULTS
from tests.audit import conftest as trail
from tests.stabilizer.gate.door import Door, create
from tests.stabilizer.gate.policies import limited

pytestmark = pytest.mark.django_db(transaction=True)
spool_dir, parcels, deliver = trail.spool_dir, trail.parcels, trail.deliver


def run(*words: str) -> tuple[int, str]:
    """The exit status, and what was said."""
    out = StringIO()
    try:
        call_command("explain", *words, stdout=out)
    except SystemExit as ended:
        return int(str(ended.code)), out.getvalue()
    return 0, out.getvalue()


def explained(decision: str) -> dict[str, Any]:
    """What a program reads of an id that is known."""
    status, said = run(decision, "--json")
    assert status == 0, said
    document: dict[str, Any] = json.loads(said)
    return document


@pytest.fixture
async def refusing(gates, app, hand, known, policies_in_force) -> Door:
    """A gate that lets one request in a minute in by each network."""
    policies_in_force.swap(limited(("one", 1, 60), ("many", 100, 60)))
    return Door(await gates(app, trail=Floods(hand)))


@sync_to_async
def stored(deliver: Any) -> None:
    deliver()


async def test_every_refusal_of_a_flood_is_explained_by_its_one_record(refusing, hand, deliver):
    await refusing.knock(path="/somewhere")
    replies = []
    for _ in range(40):
        replies.append(await refusing.knock(path="/somewhere"))
        hand.now += 0.2
    ids = [reply.problem["decision"] for reply in replies]
    assert [reply["x-request-id"] for reply in replies] == ids
    assert len(set(ids)) == 40
    await refusing.app.stop()
    await stored(deliver)
    told = [await sync_to_async(explained)(each) for each in ids]
    assert [each["number"] for each in told] == list(range(1, 41))
    assert {each["count"] for each in told} == {40}
    assert len({each["event"] for each in told}) == 1
    assert await Event.objects.filter(action="gate.refused").acount() == 2


async def test_what_decided_is_told_as_it_was(refusing, policies_in_force, deliver, key):
    headers = {"authorization": f"Bearer {key}"}
    for _ in range(2):
        reply = await refusing.knock(path="/somewhere/S-1/secret", headers=headers)
    # What holds now is not what held then.
    policies_in_force.swap(DEFAULTS)
    await refusing.app.stop()
    await stored(deliver)
    told = await sync_to_async(explained)(reply.problem["decision"])
    assert told["outcome"] == "refused"
    assert (told["policy"], told["criticality"], told["limits"]) == ("default", "normal", ["one"])
    one, many, _plan = told["counters"]
    assert (one["limit"], one["quantity"], one["window_s"], one["remaining"]) == ("one", 1, 60, 0)
    assert 58 <= one["wait_s"] <= 60
    assert (many["limit"], many["quantity"], many["remaining"]) == ("many", 100, 99)
    assert (told["method"], told["pressure"], told["tenant"]) == ("GET", 0, "acme")
    assert told["actor"].startswith("key:")
    assert len(told["network"]) == 24
    whole = json.dumps(told)
    assert key not in whole
    assert "S-1" not in whole
    assert "127.0.0" not in whole


async def test_the_pressure_of_the_moment_is_told(refusing, deliver):
    refusing.app.control.refusals.pressure = lambda: 2
    for _ in range(2):
        reply = await refusing.knock()
    await refusing.app.stop()
    await stored(deliver)
    assert (await sync_to_async(explained)(reply.problem["decision"]))["pressure"] == 2


async def test_a_refusal_for_want_of_slots_tells_of_slots_and_queue(refusing, known, deliver):
    slots = refusing.app.control.slots
    slots.resize(0)
    slots.queue_length = 0
    headers = {"authorization": f"Bearer {device_code.mint(known.pk)}"}
    path = f"/api/v1/pairings/{'U' * 16}/ack/"
    reply = await refusing.knock("POST", path, headers=headers)
    assert reply.status == 503
    await refusing.app.stop()
    await stored(deliver)
    told = await sync_to_async(explained)(reply.problem["decision"])
    assert told["limits"] == ["slots"]
    assert (told["slots"]["limit"], told["slots"]["waiting"]) == (0, 0)
    assert told["slots"]["place"] == "critical"
    assert told["slots"]["wait_s"] > 0


async def test_a_newcomer_that_was_shed_learns_how_many_are_let_in(refusing, deliver):
    refusing.app.control._pressing.cancel()
    refusing.app.control.shedding.share = 0.08
    reply = await refusing.knock()
    assert (reply.status, reply.problem["code"]) == (503, "overloaded")
    await refusing.app.stop()
    await stored(deliver)
    told = await sync_to_async(explained)(reply.problem["decision"])
    assert told["limits"] == ["shedding"]
    assert told["slots"]["let_in"] == 0.08
    _status, said = await sync_to_async(run)(reply.problem["decision"])
    assert "newcomers let in" in said
    assert "8 %" in said


async def test_a_refusal_by_the_breaker_tells_its_name_and_state(refusing, deliver):
    breaker = refusing.app.control.writes
    for _ in range(20):
        breaker.ended(breaker.began(), ok=False)
    reply = await create(refusing, udid="aabbccddee01")
    assert reply.status == 503
    await refusing.app.stop()
    await stored(deliver)
    told = await sync_to_async(explained)(reply.problem["decision"])
    assert told["limits"] == ["breaker"]
    assert (told["breaker"]["name"], told["breaker"]["state"]) == ("database:write", "open")


async def test_a_flood_that_is_still_counted_is_told_as_such(refusing, deliver):
    for _ in range(5):
        reply = await refusing.knock()
    await stored(deliver)
    decision = reply.problem["decision"]
    assert (await sync_to_async(explained)(decision))["count"] is None
    assert "at least 4 refusals" in (await sync_to_async(run)(decision))[1]


async def test_an_id_that_was_never_made_is_not_explained(refusing, deliver):
    for _ in range(3):
        reply = await refusing.knock()
    await refusing.app.stop()
    await stored(deliver)
    made = reply.problem["decision"]
    beyond = trace.marked(made, trace.read(made).mark, 3)
    another_flood = trace.marked(made, "00000000", 1)
    long_ago = f"{int(made[:12], 16) - 600_000:012x}{made[12:]}"
    for decision in (beyond, another_flood, long_ago):
        status, said = await sync_to_async(run)(decision, "--json")
        assert (status, json.loads(said)["error"]) == (1, "unknown")
    assert (await sync_to_async(run)(made))[0] == 0


@pytest.mark.parametrize("text", ["nonsense", "", "f" * 32])
def test_what_is_no_id_ends_with_2(text):
    status, said = run(text, "--json")
    assert (status, json.loads(said)["error"]) == (2, "no_id")


async def test_a_record_that_is_gone_ends_with_1(refusing, deliver):
    for _ in range(2):
        reply = await refusing.knock()
    await refusing.app.stop()
    await stored(deliver)
    await Event.objects.all().adelete()
    status, said = await sync_to_async(run)(reply.problem["decision"])
    assert status == 1
    assert "the day of its record was dropped" in said


async def test_a_named_request_keeps_its_name_and_its_decision_is_explained(refusing, deliver):
    refusing.app.control.proxies = Proxies(["127.0.0.1/32"])
    for _ in range(2):
        reply = await refusing.knock(headers={"x-request-id": "named-before"})
    assert reply["x-request-id"] == "named-before"
    await refusing.app.stop()
    await stored(deliver)
    assert (await sync_to_async(explained)(reply.problem["decision"]))["number"] == 1


@pytest.mark.parametrize("request_id", ["", "named-before"])
def test_an_admitted_decision_lists_what_it_caused(deliver, request_id):
    decision = audit.identifier.new()
    with context.bound(context.RequestContext(request_id or decision, decision)):
        audit.record("pairing.created", subject="pairing:1", actor="device:1", tenant="acme")
        audit.record("token.refreshed", subject="family:1", tenant="acme")
    audit.record("pairing.created", subject="pairing:2")
    deliver()
    told = explained(decision)
    assert told["outcome"] == "admitted"
    assert [each["subject"] for each in told["events"]] == ["pairing:1", "family:1"]
    assert "pairing asked for, pairing:1, device:1" in run(decision)[1]


async def test_an_explanation_needs_two_reads_of_an_index(
    refusing, deliver, django_assert_num_queries
):
    for _ in range(3):
        reply = await refusing.knock()
    await refusing.app.stop()
    await stored(deliver)

    def look() -> None:
        with django_assert_num_queries(2) as queries:
            assert explanation.explain(reply.problem["decision"], Event.objects.all())
        assert all("subject" in query["sql"] for query in queries)

    await sync_to_async(look)()


async def test_the_admin_says_the_same_in_the_readers_language(refusing, deliver, admin_client):
    for _ in range(3):
        reply = await refusing.knock()
    await refusing.app.stop()
    await stored(deliver)
    decision = reply.problem["decision"]

    def look() -> None:
        found = explanation.explain(decision, Event.objects.all())
        assert found is not None
        page = admin_client.get(reverse("explain"), {"decision": decision})
        assert page.context["lines"] == list(found.lines())
        assert page.context["event"] == found.flood.first.pk
        admin_client.cookies["django_language"] = "es"
        with translation.override("es"):
            spanish = list(found.lines())
        page = admin_client.get(reverse("explain"), {"decision": decision})
        assert page.context["lines"] == spanish
        assert "rechazada" in page.content.decode()
        event = admin_client.get(reverse("admin:audit_event_change", args=[found.flood.first.pk]))
        link = f"{reverse('explain')}?decision={found.flood.first.decision_id}"
        assert link in event.content.decode()

    await sync_to_async(look)()


def test_the_page_says_what_is_wrong_with_an_id(admin_client):
    url = reverse("explain")
    assert "32 hexadecimal digits" in admin_client.get(url, {"decision": "no"}).content.decode()
    unknown = admin_client.get(url, {"decision": days.first_id(audit.clock.now())})
    assert "Nothing is known of this id" in unknown.content.decode()
    assert admin_client.get(url).status_code == 200


def test_only_who_may_see_an_event_has_it_explained(client, deliver):
    tenant = Tenant.objects.create(slug="acme", plan=Plan.objects.create(name="any"))
    person = User.objects.create_user("anna", is_staff=True, tenant=tenant)
    client.force_login(person)
    assert client.get(reverse("explain")).status_code == 403
    person.user_permissions.set(Permission.objects.filter(codename="view_event"))
    ids = {}
    for slug in ("acme", "other"):
        ids[slug] = audit.identifier.new()
        with context.bound(context.RequestContext(ids[slug], ids[slug])):
            audit.record("pairing.created", subject="pairing:1", tenant=slug)
    deliver()
    mine = client.get(reverse("explain"), {"decision": ids["acme"]})
    others = client.get(reverse("explain"), {"decision": ids["other"]})
    assert mine.context["lines"]
    assert not others.context["lines"]


def test_looking_for_a_flood_ends_with_those_that_are_near(deliver):
    """A mark comes again after years; a record of another time is not taken for it."""
    old = audit.identifier.at(audit.clock.timestamp() - 3600)
    with context.bound(context.RequestContext(old, trace.marked(old, "0badcafe", 1))):
        audit.record("gate.refused", subject=trace.subject("0badcafe"), detail={"count": 1})
    deliver()
    now = trace.read(trace.marked(audit.identifier.new(), "0badcafe", 1))
    assert lookup.flood(now, Event.objects.all()) is None
