"""Cryptography of the keyring: what is derived from KEYRING_SECRET, and what a key can do.

Nothing here reads the database; `accounts.snapshot` opens the rows once and keeps the result.
"""

import hashlib
import hmac
import secrets
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from django.conf import settings
from joserfc.jwk import OKPKey

VERSION = "v1"
NONCE_BYTES = 12


class CannotOpen(Exception):
    """A sealed text was altered, belongs elsewhere, or names a key that may not open it."""


class NoActiveKey(LookupError):
    """The keyring has no active key for this purpose; `migrate` makes the first ones."""


def derive(label: str) -> bytes:
    """A 256-bit key for one purpose: HKDF-SHA256 (RFC 5869) over KEYRING_SECRET."""
    return _derive(settings.KEYRING_SECRET, label)


@lru_cache(maxsize=64)
def _derive(secret: str, label: str) -> bytes:
    info = f"stabilizer:{label}".encode()
    return HKDF(SHA256(), length=32, salt=None, info=info).derive(secret.encode())


def mac(label: str, data: bytes) -> bytes:
    """HMAC-SHA256 of `data` under a key that only `label` has."""
    keyed = _keyed(settings.KEYRING_SECRET, label).copy()
    keyed.update(data)
    return keyed.digest()


@lru_cache(maxsize=64)
def _keyed(secret: str, label: str) -> hmac.HMAC:
    """To be copied: twice as fast as `hmac.digest`, which lets go of the interpreter's lock."""
    return hmac.new(_derive(secret, f"mac:{label}"), digestmod=hashlib.sha256)


def wrap(secret: bytes, kid: str) -> bytes:
    """The secret half of a keyring key as it lies in the database."""
    return _encrypt(AESGCM(derive("keyring")), secret, kid.encode())


def unwrap(sealed: bytes, kid: str) -> bytes:
    """The inverse of `wrap`. Raises `CannotOpen` when KEYRING_SECRET has changed."""
    return _decrypt(AESGCM(derive("keyring")), sealed, kid.encode())


def _encrypt(cipher: AESGCM, plaintext: bytes, bound_to: bytes) -> bytes:
    nonce = secrets.token_bytes(NONCE_BYTES)
    return nonce + cipher.encrypt(nonce, plaintext, bound_to)


def _decrypt(cipher: AESGCM, sealed: bytes, bound_to: bytes) -> bytes:
    try:
        return cipher.decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], bound_to)
    except (InvalidTag, ValueError) as error:
        raise CannotOpen("the text was altered or sealed under another secret") from error


@dataclass(frozen=True, slots=True)
class Keyring:
    """The opened keys: the newest active one of a purpose signs or seals, all that are left out of
    `compromised` and are here verify or open.
    """

    ciphers: Mapping[str, AESGCM] = field(default_factory=dict)
    verifiers: Mapping[str, OKPKey] = field(default_factory=dict)
    sealing_kid: str | None = None
    signer: OKPKey | None = None

    def seal(self, plaintext: bytes, context: str) -> str:
        """``v1.<kid>.<base64url>``, to be opened only with the same `context`."""
        if self.sealing_kid is None:
            raise NoActiveKey("credentials")
        sealed = _encrypt(self.ciphers[self.sealing_kid], plaintext, context.encode())
        return f"{VERSION}.{self.sealing_kid}.{urlsafe_b64encode(sealed).decode()}"

    def open(self, text: str, context: str) -> bytes:
        """What `seal` was given. Raises `CannotOpen`."""
        cipher = self.ciphers.get(kid_of(text))
        if cipher is None:
            raise CannotOpen("the key that sealed this text is not in use")
        try:
            sealed = urlsafe_b64decode(text.rpartition(".")[2])
        except ValueError as error:
            raise CannotOpen("not a sealed text") from error
        return _decrypt(cipher, sealed, context.encode())


def kid_of(text: str) -> str:
    """The id of the key that sealed `text`. Raises `CannotOpen` when it is no sealed text."""
    version, _, rest = text.partition(".")
    kid, dot, _ = rest.partition(".")
    if version != VERSION or not dot:
        raise CannotOpen("not a sealed text")
    return kid
