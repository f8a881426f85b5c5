"""Whose API key came with a request."""

import hashlib

from rest_framework.authentication import BaseAuthentication
from rest_framework.exceptions import NotAuthenticated
from rest_framework.request import Request

from bench.unprotected.models import ApiKey


def digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def bearer(request: Request) -> str:
    """What stands after `Bearer` in the Authorization header."""
    scheme, _, secret = request.META.get("HTTP_AUTHORIZATION", "").partition(" ")
    return secret if scheme == "Bearer" else ""


class ApiKeyAuthentication(BaseAuthentication):
    """Looks the key up in the database, for each request anew."""

    def authenticate(self, request: Request) -> tuple[ApiKey, str]:
        key = ApiKey.objects.filter(digest=digest(bearer(request)), active=True).first()
        if key is None:
            raise NotAuthenticated
        return key, key.name

    def authenticate_header(self, request: Request) -> str:
        return "Bearer"
