"""What a changed policy would have refused: the trail replayed by tenant, with the gate's sums."""

import json
from datetime import timedelta
from io import StringIO

import pytest
from django.core.management import call_command

import audit
from accounts import snapshot
from accounts.models import Plan, Tenant
from audit import clock as steady_clock
from audit import context, identifier, trace
from ratelimit import draft
from stabilizer import backtest
from stabilizer.backtest import Tally
from stabilizer.gate import identity, policy
from stabilizer.recorded import Recorded
from tests.audit import conftest as trail

pytestmark = pytest.mark.django_db(transaction=True)
spool_dir, parcels, deliver = trail.spool_dir, trail.parcels, trail.deliver
STRICT = {"pairing.create": {"limits": {"udid": {"quantity": 2}}}}


@pytest.fixture(autouse=True)
def tenants():
    plan = Plan.objects.create(name="any")
    for slug in ("acme", "other"):
        Tenant.objects.create(slug=slug, plan=plan)
    snapshot.reload()
    yield
    snapshot.forget()


def created(udid="u1", tenant="acme", address="203.0.113.7", times=1):
    for _ in range(times):
        decision = identifier.new()
        with context.bound(context.RequestContext(decision, decision, address)):
            audit.record("pairing.created", actor=f"device:{udid}", tenant=tenant)


def refused(key, count, tenant="", policy="pairing.create"):
    """The two records of a flood that has just begun."""
    decision = trace.marked(identifier.new(), "0badcafe", 1)
    detail = {"policy": policy, "limits": ["udid"], "keys": [key]}
    with context.bound(context.RequestContext(decision, decision, "203.0.113.7")):
        for number in (1, count - 1):
            audit.record(
                "gate.refused", "refused", tenant=tenant, detail={**detail, "count": number}
            )


def replayed(document=STRICT, hours=1):
    until = steady_clock.now() + timedelta(seconds=60)
    return backtest.run(draft.read(document), until - timedelta(hours=hours), until)


def test_what_would_be_refused_is_counted_by_tenant_and_limit(deliver):
    created("u1", times=5)
    created("u2", times=2)
    created("u1", tenant="other", times=3)
    deliver()
    assert replayed() == {
        ("acme", "pairing.create"): Tally(
            requests=7, refused_by_changed=3, newly_refused=3, limits={"udid": 3}
        ),
        ("other", "pairing.create"): Tally(
            requests=3, refused_by_changed=1, newly_refused=1, limits={"udid": 1}
        ),
    }


def test_time_gives_back_what_it_gives_back_at_the_gate(deliver, clock):
    for _ in range(4):
        created("u1")
        clock.advance(150)  # Two in 300 s.
    deliver()
    assert replayed()["acme", "pairing.create"].newly_refused == 0


def test_devices_of_other_networks_are_other_accounts(deliver):
    for number in range(5):
        created("u1", address=f"203.0.{number}.7")
    deliver()
    assert replayed()["acme", "pairing.create"].newly_refused == 0


def test_a_limit_of_the_network_counts_all_its_devices(deliver):
    for number in range(12):
        created(f"u{number}")
    deliver()
    narrow = {"pairing.create": {"limits": {"network": {"quantity": 10}}}}
    tally = replayed(narrow)["acme", "pairing.create"]
    assert (tally.newly_refused, tally.limits) == (2, {"network": 2})


def test_accounts_are_warm_when_counting_begins(deliver, clock):
    created("u1", times=2)
    clock.advance(100)
    began = steady_clock.now()
    created("u1")
    deliver()
    until = steady_clock.now() + timedelta(seconds=60)
    tallies = backtest.run(draft.read(STRICT), began, until)
    assert tallies["acme", "pairing.create"] == Tally(
        requests=1, refused_by_changed=1, newly_refused=1, limits={"udid": 1}
    )


def test_floods_are_spread_over_their_ten_seconds_and_meet_the_accounts_of_who_was_let_in(
    deliver, clock
):
    tenant = Tenant.objects.get(slug="acme")
    caller = Recorded("203.0.113.7", f"t{tenant.pk}", udid="u1")
    charges = identity.charges(policy.DEFAULTS["pairing.create"], caller)
    (key,) = [each.key for each in charges if each.limit.name == "udid"]
    created("u1", times=5)
    # As of a roll-out that had accounts of its own.
    refused(key.replace("create.udid", "create.udid~7"), 20)
    clock.advance(40)
    created("u2")
    deliver()
    # Ten more than five in 300 s; of the twenty attempts within ten seconds it lets ten in.
    loose = {"pairing.create": {"limits": {"udid": {"quantity": 15}}}}
    tally = replayed(loose)["acme", "pairing.create"]
    assert (tally.requests, tally.refused_then) == (26, 20)
    assert (tally.refused_by_current, tally.refused_by_changed) == (20, 10)
    assert (tally.newly_admitted, tally.newly_refused) == (10, 0)


def test_refusals_by_what_the_trail_does_not_tell_are_left_out(deliver):
    refused("rl:{t1}:create.fingerprint:" + "a" * 24, 20)
    refused("pairing.create", 20)
    deliver()
    assert replayed() == {}


def test_only_policies_whose_limits_change_are_replayed(deliver):
    created("u1", times=5)
    audit.record("login.failed", "refused", subject="login:anna")
    deliver()
    tallies = replayed({"login": {"limits": {"person": {"quantity": 1}}}})
    assert list(tallies) == [("", "login")]
    assert replayed({"pairing.create": {"criticality": "sheddable"}}) == {}


def test_what_the_trail_cannot_know_is_said():
    changes = {**STRICT["pairing.create"], "criticality": "sheddable"}
    said = " ".join(backtest.unknown(draft.read({"pairing.create": changes})))
    for word in ("reads, polls", "strangers", "fingerprint, proof", "oauth.device", "Criticality"):
        assert word in said


def test_the_command_tells_each_tenant_and_then_the_sum(deliver, tmp_path):
    created("u1", times=5)
    created("u1", tenant="other", times=3)
    deliver()
    path = tmp_path / "draft.toml"
    path.write_text('["pairing.create"]\nlimits.udid = {quantity = 2}\n')
    out = StringIO()
    call_command("policy", "backtest", str(path), "--since", "24h", "--json", stdout=out)
    acme, other, total = map(json.loads, out.getvalue().splitlines())
    assert (acme["tenant"], acme["newly_refused"], acme["limits"]) == ("acme", 3, {"udid": 3})
    assert (other["tenant"], other["newly_refused"]) == ("other", 1)
    assert total["newly_refused"] == 4
    assert total["unknown"]
    out = StringIO()
    call_command("policy", "backtest", str(path), stdout=out)
    assert "4 would have been refused since" in out.getvalue()
