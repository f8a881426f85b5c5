"""What guessing costs, whom it costs, and when absence in the store is proof."""

from ipaddress import ip_network

import pytest
import redis

from accounts.models import Scope, Tenant, User
from audit import floods, recording
from audit.floods import Floods
from pairing import codes, limits
from ratelimit import revision, shared_networks, store
from ratelimit.health import Mode
from ratelimit.models import LimitRow, PolicyRow
from tests.pairing.conftest import Device, Operator, browser, key_of, subscribe

WRONG = "BBBB-BBBB"


@pytest.fixture
def proven(redis_client: redis.Redis):
    """Every live code has been written to this server for longer than a code lives."""

    def mark(age_s: int = 601) -> None:
        now, _ = redis_client.time()
        run_id = redis_client.info("server")["run_id"]
        redis_client.set("codes:since", f"{now - age_s} {run_id}")

    mark()
    return mark


def guess(caller: Operator, code: str = WRONG) -> tuple[int, str]:
    response = caller.associate(user_code=code, subscriber_code="S-1")
    return response.status_code, response.json()["code"]


def someone(tenant: Tenant, name: str, address: str = "198.51.100.7") -> Operator:
    """A person who acts for a subscriber of his own."""
    person = User.objects.create_user(name, tenant=tenant)
    subscriber = subscribe(tenant, f"S-{name}", f"C-{name}")
    subscriber.user = person
    subscriber.save()
    return Operator(address=address, http=browser(person))


def test_an_unknown_code_costs_no_query_while_the_store_is_healthy(
    operator: Operator, proven, django_assert_num_queries
):
    with django_assert_num_queries(0):
        assert guess(operator) == (404, "unknown_code")


def test_what_cannot_be_a_code_is_not_looked_up(
    operator: Operator, redis_client: redis.Redis, django_assert_num_queries
):
    with django_assert_num_queries(0):
        assert guess(operator, "not a code") == (404, "unknown_code")
    assert not redis_client.keys("rl:*wrong*")


def test_a_flood_of_what_cannot_be_codes_is_one_record_in_ten_seconds(
    operator: Operator, tenant: Tenant, monkeypatch: pytest.MonkeyPatch
):
    """They are charged to nobody, and a key may ask 60,000 times a minute."""
    now_s, records = [1000.0], []
    monkeypatch.setattr(floods, "_shared", Floods(lambda: now_s[0]))
    monkeypatch.setattr(recording, "record", lambda *said, **more: records.append((said, more)))
    other = Operator(key_of(tenant, *Scope.values))
    for _ in range(50):
        assert guess(operator, "not a code")[0] == 404
    guess(other, "not a code")
    now_s[0] += 10
    guess(operator, "not a code")
    assert {said for said, _ in records} == {("code.unknown", "refused")}
    counts = [(more["actor"], more["detail"]["count"]) for _, more in records]
    first = counts[0][0]
    assert counts == [(first, 1), (counts[1][0], 1), (first, 49), (first, 1)]
    assert counts[1][0] != first


def test_a_key_may_be_wrong_a_hundred_times_in_15_minutes(operator: Operator, proven):
    answers = [guess(operator) for _ in range(101)]
    assert answers == [(404, "unknown_code")] * 100 + [(429, "rate_limited")]


def test_a_person_may_be_wrong_five_times_and_is_told_when_to_return(
    operator: Operator, tenant: Tenant, proven
):
    anna = someone(tenant, "anna")
    body = {"user_code": WRONG}
    answers = [anna.associate(**body) for _ in range(6)]
    assert [answer.status_code for answer in answers] == [404] * 5 + [429]
    told = answers[-1].json()
    assert told["violated-policies"] == ["wrong_codes.person"]
    assert 175 <= told["retry_after"] <= 180
    assert answers[-1]["Retry-After"] == str(told["retry_after"])


def test_denying_and_approving_share_what_is_left(operator: Operator, tenant: Tenant, proven):
    anna = someone(tenant, "anna")
    answers = [anna.deny(WRONG).status_code for _ in range(3)]
    answers += [anna.associate(user_code=WRONG).status_code for _ in range(3)]
    assert answers == [404] * 5 + [429]


def test_a_network_may_be_wrong_thirty_times_whoever_types(
    operator: Operator, tenant: Tenant, proven
):
    people = [someone(tenant, f"p{number}", f"198.51.100.{number}") for number in range(7)]
    answers = [person.associate(user_code=WRONG).status_code for person in people for _ in range(5)]
    assert answers == [404] * 30 + [429] * 5
    elsewhere = someone(tenant, "far", "203.0.113.1")
    assert elsewhere.associate(user_code=WRONG).status_code == 404


def test_a_network_that_many_share_may_be_wrong_as_often_as_those_it_stands_for(
    operator: Operator, tenant: Tenant, proven, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(shared_networks, "_listed", ((ip_network("198.51.100.0/24"), 2),))
    shared_networks.stands_for.cache_clear()
    people = [someone(tenant, f"p{number}", f"198.51.100.{number}") for number in range(13)]
    answers = [person.associate(user_code=WRONG).status_code for person in people for _ in range(5)]
    assert answers == [404] * 60 + [429] * 5
    shared_networks.stands_for.cache_clear()


def test_ipv4_addresses_written_as_ipv6_are_networks_of_their_own(
    operator: Operator, tenant: Tenant, proven, redis_client: redis.Redis
):
    for address in ("::ffff:198.51.100.1", "198.51.100.2", "::ffff:203.0.113.1"):
        someone(tenant, f"p{address[-5:]}", address).associate(user_code=WRONG)
    networks = redis_client.keys("rl:*wrong_codes.network:*")
    assert {key.rpartition(b":")[2] for key in networks} == {b"198.51.100", b"203.0.113"}


def test_who_guessed_too_often_is_refused_the_right_code_too(
    operator: Operator, tenant: Tenant, proven
):
    """Else the answer to the sixth guess would tell whether it was right."""
    anna = someone(tenant, "anna")
    for _ in range(5):
        anna.associate(user_code=WRONG)
    assert anna.associate(user_code=Device.create().user_code).status_code == 429


def test_guessing_does_not_kill_anybodys_code(operator: Operator, tenant: Tenant, proven):
    """Fault 17: wrong codes count against who types them, never against a code."""
    device = Device.create()
    guesser = someone(tenant, "mallory", "203.0.113.66")
    for _ in range(20):
        guesser.associate(user_code=WRONG)
    assert operator.approve(device).status_code == 200


def test_right_codes_cost_nothing(operator: Operator, tenant: Tenant, proven):
    anna = someone(tenant, "anna")
    answers = [anna.deny(Device.create().user_code).status_code for _ in range(10)]
    assert answers == [200] * 10


def test_a_foreign_code_is_charged_as_a_wrong_one(
    operator: Operator, foreigner: Operator, redis_client: redis.Redis, proven
):
    device = Device.create()
    assert guess(foreigner, device.user_code) == (404, "unknown_code")
    assert len(redis_client.keys("rl:{globex}:wrong_codes.key:*")) == 1


def test_an_admin_changes_the_limits(operator: Operator, proven):
    policy, _ = PolicyRow.objects.get_or_create(name="pairing.associate")
    LimitRow.objects.update_or_create(
        policy=policy, name="wrong_codes.key", defaults={"quantity": 2, "window_s": 60}
    )
    limits.reload()
    try:
        assert [guess(operator)[0] for _ in range(3)] == [404, 404, 429]
    finally:
        LimitRow.objects.all().delete()
        limits.reload()


# When absence is no proof


@pytest.mark.parametrize("age_s", [0, 599])
def test_a_young_marker_proves_nothing_and_one_indexed_query_decides(
    operator: Operator, proven, redis_client: redis.Redis, django_assert_num_queries, age_s: int
):
    device = Device.create()
    redis_client.delete(*redis_client.keys("code:*"))
    proven(age_s)
    with django_assert_num_queries(1):
        assert guess(operator) == (404, "unknown_code")
    assert operator.approve(device).status_code == 200


def test_after_a_flush_live_codes_are_still_found(operator: Operator, redis_client: redis.Redis):
    device = Device.create()
    redis_client.flushdb()
    assert operator.approve(device).status_code == 200


def test_after_a_restart_from_an_old_file_live_codes_are_still_found(
    operator: Operator, redis_client: redis.Redis
):
    device = Device.create()
    redis_client.delete(*redis_client.keys("code:*"))
    now, _ = redis_client.time()
    redis_client.set("codes:since", f"{now - 86_400} {'a' * 40}")
    assert operator.approve(device).status_code == 200
    since = redis_client.get("codes:since")
    assert int(since.split()[0]) >= now


def test_a_code_found_by_the_query_gives_the_charge_back(
    operator: Operator, tenant: Tenant, redis_client: redis.Redis
):
    anna = someone(tenant, "anna")
    for _ in range(10):
        device = Device.create()
        redis_client.flushdb()
        assert anna.deny(device.user_code).status_code == 200
    assert not redis_client.keys("rl:*wrong*")


def test_a_store_that_is_not_healthy_proves_nothing(
    operator: Operator, proven, redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
):
    device = Device.create()
    redis_client.delete(*redis_client.keys("code:*"))
    monkeypatch.setattr(store.shared().health, "mode", Mode.RECOVERING)
    assert operator.approve(device).status_code == 200


def test_without_the_store_the_database_knows_the_codes_and_guessing_is_limited(
    operator: Operator, store_away: None
):
    assert operator.approve(Device.create()).status_code == 200
    answers = [guess(operator)[0] for _ in range(101)]
    assert answers == [404] * 100 + [429]


def test_a_failed_write_of_a_code_begins_the_count_anew(
    operator: Operator,
    tenant: Tenant,
    proven,
    redis_client: redis.Redis,
    monkeypatch: pytest.MonkeyPatch,
):
    with monkeypatch.context() as failing:
        failing.setattr(store.Store, "run", _away)
        device = Device.create()
    assert operator.approve(device).status_code == 200
    since = int(redis_client.get("codes:since").split()[0])
    assert since == pytest.approx(redis_client.time()[0], abs=2)


def test_a_failed_write_in_one_process_is_known_to_the_others_as_soon_as_the_store_answers(
    operator: Operator,
    proven,
    monkeypatch: pytest.MonkeyPatch,
):
    """The process whose write failed may serve no code for long; its watcher looks for it."""
    failed, other = codes._Gap(), codes._Gap()
    monkeypatch.setattr(codes, "_gap", failed)
    with monkeypatch.context() as failing:
        failing.setattr(store.Store, "run", _away)
        device = Device.create()
        for look in revision._looks:
            look()
    assert failed.opened()
    for look in revision._looks:
        look()
    assert not failed.opened()
    monkeypatch.setattr(codes, "_gap", other)
    assert operator.approve(device).status_code == 200


def test_a_process_without_a_gap_leaves_the_mark_alone(
    operator: Operator, proven, redis_client: redis.Redis
):
    before = redis_client.get("codes:since")
    codes.close_gap()
    assert redis_client.get("codes:since") == before


def test_leaving_local_begins_the_count_anew(operator: Operator, proven, redis_client: redis.Redis):
    store.shared().health.recovered_at = 12345.0
    codes.remember(operator_tenant(operator), "BCDFGHJK")
    since = int(redis_client.get("codes:since").split()[0])
    assert since == pytest.approx(redis_client.time()[0], abs=2)


def _away(*_: object) -> None:
    raise store.StoreAway("no answer in time", asked=True)


def operator_tenant(operator: Operator) -> int:
    return Tenant.objects.get(slug="acme").pk


def test_a_code_is_forgotten_some_time_after_it_died(operator: Operator, redis_client: redis.Redis):
    Device.create()
    (name,) = redis_client.keys("code:*")
    assert 1190 <= redis_client.ttl(name) <= 1200


def test_scopes_are_checked_before_codes(tenant: Tenant, operator: Operator, proven):
    powerless = Operator(key_of(tenant, Scope.DEVICES_READ))
    assert [guess(powerless)[0] for _ in range(101)] == [403] * 101
