"""The same pairing in the words of OAuth.

RFC 8628 (device grant), 6749 (tokens), 7009 (revocation) and 8414 (metadata).

Requests are forms, refusals the `error` codes of those RFCs. Clients are public: a device keeps no
secret, so none is asked for and none is accepted.
"""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, cast

from django.conf import settings
from django.http import HttpResponseBase
from drf_spectacular.utils import OpenApiResponse, extend_schema
from rest_framework import exceptions, serializers
from rest_framework.request import Request
from rest_framework.response import Response

from accounts import snapshot, tokens
from accounts.api import ApiView
from accounts.snapshot import ClientEntry
from accounts.strict import BodyTooLarge, StrictFormParser
from audit import clock
from pairing import creation, delivery, device_code, pending, polling, signing_out
from pairing.answers import refused, told
from pairing.delivery import Delivery
from pairing.refusal import Refusal
from pairing.serializers import APP_TYPE, UDID
from ratelimit import flags

DEVICE_GRANT = "urn:ietf:params:oauth:grant-type:device_code"
REFRESH_GRANT = "refresh_token"
#: What the domain's refusals are called in RFC 8628, 3.5.
ERRORS = {
    "authorization_pending": "authorization_pending",
    "access_denied": "access_denied",
    "expired": "expired_token",
    "already_collected": "invalid_grant",
}


class OAuthError(Exception):
    """A refusal in OAuth's form, raised while a request is read; `error` is the RFC's code."""

    def __init__(self, error: str, description: str, status: int = 400) -> None:
        super().__init__(description)
        self.error, self.description, self.status = error, description, status


class DeviceAuthorizationForm(serializers.Serializer[Any]):
    """RFC 8628, 3.1, and what our own apps say of their device. Unknown parameters are ignored."""

    client_id = serializers.CharField(max_length=64)
    scope = serializers.CharField(required=False, allow_blank=True, max_length=1000)
    app_type = serializers.RegexField(APP_TYPE, required=False)
    udid = serializers.RegexField(UDID, required=False)
    model = serializers.CharField(max_length=100, required=False, allow_blank=True)
    os = serializers.CharField(max_length=100, required=False, allow_blank=True)
    name = serializers.CharField(max_length=100, required=False, allow_blank=True)


class DeviceAuthorizationAnswer(serializers.Serializer[Any]):
    device_code = serializers.CharField()
    user_code = serializers.CharField()
    verification_uri = serializers.URLField()
    verification_uri_complete = serializers.URLField()
    expires_in = serializers.IntegerField()
    interval = serializers.IntegerField()


#: What an OAuth client is told of a new pairing.
ANSWERED = (
    "device_code",
    "user_code",
    "verification_uri",
    "verification_uri_complete",
    "expires_in",
    "interval",
)


class TokenForm(serializers.Serializer[Any]):
    """RFC 8628, 3.4, and RFC 6749, 6."""

    grant_type = serializers.ChoiceField([DEVICE_GRANT, REFRESH_GRANT])
    client_id = serializers.CharField()
    device_code = serializers.CharField(required=False)
    refresh_token = serializers.CharField(required=False)


class TokenAnswer(serializers.Serializer[Any]):
    access_token = serializers.CharField()
    token_type = serializers.ChoiceField(["Bearer"])
    expires_in = serializers.IntegerField()
    refresh_token = serializers.CharField()
    scope = serializers.CharField(allow_blank=True)
    credentials = serializers.JSONField(required=False, help_text="with the device grant only")


class RevocationForm(serializers.Serializer[Any]):
    """RFC 7009, 2.1."""

    token = serializers.CharField()
    token_type_hint = serializers.CharField(required=False)
    client_id = serializers.CharField()


class ErrorAnswer(serializers.Serializer[Any]):
    """RFC 6749, 5.2."""

    error = serializers.CharField()
    error_description = serializers.CharField(required=False)


ERROR = {(status, "application/json"): ErrorAnswer for status in (400, 401, 503)}


class OAuthView(ApiView):
    """A form in, OAuth's JSON out, whatever is wrong with the form."""

    authentication_classes = ()
    permission_classes = ()
    parser_classes = (StrictFormParser,)

    def handle_exception(self, exc: Exception) -> Response:
        error = _as_oauth(exc)
        if error is not None:
            return _refused(error.error, error.description, error.status)
        answer = super().handle_exception(exc)
        return _unavailable(answer) if answer.status_code == 503 else answer

    def finalize_response(
        self, request: Request, response: Any, *args: Any, **kwargs: Any
    ) -> Response:
        answer = super().finalize_response(request, response, *args, **kwargs)
        answer["Cache-Control"], answer["Pragma"] = "no-store", "no-cache"
        return answer


class DeviceAuthorizationView(OAuthView):
    @extend_schema(
        request={"application/x-www-form-urlencoded": DeviceAuthorizationForm},
        responses={200: DeviceAuthorizationAnswer} | ERROR,
        tags=["oauth"],
        auth=[],
    )
    def post(self, request: Request) -> HttpResponseBase:
        """RFC 8628, 3.1: ask for a device_code and a user_code."""
        client = _client(request)
        form = DeviceAuthorizationForm(data=_present(request))
        if not form.is_valid():
            raise OAuthError("invalid_request", f"Unusable: {', '.join(sorted(form.errors))}.")
        facts = {"app_type": "oauth", **form.validated_data}
        if facts.pop("scope", ""):
            raise OAuthError("invalid_scope", "Devices are given no scopes.")
        del facts["client_id"]
        outcome = creation.create(client, address=request.META.get("REMOTE_ADDR"), **facts)
        if isinstance(outcome, Refusal):
            return _unavailable(refused(outcome))
        answer = asdict(outcome)
        return told({name: answer[name] for name in ANSWERED})


class TokenView(OAuthView):
    @extend_schema(
        request={"application/x-www-form-urlencoded": TokenForm},
        responses={200: TokenAnswer} | ERROR,
        tags=["oauth"],
        auth=[],
    )
    def post(self, request: Request) -> HttpResponseBase:
        """RFC 8628, 3.4 and RFC 6749, 6: a device_code or a refresh token for tokens."""
        grant = _required(request, "grant_type")
        client = _client(request)
        if grant == DEVICE_GRANT:
            copied = flags.asked(flags.POLLS_COPIED, request)
            return _device_grant(client, _required(request, "device_code"), copied=copied)
        if grant == REFRESH_GRANT:
            return _refresh_grant(client, _required(request, "refresh_token"))
        raise OAuthError("unsupported_grant_type", "Use the device_code or refresh_token grant.")


class RevocationView(OAuthView):
    @extend_schema(
        request={"application/x-www-form-urlencoded": RevocationForm},
        responses={200: OpenApiResponse(description="revoked, or not ours")} | ERROR,
        tags=["oauth"],
        auth=[],
    )
    def post(self, request: Request) -> HttpResponseBase:
        """RFC 7009: sign the device of a token out. One that is not ours is signed out already."""
        token = _required(request, "token")
        client = _client(request)
        refusal = signing_out.by_token(token, client)
        return _unavailable(refused(refusal)) if refusal else told({})


class MetadataView(ApiView):
    authentication_classes = ()
    permission_classes = ()

    @extend_schema(responses={200: dict[str, Any]}, tags=["oauth"], auth=[])
    def get(self, request: Request) -> HttpResponseBase:
        """RFC 8414: where everything is, and what is supported."""
        issuer = settings.PUBLIC_URL
        public = ["none"]
        return Response(
            {
                "issuer": issuer,
                "device_authorization_endpoint": f"{issuer}/oauth/device_authorization",
                "token_endpoint": f"{issuer}/oauth/token",
                "token_endpoint_auth_methods_supported": public,
                "revocation_endpoint": f"{issuer}/oauth/revoke",
                "revocation_endpoint_auth_methods_supported": public,
                "grant_types_supported": [DEVICE_GRANT, REFRESH_GRANT],
                "response_types_supported": [],
                "service_documentation": f"{issuer}/api/docs/",
            }
        )


def _device_grant(client: ClientEntry, text: str, *, copied: bool) -> HttpResponseBase:
    """Tokens, or why not yet; `copied`: what this process knows to wait still is not looked up."""
    device = device_code.parse(text)
    if device is None or device.tenant_id != client.tenant_id:
        return _refused("invalid_grant", "The device_code is not one of this client's.")
    poll = polling.poll(device)
    if not poll.admitted:
        return _refused("slow_down", f"Wait {poll.interval_s} s between two polls.")
    if copied and (known := pending.shared.find(device.digest)) and known.client_id == client.id:
        return _refused("authorization_pending", "")
    outcome = delivery.collect(device, client_id=client.id, acknowledges_itself=True)
    if isinstance(outcome, Delivery):
        # A repeated collection, after a lost answer, is not a poll that came too early.
        polling.forget(device.tenant_id, device.digest)
        return told({"token_type": "Bearer", **asdict(outcome)})
    if outcome.retry_after_s:
        # The grant is as good as it was, and whoever returns as told has not polled too early.
        polling.forget(device.tenant_id, device.digest)
        return _unavailable(refused(outcome))
    return _refused(ERRORS.get(outcome.code, "invalid_grant"), outcome.detail)


def _refresh_grant(client: ClientEntry, text: str) -> HttpResponseBase:
    began = clock.now()
    if not delivery.acknowledge_refresh(text, client.client_id):
        return _refused("invalid_grant", "The delivery was not acknowledged in time.")
    outcome = tokens.refresh(text, client.client_id, began=began)
    if isinstance(outcome, tokens.Refusal):
        return _refused(outcome.code, outcome.detail)
    return told({"token_type": "Bearer", **asdict(outcome)})


def _client(request: Request) -> ClientEntry:
    """The public client. One that tries to authenticate has a secret, which none of ours has."""
    if "HTTP_AUTHORIZATION" in request.META:
        raise OAuthError("invalid_client", "Clients are public and do not authenticate.", 401)
    client = snapshot.current().clients.get(_required(request, "client_id"))
    if client is None:
        raise OAuthError("invalid_client", "There is no such client.", 401)
    return client


def _required(request: Request, name: str) -> str:
    value = _present(request).get(name, "")
    if not value:
        raise OAuthError("invalid_request", f"The parameter {name} is missing.")
    return value


def _present(request: Request) -> dict[str, str]:
    """Parameters without a value count as omitted (RFC 6749, 3.2)."""
    form = cast(Mapping[str, str], request.data)
    return {name: value for name, value in form.items() if value}


def _as_oauth(error: Exception) -> OAuthError | None:
    if isinstance(error, OAuthError):
        return error
    if isinstance(error, exceptions.ParseError):
        return OAuthError("invalid_request", str(error.detail))
    if isinstance(error, exceptions.UnsupportedMediaType):
        return OAuthError("invalid_request", "Send application/x-www-form-urlencoded.")
    if isinstance(error, BodyTooLarge):
        return OAuthError("invalid_request", "The form is too large.", 413)
    return None


def _refused(error: str, description: str, status: int = 400) -> Response:
    answer = {"error": error} | ({"error_description": description} if description else {})
    headers = {"WWW-Authenticate": 'Basic realm="stabilizer"'} if status == 401 else {}
    return Response(answer, status=status, headers=headers)


def _unavailable(problem: Response) -> Response:
    """A 503 of ours in OAuth's words; when to come back stays as it was."""
    answer = _refused("temporarily_unavailable", problem.data["title"], 503)
    answer["Retry-After"] = problem["Retry-After"]
    return answer
