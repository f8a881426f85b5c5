"""Credentials on their way to one device: a JWE that only its private key opens (RFC 7516)."""

import json
from collections.abc import Mapping
from typing import Any

from joserfc import jwe
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, OKPKey

#: Ephemeral-static Diffie-Hellman, so that each answer has a key of its own.
_HEADER = {"alg": "ECDH-ES", "enc": "A256GCM"}
_MEMBERS: dict[tuple[Any, Any], tuple[type[OKPKey] | type[ECKey], set[str]]] = {
    ("OKP", "X25519"): (OKPKey, {"kty", "crv", "x"}),
    ("EC", "P-256"): (ECKey, {"kty", "crv", "x", "y"}),
}
#: What a JWK may say besides; it is not kept.
_IGNORED = {"kid", "use", "alg", "key_ops"}


class UnusableKey(ValueError):
    """The public key is not one that an answer can be sealed to; the message says why."""


def public_key(jwk: Mapping[str, Any]) -> dict[str, str]:
    """The bare public key that `jwk` is, proven by sealing to it. Raises `UnusableKey`."""
    curve = (jwk.get("kty"), jwk.get("crv"))
    if not all(isinstance(name, str) for name in curve) or curve not in _MEMBERS:
        raise UnusableKey("Must be a JWK on X25519 or P-256.")
    members = _MEMBERS[curve][1]
    if "d" in jwk:
        raise UnusableKey("Must not have the private half.")
    if not set(jwk) - _IGNORED == members or not all(
        isinstance(jwk[name], str) for name in members
    ):
        raise UnusableKey(f"Must have {', '.join(sorted(members))} and nothing else.")
    bare = {name: jwk[name] for name in sorted(members)}
    try:
        seal({}, bare)
    except (ValueError, TypeError, JoseError) as error:
        raise UnusableKey("Must be a point on its curve.") from error
    return bare


def seal(payload: Mapping[str, Any], jwk: Mapping[str, Any]) -> str:
    """`payload` as a compact JWE for the holder of the private half of `jwk`."""
    kind, _ = _MEMBERS[jwk["kty"], jwk["crv"]]
    plaintext = json.dumps(payload, separators=(",", ":"))
    return jwe.encrypt_compact(_HEADER, plaintext, kind.import_key(dict(jwk)))
