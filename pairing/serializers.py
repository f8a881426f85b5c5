"""What clients may send to pairing's API, and its answers' shapes for the OpenAPI document."""

from typing import Any

from rest_framework import serializers

from accounts.strict import StrictSerializer
from pairing import sealed_box
from pairing.models import State, Subscriber
from pairing.sealed_box import UnusableKey

UDID = r"\A[A-Za-z0-9._-]{16,64}\Z"
APP_TYPE = r"\A[A-Za-z0-9._-]{1,32}\Z"
#: Of subscribers and of smartcards: what stands in a path, and is read aloud on the telephone.
CODE = r"\A[A-Za-z0-9._:@+-]{1,64}\Z"
#: Of what may be missing in an answer that has the header `Degraded`.
LEFT_OUT = "may be left out under load"


class CreateSerializer(StrictSerializer):
    client_id = serializers.CharField(
        max_length=64, required=False, help_text="absent: the host's default client"
    )
    app_type = serializers.RegexField(APP_TYPE)
    udid = serializers.RegexField(UDID, required=False, help_text="absent: the server makes one")
    model = serializers.CharField(max_length=100, required=False, allow_blank=True)
    os = serializers.CharField(max_length=100, required=False, allow_blank=True)
    name = serializers.CharField(max_length=100, required=False, allow_blank=True)
    public_key = serializers.DictField(
        required=False,
        help_text="a JWK on X25519 or P-256: credentials travel as a JWE sealed to it",
    )

    def validate_public_key(self, jwk: dict[str, Any]) -> dict[str, str]:
        try:
            return sealed_box.public_key(jwk)
        except UnusableKey as error:
            raise serializers.ValidationError(str(error)) from error


class CreatedSerializer(serializers.Serializer[Any]):
    udid = serializers.CharField()
    user_code = serializers.CharField(help_text="what a person types: WDJB-MJHT")
    device_code = serializers.CharField(help_text="the device's secret; shown once")
    verification_uri = serializers.URLField()
    verification_uri_complete = serializers.URLField()
    expires_in = serializers.IntegerField()
    interval = serializers.IntegerField(help_text="seconds between two polls")
    websocket_url = serializers.URLField()


class RenewedSerializer(serializers.Serializer[Any]):
    user_code = serializers.CharField()
    expires_in = serializers.IntegerField()


class StatusSerializer(serializers.Serializer[Any]):
    status = serializers.ChoiceField([state.value for state in State if state != State.EXPIRED])
    version = serializers.IntegerField(help_text="grows with every change of the pairing")
    expires_in = serializers.IntegerField(help_text="0 where nothing expires any more")
    interval = serializers.IntegerField()
    user_code = serializers.CharField(help_text="the code to show while it is pending")


class DeliverySerializer(serializers.Serializer[Any]):
    access_token = serializers.CharField()
    refresh_token = serializers.CharField()
    expires_in = serializers.IntegerField()
    scope = serializers.CharField(allow_blank=True)
    credentials = serializers.JSONField(
        help_text="an object, or a compact JWE when the device sent a public key"
    )


class ApproveSerializer(StrictSerializer):
    user_code = serializers.CharField(max_length=32, required=False)
    udid = serializers.RegexField(
        UDID,
        required=False,
        help_text="keys and operators only, for a device that waits alone under a UDID no device "
        "uses. A UDID is public: a stranger may wait under it before its owner asks. Where anybody "
        "can read the screen, send its user_code.",
    )
    subscriber_code = serializers.RegexField(
        CODE, required=False, help_text="absent: the subscriber who asks"
    )
    sn = serializers.RegexField(CODE, required=False, help_text="absent: a free smartcard")

    def validate(self, attributes: dict[str, Any]) -> dict[str, Any]:
        if ("user_code" in attributes) == ("udid" in attributes):
            raise serializers.ValidationError("Give either user_code or udid.")
        return attributes


class ApprovedSerializer(serializers.Serializer[Any]):
    udid = serializers.CharField()
    status = serializers.ChoiceField([State.APPROVED.value])
    subscriber_code = serializers.CharField()
    sn = serializers.CharField()


class DenySerializer(StrictSerializer):
    user_code = serializers.CharField(max_length=32)


class DeniedSerializer(serializers.Serializer[Any]):
    udid = serializers.CharField()
    status = serializers.ChoiceField([State.DENIED.value])


class DeviceSerializer(serializers.Serializer[Any]):
    udid = serializers.CharField()
    name = serializers.CharField(allow_blank=True)
    app_type = serializers.CharField()
    model = serializers.CharField(allow_blank=True)
    os = serializers.CharField(allow_blank=True)
    status = serializers.CharField(source="state")
    subscriber_code = serializers.CharField(
        source="subscriber.code", required=False, help_text=LEFT_OUT
    )
    sn = serializers.CharField(source="smartcard.sn", default="", help_text=LEFT_OUT)
    approved_at = serializers.DateTimeField()
    acknowledged_at = serializers.DateTimeField(allow_null=True)


class BareDeviceSerializer(DeviceSerializer):
    """A device without what is in other tables."""

    subscriber_code = None  # type: ignore[assignment]
    sn = None  # type: ignore[assignment]


class DeviceSearchSerializer(StrictSerializer):
    subscriber_code = serializers.RegexField(CODE, required=False)
    search = serializers.CharField(max_length=64, required=False, help_text="a prefix")


class SearchSerializer(StrictSerializer):
    search = serializers.CharField(max_length=64, required=False)


class RenameSerializer(StrictSerializer):
    name = serializers.CharField(max_length=100, allow_blank=True)


class RevokeSerializer(StrictSerializer):
    reason = serializers.CharField(max_length=100, required=False, allow_blank=True, default="")


class RevokedSerializer(serializers.Serializer[Any]):
    udid = serializers.CharField()
    status = serializers.ChoiceField([State.REVOKED.value])


class AllRevokedSerializer(serializers.Serializer[Any]):
    subscriber_code = serializers.CharField()
    revoked = serializers.IntegerField(help_text="how many devices were signed out")


class SecretsSerializer(StrictSerializer):
    login1 = serializers.CharField(max_length=200, required=False)
    login2 = serializers.CharField(max_length=200, required=False)
    password = serializers.CharField(max_length=200, required=False, trim_whitespace=False)
    pin = serializers.CharField(max_length=200, required=False)
    packages = serializers.ListField(
        child=serializers.CharField(max_length=100), max_length=100, required=False
    )


class PutSubscriberSerializer(StrictSerializer):
    name = serializers.CharField(max_length=200, required=False, allow_blank=True)
    state = serializers.ChoiceField(Subscriber.State.choices, required=False)
    smartcards = serializers.ListField(
        child=serializers.RegexField(CODE), max_length=100, required=False
    )
    credentials = SecretsSerializer(required=False, help_text="never read back")

    def validate_smartcards(self, numbers: list[str]) -> list[str]:
        """One written twice is one; two that differ in their capitals only are a mistake."""
        numbers = list(dict.fromkeys(numbers))
        if len({number.casefold() for number in numbers}) < len(numbers):
            raise serializers.ValidationError(
                "Two serial numbers differ in their capitals only.", code="differs_in_case"
            )
        return numbers


class SubscriberSerializer(serializers.Serializer[Any]):
    code = serializers.CharField()
    name = serializers.CharField(allow_blank=True)
    state = serializers.ChoiceField(Subscriber.State.choices)


class SmartcardSerializer(serializers.Serializer[Any]):
    sn = serializers.CharField()
    udid = serializers.SerializerMethodField(help_text="the device that holds it")

    def get_udid(self, card: Any) -> str | None:
        holder = getattr(card, "active_pairing", None)
        return holder.udid if holder else None


class WholeSubscriberSerializer(SubscriberSerializer):
    """A subscriber with its smartcards, and the devices that hold them."""

    has_credentials = serializers.BooleanField(source="sealed_credentials")
    smartcards = SmartcardSerializer(many=True, source="cards")


class ProblemSerializer(serializers.Serializer[Any]):
    """RFC 9457."""

    type = serializers.CharField()
    title = serializers.CharField()
    status = serializers.IntegerField()
    code = serializers.CharField(help_text="stable; docs/errors.md lists all")
    detail = serializers.CharField(required=False)
