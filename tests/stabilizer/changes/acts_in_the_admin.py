"""What staff do in the admin: each page that changes something, each action, each inline."""

import json
from datetime import timedelta
from typing import Any

from django.contrib.auth.models import Group

from accounts import keys
from accounts.models import Client, Plan, User
from audit import clock
from audit.models import Hold
from pairing.models import Smartcard
from ratelimit import draft, rollouts
from ratelimit.models import Flag, LimitRow, PolicyRow, Rollout, SharedNetwork
from tests.pairing.conftest import subscribe
from tests.stabilizer.changes.acts import Change, act
from tests.stabilizer.changes.acts_of_commands import letter
from tests.stabilizer.changes.acts_of_devices import SIGNED_OUT
from tests.stabilizer.changes.stage import PASSWORD, Stage

ROW = "<path:object_id>/"
PERSON = "person:"
ACCOUNTS, PAIRING, LIMITS = "/admin/accounts/", "/admin/pairing/", "/admin/ratelimit/"
PLAN, TENANT, CLIENT = f"{ACCOUNTS}plan/", f"{ACCOUNTS}tenant/", f"{ACCOUNTS}client/"
USER, GROUP, KEY = f"{ACCOUNTS}user/", "/admin/auth/group/", f"{ACCOUNTS}apikey/"
SUBSCRIBER, CARD, DEVICE = (f"{PAIRING}{name}/" for name in ("subscriber", "smartcard", "pairing"))
EVENT, LETTER, HOLD = (f"/admin/audit/{name}/" for name in ("event", "deadletter", "hold"))
POLICY, NETWORK, FLAG = (f"{LIMITS}{name}/" for name in ("policyrow", "sharednetwork", "flag"))
FORCED = {"decision": "on", "who": "olga", "why": "a test", "minutes": 5}
ROLLOUT = f"{LIMITS}rollout/"
NEW_PASSWORD = {"usable_password": "true", "password1": PASSWORD, "password2": PASSWORD}


def add(stage: Stage, path: str, **form: Any) -> Change:
    desk = stage.desk
    return lambda: desk.post(f"{path}add/", form)


def change(stage: Stage, path: str, row: Any, **form: Any) -> Change:
    desk = stage.desk
    return lambda: desk.post(f"{path}{row.pk}/change/", form)


def delete(stage: Stage, path: str, row: Any) -> Change:
    desk = stage.desk
    return lambda: desk.post(f"{path}{row.pk}/delete/", {"post": "yes"})


def select(stage: Stage, path: str, action: str, *rows: Any, **form: Any) -> Change:
    desk = stage.desk
    chosen = {"action": action, "_selected_action": [row.pk for row in rows], **form}
    return lambda: desk.post(path, chosen)


@act(f"POST {PLAN}add/", "plan.changed", by=PERSON)
def a_plan_is_added(stage: Stage) -> Change:
    return add(stage, PLAN, name="free", per_minute=60)


@act(f"POST {PLAN}{ROW}change/", "plan.changed", by=PERSON)
def a_plan_is_changed(stage: Stage) -> Change:
    return change(stage, PLAN, stage.tenant.plan, name="operator", per_minute=60)


@act(f"POST {PLAN}{ROW}delete/", "plan.changed", by=PERSON)
def a_plan_is_deleted(stage: Stage) -> Change:
    return delete(stage, PLAN, Plan.objects.create(name="free"))


@act(f"POST {PLAN} delete_selected", *["plan.changed"] * 2, by=PERSON)
def plans_are_deleted(stage: Stage) -> Change:
    plans = [Plan.objects.create(name=name) for name in ("free", "trial")]
    return select(stage, PLAN, "delete_selected", *plans, post="yes")


@act(f"POST {TENANT}add/", "tenant.changed", by=PERSON)
def a_tenant_is_added(stage: Stage) -> Change:
    return add(stage, TENANT, slug="new", name="New", plan=stage.tenant.plan_id)


@act(f"POST {TENANT}{ROW}change/", "tenant.changed", by=PERSON)
def a_tenant_is_changed(stage: Stage) -> Change:
    form = {"slug": "acme", "name": "New", "plan": stage.tenant.plan_id}
    return change(stage, TENANT, stage.tenant, **form)


@act(f"POST {CLIENT}add/", "client.changed", by=PERSON)
def a_client_is_added(stage: Stage) -> Change:
    return add(stage, CLIENT, client_id="new-tv", name="New", tenant=stage.tenant.pk)


@act(f"POST {CLIENT}{ROW}change/", "client.changed", by=PERSON)
def a_client_is_changed(stage: Stage) -> Change:
    form = {"client_id": "acme-tv", "name": "New", "tenant": stage.tenant.pk}
    return change(stage, CLIENT, stage.tv, **form)


@act(f"POST {CLIENT}{ROW}delete/", "client.changed", by=PERSON)
def a_client_is_deleted(stage: Stage) -> Change:
    return delete(stage, CLIENT, stage.tv)


@act(f"POST {CLIENT} delete_selected", *["client.changed"] * 2, by=PERSON)
def clients_are_deleted(stage: Stage) -> Change:
    box = Client.objects.create(tenant=stage.tenant, client_id="acme-box", name="Box")
    return select(stage, CLIENT, "delete_selected", stage.tv, box, post="yes")


@act(f"POST {USER}add/", "person.changed", by=PERSON)
def a_person_is_added(stage: Stage) -> Change:
    return add(stage, USER, username="bea", tenant=stage.tenant.pk, **NEW_PASSWORD)


@act(f"POST {USER}{ROW}change/", "person.changed", by=PERSON)
def a_person_is_given_power(stage: Stage) -> Change:
    joined = {"date_joined_0": "2026-01-01", "date_joined_1": "00:00:00"}
    form = {"username": "anna", "is_active": "on", "is_staff": "on", "tenant": stage.tenant.pk}
    return change(stage, USER, stage.anna, **form, **joined)


@act(f"POST {USER}<id>/password/", "person.changed", by=PERSON)
def a_person_is_given_a_password(stage: Stage) -> Change:
    desk = stage.desk
    return lambda: desk.post(f"{USER}{stage.anna.pk}/password/", NEW_PASSWORD)


@act(f"POST {USER}{ROW}delete/", "person.changed", by=PERSON)
def a_person_is_deleted(stage: Stage) -> Change:
    return delete(stage, USER, stage.anna)


@act(f"POST {USER} delete_selected", *["person.changed"] * 2, by=PERSON)
def people_are_deleted(stage: Stage) -> Change:
    bea = User.objects.create_user("bea")
    return select(stage, USER, "delete_selected", stage.anna, bea, post="yes")


@act(f"POST {GROUP}add/", "person.changed", by=PERSON)
def a_group_is_added(stage: Stage) -> Change:
    return add(stage, GROUP, name="operators")


@act(f"POST {GROUP}{ROW}change/", "person.changed", by=PERSON)
def a_group_is_changed(stage: Stage) -> Change:
    return change(stage, GROUP, Group.objects.create(name="operators"), name="others")


@act(f"POST {GROUP}{ROW}delete/", "person.changed", by=PERSON)
def a_group_is_deleted(stage: Stage) -> Change:
    return delete(stage, GROUP, Group.objects.create(name="operators"))


@act(f"POST {GROUP} delete_selected", "person.changed", by=PERSON)
def groups_are_deleted(stage: Stage) -> Change:
    group = Group.objects.create(name="operators")
    return select(stage, GROUP, "delete_selected", group, post="yes")


@act(f"POST {KEY}add/", "key.created", by=PERSON)
def a_key_is_made(stage: Stage) -> Change:
    return add(stage, KEY, tenant=stage.tenant.pk, name="new", scopes=["devices:read"])


@act(f"POST {KEY}<int:key_id>/revoke/", "key.revoked", by=PERSON)
def a_key_is_revoked_on_its_page(stage: Stage) -> Change:
    desk, (key, _) = stage.desk, keys.create(stage.tenant, "old", [])
    return lambda: desk.post(f"{KEY}{key.pk}/revoke/")


@act(f"POST {KEY} revoke_keys", *["key.revoked"] * 2, by=PERSON)
def keys_are_revoked(stage: Stage) -> Change:
    old = [keys.create(stage.tenant, name, [])[0] for name in ("a", "b")]
    return select(stage, KEY, "revoke_keys", *old)


@act(f"POST {SUBSCRIBER}add/", "subscriber.changed", by=PERSON)
def a_subscriber_is_added(stage: Stage) -> Change:
    return add(stage, SUBSCRIBER, tenant=stage.tenant.pk, code="S-2", **cards())


@act(f"POST {SUBSCRIBER}{ROW}change/", "subscriber.changed", by=PERSON)
def a_subscriber_is_renamed(stage: Stage) -> Change:
    form = {"name": "Anna", "user": stage.anna.pk}
    return change(stage, SUBSCRIBER, stage.subscriber, **form, **cards())


@act(f"POST {SUBSCRIBER}{ROW}change/ smartcard", "subscriber.changed", by=PERSON)
def a_card_is_only_shown_with_its_subscriber(stage: Stage) -> Change:
    card = Smartcard.objects.get(sn="C-1")
    row = {"id": card.pk, "subscriber": stage.subscriber.pk, "sn": "X-1", "DELETE": "on"}
    form = {"name": "Anna", **{f"smartcards-0-{name}": value for name, value in row.items()}}
    post = change(stage, SUBSCRIBER, stage.subscriber, **form, **cards(1))

    def renumber() -> Any:
        answer = post()
        card.refresh_from_db()
        assert card.sn == "C-1"
        return answer

    return renumber


@act(f"POST {SUBSCRIBER} lock", "subscriber.changed", by=PERSON)
def a_subscriber_is_locked(stage: Stage) -> Change:
    return select(stage, SUBSCRIBER, "lock", stage.subscriber)


@act(f"POST {SUBSCRIBER} unlock", "subscriber.changed", by=PERSON)
def a_subscriber_is_unlocked(stage: Stage) -> Change:
    stage.subscriber.state = "locked"
    stage.subscriber.save()
    return select(stage, SUBSCRIBER, "unlock", stage.subscriber)


@act(f"POST {CARD}add/", "subscriber.changed", by=PERSON)
def a_card_is_added(stage: Stage) -> Change:
    return add(stage, CARD, sn="C-9", subscriber=stage.subscriber.pk)


@act(f"POST {CARD}{ROW}change/", "subscriber.changed", by=PERSON)
def a_card_is_given_to_another_subscriber(stage: Stage) -> Change:
    card, other = Smartcard.objects.get(sn="C-1"), subscribe(stage.tenant, "S-2")
    return change(stage, CARD, card, sn="C-1", subscriber=other.pk)


@act(f"POST {DEVICE} revoke_selected", *SIGNED_OUT, *SIGNED_OUT, by=PERSON)
def devices_are_revoked(stage: Stage) -> Change:
    rows = [stage.signed_in()[0].row for _ in range(2)]
    return select(stage, DEVICE, "revoke_selected", *rows, confirmed="yes", reason="sold")


@act(f"POST {DEVICE} revoke_selected")
def devices_are_not_revoked_before_somebody_confirms_it(stage: Stage) -> Change:
    return select(stage, DEVICE, "revoke_selected", stage.signed_in()[0].row)


@act(f"POST {POLICY}{ROW}change/", "policy.changed", by=PERSON)
def a_policy_is_changed(stage: Stage) -> Change:
    return change(stage, POLICY, policy(), **policy_form(wait_ms=9))


@act(f"POST {POLICY}{ROW}change/ limitrow", "policy.changed", by=PERSON)
def a_limit_is_changed(stage: Stage) -> Change:
    limit = LimitRow.objects.create(policy=policy(), name="udid", quantity=5, window_s=300)
    row = {"id": limit.pk, "policy": limit.policy_id, "quantity": 9, "window_s": 300}
    limits = {f"limits-0-{name}": value for name, value in row.items()}
    return change(stage, POLICY, limit.policy, **{**policy_form(count=1), **limits})


@act(f"POST {ROLLOUT}add/", "policy.rollout_started", by=PERSON)
def a_roll_out_is_begun(stage: Stage) -> Change:
    draft = json.dumps({"wait_ms": 9})
    return add(stage, ROLLOUT, policy=policy().pk, draft=draft, bound=1, least=200)


@act(f"POST {ROLLOUT} advance", "policy.rollout_advanced", by=PERSON)
def a_roll_out_goes_on(stage: Stage) -> Change:
    return select(stage, ROLLOUT, "advance", rollout())


@act(f"POST {ROLLOUT} abort", "policy.rollout_aborted", by=PERSON)
def a_roll_out_is_given_up(stage: Stage) -> Change:
    return select(stage, ROLLOUT, "abort", rollout())


@act(f"POST {NETWORK}add/", "network.changed", by=PERSON)
def a_network_is_added(stage: Stage) -> Change:
    return add(stage, NETWORK, network="100.64.0.0/10", stands_for=200)


@act(f"POST {NETWORK}{ROW}change/", "network.changed", by=PERSON)
def a_network_is_changed(stage: Stage) -> Change:
    return change(stage, NETWORK, network(), network="100.64.0.0/10", stands_for=9)


@act(f"POST {NETWORK}{ROW}delete/", "network.changed", by=PERSON)
def a_network_is_deleted(stage: Stage) -> Change:
    return delete(stage, NETWORK, network())


@act(f"POST {NETWORK} delete_selected", "network.changed", by=PERSON)
def networks_are_deleted(stage: Stage) -> Change:
    return select(stage, NETWORK, "delete_selected", network(), post="yes")


@act(f"POST {FLAG}{ROW}change/", "flag.forced", by=PERSON)
def a_flag_is_forced(stage: Stage) -> Change:
    return change(stage, FLAG, flag(), **FORCED)


@act(f"POST {FLAG}{ROW}change/", "flag.released", by=PERSON)
def a_forced_flag_is_released(stage: Stage) -> Change:
    forced = flag()
    desk, until = stage.desk, clock.now() + timedelta(minutes=5)
    forced.force(True, until=until, owner="olga", reason="a test", actor="person:1")
    return lambda: desk.post(f"{FLAG}{forced.pk}/change/", {"decision": "auto"})


@act("POST /ops/flags/<str:name>/", "flag.forced", by=PERSON)
def a_flag_is_forced_on_the_dashboard(stage: Stage) -> Change:
    desk = stage.desk
    return lambda: desk.post("/ops/flags/search_off/", FORCED)


@act(f"GET {EVENT}export/<str:form>/", "audit.exported", by=PERSON)
def the_trail_is_taken_as_a_file(stage: Stage) -> Change:
    desk = stage.desk
    return lambda: desk.get(f"{EVENT}export/csv/")


@act(f"POST {LETTER} replay", "audit.letters_replayed", by=PERSON)
def a_dead_letter_is_tried_again(stage: Stage) -> Change:
    return select(stage, LETTER, "replay", letter())


@act(f"POST {LETTER} drop", "audit.letters_dropped", by=PERSON)
def a_dead_letter_is_given_up(stage: Stage) -> Change:
    given_up = letter()
    return select(stage, LETTER, "drop", given_up, why="theirs", newest=given_up.pk)


@act(f"POST {LETTER} drop")
def a_dead_letter_is_not_given_up_without_a_reason(stage: Stage) -> Change:
    return select(stage, LETTER, "drop", letter())


@act(f"POST {HOLD}add/", "audit.hold_placed", by=PERSON)
def a_legal_hold_is_placed(stage: Stage) -> Change:
    days = {"first_day": "2026-01-01", "last_day": "2026-01-31"}
    return add(stage, HOLD, **days, reason="a case", owner="the court")


@act(f"POST {HOLD} release", "audit.hold_released", by=PERSON)
def a_legal_hold_is_released(stage: Stage) -> Change:
    return select(stage, HOLD, "release", hold())


def cards(count: int = 0) -> dict[str, int]:
    return {"smartcards-TOTAL_FORMS": count, "smartcards-INITIAL_FORMS": count}


def policy() -> PolicyRow:
    return PolicyRow.objects.create(name="walked")


def rollout() -> Rollout:
    (plan,) = draft.read({policy().name: {"wait_ms": 9}})
    return rollouts.start(plan, actor="person:1")


def policy_form(wait_ms: int = 1500, count: int = 0) -> dict[str, Any]:
    numbers = {"criticality": "normal", "weight": 1, "wait_ms": wait_ms, "store_away": "local"}
    return {**numbers, "limits-TOTAL_FORMS": count, "limits-INITIAL_FORMS": count}


def flag() -> Flag:
    return Flag.objects.get(name="search_off")


def network() -> SharedNetwork:
    return SharedNetwork.objects.create(network="100.64.0.0/10", stands_for=100)


def hold() -> Hold:
    return Hold.objects.create(
        first_day="2026-01-01", last_day="2026-01-31", reason="a case", owner="the court"
    )
