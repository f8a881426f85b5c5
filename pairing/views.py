"""The JSON API for devices, and for those who approve them.

Each call parses, authorises, makes one domain call, and answers.
"""

from functools import cache
from typing import Any, cast

from django.http import HttpResponse, HttpResponseBase
from django.utils.translation import get_language
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request

from accounts import principal, snapshot
from accounts.api import ApiView
from accounts.principal import Principal
from accounts.strict import StrictSerializer
from audit import clock
from audit.prepared import Prepared, given
from pairing import (
    approval,
    creation,
    delivery,
    device_code,
    idempotency,
    pending,
    polling,
    serializers,
    user_code,
)
from pairing.answers import problems, refused, told
from pairing.device_code import DeviceCode
from pairing.models import TIMED, Pairing, State
from pairing.pending import Known
from pairing.refusal import Refusal
from ratelimit import flags
from ratelimit.network import network

BODY = ("malformed", "invalid", "unknown_field", "too_large", "unsupported_media_type")
CALLER = ("not_authenticated", "permission_denied")
DEVICE = ("invalid_device_code", "rate_limited", "contended", "database_unavailable")
#: 128 bits are 22 characters of base64; a shorter key might be another's, by chance or by guessing.
SHORTEST_KEY, LONGEST_KEY = 22, 255
IDEMPOTENCY_KEY = OpenApiParameter(
    "Idempotency-Key",
    {"type": "string", "minLength": SHORTEST_KEY, "maxLength": LONGEST_KEY},
    "header",
    description="The same key and body from the same network and X-Device-Fingerprint: the same "
    "answer for 10 min, device_code and all. So the key is a secret: random, new for each request, "
    "and told to nobody.",
)
#: How the OpenAPI document says that a device identifies itself by its device_code.
BY_DEVICE_CODE = cast(list[str], [{"device_code": []}])


def body(request: Request, kind: type[StrictSerializer]) -> dict[str, Any]:
    """The body as `kind` reads it; raises what becomes a 400."""
    return dict(_reader(kind, get_language()).run_validation(request.data))


@cache
def _reader(kind: type[StrictSerializer], language: str | None) -> StrictSerializer:
    """One for all requests: making it costs more than using it.

    It keeps nothing but its messages, in the language in which each was first told.
    """
    return kind()


def caller(request: Request) -> Principal:
    """Who calls; the view's permission has seen to it that somebody does."""
    return cast(Principal, request.auth)


class NothingSerializer(StrictSerializer):
    """The body of a call that takes none: empty, or an empty object."""


class CreateView(ApiView):
    """Where every device begins. Anybody may; what it gains is a code to be approved."""

    authentication_classes = ()
    permission_classes = ()

    @extend_schema(
        request=serializers.CreateSerializer,
        parameters=[IDEMPOTENCY_KEY],
        responses={201: serializers.CreatedSerializer}
        | problems(
            *BODY,
            "unknown_client",
            "idempotency_in_progress",
            "idempotency_mismatch",
            "rate_limited",
            "contended",
            "database_unavailable",
        ),
        tags=["device"],
        auth=[],
    )
    def post(self, request: Request) -> HttpResponseBase:
        """Ask for a pairing: a user_code to show and a device_code to keep."""
        facts = body(request, serializers.CreateSerializer)
        known = snapshot.current()
        named = facts.pop("client_id", None)
        client = known.clients.get(named) if named else known.default_client(request.get_host())
        if client is None:
            return refused(Refusal("unknown_client"))
        address = request.META.get("REMOTE_ADDR")

        def make() -> creation.Created | Refusal:
            return creation.create(client, address=address, **facts)

        retry = _retry(request, client.tenant_id)
        asked = {"client": client.id, **facts}
        outcome = idempotency.once(retry, asked, make) if retry else make()
        return refused(outcome) if isinstance(outcome, Refusal) else told(outcome, 201)


def _retry(request: Request, tenant_id: int) -> idempotency.Retry | None:
    told = request.META
    key: str = told.get("HTTP_IDEMPOTENCY_KEY", "")
    if not key:
        return None
    usable = key.isascii() and key.isprintable()
    if not usable or not SHORTEST_KEY <= len(key) <= LONGEST_KEY:
        words = f"From {SHORTEST_KEY} to {LONGEST_KEY} printable ASCII characters, at random."
        raise ValidationError({"Idempotency-Key": words})
    fingerprint = told.get("HTTP_X_DEVICE_FINGERPRINT") or told.get("HTTP_X_DEVICE_ID", "")
    return idempotency.Retry(tenant_id, key, (network(told.get("REMOTE_ADDR", "")), fingerprint))


class DeviceView(ApiView):
    """A call of a device about its own pairing. Its device_code alone says which, and whose."""

    authentication_classes = ()
    permission_classes = ()

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        super().initial(request, *args, **kwargs)
        self.device = device_code.parse(
            principal.bearer(request.META.get("HTTP_AUTHORIZATION", ""))
        )
        if request.META.get("CONTENT_LENGTH") not in ("", "0", None):
            body(request, NothingSerializer)


UNIDENTIFIED = Refusal("invalid_device_code")


class StatusView(DeviceView):
    """One poll: no query when it is too early, else one, and under pressure often none."""

    @extend_schema(
        responses={200: serializers.StatusSerializer}
        | problems("invalid_device_code", "not_found", "expired", "slow_down"),
        tags=["device"],
        auth=BY_DEVICE_CODE,
    )
    def get(self, request: Request, udid: str) -> HttpResponseBase:
        """How the pairing stands. Asked faster than `interval`, it is `slow_down` and 5 s more."""
        if self.device is None:
            return refused(UNIDENTIFIED)
        poll = polling.poll(self.device)
        if not poll.admitted:
            return refused(
                Refusal("slow_down", retry_after_s=poll.wait_s), interval=poll.interval_s
            )
        if known := _known(request, self.device, udid):
            return _still_pending(known, poll.interval_s)
        pairing = _polled(self.device, udid)
        if pairing is None:
            return refused(Refusal("not_found"))
        now = clock.now()
        standing = pairing.standing(now)
        if standing is State.EXPIRED:
            return refused(Refusal("expired"))
        left_s = (pairing.expires_at - now).total_seconds() if standing in TIMED else 0
        return told(
            {
                "status": standing.value,
                "version": pairing.version,
                "expires_in": int(left_s),
                "interval": poll.interval_s,
                "user_code": user_code.display(pairing.user_code),
            }
        )


_POLLED = Prepared(
    lambda: Pairing.objects.only(
        "udid", "user_code", "version", "state", "expires_at", "acknowledges_itself", "client_id"
    ).filter(device_code_digest=given(0, Pairing, "device_code_digest"))
)


def _polled(device: DeviceCode, udid: str) -> Pairing | None:
    mark = pending.shared.mark()
    found = _POLLED.row(device.digest)
    if found is None or found.udid != udid:
        return None
    if found.state == State.PENDING:
        pending.shared.remember(device.digest, found.known, mark)
    return found


def _known(request: Request, device: DeviceCode, udid: str) -> Known | None:
    if not flags.asked(flags.POLLS_COPIED, request):
        return None
    known = pending.shared.find(device.digest)
    return known if known and known.udid == udid else None


def _still_pending(known: Known, interval_s: int) -> HttpResponse:
    return told(
        {
            "status": State.PENDING.value,
            "version": known.version,
            "expires_in": int((known.expires_at - clock.now()).total_seconds()),
            "interval": interval_s,
            "user_code": user_code.display(known.user_code),
        }
    )


class RenewView(DeviceView):
    @extend_schema(
        request=None,
        responses={200: serializers.RenewedSerializer}
        | problems(*DEVICE, "expired", "already_approved"),
        tags=["device"],
        auth=BY_DEVICE_CODE,
    )
    def post(self, request: Request, udid: str) -> HttpResponseBase:
        """A new code in place of one that is about to die; the device keeps its place."""
        if self.device is None:
            return refused(UNIDENTIFIED)
        outcome = creation.renew(self.device, udid=udid)
        return refused(outcome) if isinstance(outcome, Refusal) else told(outcome)


class CredentialsView(DeviceView):
    @extend_schema(
        request=None,
        responses={200: serializers.DeliverySerializer}
        | problems(
            *DEVICE,
            "authorization_pending",
            "access_denied",
            "expired",
            "already_collected",
            "credentials_sealed",
        ),
        tags=["device"],
        auth=BY_DEVICE_CODE,
    )
    def post(self, request: Request, udid: str) -> HttpResponseBase:
        """Collect. The same answer is given again until it is acknowledged, for 120 s."""
        if self.device is None:
            return refused(UNIDENTIFIED)
        outcome = delivery.collect(self.device, udid=udid)
        return refused(outcome) if isinstance(outcome, Refusal) else told(outcome)


class AckView(DeviceView):
    @extend_schema(
        request=None,
        responses={204: None} | problems(*DEVICE, "access_denied", "not_delivered"),
        tags=["device"],
        auth=BY_DEVICE_CODE,
    )
    def post(self, request: Request, udid: str) -> HttpResponseBase:
        """The credentials are stored: forget the answer."""
        if self.device is None:
            return refused(UNIDENTIFIED)
        refusal = delivery.acknowledge(self.device, udid=udid)
        return refused(refusal) if refusal else HttpResponse(status=204)


class AssociateView(ApiView):
    @extend_schema(
        request=serializers.ApproveSerializer,
        responses={200: serializers.ApprovedSerializer}
        | problems(
            *BODY,
            *CALLER,
            "unknown_code",
            "unknown_subscriber",
            "unknown_smartcard",
            "already_approved",
            "already_denied",
            "ambiguous_udid",
            "smartcard_in_use",
            "no_free_smartcard",
            "subscriber_locked",
            "udid_in_use",
            "expired_code",
            "contended",
            "rate_limited",
            "database_unavailable",
        ),
        tags=["approval"],
    )
    def post(self, request: Request) -> HttpResponseBase:
        """Put the device that shows this code on a smartcard of this subscriber.

        By UDID only a device that nobody can be mistaken for: `ambiguous_udid` while several wait
        under it, or one uses it. It does not prove who waits; the user_code does.
        """
        asked = body(request, serializers.ApproveSerializer)
        if "subscriber_code" not in asked and caller(request).subscriber_code is None:
            raise ValidationError({"subscriber_code": "This field is required."}, code="required")
        outcome = approval.approve(caller(request), **asked)
        return refused(outcome) if isinstance(outcome, Refusal) else told(outcome)


class DenyView(ApiView):
    @extend_schema(
        request=serializers.DenySerializer,
        responses={200: serializers.DeniedSerializer}
        | problems(
            *BODY,
            *CALLER,
            "unknown_code",
            "already_approved",
            "already_denied",
            "expired_code",
            "contended",
            "rate_limited",
            "database_unavailable",
        ),
        tags=["approval"],
    )
    def post(self, request: Request) -> HttpResponseBase:
        """Refuse the device that shows this code."""
        outcome = approval.deny(caller(request), **body(request, serializers.DenySerializer))
        return refused(outcome) if isinstance(outcome, Refusal) else told(outcome)
