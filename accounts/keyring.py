"""The keyring in use: seal and open texts at rest, authenticate data, and make the first keys."""

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from django.db import OperationalError, connection, transaction
from joserfc.jwk import OKPKey

import audit
from accounts import sealing, snapshot
from accounts.models import KeyringKey
from accounts.sealing import CannotOpen, mac

__all__ = ["CannotOpen", "add", "ensure", "mac", "open_sealed", "seal", "signer"]

Purpose = KeyringKey.Purpose


def seal(plaintext: bytes, context: str) -> str:
    """Seal under the newest active key. The text carries its `kid` and opens only in `context`."""
    return snapshot.current().keyring.seal(plaintext, context)


def open_sealed(text: str, context: str) -> bytes:
    """What was sealed, under whichever active or retiring key. Raises `CannotOpen`."""
    ring = snapshot.current().keyring
    if sealing.kid_of(text) not in ring.ciphers:
        # Another process may have sealed it under a key made a moment ago.
        ring = snapshot.reload().keyring
    return ring.open(text, context)


def signer() -> OKPKey:
    """The newest active key that signs tokens."""
    key = snapshot.current().keyring.signer
    if key is None:
        raise sealing.NoActiveKey("token")
    return key


def ensure() -> None:
    """Make the first key of each purpose. Harmless when repeated, even by many at once.

    They come with the tables, as `migrate` makes them, and so without a record.
    """
    for purpose in Purpose:
        for last_try in (False, False, True):
            try:
                _ensure(purpose)
                break
            except OperationalError:
                # InnoDB may call two inserts of one key a deadlock; inside a transaction of the
                # caller all of it is lost, and the caller has to begin again.
                if last_try or connection.in_atomic_block:
                    raise


def _ensure(purpose: KeyringKey.Purpose) -> None:
    states = list(KeyringKey.objects.filter(purpose=purpose).values_list("state", flat=True))
    if KeyringKey.State.ACTIVE not in states:
        _add(purpose, len(states) + 1)


def add(purpose: KeyringKey.Purpose, *, actor: str = "") -> KeyringKey:
    """One more active key, which signs or seals from the next snapshot on; recorded with it."""
    with transaction.atomic():
        key = _add(purpose, KeyringKey.objects.filter(purpose=purpose).count() + 1)
        audit.record_with_change("keyring.changed", subject=f"keyring:{key.kid}", actor=actor)
    return key


def _add(purpose: KeyringKey.Purpose, number: int) -> KeyringKey:
    # Two callers at the same moment make one key: they number it alike, and one row wins.
    kid = f"{purpose.value}-{number}"
    secret = _new_secret(purpose)
    row, _ = KeyringKey.objects.get_or_create(
        kid=kid,
        defaults={
            "purpose": purpose,
            "sealed": sealing.wrap(secret, kid),
            "public": _public_half(purpose, secret),
        },
    )
    return row


def _new_secret(purpose: KeyringKey.Purpose) -> bytes:
    if purpose is Purpose.CREDENTIALS:
        return AESGCM.generate_key(256)
    return Ed25519PrivateKey.generate().private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
    )


def _public_half(purpose: KeyringKey.Purpose, secret: bytes) -> dict[str, object]:
    if purpose is Purpose.CREDENTIALS:
        return {}
    return dict(OKPKey.import_key(secret).as_dict(private=False))
