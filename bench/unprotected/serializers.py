"""What clients may send."""

from typing import Any

from rest_framework import serializers

from bench.unprotected.models import HOLDING, Pairing, Smartcard


class CreateSerializer(serializers.Serializer[Any]):
    app_type = serializers.CharField(max_length=32)
    udid = serializers.RegexField(r"\A[A-Za-z0-9._-]{16,64}\Z")
    model = serializers.CharField(max_length=100, required=False, allow_blank=True)


class AssociateSerializer(serializers.Serializer[Any]):
    """Validates an association against the card, which its caller has locked."""

    user_code = serializers.CharField(max_length=8)
    subscriber_code = serializers.CharField(max_length=64)
    sn = serializers.CharField(max_length=64)

    def validate(self, attributes: dict[str, Any]) -> dict[str, Any]:
        card: Smartcard | None = self.context["card"]
        if card is None or card.subscriber.code != attributes["subscriber_code"]:
            raise serializers.ValidationError({"sn": "not a card of this subscriber"})
        if card.subscriber.locked:
            raise serializers.ValidationError({"subscriber_code": "locked"})
        if Pairing.objects.filter(smartcard=card, state__in=HOLDING).exists():
            raise serializers.ValidationError({"sn": "already on another active device"})
        return attributes


class RevokeSerializer(serializers.Serializer[Any]):
    reason = serializers.CharField(max_length=100, required=False, allow_blank=True)
