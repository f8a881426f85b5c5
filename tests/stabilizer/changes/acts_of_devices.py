"""What devices do: with their own API, with OAuth, and by using what they were given."""

from typing import Any
from urllib.parse import urlencode
from uuid import UUID

from accounts import snapshot, tokens
from pairing.models import Pairing
from pairing.oauth import DEVICE_GRANT, REFRESH_GRANT
from tests.pairing.conftest import HTTP, Caller
from tests.stabilizer.changes.acts import Change, act
from tests.stabilizer.changes.stage import Stage

PAIRINGS = "POST /api/v1/pairings/"
ONE = f"{PAIRINGS}<udid:udid>/"
AUTHORIZE, TOKEN, REVOKE = (
    f"POST /oauth/{name}" for name in ("device_authorization", "token", "revoke")
)
SIGNED_OUT = ("pairing.revoked", "token.revoked")


def form(path: str, **fields: str) -> Any:
    body = urlencode({"client_id": "acme-tv", **fields})
    return HTTP.post(path, body, content_type="application/x-www-form-urlencoded")


def exchange(device_code: str) -> Any:
    return form("/oauth/token", grant_type=DEVICE_GRANT, device_code=device_code)


def refresh(token: str) -> Any:
    return form("/oauth/token", grant_type=REFRESH_GRANT, refresh_token=token)


@act(PAIRINGS, "pairing.created", by="device:")
def a_device_asks_for_a_code(stage: Stage) -> Change:
    return lambda: Caller().post("/api/v1/pairings/", {"app_type": "tv"})


@act(PAIRINGS)
def a_device_repeats_what_was_answered(stage: Stage) -> Change:
    def ask() -> Any:
        key = {"Idempotency-Key": "K" * 22}
        return Caller().post("/api/v1/pairings/", {"app_type": "tv"}, **key)

    ask()
    return ask


@act(f"{ONE}renew/", "pairing.renewed", by="device:")
def a_device_renews_its_code(stage: Stage) -> Change:
    return stage.device().renew


@act(f"{ONE}credentials/", "pairing.delivered", by="device:")
def a_device_collects(stage: Stage) -> Change:
    return stage.approved().collect


@act(f"{ONE}credentials/")
def a_device_collects_again(stage: Stage) -> Change:
    return stage.signed_in()[0].collect


@act(f"{ONE}ack/", "pairing.acknowledged", by="device:")
def a_device_acknowledges(stage: Stage) -> Change:
    return stage.signed_in()[0].acknowledge


@act("GET /api/v1/me/", "pairing.acknowledged", by="device:")
def a_device_uses_its_token_for_the_first_time(stage: Stage) -> Change:
    _, answer = stage.signed_in()
    return lambda: Caller(answer["access_token"]).get("/api/v1/me/")


@act("GET /api/v1/me/", "pairing.expired", "token.revoked", by="time", status=401)
def a_device_uses_its_token_too_late(stage: Stage) -> Change:
    device, answer = stage.signed_in()
    expire(device.row)
    return lambda: Caller(answer["access_token"]).get("/api/v1/me/")


@act(AUTHORIZE, "pairing.created", by="device:")
def a_device_asks_for_a_code_by_oauth(stage: Stage) -> Change:
    return lambda: form("/oauth/device_authorization")


@act(TOKEN, "pairing.delivered", by="device:")
def a_device_collects_by_oauth(stage: Stage) -> Change:
    device = stage.approved()
    return lambda: exchange(device.bearer)


@act(TOKEN, status=400)
def a_device_asks_whether_it_was_approved(stage: Stage) -> Change:
    device = stage.device()
    return lambda: exchange(device.bearer)


@act(TOKEN, "pairing.acknowledged", "token.refreshed", by="device:")
def a_device_refreshes_its_token_for_the_first_time(stage: Stage) -> Change:
    _, answer = stage.signed_in()
    return lambda: refresh(answer["refresh_token"])


@act(TOKEN, "token.refreshed", by="device:")
def a_device_refreshes_its_token_again(stage: Stage) -> Change:
    _, answer = stage.signed_in()
    token = refresh(answer["refresh_token"]).json()["refresh_token"]
    return lambda: refresh(token)


@act(TOKEN, "token.revoked", by="device:", status=400)
def somebody_uses_a_refresh_token_that_was_used(stage: Stage) -> Change:
    _, answer = stage.signed_in()
    refresh(answer["refresh_token"])
    return lambda: refresh(answer["refresh_token"])


@act(TOKEN, "pairing.expired", "token.revoked", by="time", status=400)
def a_device_refreshes_its_token_too_late(stage: Stage) -> Change:
    device, answer = stage.signed_in()
    expire(device.row)
    return lambda: refresh(answer["refresh_token"])


@act(REVOKE, *SIGNED_OUT, by="device:")
def a_device_signs_itself_out(stage: Stage) -> Change:
    _, answer = stage.signed_in()
    return lambda: form("/oauth/revoke", token=answer["refresh_token"])


@act(REVOKE, "token.revoked", by="device:")
def a_device_without_a_pairing_gives_its_tokens_back(stage: Stage) -> Change:
    device, answer = stage.signed_in()
    Pairing.objects.filter(pk=device.row.pk).update(token_family=UUID(int=0))
    snapshot.reload()
    assert tokens.verify(answer["access_token"])
    return lambda: form("/oauth/revoke", token=answer["access_token"])


@act(REVOKE)
def somebody_gives_a_token_back_that_is_none(stage: Stage) -> Change:
    return lambda: form("/oauth/revoke", token="rt_unknown")


def expire(pairing: Pairing) -> None:
    Pairing.objects.filter(pk=pairing.pk).update(expires_at=pairing.created_at)
