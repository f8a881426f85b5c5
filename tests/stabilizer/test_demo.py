"""``manage.py demo``: data to try everything with, made once."""

import io
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connection
from django.test.utils import CaptureQueriesContext

from accounts import keys, snapshot
from accounts.models import ApiKey, Client, KeyringKey, Plan, Scope, Tenant, User
from audit import entry
from audit.models import Outbox
from pairing import credentials
from pairing.models import Smartcard, Subscriber

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def quick_passwords(settings: Any) -> None:
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]


def demo(**options: Any) -> dict[str, Any]:
    out = io.StringIO()
    call_command("demo", json=True, stdout=out, **{"subscribers": 20, "cards": 3, **options})
    told: dict[str, Any] = json.loads(out.getvalue())
    return told


def rows() -> dict[str, int]:
    models = (ApiKey, Client, KeyringKey, Plan, Tenant, User, Subscriber, Smartcard)
    return {model.__name__: model._default_manager.count() for model in models}


def test_it_makes_everything_that_a_first_pairing_needs(tmp_path: Path):
    told = demo(key_file=tmp_path / "key")
    assert rows() == {
        "ApiKey": 1,
        "Client": 1,
        "KeyringKey": 2,
        "Plan": 2,
        "Tenant": 1,
        "User": 2,
        "Subscriber": 20,
        "Smartcard": 60,
    }
    default = snapshot.reload().default_client("tv.example")
    assert default is not None
    assert (default.client_id, default.tenant_slug) == ("demo-tv", "demo")
    entry = keys.verify(told["api_key"], snapshot.current())
    assert entry is not None
    assert entry.scopes == set(Scope.values)
    assert (entry.plan.per_minute, entry.plan.per_day) == (60_000, None)


def test_the_plans_are_those_of_the_price_list():
    demo()
    plans = Plan.objects.order_by("name").values_list("name", "per_minute", "per_hour", "per_day")
    assert list(plans) == [("free", 60, 1_000, 10_000), ("operator", 60_000, None, None)]


def test_everything_made_is_recorded_once():
    demo()
    demo()
    recorded = Counter(entry.decode(row.entry)["action"] for row in Outbox.objects.all())
    kinds = ("plan.changed", "tenant.changed", "client.changed", "person.changed")
    assert [recorded[kind] for kind in kinds] == [2, 1, 1, 2]


def test_a_second_run_changes_nothing_and_keeps_the_key(tmp_path: Path):
    first = demo(key_file=tmp_path / "key")
    before = rows(), list(Subscriber.objects.values()), list(User.objects.values())
    second = demo(key_file=tmp_path / "key")
    assert (rows(), list(Subscriber.objects.values()), list(User.objects.values())) == before
    assert (second["api_key"], second["api_key_is_new"]) == (first["api_key"], False)
    assert (second["subscribers_made"], second["smartcards_made"], second["password"]) == (
        0,
        0,
        None,
    )


def test_a_key_file_that_lost_its_key_gets_a_new_one_and_the_old_key_is_revoked(tmp_path: Path):
    old = demo(key_file=tmp_path / "key")["api_key"]
    (tmp_path / "key").write_text("stb_wrong_key\n")
    new = demo(key_file=tmp_path / "key")["api_key"]
    assert (tmp_path / "key").read_text() == f"{new}\n"
    assert keys.verify(old, snapshot.reload()) is None
    assert keys.verify(new, snapshot.reload()) is not None
    assert ApiKey.objects.filter(revoked_at=None).count() == 1


def test_nobody_else_can_read_the_key_file(tmp_path: Path):
    demo(key_file=tmp_path / "new" / "key")
    assert (tmp_path / "new" / "key").stat().st_mode & 0o777 == 0o600


def test_codes_and_cards_are_numbered_alike_every_time():
    demo(subscribers=2, cards=2)
    sns = Smartcard.objects.order_by("sn").values_list("subscriber__code", "sn")
    assert list(sns) == [
        ("S000001", "SC0000010001"),
        ("S000001", "SC0000010002"),
        ("S000002", "SC0000020001"),
        ("S000002", "SC0000020002"),
    ]


def test_more_subscribers_are_added_to_those_that_are_there():
    demo(subscribers=2, cards=1)
    told = demo(subscribers=5, cards=2)
    assert (told["subscribers_made"], told["smartcards_made"]) == (3, 8)


def test_credentials_are_sealed_for_their_subscriber():
    demo()
    subscriber = Subscriber.objects.get(code="S000007")
    found = credentials.unseal(subscriber.tenant_id, "S000007", subscriber.sealed_credentials)
    assert found["login1"] == "s000007"
    assert set(found) == {"login1", "password", "pin", "packages"}
    assert found["password"] not in subscriber.sealed_credentials


def test_the_people_can_log_in_with_the_password_that_was_told(client: Any):
    password = demo()["password"]
    assert client.login(username="admin", password=password)
    assert client.get("/admin/").status_code == 200
    assert client.login(username="ana", password=password)
    assert User.objects.get(username="ana").subscriber.code == "S000001"
    assert client.get("/admin/").status_code == 302


def test_a_password_that_is_given_is_set_also_on_a_second_run(client: Any):
    demo()
    assert demo(admin_password="tulip-9431")["password"] == "tulip-9431"
    assert client.login(username="admin", password="tulip-9431")


def test_another_default_client_is_not_pushed_aside():
    plan = Plan.objects.create(name="own")
    tenant = Tenant.objects.create(slug="own", name="Own", plan=plan)
    Client.objects.create(tenant=tenant, client_id="own-tv", name="Own", default_for_host="*")
    demo()
    assert Client.objects.get(client_id="demo-tv").default_for_host is None


def test_more_subscribers_cost_no_more_queries():
    demo(subscribers=1, cards=1)
    counts = []
    for subscribers in (5, 40):
        with CaptureQueriesContext(connection) as queries:
            demo(subscribers=subscribers, cards=5)
        counts.append(len(queries))
    assert counts[0] == counts[1]


def test_without_json_it_says_in_words_what_is_there(capsys: pytest.CaptureFixture[str]):
    out = io.StringIO()
    call_command("demo", subscribers=2, cards=1, stdout=out)
    assert "2 new, with 2 new smartcards" in out.getvalue()
    assert "ana (S000001)" in out.getvalue()
