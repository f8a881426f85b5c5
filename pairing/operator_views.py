"""The JSON API for operators: devices that are signed in, and subscribers."""

from typing import Any

from django.http import HttpResponseBase
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.generics import GenericAPIView
from rest_framework.request import Request

from accounts import answers
from accounts.api import ApiView, PartingView
from accounts.degraded import mark
from accounts.models import Scope
from accounts.permissions import needs
from accounts.strict import StrictSerializer
from pairing import devices, serializers, subscribers
from pairing.answers import problems, refused, told
from pairing.models import Pairing, State
from pairing.refusal import Refusal
from pairing.views import BODY, CALLER, body, caller
from ratelimit import flags


class DevicesView(PartingView, GenericAPIView[Pairing]):
    permission_classes = (needs(Scope.DEVICES_READ),)
    serializer_class = serializers.DeviceSerializer
    page_key = "active_udid"

    @extend_schema(
        operation_id="devices_list",
        parameters=[serializers.DeviceSearchSerializer],
        responses={200: serializers.DeviceSerializer(many=True)}
        | problems("invalid", *CALLER, "search_unavailable"),
        tags=["devices"],
    )
    def get(self, request: Request) -> HttpResponseBase:
        """The active devices, in the order of their UDIDs.

        Under load a page may be smaller than `limit`, and devices may come without
        `subscriber_code` and `sn`; the header `Degraded` says so.
        """
        asked = _query(request, serializers.DeviceSearchSerializer)
        prefix = asked.pop("search", "")
        if prefix and flags.asked(flags.SEARCH_OFF, request):
            return refused(_no_search())
        bare = flags.asked(flags.FIELDS_TRIMMED, request)
        kind = serializers.BareDeviceSerializer if bare else serializers.DeviceSerializer
        found = devices.search(caller(request), prefix=prefix, bare=bare, **asked)
        answer = self.get_paginated_response(kind(self.paginate_queryset(found), many=True).data)
        if bare:
            mark(answer, flags.FIELDS_TRIMMED)
        return answer


def _no_search() -> Refusal:
    """Searching reads many rows to show few: under pressure it is the first to go."""
    return Refusal("search_unavailable", retry_after_s=int(answers.retry_after()))


PAGING: frozenset[str] = frozenset({"limit", "after"})


def _query(request: Request, kind: type[StrictSerializer]) -> dict[str, Any]:
    given = {name: value for name, value in request.query_params.items() if name not in PAGING}
    serializer = kind(data=given)
    serializer.is_valid(raise_exception=True)
    return dict(serializer.validated_data)


class DeviceRenameView(ApiView):
    permission_classes = (needs(Scope.DEVICES_WRITE),)

    @extend_schema(
        request=serializers.RenameSerializer,
        responses={200: serializers.DeviceSerializer}
        | problems(*BODY, *CALLER, "not_found", "contended"),
        tags=["devices"],
    )
    def patch(self, request: Request, udid: str) -> HttpResponseBase:
        """Give the device a name."""
        outcome = devices.rename(
            caller(request), udid, **body(request, serializers.RenameSerializer)
        )
        if isinstance(outcome, Refusal):
            return refused(outcome)
        return told(serializers.DeviceSerializer(outcome).data)


class DeviceRevokeView(ApiView):
    permission_classes = (needs(Scope.DEVICES_WRITE),)

    @extend_schema(
        request=serializers.RevokeSerializer,
        responses={200: serializers.RevokedSerializer}
        | problems(*BODY, *CALLER, "not_found", "already_revoked", "contended"),
        tags=["devices"],
    )
    def post(self, request: Request, udid: str) -> HttpResponseBase:
        """Sign the device out and free its smartcard."""
        outcome = devices.revoke(
            caller(request), udid, **body(request, serializers.RevokeSerializer)
        )
        if isinstance(outcome, Refusal):
            return refused(outcome)
        return told({"udid": udid, "status": State.REVOKED.value})


class SubscriberRevokeView(ApiView):
    permission_classes = (needs(Scope.DEVICES_WRITE),)

    @extend_schema(
        request=serializers.RevokeSerializer,
        responses={200: serializers.AllRevokedSerializer}
        | problems(*BODY, *CALLER, "not_found", "contended"),
        tags=["devices"],
    )
    def post(self, request: Request, code: str) -> HttpResponseBase:
        """Sign out all devices of a subscriber."""
        asked = body(request, serializers.RevokeSerializer)
        outcome = devices.revoke_all(caller(request), code, **asked)
        if isinstance(outcome, Refusal):
            return refused(outcome)
        return told({"subscriber_code": code, "revoked": outcome})


class SubscribersView(PartingView, GenericAPIView[Any]):
    permission_classes = (needs(Scope.SUBSCRIBERS_READ),)
    serializer_class = serializers.SubscriberSerializer

    @extend_schema(
        operation_id="subscribers_list",
        parameters=[OpenApiParameter("search", str, description="the beginning of a code")],
        responses={200: serializers.SubscriberSerializer(many=True)}
        | problems("invalid", *CALLER, "search_unavailable"),
        tags=["subscribers"],
    )
    def get(self, request: Request) -> HttpResponseBase:
        """The subscribers whose code begins with `search`, in the order of their codes.

        Under load a page may be smaller than `limit`; the header `Degraded` says so.
        """
        prefix = _query(request, serializers.SearchSerializer).get("search", "")
        if prefix and flags.asked(flags.SEARCH_OFF, request):
            return refused(_no_search())
        page = self.paginate_queryset(subscribers.search(caller(request), prefix))
        return self.get_paginated_response(self.get_serializer(page, many=True).data)


class SubscriberView(ApiView):
    permission_classes = (needs(Scope.SUBSCRIBERS_READ, write=Scope.SUBSCRIBERS_WRITE),)

    @extend_schema(
        responses={200: serializers.WholeSubscriberSerializer} | problems(*CALLER, "not_found"),
        tags=["subscribers"],
    )
    def get(self, request: Request, code: str) -> HttpResponseBase:
        """A subscriber with its smartcards; never its credentials. At most a second late."""
        subscriber = subscribers.read(caller(request), code)
        return refused(Refusal("not_found")) if subscriber is None else told(subscriber)

    @extend_schema(
        request=serializers.PutSubscriberSerializer,
        responses={
            200: serializers.WholeSubscriberSerializer,
            201: serializers.WholeSubscriberSerializer,
        }
        | problems(
            *BODY, *CALLER, "differs_in_case", "smartcard_taken", "smartcard_in_use", "contended"
        ),
        tags=["subscribers"],
    )
    def put(self, request: Request, code: str) -> HttpResponseBase:
        """Create or change a subscriber. What is left out stays; lists and credentials replace."""
        asked = body(request, serializers.PutSubscriberSerializer)
        secrets = asked.pop("credentials", None)
        outcome = subscribers.put(caller(request), code, secrets=secrets, **asked)
        if isinstance(outcome, Refusal):
            return refused(outcome)
        data = serializers.WholeSubscriberSerializer(outcome.subscriber).data
        return told(data, 201 if outcome.created else 200)
