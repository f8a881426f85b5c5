"""The audit trail: a row for each thing that happens, written before the request is answered."""

from typing import Any

from rest_framework.request import Request

from bench.unprotected.models import AuditEntry, Pairing


def client_ip(request: Request) -> str | None:
    """Whatever the client says its address is."""
    told: str = request.META.get("HTTP_X_FORWARDED_FOR", "")
    return told.split(",")[0].strip() or request.META.get("REMOTE_ADDR")


def record(action: str, request: Request, pairing: Pairing, **details: Any) -> None:
    AuditEntry.objects.create(
        action=action,
        udid=pairing.udid,
        subscriber_code=pairing.subscriber.code if pairing.subscriber else "",
        operator_id=request.auth or "",
        client_ip=client_ip(request),
        user_agent=request.META.get("HTTP_USER_AGENT", "")[:200],
        details=details,
    )
