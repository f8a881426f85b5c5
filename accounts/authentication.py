"""Django REST framework's way to the caller: `request.auth` is the Principal."""

from typing import Any

from django.contrib.auth.models import AnonymousUser
from rest_framework.authentication import BaseAuthentication, SessionAuthentication
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.request import Request

from accounts import keys, principal
from accounts.signals import token_used


class PrincipalAuthentication(BaseAuthentication):
    """A key or an access token in `Authorization: Bearer`, else the person of the session.

    A device code there is not ours to judge: it stays anonymous and its view checks it.
    """

    def authenticate(self, request: Request) -> tuple[Any, Any] | None:
        header = request.META.get("HTTP_AUTHORIZATION", "")
        if header:
            return self._by_header(request, header)
        return self._by_session(request)

    def authenticate_header(self, request: Request) -> str:
        return 'Bearer realm="stabilizer"'

    def _by_header(self, request: Request, header: str) -> tuple[Any, Any] | None:
        admitted = principal.admission(request._request)
        caller = admitted.principal if admitted else None
        caller = caller or principal.identify(header)
        if caller:
            if caller.kind == "token":
                token_used.send(principal.Principal, principal=caller)
            return AnonymousUser(), caller
        text = principal.bearer(header)
        if text.startswith(keys.SCHEME) or text.count(".") == 2:
            raise AuthenticationFailed("the key or token is unknown, expired or revoked")
        return None

    def _by_session(self, request: Request) -> tuple[Any, Any] | None:
        user = getattr(request._request, "user", None)
        if user is None or not user.is_authenticated:
            return None
        SessionAuthentication().enforce_csrf(request)
        person = principal.of_person(user)
        return (user, person) if person else None
