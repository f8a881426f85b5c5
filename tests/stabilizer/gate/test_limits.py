"""Limits at the gate: what is charged, what is refused and in which words."""

import asyncio
from collections import Counter
from dataclasses import replace
from ipaddress import ip_network
from urllib.parse import urlencode

import pytest

from audit import context, recording
from audit.floods import Floods
from pairing import device_code
from pairing.oauth import DEVICE_GRANT
from ratelimit import shared_networks
from ratelimit.gcra import Limit
from ratelimit.models import LimitRow
from stabilizer.gate import policy_rows
from stabilizer.gate.policy import DEFAULTS, Policy, Rule
from tests.stabilizer.gate.door import Door, create
from tests.stabilizer.gate.policies import limited


async def login(door, path, content=b"username=admin&password=wrong"):
    headers = {"content-type": "application/x-www-form-urlencoded"}
    return await door.knock("POST", path, headers=headers, content=content)


async def test_a_refusal_says_all_that_the_caller_needs(door, policies_in_force):
    policies_in_force.swap(limited(("few", 2, 20), ("many", 10, 10)))
    await door.knock()
    await door.knock()
    reply = await door.knock()
    assert reply.status == 429
    assert reply["retry-after"] == "10"
    assert reply["ratelimit-policy"] == '"few";q=2;w=20, "many";q=10;w=10'
    assert reply["ratelimit"] == '"few";r=0;t=10, "many";r=8;t=1'
    assert reply["content-type"] == "application/problem+json"
    assert reply["cache-control"] == "no-store"
    assert reply["content-length"] == str(len(reply.body))
    problem = reply.problem
    assert reply["x-request-id"] == problem.pop("decision")
    assert problem == {
        "type": "https://iana.org/assignments/http-problem-types#quota-exceeded",
        "title": "Too many requests",
        "status": 429,
        "code": "rate_limited",
        "violated-policies": ["few"],
        "retry_after": 10,
    }


async def test_a_refusal_names_all_limits_violated_and_charges_none(
    door, policies_in_force, redis_client
):
    policies_in_force.swap(limited(("a", 1, 60), ("b", 1, 30), ("c", 5, 50)))
    await door.knock()
    before = {key: redis_client.get(key) for key in redis_client.keys("rl:*default*")}
    reply = await door.knock()
    assert reply.problem["violated-policies"] == ["a", "b"]
    assert reply["retry-after"] == "60"
    assert len(before) == 3
    assert {key: redis_client.get(key) for key in redis_client.keys("rl:*default*")} == before


async def test_an_admitted_answer_says_what_is_left(door, policies_in_force):
    policies_in_force.swap(limited(("few", 5, 300)))
    reply = await door.knock()
    assert reply.status == 200
    assert reply["ratelimit"] == '"few";r=4;t=60'
    assert reply["ratelimit-policy"] == '"few";q=5;w=300'
    assert len(reply["x-request-id"]) == 32


async def test_a_caller_known_to_be_refused_costs_redis_nothing(
    door, policies_in_force, redis_client, app
):
    policies_in_force.swap(limited(("few", 1, 60)))
    for _ in range(2):
        await door.knock()
    before = redis_client.info("commandstats")["cmdstat_evalsha"]["calls"]
    replies = [await door.knock() for _ in range(20)]
    after = redis_client.info("commandstats")["cmdstat_evalsha"]["calls"]
    assert {reply.status for reply in replies} == {429}
    # The lease goes on renewing itself.
    assert after - before <= 2
    assert len(app.paths) == 1


async def test_a_route_that_is_closed_without_the_store_refuses_as_our_fault(
    door, gate, policies_in_force
):
    rule = Rule(Limit("few", 5, 60, "closed"), ("network",), "default.few")
    policies_in_force.swap({**DEFAULTS, "default": Policy("default", rules=(rule,))})
    for _ in range(3):
        gate.control.limiter.store.health.failed()
    reply = await door.knock()
    assert (reply.status, reply.problem["code"]) == (503, "limits_unavailable")


async def test_a_forged_fingerprint_alone_opens_no_new_account(door, known):
    replies = [
        await create(door, udid="A" * 16, headers={"x-device-fingerprint": f"invented-{number}"})
        for number in range(7)
    ]
    assert [reply.status for reply in replies] == [200] * 5 + [429] * 2


async def test_a_forged_forwarded_for_opens_no_new_account(door, known):
    replies = [
        await create(door, udid="A" * 16, headers={"x-forwarded-for": f"203.0.{number}.7"})
        for number in range(7)
    ]
    assert [reply.status for reply in replies] == [200] * 5 + [429] * 2
    assert {reply.scope["client"][0] for reply in replies} == {"127.0.0.1"}


async def test_one_device_is_one_device_whatever_udid_it_invents(door, known):
    replies = [
        await create(door, udid=f"{number:016}", headers={"x-device-id": "the same set"})
        for number in range(6)
    ]
    assert [reply.status for reply in replies] == [200] * 5 + [429]
    assert replies[-1].problem["violated-policies"] == ["fingerprint"]


async def test_another_network_is_not_blocked_by_who_uses_a_strangers_udid(door, known):
    for _ in range(6):
        await create(door, udid="A" * 16, peer="198.51.100.9")
    assert (await create(door, udid="A" * 16, peer="192.0.2.9")).status == 200


async def test_a_full_network_still_serves_devices_that_have_paired_before(
    door, known, token, policies_in_force
):
    create_policy = DEFAULTS["pairing.create"]
    rules = tuple(
        replace(rule, limit=replace(rule.limit, quantity=3, window_s=3600))
        for rule in create_policy.rules
    )
    policies_in_force.swap({**DEFAULTS, "pairing.create": replace(create_policy, rules=rules)})
    replies = [await create(door, udid=f"{number:016}") for number in range(4)]
    assert [reply.status for reply in replies] == [200] * 3 + [429]
    assert replies[-1].problem["violated-policies"] == ["network"]
    bearer = {"authorization": f"Bearer {token}"}
    assert (await create(door, udid="B" * 16, headers=bearer)).status == 200


async def test_a_network_that_many_share_may_do_more_and_its_devices_no_more(
    door, known, monkeypatch
):
    monkeypatch.setattr(shared_networks, "_listed", ((ip_network("203.0.113.0/24"), 10),))
    shared_networks.stands_for.cache_clear()
    reply = await create(door, udid="A" * 16, peer="203.0.113.9")
    assert '"network";q=1200;w=60' in reply["ratelimit-policy"]
    assert '"udid";q=5;w=300' in reply["ratelimit-policy"]
    reply = await create(door, udid="B" * 16, peer="198.51.100.9")
    assert '"network";q=120;w=60' in reply["ratelimit-policy"]
    shared_networks.stands_for.cache_clear()


async def test_the_proof_of_an_earlier_pairing_is_itself_limited(door, known, token):
    bearer = {"authorization": f"Bearer {token}"}
    replies = [await create(door, udid=f"{number:016}", headers=bearer) for number in range(6)]
    assert [reply.status for reply in replies] == [200] * 5 + [429]
    assert replies[-1].problem["violated-policies"] == ["proof"]


async def test_a_device_code_is_no_proof_of_an_earlier_pairing(door, known):
    headers = {"authorization": f"Bearer {device_code.mint(known.pk)}"}
    reply = await create(door, udid="A" * 16, headers=headers)
    assert '"network";r=119' in reply["ratelimit"]


async def test_oauth_and_the_api_share_one_counter(door, known):
    form = {"content-type": "application/x-www-form-urlencoded"}
    for _ in range(5):
        await create(door, udid="A" * 16)
    reply = await door.knock(
        "POST", "/oauth/device_authorization", headers=form, content=b"udid=" + b"a" * 16
    )
    assert reply.status == 429
    assert reply.problem["error"] == "slow_down"


async def test_a_key_is_charged_its_plan(door, known, key):
    reply = await door.knock(path="/api/v1/me/", headers={"authorization": f"Bearer {key}"})
    assert reply["ratelimit"] == '"tenant";r=59999;t=1'
    assert reply["ratelimit-policy"] == '"tenant";q=60000;w=60'
    assert reply.admission.principal.kind == "key"


async def test_keys_in_redis_hold_nobodys_address_and_one_tag_per_tenant(door, known, redis_client):
    await create(door, udid="A" * 16, peer="198.51.100.9")
    keys = [key.decode() for key in redis_client.keys("rl:*create*")]
    assert len(keys) == 2
    assert all(key.startswith(f"rl:{{t{known.pk}}}:create.") for key in keys)
    assert not any("198.51" in key or "AAAA" in key.upper() for key in keys)


@pytest.mark.parametrize(
    ("path", "status", "left"),
    [
        ("/accounts/login/", 401, 4),
        ("/accounts/login/", 302, 5),
        ("/accounts/login/", 503, 5),
        ("/admin/login/", 200, 4),
        ("/admin/login/", 302, 5),
    ],
)
async def test_only_a_failed_login_costs(door, app, path, status, left, redis_client):
    app.status = status
    await login(door, path)
    app.status = 401
    reply = await login(door, "/accounts/login/")
    assert f'"person";r={left - 1}' in reply["ratelimit"]


async def test_parallel_tries_cannot_pass_together(door, app):
    app.status = 401
    app.open.clear()
    tries = [asyncio.create_task(login(door, "/accounts/login/")) for _ in range(20)]
    refused, inside = await asyncio.wait(tries, timeout=0.5)
    assert (len(refused), len(inside), app.inside) == (15, 5, 5)
    app.open.set()
    replies = await asyncio.gather(*tries)
    assert sorted(reply.status for reply in replies) == [401] * 5 + [429] * 15


@pytest.fixture
def edited_logins(db, policies_in_force):
    """Three wrong passwords in an hour, by rows of the database."""
    policy_rows.ensure()
    rows = LimitRow.objects.filter(policy__name="login", name="person")
    rows.update(quantity=3, window_s=3600)
    policies_in_force.reload()


@pytest.mark.parametrize("path", ["/accounts/login/", "/admin/login/"])
async def test_who_is_refused_while_others_try_gets_in_as_soon_as_they_succeed(
    edited_logins, door, gate, app, path
):
    app.status = 302
    app.open.clear()
    tries = [asyncio.create_task(login(door, path)) for _ in range(3)]
    while app.inside < 3:
        await asyncio.sleep(0)
    refused = await login(door, path)
    assert (refused.status, refused.problem["violated-policies"]) == (429, ["person"])
    app.open.set()
    assert {reply.status for reply in await asyncio.gather(*tries)} == {302}
    assert (await login(door, path)).status == 302


async def test_the_refusal_of_a_login_is_asked_for_anew_each_time(
    edited_logins, door, app, redis_client
):
    app.status = 401
    for _ in range(3):
        await login(door, "/accounts/login/")
    assert (await login(door, "/accounts/login/")).status == 429
    # Another process gives back what an attempt under way there has cost.
    redis_client.delete(*redis_client.keys("rl:*login.person*"))
    assert (await login(door, "/accounts/login/")).status == 401


async def test_an_attempt_whose_answer_never_came_is_not_given_back(door, app):
    app.error = RuntimeError("the process is out of luck")
    with pytest.raises(RuntimeError):
        await login(door, "/accounts/login/")
    app.error = None
    app.status = 401
    assert '"person";r=3' in (await login(door, "/accounts/login/"))["ratelimit"]


@pytest.mark.parametrize(
    "other", [b"username=ADMIN", "username=ädmin".encode(), b"username=admin+"]
)
async def test_one_person_is_one_account_however_the_name_is_spelled(door, app, other):
    app.status = 401
    for _ in range(5):
        await login(door, "/accounts/login/")
    assert (await login(door, "/accounts/login/", other)).status == 429


async def test_a_login_whose_body_hides_the_name_is_counted_all_the_same(door, app):
    app.status = 401
    multipart = {"content-type": "multipart/form-data; boundary=x"}
    statuses = [
        (
            await door.knock(
                "POST", "/accounts/login/", headers=multipart, content=b"--x\r\n" + bytes([number])
            )
        ).status
        for number in range(6)
    ]
    assert statuses == [401] * 5 + [429]


@pytest.mark.parametrize("text", ["dc_1_forged", "dc_1_" + "A" * 43 + "_" + "B" * 22])
async def test_a_forged_device_code_is_refused_without_a_look_up(door, app, text, redis_client):
    reply = await door.knock(
        "POST", "/api/v1/pairings/U/credentials/", headers={"authorization": f"Bearer {text}"}
    )
    assert (reply.status, reply.problem["code"]) == (401, "invalid_device_code")
    assert reply["www-authenticate"] == 'Bearer realm="stabilizer"'
    assert app.paths == []


async def test_a_forged_device_code_is_an_invalid_grant_for_oauth(door, app):
    reply = await door.knock(
        "POST",
        "/oauth/token",
        headers={"content-type": "application/x-www-form-urlencoded"},
        content=b"device_code=dc_1_forged",
    )
    assert (reply.status, reply.problem["error"]) == (400, "invalid_grant")
    assert app.paths == []


async def ask_token(door, **fields):
    headers = {"content-type": "application/x-www-form-urlencoded"}
    return await door.knock(
        "POST", "/oauth/token", headers=headers, content=urlencode(fields).encode()
    )


async def test_a_thousand_polls_of_genuine_devices_pass_from_one_network(door, known, app):
    app.status = 400  # authorization_pending
    replies = [
        await ask_token(door, grant_type=DEVICE_GRANT, device_code=device_code.mint(known.pk))
        for _ in range(1_000)
    ]
    assert {reply.status for reply in replies} == {400}
    assert {reply.admission.criticality for reply in replies} == {"critical"}
    assert {reply["ratelimit"] for reply in replies} == {""}


@pytest.fixture
def three_refreshes(policies_in_force):
    refresh = DEFAULTS["oauth.refresh"]
    (rule,) = refresh.rules
    rules = (replace(rule, limit=replace(rule.limit, quantity=3)),)
    policies_in_force.swap({**DEFAULTS, "oauth.refresh": replace(refresh, rules=rules)})


async def test_guessed_refresh_tokens_are_limited_and_do_not_claim_the_reserve(
    door, app, three_refreshes
):
    app.status = 400
    replies = [
        await ask_token(door, grant_type="refresh_token", refresh_token=f"guess-{number}")
        for number in range(5)
    ]
    assert [reply.status for reply in replies] == [400] * 3 + [429] * 2
    assert replies[0].admission.criticality == "normal"
    assert replies[-1].problem["violated-policies"] == ["network"]
    assert len(app.paths) == 3


async def test_a_device_code_does_not_carry_guessed_refresh_tokens_past_the_limit(
    door, known, app, three_refreshes
):
    app.status = 400
    guess = {"grant_type": "refresh_token", "refresh_token": "guess"}
    replies = [
        await ask_token(door, device_code=device_code.mint(known.pk), **guess) for _ in range(4)
    ]
    assert [reply.status for reply in replies] == [400] * 3 + [429]
    assert replies[0].admission.criticality == "normal"


@pytest.mark.parametrize("status", [200, 401, 503])
async def test_a_refresh_that_is_no_failed_guess_costs_nothing(door, app, three_refreshes, status):
    app.status = status
    replies = [
        await ask_token(door, grant_type="refresh_token", refresh_token="mine") for _ in range(9)
    ]
    assert {reply.status for reply in replies} == {status}


async def test_devices_go_on_polling_from_a_network_that_has_guessed(
    door, known, app, three_refreshes
):
    app.status = 400
    for _ in range(4):
        await ask_token(door, grant_type="refresh_token", refresh_token="guess")
    code = device_code.mint(known.pk)
    assert (await ask_token(door, grant_type=DEVICE_GRANT, device_code=code)).status == 400


async def test_sign_outs_by_guessed_tokens_are_limited_by_network(door, app):
    headers = {"content-type": "application/x-www-form-urlencoded"}
    replies = [
        await door.knock("POST", "/oauth/revoke", headers=headers, content=b"token=%d" % number)
        for number in range(130)
    ]
    statuses = Counter(reply.status for reply in replies)
    assert 120 <= statuses[200] <= 125
    assert statuses[200] + statuses[429] == 130
    assert len(app.paths) == statuses[200]


async def test_a_device_is_known_to_the_app_behind_the_gate(door, known):
    code = device_code.mint(known.pk)
    reply = await door.knock(
        "POST", "/api/v1/pairings/U/credentials/", headers={"authorization": f"Bearer {code}"}
    )
    assert reply.admission.device_code == device_code.parse(code)
    assert reply.admission.criticality == "critical"
    assert reply["ratelimit"] == '"device_code";r=4;t=12'


async def test_an_edit_of_the_policies_forgets_who_was_refused(door, policies_in_force, gate):
    policies_in_force.swap(limited(("few", 1, 60)))
    for _ in range(2):
        await door.knock()
    gate.control.limiter.refusals.clear()
    policies_in_force.swap(limited(("few", 2, 7200)))
    assert (await door.knock()).status == 200


async def test_refusals_in_the_trail_say_how_many_followed_within_ten_seconds(
    gates, app, hand, policies_in_force, monkeypatch
):
    records = []

    def record(action, outcome, *, detail, **_):
        decision_id = context.current().decision_id
        records.append((action, *detail["limits"], detail["count"], decision_id))

    monkeypatch.setattr(recording, "record", record)
    policies_in_force.swap(limited(("few", 1, 60)))
    gate = await gates(app, clock=hand, trail=Floods(hand))
    door = Door(gate)
    await door.knock()
    first = (await door.knock()).problem["decision"]
    for _ in range(7):
        await door.knock()
    hand.now += 10
    second = (await door.knock()).problem["decision"]
    await door.knock()
    assert records == [
        ("gate.refused", "few", 1, first),
        ("gate.refused", "few", 7, first),
        ("gate.refused", "few", 1, second),
    ]
    await gate.stop()
    assert records[3:] == [("gate.refused", "few", 1, second)]
