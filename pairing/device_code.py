"""The device's secret: it names its tenant and proves, without a look-up, that we made it.

``dc_<tenant, base 36>_<256 random bits>_<MAC>``. The gate parses it before anything is asked of the
database; what is stored is a digest, so a stolen table opens no pairing.
"""

import hmac
import re
import secrets
from base64 import urlsafe_b64encode
from dataclasses import dataclass
from hashlib import sha256

from accounts import keyring

_SECRET_BYTES = 32
_MAC_BYTES = 16
_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"
_TEXT = re.compile(r"dc_([0-9a-z]{1,13})_([A-Za-z0-9_-]{43})_([A-Za-z0-9_-]{22})", re.ASCII)


@dataclass(frozen=True, slots=True)
class DeviceCode:
    """A device_code whose MAC is ours: the tenant's id, and the digest it is stored under."""

    tenant_id: int
    digest: str


def mint(tenant_id: int) -> str:
    """A new device_code for a device of that tenant."""
    secret = urlsafe_b64encode(secrets.token_bytes(_SECRET_BYTES)).rstrip(b"=").decode()
    signed = f"dc_{_base36(tenant_id)}_{secret}"
    return f"{signed}_{_mac(signed)}"


def parse(text: str) -> DeviceCode | None:
    """What `text` says if we made it, else None. Pure: no database, no Redis."""
    match = _TEXT.fullmatch(text)
    if match is None:
        return None
    signed = text[: match.end(2)]
    if not hmac.compare_digest(_mac(signed), match[3]):
        return None
    return DeviceCode(int(match[1], 36), digest(text))


def digest(text: str) -> str:
    """What is stored of a device_code. Its 256 random bits need neither salt nor stretching."""
    return sha256(text.encode()).hexdigest()


def _mac(signed: str) -> str:
    mac = keyring.mac("device_code", signed.encode())[:_MAC_BYTES]
    return urlsafe_b64encode(mac).rstrip(b"=").decode()


def _base36(number: int) -> str:
    digits = ""
    while number:
        number, digit = divmod(number, 36)
        digits = _DIGITS[digit] + digits
    return digits or "0"
