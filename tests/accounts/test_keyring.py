"""The keyring seals and opens, with one key or several, and never with a compromised one."""

import hmac
import threading

import pytest
from django.db import connection

from accounts import keyring, sealing, snapshot
from accounts.models import KeyringKey

Purpose, State = KeyringKey.Purpose, KeyringKey.State


def test_migrating_makes_one_key_of_each_purpose(db):
    kids = KeyringKey.objects.order_by("kid").values_list("kid", flat=True)
    assert list(kids) == ["credentials-1", "token-1"]


def test_what_is_sealed_opens_in_its_context(db):
    text = keyring.seal(b"pin 1234", "subscriber:1")
    assert keyring.open_sealed(text, "subscriber:1") == b"pin 1234"
    assert "1234" not in text


def test_a_sealed_text_carries_the_id_of_its_key(db):
    assert keyring.seal(b"x", "a").split(".")[1] == "credentials-1"


def test_the_same_text_is_sealed_differently_each_time(db):
    assert keyring.seal(b"x", "a") != keyring.seal(b"x", "a")


def test_a_text_of_another_context_does_not_open(db):
    text = keyring.seal(b"x", "subscriber:1")
    with pytest.raises(keyring.CannotOpen):
        keyring.open_sealed(text, "subscriber:2")


@pytest.mark.parametrize("text", ["", "v1", "v1.credentials-1", "v2.credentials-1.AAAA", "x.y.z"])
def test_what_is_no_sealed_text_does_not_open(db, text):
    with pytest.raises(keyring.CannotOpen):
        keyring.open_sealed(text, "a")


@pytest.mark.parametrize("end", ["", "AAAA", "!!!!", "A", "\u00e9"])
def test_a_damaged_text_does_not_open(db, end):
    whole = keyring.seal(b"x", "a")
    with pytest.raises(keyring.CannotOpen):
        keyring.open_sealed(whole[: whole.rindex(".") + 1] + end, "a")


def test_two_active_keys_work_and_the_newer_one_seals(db, clock):
    old = keyring.seal(b"old", "a")
    clock.advance(1)
    keyring.add(Purpose.CREDENTIALS)
    snapshot.reload()
    new = keyring.seal(b"new", "a")
    assert new.split(".")[1] == "credentials-2"
    assert keyring.open_sealed(old, "a") == b"old"
    assert keyring.open_sealed(new, "a") == b"new"


def test_a_retiring_key_opens_and_does_not_seal(db, clock):
    old = keyring.seal(b"old", "a")
    clock.advance(1)
    keyring.add(Purpose.CREDENTIALS)
    KeyringKey.objects.filter(kid="credentials-2").update(state=State.RETIRING)
    KeyringKey.objects.filter(kid="credentials-1").update(state=State.RETIRING)
    keyring.add(Purpose.CREDENTIALS)
    snapshot.reload()
    assert keyring.seal(b"x", "a").split(".")[1] == "credentials-3"
    assert keyring.open_sealed(old, "a") == b"old"


def test_a_compromised_key_opens_nothing(db):
    text = keyring.seal(b"x", "a")
    KeyringKey.objects.update(state=State.COMPROMISED)
    snapshot.reload()
    with pytest.raises(keyring.CannotOpen):
        keyring.open_sealed(text, "a")
    with pytest.raises(sealing.NoActiveKey):
        keyring.seal(b"x", "a")


def test_ensure_replaces_a_compromised_key_and_is_idempotent(db):
    KeyringKey.objects.filter(purpose=Purpose.CREDENTIALS).update(state=State.COMPROMISED)
    keyring.ensure()
    keyring.ensure()
    kids = KeyringKey.objects.filter(purpose=Purpose.CREDENTIALS).order_by("kid")
    assert [key.kid for key in kids] == ["credentials-1", "credentials-2"]


def test_a_text_sealed_by_a_newer_process_opens_here(db, clock):
    snapshot.reload()
    behind = snapshot._current
    clock.advance(1)
    keyring.add(Purpose.CREDENTIALS)
    snapshot.reload()
    text = keyring.seal(b"x", "a")
    snapshot._current = behind
    assert keyring.open_sealed(text, "a") == b"x"


def test_secrets_in_the_database_open_only_with_the_same_setting(db, settings):
    settings.KEYRING_SECRET = "another root of the keyring"
    with pytest.raises(keyring.CannotOpen):
        snapshot.reload()


def test_a_key_that_is_added_is_recorded_with_it(db, changes):
    changes()
    keyring.add(Purpose.TOKEN, actor="command:shell")
    assert changes() == ["keyring.changed"]


def test_a_mac_is_hmac_sha256_under_a_key_of_its_label(db):
    expected = hmac.digest(sealing.derive("mac:device_code"), b"x", "sha256")
    assert keyring.mac("device_code", b"x") == expected


def test_macs_of_two_labels_differ(db):
    assert keyring.mac("device_code", b"x") != keyring.mac("idempotency", b"x")
    assert keyring.mac("device_code", b"x") == keyring.mac("device_code", b"x")


@pytest.mark.embedded
@pytest.mark.django_db(transaction=True)
def test_twenty_processes_that_ensure_at_once_make_one_key_of_each_purpose():
    KeyringKey.objects.all().delete()
    barrier = threading.Barrier(20)
    failures = []

    def ensure():
        barrier.wait()
        try:
            keyring.ensure()
        except Exception as error:
            failures.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=ensure) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert sorted(KeyringKey.objects.values_list("kid", flat=True)) == ["credentials-1", "token-1"]
