"""The admin's pages of subscribers, cards and devices, as an operator uses them."""

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import Permission
from django.db import connection
from django.http import HttpResponse
from django.test import Client as Browser
from django.utils.html import escape

from accounts.models import Tenant, User
from pairing import admin as pages
from pairing.models import Pairing, Smartcard, State, Subscriber
from tests.conftest import MovableClock
from tests.pairing.conftest import Device, Operator, subscribe

SUBSCRIBERS = "/admin/pairing/subscriber/"
CARDS = "/admin/pairing/smartcard/"
PAIRINGS = "/admin/pairing/pairing/"


@pytest.fixture
def desk(tenant: Tenant) -> Browser:
    """The browser of an operator of the tenant acme, who is no superuser."""
    user = User.objects.create_user("oscar", password="x", tenant=tenant, is_staff=True)
    user.user_permissions.set(Permission.objects.filter(content_type__app_label="pairing"))
    return logged_in(user)


@pytest.fixture
def root(tenant: Tenant) -> Browser:
    """A superuser who belongs to no tenant."""
    return logged_in(User.objects.create_superuser("root", password="x"))


def logged_in(user: User) -> Browser:
    browser = Browser()
    browser.force_login(user)
    return browser


def act(browser: Browser, path: str, action: str, *chosen: Any, **more: str) -> HttpResponse:
    form = {"action": action, "_selected_action": [row.pk for row in chosen], **more}
    return browser.post(path, form, follow=True)


def signed_in(operator: Operator, subscriber_code: str = "S-1", **facts: str) -> Device:
    device = Device.create(**facts)
    assert operator.approve(device, subscriber_code).status_code == 200
    assert device.collect().status_code == 200
    return device


def listed(response: HttpResponse) -> list[str]:
    return [str(row) for row in response.context["cl"].result_list]  # type: ignore[attr-defined]


def said(response: HttpResponse) -> list[str]:
    return [str(message) for message in response.context["messages"]]  # type: ignore[attr-defined]


def test_subscribers_are_found_by_the_beginning_of_their_code(desk: Browser, tenant: Tenant):
    for code in ("AB-1", "AB-2", "B-AB"):
        subscribe(tenant, code)
    assert listed(desk.get(SUBSCRIBERS, {"q": "ab"})) == ["AB-1", "AB-2"]


def test_smartcards_are_found_by_the_beginning_of_their_number(desk: Browser, tenant: Tenant):
    subscribe(tenant, "S-1", "100", "101", "210")
    assert listed(desk.get(CARDS, {"q": "10"})) == ["100", "101"]


@pytest.mark.skipif(connection.vendor != "mysql", reason="MariaDB's own plan")
@pytest.mark.parametrize(
    ("path", "index"),
    [
        (SUBSCRIBERS, "one_subscriber_per_code"),
        (CARDS, "one_smartcard_per_serial_number"),
    ],
)
def test_a_search_reads_a_range_of_the_index_and_not_the_table(
    desk: Browser, tenant: Tenant, path: str, index: str
):
    rows = [Subscriber(tenant=tenant, code=f"S{n:05}") for n in range(2_000)]
    Smartcard.objects.bulk_create(
        Smartcard(tenant=tenant, subscriber=row, sn=row.code)
        for row in Subscriber.objects.bulk_create(rows)
    )
    found = desk.get(path, {"q": "S0012"}).context["cl"].queryset
    assert found.count() == 10
    plan = found.order_by().select_related(None).explain()
    assert "range" in plan
    assert index in plan


@pytest.mark.parametrize("path", [SUBSCRIBERS, CARDS, PAIRINGS])
def test_lists_cost_the_same_queries_however_many_rows_they_show(
    desk: Browser, operator: Operator, tenant: Tenant, django_assert_num_queries: Any, path: str
):
    for number in range(3):
        subscribe(tenant, f"T-{number}", f"D-{number}")
        signed_in(operator, f"T-{number}", address=f"203.0.113.{number}")
    # The session, the person, what the person may do (two), the number of rows, the rows; pairings
    # also ask which app types came lately.
    with django_assert_num_queries(7 if path == PAIRINGS else 6):
        assert desk.get(path).status_code == 200


def test_a_subscriber_page_shows_cards_and_devices_in_eight_queries(
    desk: Browser, operator: Operator, subscriber: Subscriber, django_assert_num_queries: Any
):
    for number in range(2):
        signed_in(operator, model=f"Model {number}")
    with django_assert_num_queries(8):
        page = desk.get(f"{SUBSCRIBERS}{subscriber.pk}/change/")
    for words in ("C-1", "C-2", "Model 0", "Model 1"):
        assert words in page.content.decode()


def test_no_page_shows_a_secret(desk: Browser, operator: Operator, subscriber: Subscriber):
    device = signed_in(operator)
    row = device.row
    for path in (f"{SUBSCRIBERS}{subscriber.pk}/change/", f"{PAIRINGS}{row.pk}/change/", PAIRINGS):
        html = desk.get(path).content.decode()
        for secret in ("s3cret", row.device_code_digest, row.user_code, row.sealed_answer):
            assert secret not in html
        subscriber.refresh_from_db()
        assert subscriber.sealed_credentials not in html


def test_a_model_name_of_a_device_is_never_markup(desk: Browser, operator: Operator):
    evil = "<script>alert(1)</script>"
    row = signed_in(operator, model=evil).row
    confirm = act(desk, PAIRINGS, "revoke_selected", row)
    pages_seen = [desk.get(PAIRINGS), desk.get(f"{PAIRINGS}{row.pk}/change/"), confirm]
    for page in [*pages_seen, desk.get(CARDS)]:
        assert page.status_code == 200
        assert evil not in page.content.decode()
        assert escape(evil) in page.content.decode()


def test_pairings_are_filtered_by_their_state_as_it_stands_now(
    desk: Browser, operator: Operator, clock: MovableClock
):
    waiting, late, collected = Device.create(), Device.create(), signed_in(operator)
    collected.acknowledge()
    Pairing.objects.filter(pk=late.row.pk).update(expires_at=clock.now())
    shown = {
        state: {str(row.pk) for row in desk.get(PAIRINGS, {"state": state}).context["cl"].queryset}
        for state in State.values
    }
    nothing: set[str] = set()
    assert shown == {
        "pending": {str(waiting.row.pk)},
        "expired": {str(late.row.pk)},
        "acknowledged": {str(collected.row.pk)},
        "approved": nothing,
        "delivered": nothing,
        "revoked": nothing,
        "denied": nothing,
    }


def test_pairings_are_filtered_by_app_type(desk: Browser, operator: Operator):
    Device.create(app_type="tizen")
    Device.create(app_type="webos")
    page = desk.get(PAIRINGS, {"app_type": "tizen"})
    assert [row.app_type for row in page.context["cl"].queryset] == ["tizen"]


def test_an_operator_sees_the_rows_of_his_tenant_only(
    desk: Browser, operator: Operator, foreigner: Operator
):
    Device.create(client_id="globex-tv")
    Device.create()
    for path, count in ((SUBSCRIBERS, 1), (CARDS, 2), (PAIRINGS, 1)):
        rows = desk.get(path).context["cl"].queryset
        assert {row.tenant.slug for row in rows} == {"acme"}
        assert len(rows) == count


def test_a_superuser_without_a_tenant_sees_all_and_filters_by_tenant(
    root: Browser, operator: Operator, foreigner: Operator, other_tenant: Tenant
):
    assert len(root.get(SUBSCRIBERS).context["cl"].queryset) == 2
    page = root.get(SUBSCRIBERS, {"tenant__id__exact": other_tenant.pk})
    assert {row.tenant.slug for row in page.context["cl"].queryset} == {"globex"}


def test_foreign_rows_cannot_be_opened_changed_or_acted_upon(
    desk: Browser, operator: Operator, foreigner: Operator, other_tenant: Tenant
):
    foreign = Subscriber.objects.get(tenant=other_tenant)
    device = Device.create(client_id="globex-tv")
    foreigner.approve(device)
    assert desk.get(f"{SUBSCRIBERS}{foreign.pk}/change/").status_code == 302
    act(desk, SUBSCRIBERS, "lock", foreign)
    act(desk, PAIRINGS, "revoke_selected", device.row, confirmed="yes")
    foreign.refresh_from_db()
    assert (foreign.state, device.row.state) == ("active", State.APPROVED)


def test_a_card_cannot_be_put_on_a_foreign_subscriber(
    desk: Browser, subscriber: Subscriber, foreigner: Operator, other_tenant: Tenant
):
    foreign = Subscriber.objects.get(tenant=other_tenant)
    page = desk.post(f"{CARDS}add/", {"sn": "N-1", "subscriber": foreign.pk})
    assert page.status_code == 200
    assert not Smartcard.objects.filter(sn="N-1").exists()
    found = desk.get(
        "/admin/autocomplete/",
        {"app_label": "pairing", "model_name": "smartcard", "field_name": "subscriber", "term": ""},
    )
    assert [row["id"] for row in found.json()["results"]] == [str(subscriber.pk)]


def test_a_card_is_added_to_a_subscriber_of_its_tenant_once(
    desk: Browser, subscriber: Subscriber, changes: Callable[[], list[str]]
):
    form = {"sn": "N-1", "subscriber": subscriber.pk}
    assert desk.post(f"{CARDS}add/", form).status_code == 302
    assert Smartcard.objects.get(sn="N-1").tenant_id == subscriber.tenant_id
    assert changes() == ["subscriber.changed"]
    again = desk.post(f"{CARDS}add/", form)
    assert again.status_code == 200
    assert "A smartcard with this number exists already." in again.content.decode()


def test_a_card_on_a_device_is_not_moved(
    desk: Browser, operator: Operator, tenant: Tenant, subscriber: Subscriber
):
    other = subscribe(tenant, "S-2")
    signed_in(operator)
    card = Smartcard.objects.get(active_pairing__isnull=False)
    page = desk.post(f"{CARDS}{card.pk}/change/", {"sn": card.sn, "subscriber": other.pk})
    assert "A device uses this card." in page.content.decode()
    card.refresh_from_db()
    assert card.subscriber_id == subscriber.pk


def test_a_person_of_another_tenant_cannot_be_linked(
    root: Browser, subscriber: Subscriber, other_tenant: Tenant
):
    stranger = User.objects.create_user("stranger", password="x", tenant=other_tenant)
    page = root.post(
        f"{SUBSCRIBERS}{subscriber.pk}/change/",
        {"name": "", "user": stranger.pk, **management_form()},
    )
    assert "This person belongs to another tenant." in page.content.decode()


def management_form() -> dict[str, int]:
    return {"smartcards-TOTAL_FORMS": 0, "smartcards-INITIAL_FORMS": 0}


def test_a_subscriber_is_renamed_and_the_change_recorded(
    desk: Browser, subscriber: Subscriber, changes: Callable[[], list[str]]
):
    form = {"name": "Anna", "user": "", "state": "locked", "code": "X", **management_form()}
    assert desk.post(f"{SUBSCRIBERS}{subscriber.pk}/change/", form).status_code == 302
    subscriber.refresh_from_db()
    assert (subscriber.name, subscriber.state, subscriber.code) == ("Anna", "active", "S-1")
    assert changes() == ["subscriber.changed"]


def test_subscribers_are_locked_and_unlocked_and_each_change_is_recorded_once(
    desk: Browser, tenant: Tenant, changes: Callable[[], list[str]]
):
    chosen = [subscribe(tenant, code) for code in ("A", "B", "C")]
    Subscriber.objects.filter(code="C").update(state="locked")
    assert said(act(desk, SUBSCRIBERS, "lock", *chosen)) == ["2 subscribers locked."]
    assert changes() == ["subscriber.changed"] * 2
    assert said(act(desk, SUBSCRIBERS, "unlock", chosen[0])) == ["1 subscriber unlocked."]
    assert sorted(Subscriber.objects.values_list("code", "state")) == [
        ("A", "active"),
        ("B", "locked"),
        ("C", "locked"),
    ]


def test_revoking_asks_first(desk: Browser, operator: Operator):
    device = signed_in(operator)
    page = act(desk, PAIRINGS, "revoke_selected", device.row)
    assert "Revoke devices?" in page.content.decode()
    assert device.udid in page.content.decode()
    assert device.row.state == State.DELIVERED


def test_devices_are_revoked_together_and_their_cards_are_free(
    desk: Browser, operator: Operator, changes: Callable[[], list[str]]
):
    devices = [signed_in(operator), signed_in(operator)]
    waiting = Device.create()
    changes()
    rows = [device.row for device in (*devices, waiting)]
    page = act(desk, PAIRINGS, "revoke_selected", *rows, confirmed="yes", reason="sold")
    assert said(page) == ["2 devices revoked.", "1 was not signed in and stays as it is."]
    assert [device.row.state for device in devices] == [State.REVOKED] * 2
    assert {device.row.ended_reason for device in devices} == {"sold"}
    assert waiting.row.state == State.PENDING
    assert not Smartcard.objects.filter(active_pairing__isnull=False).exists()
    assert changes().count("pairing.revoked") == 2


def test_devices_revoked_twice_are_recorded_once(
    desk: Browser, operator: Operator, changes: Callable[[], list[str]]
):
    row = signed_in(operator).row
    changes()
    for _ in range(2):
        act(desk, PAIRINGS, "revoke_selected", row, confirmed="yes")
    assert changes().count("pairing.revoked") == 1


def test_nobody_revokes_more_at_once_than_can_be_looked_over(
    desk: Browser, operator: Operator, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(pages, "MOST_AT_ONCE", 1)
    rows = [signed_in(operator).row for _ in range(2)]
    page = act(desk, PAIRINGS, "revoke_selected", *rows, confirmed="yes")
    assert said(page) == ["Choose at most 1 devices at once."]
    assert Pairing.objects.filter(state=State.REVOKED).count() == 0


def test_pairings_are_neither_made_nor_edited_nor_deleted_by_hand(root: Browser, tv: Any):
    row = Device.create().row
    assert root.get(f"{PAIRINGS}add/").status_code == 403
    assert root.post(f"{PAIRINGS}{row.pk}/change/", {"state": "approved"}).status_code == 403
    assert root.get(f"{PAIRINGS}{row.pk}/delete/").status_code == 403
    assert root.get(f"{PAIRINGS}{row.pk}/change/").status_code == 200


def test_looking_needs_no_right_to_revoke(operator: Operator, tenant: Tenant):
    user = User.objects.create_user("vera", password="x", tenant=tenant, is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename="view_pairing"))
    browser, row = logged_in(user), signed_in(operator).row
    assert listed(browser.get(PAIRINGS)) == [str(row)]
    act(browser, PAIRINGS, "revoke_selected", row, confirmed="yes")
    assert Pairing.objects.get(pk=row.pk).state == State.DELIVERED
