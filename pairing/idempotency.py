"""The same Idempotency-Key, body and caller, the same answer: for a create whose answer was lost.

The answer holds a device_code, so the Idempotency-Key is a secret and good for one caller only.
Redis keeps the answer sealed under a key derived from it: who reads the store reads no secret.
Without the store every request is served as a new one, for two pairings harm nobody and no pairing
would.
"""

import hashlib
import hmac
import json
import secrets
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from accounts import keyring
from pairing.creation import Created
from pairing.lifetimes import IDEMPOTENCY_S
from pairing.refusal import Refusal
from ratelimit import store
from ratelimit.store import StoreAway

#: Longer than any request takes; then a crashed one no longer stands in the way.
_SERVING_S = 30
_DIGEST_BYTES = 32
_NONCE_BYTES = 12


@dataclass(frozen=True, slots=True)
class Retry:
    """What makes two requests the same one, but for their body.

    `caller` is what else is known of the sender: the `key` of another caller is another key.
    """

    tenant_id: int
    key: str
    caller: tuple[str, ...]


def once(
    retry: Retry, body: Mapping[str, Any], make: Callable[[], Created | Refusal]
) -> Created | Refusal:
    """What `make` returns, or what it returned when the same `retry` came with the same `body`.

    Refuses `idempotency_mismatch` for another body, and `idempotency_in_progress` while the first
    of two parallel requests is still being served.
    """
    reserved = _Reservation.of(retry, body)
    try:
        kept = store.shared().call(
            lambda redis: redis.set(reserved.name, reserved.body, nx=True, get=True, ex=_SERVING_S)
        )
    except StoreAway:
        return make()
    if isinstance(kept, bytes):
        return reserved.judged(kept)
    return _made(reserved, make)


def _made(reserved: "_Reservation", make: Callable[[], Created | Refusal]) -> Created | Refusal:
    made: Created | Refusal | None = None
    try:
        made = make()
    finally:
        keep = made if isinstance(made, Created) else None
        with suppress(StoreAway):
            store.shared().call(lambda redis: reserved.settle(redis, keep))
    return made


@dataclass(frozen=True, slots=True)
class _Reservation:
    """What one Idempotency-Key stands for: a name in Redis, the body's digest, and a cipher."""

    name: str
    body: bytes
    cipher: AESGCM

    @classmethod
    def of(cls, retry: Retry, body: Mapping[str, Any]) -> "_Reservation":
        text = json.dumps([retry.tenant_id, retry.key, *retry.caller]).encode()
        canonical = json.dumps(body, sort_keys=True, separators=(",", ":")).encode()
        name = keyring.mac("idempotency.name", text).hex()
        digest = hmac.digest(keyring.mac("idempotency.body", text), canonical, hashlib.sha256)
        sealing = hmac.digest(keyring.mac("idempotency.seal", text), digest, hashlib.sha256)
        return cls(f"idem:{{{retry.tenant_id}}}:{name}", digest, AESGCM(sealing))

    def judged(self, kept: bytes) -> Created | Refusal:
        if not hmac.compare_digest(kept[:_DIGEST_BYTES], self.body):
            return Refusal("idempotency_mismatch")
        sealed = kept[_DIGEST_BYTES:]
        if not sealed:
            return Refusal("idempotency_in_progress", retry_after_s=1)
        return Created(
            **json.loads(self.cipher.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], None))
        )

    def settle(self, redis: Any, made: Created | None) -> None:
        if made is None:
            redis.delete(self.name)
            return
        nonce = secrets.token_bytes(_NONCE_BYTES)
        sealed = self.cipher.encrypt(nonce, json.dumps(asdict(made)).encode(), None)
        redis.set(self.name, self.body + nonce + sealed, ex=IDEMPOTENCY_S)
