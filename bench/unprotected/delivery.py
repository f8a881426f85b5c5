"""What a device receives: credentials encrypted to its type of app, and tokens."""

import base64
import json
import secrets
from datetime import timedelta
from typing import Any

from cryptography.hazmat.primitives import hashes, padding, serialization
from cryptography.hazmat.primitives.asymmetric import padding as asymmetric_padding
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CBC
from django.conf import settings
from django.utils import timezone
from joserfc import jwt
from joserfc.jwk import OctKey

from bench.unprotected.authentication import digest
from bench.unprotected.models import AppCredentials, Pairing, RefreshToken, Smartcard

ACCESS_LIFE = timedelta(minutes=15)
REFRESH_LIFE = timedelta(days=1)


def credentials(card: Smartcard) -> dict[str, Any]:
    subscriber = card.subscriber
    return {
        "subscriber_code": subscriber.code,
        "sn": card.sn,
        "login1": subscriber.login1,
        "password": subscriber.password,
        "pin": subscriber.pin,
        "packages": subscriber.packages,
    }


def encrypted(plain: dict[str, Any], app_type: str) -> dict[str, str]:
    """AES-256-CBC under a key of its own, which is wrapped with the RSA key of the app's type."""
    stored = AppCredentials.objects.get(app_type=app_type)
    public = serialization.load_pem_public_key(stored.public_key.encode())
    assert isinstance(public, RSAPublicKey)
    key, iv = secrets.token_bytes(32), secrets.token_bytes(16)
    padder = padding.PKCS7(128).padder()
    padded = padder.update(json.dumps(plain).encode()) + padder.finalize()
    encryptor = Cipher(AES(key), CBC(iv)).encryptor()
    sha256 = hashes.SHA256()
    oaep = asymmetric_padding.OAEP(asymmetric_padding.MGF1(sha256), sha256, None)
    return {
        "encrypted_data": _text(encryptor.update(padded) + encryptor.finalize()),
        "encrypted_key": _text(public.encrypt(key, oaep)),
        "iv": _text(iv),
        "algorithm": "AES-256-CBC + RSA-OAEP",
        "app_type": app_type,
    }


def tokens(pairing: Pairing, subscriber_code: str) -> dict[str, Any]:
    """An access token signed here and now, and a refresh token that is stored."""
    now = timezone.now()
    refresh = secrets.token_urlsafe(32)
    RefreshToken.objects.create(
        digest=digest(refresh), pairing=pairing, expires_at=now + REFRESH_LIFE
    )
    claims = {
        "sub": subscriber_code,
        "dev": pairing.udid,
        "iat": int(now.timestamp()),
        "exp": int((now + ACCESS_LIFE).timestamp()),
        "jti": secrets.token_hex(16),
    }
    key = OctKey.import_key(settings.SECRET_KEY)
    return {
        "access_token": jwt.encode({"alg": "HS256"}, claims, key),
        "refresh_token": refresh,
        "expires_in": int(ACCESS_LIFE.total_seconds()),
    }


def _text(content: bytes) -> str:
    return base64.b64encode(content).decode()
