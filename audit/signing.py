"""The key that signs what the trail has come to: Ed25519 (RFC 8032), made from its own secret."""

import hashlib
from functools import lru_cache

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from django.conf import settings


def sign(text: str) -> tuple[str, str]:
    """The id of our key, and its signature of `text` (hex)."""
    key = _private(settings.AUDIT_SIGNING_SECRET)
    return _id(key.public_key()), key.sign(text.encode()).hex()


def public_key() -> str:
    """Our public key (hex), for whoever verifies on another host."""
    return _private(settings.AUDIT_SIGNING_SECRET).public_key().public_bytes_raw().hex()


class Verifier:
    """Knows public keys: ours, and older ones or those of other installations."""

    def __init__(self, *others: str) -> None:
        """`others` are public keys in hex. Raises ValueError for what is none."""
        raw = [bytes.fromhex(each) for each in (public_key(), *others)]
        keys = [Ed25519PublicKey.from_public_bytes(each) for each in raw]
        self._keys = {_id(key): key for key in keys}

    def signed(self, text: str, key_id: str, signature: str) -> bool:
        """Whether one of these keys signed `text`; False also where it is not known."""
        key = self._keys.get(key_id)
        if key is None:
            return False
        try:
            key.verify(bytes.fromhex(signature), text.encode())
        except (InvalidSignature, ValueError):
            return False
        return True


@lru_cache(maxsize=4)
def _private(secret: str) -> Ed25519PrivateKey:
    info = b"stabilizer:audit signing"
    seed = HKDF(SHA256(), length=32, salt=None, info=info).derive(secret.encode())
    return Ed25519PrivateKey.from_private_bytes(seed)


def _id(key: Ed25519PublicKey) -> str:
    raw = key.public_bytes(Encoding.Raw, PublicFormat.Raw)
    return hashlib.sha256(raw).hexdigest()[:16]
