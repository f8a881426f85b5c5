"""Subscribers as an operator's own system keeps them."""

from collections.abc import Callable

import pytest

from accounts.models import Tenant
from pairing import credentials
from pairing.models import Smartcard, Subscriber
from tests.pairing.conftest import SECRETS, Device, Operator, subscribe

PATH = "/api/v1/subscribers/S-9/"
WHOLE = {
    "name": "Ines",
    "state": "active",
    "smartcards": ["C-91", "C-92"],
    "credentials": {"login1": "ines", "password": " pässword ", "packages": ["films"]},
}


def code_of(response) -> tuple[int, str]:
    return response.status_code, response.json()["code"]


def test_a_subscriber_is_made_and_read_back_without_its_secrets(
    operator: Operator, changes: Callable[[], list[str]]
):
    response = operator.send("PUT", PATH, WHOLE)
    assert response.status_code == 201, response.content
    assert response.json() == {
        "code": "S-9",
        "name": "Ines",
        "state": "active",
        "smartcards": [{"sn": "C-91", "udid": None}, {"sn": "C-92", "udid": None}],
        "has_credentials": True,
    }
    assert operator.get(PATH).json() == response.json()
    assert changes() == ["subscriber.changed"]
    row = Subscriber.objects.get(code="S-9")
    secrets = credentials.unseal(row.tenant_id, "S-9", row.sealed_credentials)
    assert secrets == WHOLE["credentials"]


def test_what_is_left_out_stays_as_it_is(operator: Operator):
    operator.send("PUT", PATH, WHOLE)
    response = operator.send("PUT", PATH, {"state": "locked"})
    assert response.status_code == 200
    told = response.json()
    assert (told["name"], told["state"], len(told["smartcards"])) == ("Ines", "locked", 2)
    assert told["has_credentials"]


def test_cards_that_are_left_out_are_taken_away(operator: Operator):
    operator.send("PUT", PATH, WHOLE)
    operator.send("PUT", PATH, {"smartcards": ["C-92", "C-93", "C-93"]})
    assert [card["sn"] for card in operator.get(PATH).json()["smartcards"]] == ["C-92", "C-93"]


def test_a_card_with_an_active_device_is_not_taken_away(operator: Operator):
    device = Device.create()
    operator.approve(device, sn="C-1")
    path = "/api/v1/subscribers/S-1/"
    assert code_of(operator.send("PUT", path, {"smartcards": ["C-2"]})) == (409, "smartcard_in_use")
    assert operator.get(path).json()["smartcards"][0] == {"sn": "C-1", "udid": device.udid}
    operator.revoke(device.udid)
    assert operator.send("PUT", path, {"smartcards": ["C-2"]}).status_code == 200
    assert Smartcard.objects.count() == 1


def test_a_card_of_another_subscriber_is_not_given_away(operator: Operator):
    refused = operator.send("PUT", PATH, {**WHOLE, "smartcards": ["C-1"]})
    assert code_of(refused) == (409, "smartcard_taken")
    assert operator.get(PATH).status_code == 404


def test_a_code_in_other_capitals_is_refused_and_the_credentials_still_open(operator: Operator):
    device = Device.create()
    operator.approve(device)
    refused = operator.send("PUT", "/api/v1/subscribers/s-1/", WHOLE)
    assert code_of(refused) == (409, "differs_in_case")
    assert "S-1" in refused.json()["detail"]
    assert Subscriber.objects.get().code == "S-1"
    assert device.collect().json()["credentials"]["password"] == SECRETS["password"]


def test_a_card_in_other_capitals_is_the_card(operator: Operator):
    device = Device.create()
    operator.approve(device, sn="C-1")
    path = "/api/v1/subscribers/S-1/"
    response = operator.send("PUT", path, {"smartcards": ["c-1", "C-2", "C-3"]})
    assert response.status_code == 200, response.content
    cards = [(card["sn"], card["udid"]) for card in response.json()["smartcards"]]
    assert cards == [("C-1", device.udid), ("C-2", None), ("C-3", None)]


def test_two_cards_that_differ_in_capitals_only_are_a_mistake(operator: Operator):
    refused = operator.send("PUT", PATH, {"smartcards": ["C-91", "c-91"]})
    assert code_of(refused) == (400, "invalid")
    (error,) = refused.json()["errors"]
    assert (error["pointer"], error["code"]) == ("/smartcards", "differs_in_case")


def test_subscribers_are_found_by_the_beginning_of_their_code(
    operator: Operator, tenant: Tenant, django_assert_num_queries
):
    for number in range(3):
        subscribe(tenant, f"A-{number}")
    with django_assert_num_queries(1):
        page = operator.get("/api/v1/subscribers/", search="A-", limit="2").json()
    assert [row["code"] for row in page["results"]] == ["A-0", "A-1"]
    rest = operator.http.get(page["next"], headers=operator._headers()).json()
    assert [row["code"] for row in rest["results"]] == ["A-2"]
    assert rest["next"] is None


def test_lists_hold_the_callers_tenant_only(operator: Operator, foreigner: Operator):
    assert len(operator.get("/api/v1/subscribers/").json()["results"]) == 1
    foreigner.send("PUT", PATH, {})
    assert len(operator.get("/api/v1/subscribers/").json()["results"]) == 1
    assert operator.get(PATH).status_code == 404


@pytest.mark.parametrize(
    "body",
    [
        {"state": "gone"},
        {"smartcards": "C-1"},
        {"smartcards": [""]},
        {"smartcards": ["a b"]},
        {"smartcards": [f"C-{number}" for number in range(101)]},
        {"credentials": {"password": 7}},
        {"credentials": {"card": "x"}},
        {"name": "x" * 201},
    ],
    ids=str,
)
def test_wrong_values_are_refused(operator: Operator, body: dict[str, object]):
    response = operator.send("PUT", PATH, body)
    assert response.status_code == 400
    assert Subscriber.objects.count() == 1


def test_a_code_that_cannot_stand_in_a_path_is_not_found(operator: Operator):
    assert operator.send("PUT", "/api/v1/subscribers/a%20b/", {}).status_code == 404
    assert operator.send("PUT", f"/api/v1/subscribers/{'x' * 65}/", {}).status_code == 404
