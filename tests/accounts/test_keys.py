"""API keys are shown once, stored as an HMAC, and known without a query."""

from datetime import timedelta

import pytest
from django.db import transaction

from accounts import keys, snapshot
from accounts.models import ApiKey


def test_the_text_of_a_key_is_not_in_the_database(key):
    row, text = key
    stored = str(ApiKey.objects.filter(pk=row.pk).values().get())
    secret = text.split("_", 2)[2]
    assert text.startswith(f"stb_{row.prefix}_")
    assert secret not in stored


def test_a_key_is_verified_without_a_query(key, django_assert_num_queries):
    known = snapshot.reload()
    with django_assert_num_queries(0):
        entry = keys.verify(key[1], known)
    assert entry is not None
    assert entry.tenant_slug == "acme"
    assert entry.scopes == {"devices:read"}
    assert entry.plan.per_minute == 60_000


@pytest.mark.parametrize(
    "spoil",
    [
        lambda text: text[:-1],
        lambda text: text + "A",
        lambda text: text[:-1] + ("A" if text[-1] != "A" else "B"),
        lambda text: text.upper(),
        lambda text: text.removeprefix("stb_"),
        lambda text: "stb__",
        lambda text: "",
        lambda text: text.replace("_", "\ud800"),
        lambda text: text * 1000,
    ],
)
def test_anything_but_the_exact_text_is_refused(key, spoil):
    assert keys.verify(spoil(key[1]), snapshot.reload()) is None


def test_a_key_of_another_pepper_is_refused(key, settings):
    settings.API_KEY_PEPPER = "another pepper"
    assert keys.verify(key[1], snapshot.reload()) is None


def test_a_key_expires_at_its_second_although_the_snapshot_is_old(tenant, clock):
    _, text = keys.create(tenant, "short", [], clock.now() + timedelta(seconds=60))
    known = snapshot.reload()
    clock.advance(59)
    assert keys.verify(text, known)
    clock.advance(1)
    assert keys.verify(text, known) is None


def test_a_revoked_key_is_refused_by_the_next_snapshot(key):
    row, text = key
    assert keys.revoke(row)
    assert keys.verify(text, snapshot.reload()) is None


def test_a_key_is_revoked_once_and_recorded_once(key, changes):
    changes()
    assert keys.revoke(key[0])
    assert not keys.revoke(key[0])
    assert changes() == ["key.revoked"]


def test_making_a_key_is_recorded_with_it(tenant, changes):
    keys.create(tenant, "one", [])
    assert changes() == ["key.created"]


def test_a_key_whose_transaction_fails_leaves_no_record(tenant, changes):
    with transaction.atomic():
        keys.create(tenant, "never", [])
        transaction.set_rollback(True)
    assert changes() == []
    assert not ApiKey.objects.exists()
