"""Access tokens need no look-up, refresh tokens are used once, families die together."""

import base64
import json
import threading
from datetime import timedelta

import pytest
from django.db import connection
from joserfc import jwt
from joserfc.jwk import OctKey, OKPKey

from accounts import keyring, snapshot, tokens
from accounts.models import KeyringKey, Plan, RefreshToken, Tenant, TokenFamily

HOUR = 3600


def family_of(tenant, **fields):
    return tokens.start_family(tenant, "S-1", "tv-0001", ["stream"], **fields)


@pytest.fixture
def family(tenant):
    made = family_of(tenant)
    snapshot.reload()
    return made


def verified(token):
    claims = tokens.verify(token)
    assert claims is not None
    return claims


def refreshed(token, client_id="", **options):
    answer = tokens.refresh(token, client_id, **options)
    assert isinstance(answer, tokens.Tokens)
    return answer


def part(token, index):
    text = token.split(".")[index]
    return json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))


def test_a_token_carries_the_claims_of_its_family_and_its_key_id(family, settings):
    token = tokens.issue(family).access_token
    claims = part(token, 1)
    assert part(token, 0) == {"alg": "EdDSA", "typ": "at+jwt", "kid": "token-1"}
    assert claims.pop("jti")
    assert claims.pop("exp") - claims.pop("iat") == HOUR
    assert claims == {
        "iss": settings.PUBLIC_URL,
        "sub": "S-1",
        "tid": family.tenant_id,
        "dev": "tv-0001",
        "fam": str(family.pk),
        "scope": "stream",
    }


def test_a_token_is_verified_without_a_query(family, django_assert_num_queries):
    token = tokens.issue(family).access_token
    with django_assert_num_queries(0):
        claims = verified(token)
    assert (claims.subject, claims.device, claims.family) == ("S-1", "tv-0001", family.pk)
    assert claims.scopes == {"stream"}


def test_a_token_lives_an_hour(family, clock):
    token = tokens.issue(family).access_token
    clock.advance(HOUR - 2)
    assert tokens.verify(token)
    clock.advance(2)
    assert tokens.verify(token) is None


def test_a_token_of_a_revoked_family_is_refused_for_all_its_life(family, clock):
    token = tokens.issue(family).access_token
    assert tokens.revoke_family(family.pk)
    snapshot.reload()
    assert tokens.verify(token) is None
    clock.advance(HOUR - 2)
    snapshot.reload()
    assert tokens.verify(token) is None


def test_families_revoked_longer_ago_than_a_token_lives_are_forgotten(family, clock):
    tokens.revoke_family(family.pk)
    assert family.pk in snapshot.reload().revoked_families
    clock.advance(HOUR + snapshot.REVOCATION_MARGIN.total_seconds() + 1)
    assert snapshot.reload().revoked_families == frozenset()


def test_more_revocations_than_are_kept_refuse_all_older_tokens(tenant, clock, monkeypatch):
    monkeypatch.setattr(snapshot, "REVOKED_FAMILIES_KEPT", 2)
    families = [family_of(tenant) for _ in range(4)]
    snapshot.reload()
    old = [tokens.issue(family).access_token for family in families]
    for family in families[:3]:
        clock.advance(2)
        tokens.revoke_family(family.pk)
    clock.advance(2)
    young = tokens.issue(families[3]).access_token
    known = snapshot.reload()
    assert len(known.revoked_families) == 2
    assert [tokens.verify(token) for token in old] == [None] * 4
    assert tokens.verify(young)


def test_tokens_of_two_active_keys_are_both_verified(family, clock):
    old = tokens.issue(family).access_token
    clock.advance(1)
    keyring.add(KeyringKey.Purpose.TOKEN)
    snapshot.reload()
    new = tokens.issue(family).access_token
    assert [part(token, 0)["kid"] for token in (old, new)] == ["token-1", "token-2"]
    assert tokens.verify(old)
    assert tokens.verify(new)


def test_a_token_of_a_compromised_key_is_refused(family):
    token = tokens.issue(family).access_token
    KeyringKey.objects.filter(kid="token-1").update(state="compromised")
    snapshot.reload()
    assert tokens.verify(token) is None


def forged(header, claims, key):
    return jwt.encode(header, claims, key, algorithms=[header["alg"]])


def test_a_token_signed_by_anybody_else_is_refused(family):
    genuine = tokens.issue(family).access_token
    claims, header = part(genuine, 1), part(genuine, 0)
    public = snapshot.current().keyring.verifiers["token-1"].as_bytes(private=False)
    hmac_header = {**header, "alg": "HS256"}
    forgeries = [
        jwt.encode(header, claims, OKPKey.generate_key("Ed25519"), registry=tokens._algorithms),
        forged(hmac_header, claims, OctKey.import_key(base64.b64encode(public))),
        ".".join(["eyJhbGciOiJub25lIn0", genuine.split(".")[1], ""]),
    ]
    assert [tokens.verify(text) for text in forgeries] == [None] * 3


@pytest.mark.parametrize(
    "change",
    [
        {"iss": "https://elsewhere.example"},
        {"tid": 0},
        {"tid": None},
        {"fam": "no uuid"},
        {"fam": 7},
        {"scope": None},
        {"exp": "soon"},
        {"exp": 10**30},
        {"sub": None},
        {"dev": ["tv"]},
    ],
)
def test_a_token_we_signed_with_odd_claims_is_refused_and_not_an_error(family, change):
    claims = part(tokens.issue(family).access_token, 1) | change
    header = {"alg": "EdDSA", "typ": "at+jwt", "kid": "token-1"}
    odd = jwt.encode(header, claims, keyring.signer(), registry=tokens._algorithms)
    assert tokens.verify(odd) is None


def test_a_signed_text_of_another_type_is_no_access_token(family):
    claims = part(tokens.issue(family).access_token, 1)
    header = {"alg": "EdDSA", "typ": "JWT", "kid": "token-1"}
    other = jwt.encode(header, claims, keyring.signer(), registry=tokens._algorithms)
    assert tokens.verify(other) is None


@pytest.mark.parametrize(
    "text",
    ["", "..", "a.b.c", "e30.e30.e30", "\ud800.x.y", "x" * 5000, "eyJhbGciOiJFZERTQSJ9.e.A"],
)
def test_what_is_no_token_is_refused_and_not_an_error(family, text):
    assert tokens.verify(text) is None


def test_a_refresh_answers_new_tokens_of_the_same_family(family):
    first = tokens.issue(family)
    second = refreshed(first.refresh_token)
    assert second.refresh_token != first.refresh_token
    assert verified(second.access_token).family == family.pk
    assert second.expires_in == HOUR
    assert second.scope == "stream"


def test_the_refresh_token_is_stored_as_a_digest_only(family):
    text = tokens.issue(family).refresh_token
    row = RefreshToken.objects.get()
    assert text not in str(row.__dict__)
    assert len(row.digest) == 64


def test_a_refresh_token_that_is_used_again_revokes_the_whole_family(family, changes):
    first = tokens.issue(family)
    second = refreshed(first.refresh_token)
    changes()
    assert tokens.refresh(first.refresh_token) == tokens.USED
    snapshot.reload()
    assert changes() == ["token.revoked"]
    assert tokens.verify(second.access_token) is None
    assert tokens.refresh(second.refresh_token) == tokens.UNKNOWN


def test_the_slower_of_two_parallel_refreshes_is_refused_and_the_family_lives(family, clock):
    first = tokens.issue(family)
    arrived = clock.now()
    second = refreshed(first.refresh_token, began=arrived)
    assert tokens.refresh(first.refresh_token, began=arrived) == tokens.USED
    assert refreshed(second.refresh_token)


def test_a_refresh_token_dies_after_thirty_days(family, clock):
    day = timedelta(days=1).total_seconds()
    token = tokens.issue(family).refresh_token
    clock.advance(30 * day - 1)
    kept = refreshed(token)
    clock.advance(30 * day)
    assert tokens.refresh(kept.refresh_token) == tokens.UNKNOWN


def test_another_client_cannot_refresh_and_does_not_spoil_the_token(tenant):
    token = tokens.issue(family_of(tenant, client_id="acme-tv")).refresh_token
    assert tokens.refresh(token, "thief") == tokens.UNKNOWN
    assert refreshed(token, "acme-tv")


@pytest.mark.parametrize("text", ["", "rt_", "\ud800", "rt_" + "x" * 100_000])
def test_an_unknown_refresh_token_is_refused(db, text):
    assert tokens.refresh(text) == tokens.UNKNOWN


def test_a_client_revokes_its_family_by_its_refresh_token(tenant):
    family = family_of(tenant, client_id="acme-tv")
    token = tokens.issue(family).refresh_token
    assert not tokens.revoke(token, "thief")
    assert tokens.revoke(token, "acme-tv")
    assert not tokens.revoke(token, "acme-tv")
    assert tokens.refresh(token, "acme-tv") == tokens.UNKNOWN


@pytest.mark.embedded
@pytest.mark.django_db(transaction=True)
def test_of_twenty_parallel_refreshes_of_one_token_one_wins(clock):
    plan = Plan.objects.create(name="p")
    family = family_of(Tenant.objects.create(slug="t", name="T", plan=plan))
    snapshot.reload()
    token = tokens.issue(family).refresh_token
    arrived = clock.now()
    barrier = threading.Barrier(20)
    answers = []

    def refresh():
        barrier.wait()
        try:
            answers.append(tokens.refresh(token, began=arrived))
        finally:
            connection.close()

    threads = [threading.Thread(target=refresh) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    won = [answer for answer in answers if isinstance(answer, tokens.Tokens)]
    assert (len(won), len(answers)) == (1, 20)
    assert [answer for answer in answers if answer not in won] == [tokens.USED] * 19
    assert RefreshToken.objects.filter(family=family).count() == 2
    assert TokenFamily.objects.get().revoked_at is None
    assert refreshed(won[0].refresh_token)
