"""Two real web processes: a changed policy that refuses too many is gone again within seconds."""

import http.client
import json
import time
from contextlib import closing

import pytest

from accounts.models import Client, Plan, Tenant
from audit import outbox
from audit.models import Event
from dev import ports
from ratelimit import draft, rollouts
from stabilizer.gate import trial
from tests.stabilizer import processes

pytestmark = [pytest.mark.processes, pytest.mark.django_db(transaction=True)]
#: A process reads a change within 2 s, counts are added up each second and judged in the next.
SOON_S = 15
DEVICES = range(30)


@pytest.fixture
def tenant():
    plan = Plan.objects.create(name="operator", per_minute=60_000)
    tenant = Tenant.objects.create(slug="acme", name="Acme TV", plan=plan)
    Client.objects.create(
        tenant=tenant, client_id="acme-tv", name="Acme's app", default_for_host="*"
    )
    return tenant


def begin():
    """Of the five pairings that a device may begin, one is left."""
    (bad,) = draft.read({"pairing.create": {"limits": {"udid": {"quantity": 1}}}})
    return rollouts.start(bad, actor="person:1", bound=5.0, least=20)


def create(port, number):
    """The status of a device that begins a pairing; five are in force, and one in the draft."""
    body = json.dumps({"app_type": "tv", "udid": f"aabbccddeeff{number:04}"})
    headers = {"Content-Type": "application/json", "X-Forwarded-For": f"10.0.{number}.1"}
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=20)) as connection:
        connection.request("POST", "/api/v1/pairings/", body, headers)
        return connection.getresponse().status


def twice(port, number):
    return [create(port, number) for _ in range(2)]


def until(what, timeout_s=SOON_S):
    ends = time.monotonic() + timeout_s
    while not what():
        assert time.monotonic() < ends, "it took too long"
        time.sleep(0.05)


def test_a_bad_policy_is_withdrawn_by_itself_and_all_of_it_is_in_the_trail(redis_client, tenant):
    ports_of_both = [ports.free(), ports.free()]
    servers = [
        processes.start("--port", str(port), TRUSTED_PROXIES="127.0.0.1/32")
        for port in ports_of_both
    ]
    with processes.ended(*servers):
        for port in ports_of_both:
            processes.wait_for_server(port)
        rollout = begin()
        while not trial.is_chosen(rollout.pk, f"t{tenant.pk}", 99):
            rollouts.abort(rollout, actor="person:1")
            rollout = begin()
        rollouts.advance(rollout, actor="person:1", percent=99)
        new = iter(range(100, 200))
        for port in ports_of_both:
            # In force: the second pairing of a new device is refused.
            until(lambda port=port: twice(port, next(new)) == [201, 429])
        statuses = {number: [create(port, number) for port in ports_of_both] for number in DEVICES}
        assert [201, 429] in statuses.values()
        until(lambda: rollouts.live() is None)
        for port in ports_of_both:
            # Whoever was refused is let in again.
            until(lambda port=port: create(port, DEVICES[0]) == 201)
    outbox.move()
    events = Event.objects.filter(subject=f"rollout:{rollout.pk}").order_by("pk")
    assert [(event.action, event.actor) for event in events] == [
        ("policy.rollout_started", "person:1"),
        ("policy.rollout_advanced", "person:1"),
        ("policy.rollout_withdrawn", "system:rollouts"),
    ]
    told = events[2].detail
    assert (told["left"], told["policy"], told["bound"]) == ("percentage", "pairing.create", 5.0)
    assert told["refused"] / (told["refused"] + told["admitted"]) > 0.05
    assert told["refused"] + told["admitted"] >= 20
    assert not Event.objects.filter(action="policy.changed").exists()
