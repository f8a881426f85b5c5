"""The snapshot is read whole, replaced whole, and follows what others change."""

import threading
import time
from dataclasses import FrozenInstanceError

import pytest
from django.db import connection, transaction

from accounts import keys, snapshot, tokens
from accounts.models import ApiKey, Client, Plan, Tenant
from ratelimit import revision, store


def test_the_first_use_reads_the_database_and_the_next_do_not(key, tv, django_assert_num_queries):
    with django_assert_num_queries(6):
        snapshot.current()
    with django_assert_num_queries(0):
        snapshot.current()


def test_a_hundred_tenants_are_read_with_as_many_queries_as_one(plan, django_assert_num_queries):
    for number in range(100):
        tenant = Tenant.objects.create(slug=f"t{number}", name="T", plan=plan)
        Client.objects.create(tenant=tenant, client_id=f"c{number}", name="C")
    ApiKey.objects.bulk_create(
        ApiKey(tenant=tenant, name="k", prefix=f"p{number}", digest="x") for number in range(100)
    )
    with django_assert_num_queries(6):
        known = snapshot.reload()
    assert (len(known.tenants), len(known.clients), len(known.keys)) == (100, 100, 100)


def test_nobody_can_change_a_snapshot(key):
    known = snapshot.current()
    with pytest.raises(FrozenInstanceError):
        known.keys = {}  # type: ignore[misc]
    with pytest.raises(TypeError):
        known.keys["x"] = None  # type: ignore[index]


def test_a_change_of_the_revision_reloads_the_snapshot(tenant):
    snapshot.reload()
    _, text = keys.create(tenant, "k", [])
    assert keys.verify(text, snapshot.current()) is None
    revision.refresh()
    assert keys.verify(text, snapshot.current())


def test_a_failed_reload_leaves_the_old_snapshot_in_use(key, settings):
    before = snapshot.reload()
    settings.KEYRING_SECRET = "lost"
    with pytest.raises(Exception, match="altered or sealed"):
        snapshot.reload()
    assert snapshot.current() is before


def test_more_keys_than_are_kept_leave_the_newest(tenant, monkeypatch, caplog):
    monkeypatch.setattr(snapshot, "KEYS_KEPT", 3)
    made = [keys.create(tenant, f"k{number}", [])[0].prefix for number in range(5)]
    assert set(snapshot.reload().keys) == set(made[2:])
    assert "more than 3 API keys" in caplog.text


@pytest.mark.parametrize(
    ("host", "client_id"),
    [
        ("tv.acme.example", "acme-tv"),
        ("TV.Acme.Example:8443", "acme-tv"),
        ("other.example", "any-tv"),
        ("[::1]:9000", "any-tv"),
        ("[::1]", "any-tv"),
        ("", "any-tv"),
    ],
)
def test_a_device_that_names_no_client_has_its_hosts_default(tv, tenant, host, client_id):
    Client.objects.create(
        tenant=tenant, client_id="any-tv", name="A", default_for_host=snapshot.ANY_HOST
    )
    client = snapshot.reload().default_client(host)
    assert client is not None
    assert client.client_id == client_id


def test_a_host_without_a_default_has_none(tv):
    assert snapshot.reload().default_client("other.example") is None


def test_an_inactive_client_is_unknown(tv):
    Client.objects.update(active=False)
    known = snapshot.reload()
    assert known.clients == {}
    assert known.default_client("tv.acme.example") is None


@pytest.mark.embedded
@pytest.mark.django_db(transaction=True)
def test_an_edited_plan_holds_in_a_running_process_within_two_seconds(redis_client):
    plan = Plan.objects.create(name="p", per_minute=1)
    _, text = keys.create(Tenant.objects.create(slug="t", name="T", plan=plan), "k", [])
    watcher = revision.Watcher(store.shared())
    watcher.start()
    try:
        assert holds(lambda: quota(text) == 1)
        with transaction.atomic():
            Plan.objects.update(per_minute=7)
            revision.bump()
        assert holds(lambda: quota(text) == 7)
    finally:
        watcher.stop()


@pytest.mark.embedded
@pytest.mark.django_db(transaction=True)
def test_a_revoked_family_is_refused_by_a_running_process_within_two_seconds(tenant):
    family = tokens.start_family(tenant, "S1", "udid-of-the-device")
    token = tokens.issue(family).access_token
    watcher = revision.Watcher(store.shared())
    watcher.start()
    try:
        assert holds(lambda: tokens.verify(token) is not None)
        number = revision.current()
        tokens.revoke_family(family.pk)
        assert holds(lambda: tokens.verify(token) is None)
        assert revision.current() == number
    finally:
        watcher.stop()


def quota(text):
    entry = keys.verify(text, snapshot.current())
    return entry and entry.plan.per_minute


def holds(condition):
    """Whether `condition` comes true within the two seconds that are promised."""
    end = time.monotonic() + 2
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


@pytest.mark.embedded
@pytest.mark.django_db(transaction=True)
def test_readers_meet_only_whole_snapshots_while_ten_threads_reload():
    plan = Plan.objects.create(name="p", per_minute=1)
    tenant = Tenant.objects.create(slug="t", name="T", plan=plan)
    _, text = keys.create(tenant, "k", [])
    snapshot.reload()
    wrong, done = [], threading.Event()

    def read():
        while not done.is_set():
            entry = keys.verify(text, snapshot.current())
            if entry is None or entry.plan not in snapshot.current().plans.values():
                wrong.append(entry)

    def reload():
        for _ in range(5):
            snapshot.reload()
        connection.close()

    reader = threading.Thread(target=read)
    reader.start()
    reloaders = [threading.Thread(target=reload) for _ in range(10)]
    for thread in reloaders:
        thread.start()
    for thread in reloaders:
        thread.join()
    done.set()
    reader.join()
    assert wrong == []
