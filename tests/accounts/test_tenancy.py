"""Staff of a tenant with every permission of accounts: nothing of another tenant, no more power."""

from typing import Any

import pytest
from django.contrib.auth.models import Group, Permission
from django.db import transaction
from django.test import Client as Browser

import audit
from accounts import keys, snapshot
from accounts.models import ApiKey, Client, Plan, Tenant, User
from audit import outbox
from audit.models import DeadLetter, Event
from ratelimit.models import PolicyRow
from tests.accounts.conftest import PASSWORD
from tests.accounts.test_admin import ROWS

APPS = ("accounts", "auth", "audit", "ratelimit")


@pytest.fixture
def oscar(tenant: Tenant) -> User:
    """Staff of acme who may do whatever permissions allow, but is no superuser."""
    user = User.objects.create_user("oscar", password=PASSWORD, tenant=tenant, is_staff=True)
    user.user_permissions.set(Permission.objects.filter(content_type__app_label__in=APPS))
    return user


@pytest.fixture
def desk(oscar: User) -> Browser:
    return browser_of(oscar)


@pytest.fixture
def demo(tenant: Tenant) -> Browser:
    """A superuser who belongs to acme, as the admin of the demo belongs to its tenant."""
    return browser_of(User.objects.create_superuser("demo", tenant=tenant))


@pytest.fixture(params=["desk", "demo"])
def bound(request: pytest.FixtureRequest) -> Any:
    return request.getfixturevalue(request.param)


@pytest.fixture
def foreign(other_tenant: Tenant) -> dict[str, Any]:
    """One row of each kind, of the other tenant."""
    return {
        "tenant": other_tenant,
        "client": Client.objects.create(tenant=other_tenant, client_id="globex-tv", name="G"),
        "user": User.objects.create_user("gina", password=PASSWORD, tenant=other_tenant),
        "apikey": keys.create(other_tenant, "globex office", [])[0],
    }


def browser_of(user: User) -> Browser:
    browser = Browser()
    browser.force_login(user)
    return browser


def url(kind: str, *rest: object) -> str:
    return "/".join(["/admin/accounts", kind, *(str(part) for part in rest), ""])


def person_form(**changes: Any) -> dict[str, Any]:
    form = {"username": "oscar", "date_joined_0": "2026-01-01", "date_joined_1": "00:00:00"}
    return {**form, "is_active": "on", "is_staff": "on", **changes}


@pytest.mark.parametrize("kind", ["tenant", "client", "user", "apikey"])
def test_staff_neither_see_nor_open_nor_delete_foreign_rows(bound, foreign, kind):
    row = foreign[kind]
    assert row not in bound.get(url(kind)).context["cl"].result_list
    for page in ("change", "history"):
        assert bound.get(url(kind, row.pk, page)).status_code == 302
    assert bound.post(url(kind, row.pk, "change"), {"name": "x"}).status_code in {302, 403}
    assert bound.post(url(kind, row.pk, "delete"), {"post": "yes"}).status_code in {302, 403}
    form = {"action": "delete_selected", "_selected_action": [row.pk], "post": "yes"}
    bound.post(url(kind), form)
    assert type(row).objects.filter(pk=row.pk).exists()


@pytest.mark.parametrize("kind", ["client", "apikey"])
def test_staff_make_nothing_for_a_foreign_tenant(bound, tenant, other_tenant, kind):
    form = {"name": "mine", "client_id": "mine", "scopes": ["devices:read"]}
    model = {"client": Client, "apikey": ApiKey}[kind]
    refused = bound.post(url(kind, "add"), form | {"tenant": other_tenant.pk})
    assert b"Select a valid choice" in refused.content
    assert other_tenant.name not in bound.get(url(kind, "add")).content.decode()
    assert not model.objects.exists()
    bound.post(url(kind, "add"), form | {"tenant": tenant.pk})
    assert model.objects.get().tenant == tenant


def test_staff_do_not_revoke_a_foreign_key(bound, foreign):
    key = foreign["apikey"]
    bound.post(url("apikey", key.pk, "revoke"))
    bound.post(url("apikey"), {"action": "revoke_keys", "_selected_action": [key.pk]})
    key.refresh_from_db()
    assert key.revoked_at is None
    assert key.prefix in snapshot.reload().keys


def test_staff_do_not_set_the_password_of_a_foreign_person(bound, foreign):
    form = {"usable_password": "true", "password1": "another one 77", "password2": "another one 77"}
    assert bound.post(url("user", foreign["user"].pk, "password"), form).status_code in {403, 404}
    foreign["user"].refresh_from_db()
    assert foreign["user"].check_password(PASSWORD)


def test_the_search_for_a_person_finds_those_of_ones_tenant(bound, foreign, oscar):
    query = {"app_label": "pairing", "model_name": "subscriber", "field_name": "user", "term": ""}
    oscar.user_permissions.set(Permission.objects.all())
    found = bound.get("/admin/autocomplete/", query).json()["results"]
    assert str(oscar.pk) in {row["id"] for row in found}
    assert str(foreign["user"].pk) not in {row["id"] for row in found}


def test_a_person_made_by_staff_is_of_their_tenant_and_has_no_power(bound, tenant, other_tenant):
    form = {"username": "new", "usable_password": "true", "password1": PASSWORD}
    form |= {"password2": PASSWORD, "tenant": other_tenant.pk, "is_superuser": "on"}
    assert bound.post(url("user", "add"), form).status_code == 302
    made = User.objects.get(username="new")
    assert (made.tenant, made.is_superuser) == (tenant, False)


def test_staff_cannot_raise_themselves(desk, oscar, tenant, other_tenant):
    every = list(Permission.objects.values_list("pk", flat=True))
    group = Group.objects.create(name="all")
    held = oscar.user_permissions.count()
    form = person_form(is_superuser="on", groups=[group.pk], user_permissions=every)
    form |= {"tenant": other_tenant.pk, "first_name": "Oscar"}
    assert desk.post(url("user", oscar.pk, "change"), form).status_code == 302
    oscar.refresh_from_db()
    assert (oscar.first_name, oscar.is_superuser, oscar.tenant) == ("Oscar", False, tenant)
    assert (oscar.groups.count(), oscar.user_permissions.count()) == (0, held)
    assert desk.get("/admin/auth/group/add/").status_code == 403
    assert desk.post(f"/admin/auth/group/{group.pk}/change/", {"name": "x"}).status_code == 403


def test_a_superuser_of_a_tenant_cannot_leave_it(demo):
    user = User.objects.get(username="demo")
    form = person_form(username="demo", tenant="", first_name="D")
    assert demo.post(url("user", user.pk, "change"), form).status_code == 302
    user.refresh_from_db()
    assert (user.first_name, user.is_superuser) == ("D", True)
    assert user.tenant is not None


@pytest.mark.parametrize("facts", [{"is_superuser": True}, {"is_staff": True, "is_active": False}])
def test_staff_do_not_take_over_a_person_who_may_do_more(desk, tenant, facts):
    boss = User.objects.create_user("boss", password=PASSWORD, tenant=tenant, **facts)
    boss.user_permissions.set(Permission.objects.filter(content_type__app_label="pairing"))
    form = {"usable_password": "true", "password1": "another one 77", "password2": "another one 77"}
    assert desk.post(url("user", boss.pk, "password"), form).status_code == 403
    assert desk.post(url("user", boss.pk, "change"), person_form()).status_code == 403
    assert desk.post(url("user", boss.pk, "delete"), {"post": "yes"}).status_code == 403
    chosen = {"action": "delete_selected", "_selected_action": [boss.pk], "post": "yes"}
    assert desk.post(url("user"), chosen).status_code == 403


def test_staff_look_after_a_person_who_may_do_less(desk, tenant):
    ana = User.objects.create_user("ana", password=PASSWORD, tenant=tenant)
    form = person_form(username="ana", email="ana@acme.example")
    assert desk.post(url("user", ana.pk, "change"), form).status_code == 302
    ana.refresh_from_db()
    assert ana.email == "ana@acme.example"


def test_superusers_edit_plans_and_policies_and_staff_do_not(desk, demo, plan, tenant):
    policy = PolicyRow.objects.create(name="test.create", criticality="normal")
    pages = {
        url("plan", plan.pk, "change"): {"name": "operator", "per_minute": 7},
        url("tenant", tenant.pk, "change"): {"name": "Acme", "plan": plan.pk},
        f"/admin/ratelimit/policyrow/{policy.pk}/change/": {
            "criticality": "critical",
            "weight": 1,
            "wait_ms": policy.wait_ms,
            "store_away": policy.store_away,
            "limits-TOTAL_FORMS": 0,
            "limits-INITIAL_FORMS": 0,
        },
    }
    for page, form in pages.items():
        assert desk.get(page).status_code == 200
        assert desk.post(page, form).status_code == 403
        assert demo.post(page, form).status_code == 302
    assert Plan.objects.get().per_minute == 7
    assert PolicyRow.objects.get(pk=policy.pk).criticality == "critical"


def test_only_superusers_of_no_tenant_make_tenants(desk, demo, admin, plan):
    form = {"slug": "new", "name": "New", "plan": plan.pk}
    assert [desk.post(url("tenant", "add"), form).status_code] == [403]
    assert [demo.post(url("tenant", "add"), form).status_code] == [403]
    assert admin.post(url("tenant", "add"), form).status_code == 302


def test_staff_claim_no_host(desk, tenant):
    form = {"client_id": "mine", "name": "x", "tenant": tenant.pk, "default_for_host": "*"}
    assert desk.post(url("client", "add"), form).status_code == 302
    assert Client.objects.get().default_for_host is None


def test_staff_of_no_tenant_see_nobodys_rows(oscar, foreign, key):
    User.objects.filter(pk=oscar.pk).update(tenant=None)
    desk = browser_of(oscar)
    for kind in foreign:
        assert list(desk.get(url(kind)).context["cl"].result_list) == []


def test_staff_read_the_events_of_their_tenant(bound, admin, tenant, other_tenant):
    with transaction.atomic():
        for slug in ("acme", "globex", ""):
            audit.record_with_change("key.created", tenant=slug)
    outbox.move()
    DeadLetter.objects.create(source="outbox", producer="p", reason="damaged", entry="globex")

    def seen(browser):
        return {row.tenant for row in browser.get("/admin/audit/event/").context["cl"].result_list}

    assert seen(bound) == {"acme"}
    assert seen(admin) == {"acme", "globex", ""}
    theirs = Event.objects.get(tenant="globex")
    assert bound.get(f"/admin/audit/event/{theirs.pk}/change/").status_code == 302
    assert bound.get("/admin/audit/deadletter/").status_code == 403
    assert admin.get("/admin/audit/deadletter/").status_code == 200


@pytest.mark.parametrize("model", [Client, User, ApiKey], ids=lambda model: model.__name__)
def test_lists_of_a_tenant_cost_the_same_however_long(
    desk, tenant, other_tenant, model, django_assert_num_queries, django_assert_max_num_queries
):
    page, row = url(model._meta.model_name), ROWS[model]
    model.objects.bulk_create(row(number, tenant) for number in range(2))
    with django_assert_max_num_queries(8) as few:
        desk.get(page)
    model.objects.bulk_create(row(number, tenant) for number in range(2, 40))
    model.objects.bulk_create(row(number, other_tenant) for number in range(40, 50))
    with django_assert_num_queries(len(few)):
        response = desk.get(page)
    assert {each.tenant_id for each in response.context["cl"].result_list} == {tenant.pk}
