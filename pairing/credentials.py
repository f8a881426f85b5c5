"""A subscriber's service credentials (login, password, PIN, packages), sealed at rest."""

import json
from collections.abc import Mapping
from typing import Any

from accounts import keyring


def seal(tenant_id: int, code: str, credentials: Mapping[str, Any]) -> str:
    """What `Subscriber.sealed_credentials` stores. It opens for this subscriber only."""
    if not credentials:
        return ""
    plaintext = json.dumps(credentials, separators=(",", ":"), sort_keys=True)
    return keyring.seal(plaintext.encode(), _context(tenant_id, code))


def unseal(tenant_id: int, code: str, sealed: str) -> dict[str, Any]:
    """The credentials that were sealed; an empty text holds none. Raises `keyring.CannotOpen`."""
    if not sealed:
        return {}
    found: dict[str, Any] = json.loads(keyring.open_sealed(sealed, _context(tenant_id, code)))
    return found


def _context(tenant_id: int, code: str) -> str:
    return f"credentials:{tenant_id}:{code}"
