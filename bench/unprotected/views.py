"""The API: each call locks what it will change, then looks whether it may, then answers."""

import secrets
from typing import Any

from django.conf import settings
from django.db import transaction
from django.utils import timezone
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from bench.unprotected import delivery, trail
from bench.unprotected.authentication import ApiKeyAuthentication, bearer, digest
from bench.unprotected.models import (
    CODE_LIFE,
    HOLDING,
    EncryptedCredentialsLog,
    Pairing,
    Smartcard,
    State,
)
from bench.unprotected.serializers import (
    AssociateSerializer,
    CreateSerializer,
    RevokeSerializer,
)

INTERVAL_S = 5


def refused(status: int, code: str) -> Response:
    return Response({"code": code}, status=status)


class CreateView(APIView):
    @transaction.atomic
    def post(self, request: Request) -> Response:
        asked = CreateSerializer(data=request.data)
        asked.is_valid(raise_exception=True)
        pairing = Pairing.objects.create(
            **asked.validated_data,
            device_code=secrets.token_urlsafe(32),
            user_code=secrets.token_hex(4),
            client_ip=trail.client_ip(request),
            expires_at=timezone.now() + CODE_LIFE,
        )
        trail.record("udid_generated", request, pairing, model=pairing.model)
        verification_uri = f"{settings.PUBLIC_URL}/activate/"
        return Response(
            {
                "udid": pairing.udid,
                "user_code": pairing.user_code,
                "device_code": pairing.device_code,
                "verification_uri": verification_uri,
                "verification_uri_complete": f"{verification_uri}?user_code={pairing.user_code}",
                "expires_in": int(CODE_LIFE.total_seconds()),
                "interval": INTERVAL_S,
            },
            status=201,
        )


class AssociateView(APIView):
    authentication_classes = (ApiKeyAuthentication,)

    @transaction.atomic
    def post(self, request: Request) -> Response:
        told = dict(request.data)
        waiting = Pairing.objects.select_for_update()
        pairing = waiting.filter(user_code=told.get("user_code", "")).first()
        cards = Smartcard.objects.select_for_update().select_related("subscriber")
        card = cards.filter(sn=told.get("sn", "")).first()
        if pairing is None:
            return refused(404, "unknown_code")
        if pairing.expired:
            return refused(410, "expired_code")
        if pairing.state != State.PENDING:
            return refused(409, "already_approved")
        asked = AssociateSerializer(data=told, context={"card": card})
        asked.is_valid(raise_exception=True)
        assert card is not None
        pairing.state = State.APPROVED
        pairing.subscriber, pairing.smartcard = card.subscriber, card
        pairing.approved_at = timezone.now()
        pairing.save()
        trail.record("udid_used", request, pairing, sn=card.sn)
        answer = {"udid": pairing.udid, "status": pairing.state, "sn": card.sn}
        return Response({**answer, "subscriber_code": card.subscriber.code})


class StatusView(APIView):
    def get(self, request: Request, udid: str) -> Response:
        found = Pairing.objects.select_related("subscriber")
        pairing = found.filter(device_code=bearer(request), udid=udid).first()
        if pairing is None:
            return refused(404, "not_found")
        if pairing.expired:
            return refused(410, "expired")
        trail.record("udid_validated", request, pairing, state=pairing.state)
        left_s = max(0, int((pairing.expires_at - timezone.now()).total_seconds()))
        return Response({"status": pairing.state, "expires_in": left_s, "interval": INTERVAL_S})


def locked(request: Request, udid: str) -> Pairing | None:
    """The device's own pairing, with its subscriber and card, all three locked."""
    own = Pairing.objects.select_for_update().select_related("smartcard__subscriber", "subscriber")
    return own.filter(device_code=bearer(request), udid=udid).first()


class CredentialsView(APIView):
    @transaction.atomic
    def post(self, request: Request, udid: str) -> Response:
        pairing = locked(request, udid)
        if pairing is None:
            return refused(404, "not_found")
        card = pairing.smartcard
        if pairing.state != State.APPROVED or card is None:
            return refused(403, "not_validated")
        plain = delivery.credentials(card)
        sealed = delivery.encrypted(plain, pairing.app_type)
        answer: dict[str, Any] = delivery.tokens(pairing, card.subscriber.code)
        pairing.state, pairing.used_at = State.USED, timezone.now()
        pairing.save()
        EncryptedCredentialsLog.objects.create(
            pairing=pairing,
            app_type=pairing.app_type,
            sn=card.sn,
            digest=digest(sealed["encrypted_data"]),
            client_ip=trail.client_ip(request),
        )
        trail.record("udid_used", request, pairing, sn=card.sn)
        return Response({**answer, "credentials": plain, "encrypted_credentials": sealed})


class AckView(APIView):
    @transaction.atomic
    def post(self, request: Request, udid: str) -> Response:
        pairing = locked(request, udid)
        if pairing is None or pairing.state != State.USED:
            return refused(409, "not_delivered")
        pairing.acknowledged_at = timezone.now()
        pairing.save()
        trail.record("udid_acknowledged", request, pairing)
        return Response(status=204)


class RevokeView(APIView):
    authentication_classes = (ApiKeyAuthentication,)

    @transaction.atomic
    def post(self, request: Request, udid: str) -> Response:
        asked = RevokeSerializer(data=request.data)
        asked.is_valid(raise_exception=True)
        found = Pairing.objects.select_for_update().select_related("subscriber")
        pairing = found.filter(udid=udid).order_by("-created_at").first()
        if pairing is None:
            return refused(404, "not_found")
        if pairing.state not in HOLDING:
            return refused(409, "already_revoked")
        pairing.state, pairing.revoked_at = State.REVOKED, timezone.now()
        pairing.save()
        trail.record("udid_revoked", request, pairing, **asked.validated_data)
        return Response({"udid": udid, "status": pairing.state})
