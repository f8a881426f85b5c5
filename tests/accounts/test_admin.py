"""The admin of accounts: keys shown once, changes audited and followed, no query per row."""

import re
from collections.abc import Callable
from typing import Any

import pytest
from django.db.models import QuerySet

import audit
from accounts import keys, snapshot
from accounts.models import ApiKey, Client, Plan, Tenant, User
from audit import entry, outbox
from audit.models import Outbox
from ratelimit import revision
from tests.accounts.conftest import PASSWORD

KEYS = "/admin/accounts/apikey/"


@pytest.fixture
def new_key(tenant):
    return {"tenant": tenant.pk, "name": "back office", "scopes": ["devices:read"]}


def shown_key(response):
    (text,) = re.findall(r'value="(stb_[^"]+)"', response.content.decode())
    return text


def verified(text):
    entry = keys.verify(text, snapshot.reload())
    assert entry is not None
    return entry


def test_a_new_key_is_shown_once_and_works(admin, new_key):
    response = admin.post(f"{KEYS}add/", new_key)
    text = shown_key(response)
    assert response.status_code == 200
    assert "no-store" in response["Cache-Control"]
    assert verified(text).scopes == {"devices:read"}
    row = ApiKey.objects.get()
    for page in (KEYS, f"{KEYS}{row.pk}/change/", f"{KEYS}{row.pk}/history/"):
        content = admin.get(page).content.decode()
        assert text.split("_", 2)[2] not in content
        assert row.digest not in content


def test_making_a_key_is_recorded_once(admin, new_key, changes):
    admin.post(f"{KEYS}add/", new_key)
    assert changes() == ["key.created"]


def test_a_key_of_an_unknown_scope_is_not_made(admin, new_key):
    response = admin.post(f"{KEYS}add/", new_key | {"scopes": ["root"]})
    assert response.status_code == 200
    assert b"Select a valid choice" in response.content
    assert not ApiKey.objects.exists()


def test_the_button_of_a_key_revokes_it(admin, key, changes):
    page = f"{KEYS}{key[0].pk}/"
    changes()
    assert b'id="revoke-key"' in admin.get(f"{page}change/").content
    assert admin.post(f"{page}revoke/").status_code == 302
    assert keys.verify(key[1], snapshot.reload()) is None
    assert b'id="revoke-key"' not in admin.get(f"{page}change/").content
    assert changes() == ["key.revoked"]


def test_a_get_does_not_revoke(admin, key):
    admin.get(f"{KEYS}{key[0].pk}/revoke/")
    assert keys.verify(key[1], snapshot.reload())


def test_the_action_revokes_the_selected_keys_and_records_each(admin, tenant, changes):
    made = [keys.create(tenant, f"k{number}", [])[0].pk for number in range(5)]
    changes()
    admin.post(KEYS, {"action": "revoke_keys", "_selected_action": made[:3]})
    assert changes() == ["key.revoked"] * 3
    assert ApiKey.objects.filter(revoked_at=None).count() == 2


def test_a_key_is_not_edited_or_deleted(admin, key):
    page = f"{KEYS}{key[0].pk}/"
    admin.post(f"{page}change/", {"name": "other", "scopes": ["devices:write"]})
    key[0].refresh_from_db()
    assert (key[0].name, key[0].scopes) == ("back office", ["devices:read"])
    assert admin.post(f"{page}delete/", {"post": "yes"}).status_code == 403


def test_only_people_who_may_change_keys_revoke_them(client, key, tenant):
    viewer = User.objects.create_user("viewer", password=PASSWORD, is_staff=True)
    client.force_login(viewer)
    client.post(f"{KEYS}{key[0].pk}/revoke/")
    assert keys.verify(key[1], snapshot.reload())


def test_a_plan_that_is_edited_holds_for_its_tenants_keys(admin, plan, key, changes):
    before, _ = revision.current(), changes()
    form = {"name": "operator", "per_minute": 5, "per_hour": "", "per_day": ""}
    assert admin.post(f"/admin/accounts/plan/{plan.pk}/change/", form).status_code == 302
    assert revision.current() == before + 1
    assert changes() == ["plan.changed"]
    assert verified(key[1]).plan.per_minute == 5


def test_a_plan_of_no_requests_is_refused(admin, plan):
    form = {"name": "operator", "per_minute": 0, "per_hour": "", "per_day": ""}
    assert admin.post(f"/admin/accounts/plan/{plan.pk}/change/", form).status_code == 200
    plan.refresh_from_db()
    assert plan.per_minute == 60_000


@pytest.mark.parametrize(
    ("page", "form", "action"),
    [
        ("tenant", {"slug": "new", "name": "New"}, "tenant.changed"),
        ("client", {"client_id": "new-tv", "name": "New"}, "client.changed"),
        ("plan", {"name": "new"}, "plan.changed"),
    ],
)
def test_what_is_added_is_recorded_and_followed(admin, tenant, changes, page, form, action):
    before, _ = revision.current(), changes()
    links = {"plan": tenant.plan_id, "tenant": tenant.pk}
    assert admin.post(f"/admin/accounts/{page}/add/", links | form).status_code == 302
    assert changes() == [action]
    assert revision.current() == before + 1


def test_a_deleted_client_is_recorded_and_forgotten(admin, tv, changes):
    changes()
    form = {"action": "delete_selected", "_selected_action": [tv.pk], "post": "yes"}
    admin.post("/admin/accounts/client/", form)
    assert changes() == ["client.changed"]
    assert snapshot.reload().clients == {}


@pytest.mark.parametrize("away", ["the record", "the change"])
def test_selected_clients_are_deleted_with_their_records_or_not_at_all(
    admin, tv, changes, monkeypatch, away
):
    def refuse(*_):
        raise audit.AuditUnavailable("full")

    where = (outbox, "put") if away == "the record" else (QuerySet, "delete")
    changes()
    form = {"action": "delete_selected", "_selected_action": [tv.pk], "post": "yes"}
    with monkeypatch.context() as patch:
        patch.setattr(*where, refuse)
        assert admin.post("/admin/accounts/client/", form).status_code == 503
        assert admin.post(f"/admin/accounts/client/{tv.pk}/delete/", form).status_code == (
            503 if away == "the record" else 302
        )
    assert Client.objects.filter(pk=tv.pk).exists() is (away == "the record")
    assert changes() == ([] if away == "the record" else ["client.changed"])


@pytest.mark.parametrize(("kind", "slug"), [("client", "acme"), ("tenant", "acme"), ("plan", "")])
def test_a_record_names_the_tenant_of_what_was_changed(admin, tv, changes, kind, slug):
    row = {"client": tv, "tenant": tv.tenant, "plan": tv.tenant.plan}[kind]
    forms = {"client": {"client_id": "x", "tenant": tv.tenant_id}, "tenant": {"slug": "acme"}}
    form = {"name": "new", "plan": tv.tenant.plan_id, **forms.get(kind, {})}
    changes()
    assert admin.post(f"/admin/accounts/{kind}/{row.pk}/change/", form).status_code == 302
    (record,) = (entry.decode(row.entry) for row in Outbox.objects.all())
    assert record["tenant"] == slug


def test_a_tenant_cannot_be_deleted(admin, tenant):
    page = f"/admin/accounts/tenant/{tenant.pk}/delete/"
    assert admin.post(page, {"post": "yes"}).status_code == 403


def test_two_clients_without_a_host_can_live_together(admin, tenant):
    for name in ("a-tv", "b-tv"):
        form = {"client_id": name, "name": "x", "tenant": tenant.pk, "default_for_host": ""}
        assert admin.post("/admin/accounts/client/add/", form).status_code == 302
    assert Client.objects.filter(default_for_host=None).count() == 2


def test_a_person_is_added_with_a_tenant_and_recorded(admin, tenant, changes):
    changes()
    form = {
        "username": "ana",
        "usable_password": "true",
        "password1": PASSWORD,
        "password2": PASSWORD,
        "tenant": tenant.pk,
    }
    assert admin.post("/admin/accounts/user/add/", form).status_code == 302
    assert User.objects.get(username="ana").tenant == tenant
    assert changes() == ["person.changed"]


def test_a_password_set_by_an_admin_is_recorded(admin, tenant, changes):
    ana = User.objects.create_user("ana", password=PASSWORD, tenant=tenant)
    changes()
    form = {"usable_password": "true", "password1": "another one 77", "password2": "another one 77"}
    response = admin.post(f"/admin/accounts/user/{ana.pk}/password/", form)
    assert response.status_code == 302
    assert changes() == ["person.changed"]


def test_the_keyring_is_only_looked_at_and_shows_no_secret(admin, db):
    listed = admin.get("/admin/accounts/keyringkey/")
    page = admin.get("/admin/accounts/keyringkey/1/change/", follow=True)
    assert b"credentials-1" in listed.content
    assert b"sealed" not in page.content
    assert admin.get("/admin/accounts/keyringkey/add/").status_code == 403


ROWS: dict[Any, Callable[[int, Tenant], Any]] = {
    Tenant: lambda number, tenant: Tenant(slug=f"t{number}", name="T", plan=tenant.plan),
    Client: lambda number, tenant: Client(client_id=f"c{number}", name="C", tenant=tenant),
    Plan: lambda number, tenant: Plan(name=f"p{number}"),
    User: lambda number, tenant: User(username=f"u{number}", tenant=tenant),
    ApiKey: lambda number, tenant: ApiKey(name="k", prefix=f"k{number}", tenant=tenant),
}


@pytest.mark.parametrize("model", list(ROWS), ids=lambda model: model.__name__)
def test_a_list_of_fifty_takes_as_many_queries_as_one_of_two(
    admin, tenant, model, django_assert_num_queries, django_assert_max_num_queries
):
    url = f"/admin/accounts/{model._meta.model_name}/"
    row = ROWS[model]
    model.objects.bulk_create(row(number, tenant) for number in range(2))
    with django_assert_max_num_queries(12) as few:
        admin.get(url)
    model.objects.bulk_create(row(number, tenant) for number in range(2, 50))
    with django_assert_num_queries(len(few)):
        response = admin.get(url)
    assert response.context["cl"].result_count >= 50
