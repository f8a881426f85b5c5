"""Subscribers, their cards, the pairings of devices, and what is written down about all of them."""

from datetime import timedelta
from typing import ClassVar, Self

from django.db import models
from django.utils import timezone

CODE_LIFE = timedelta(minutes=15)


class Row(models.Model):
    # mypy's plugin gives a manager to the models of the main project only.
    objects: ClassVar[models.Manager[Self]] = models.Manager()

    class Meta:
        abstract = True


class ApiKey(Row):
    """The key of an operator, as a SHA-256 digest."""

    name = models.CharField(max_length=50)
    digest = models.CharField(max_length=64, unique=True)
    active = models.BooleanField(default=True)

    def __str__(self) -> str:
        return self.name


class Subscriber(Row):
    code = models.CharField(max_length=64, unique=True)
    locked = models.BooleanField(default=False)
    login1 = models.CharField(max_length=64)
    password = models.CharField(max_length=64)
    pin = models.CharField(max_length=8)
    packages = models.JSONField(default=list)

    def __str__(self) -> str:
        return self.code


class Smartcard(Row):
    sn = models.CharField(max_length=64, unique=True)
    subscriber = models.ForeignKey(Subscriber, models.CASCADE, related_name="smartcards")

    def __str__(self) -> str:
        return self.sn


class State(models.TextChoices):
    PENDING = "pending"
    APPROVED = "approved"
    USED = "used"
    REVOKED = "revoked"


#: A card is taken by a pairing in one of these states. No constraint says so, only a query.
HOLDING = (State.APPROVED, State.USED)


class Pairing(Row):
    """A device that shows a code, until it holds credentials, until they are revoked."""

    udid = models.CharField(max_length=64, db_index=True)
    device_code = models.CharField(max_length=64, unique=True)
    user_code = models.CharField(max_length=8, unique=True)
    app_type = models.CharField(max_length=32)
    model = models.CharField(max_length=100, blank=True)
    state = models.CharField(max_length=16, choices=State.choices, default=State.PENDING)
    subscriber = models.ForeignKey(Subscriber, models.CASCADE, null=True)
    smartcard = models.ForeignKey(Smartcard, models.CASCADE, null=True)
    client_ip = models.GenericIPAddressField(null=True)
    created_at = models.DateTimeField(auto_now_add=True)
    expires_at = models.DateTimeField()
    approved_at = models.DateTimeField(null=True)
    used_at = models.DateTimeField(null=True)
    acknowledged_at = models.DateTimeField(null=True)
    revoked_at = models.DateTimeField(null=True)

    def __str__(self) -> str:
        return f"{self.udid} ({self.state})"

    @property
    def expired(self) -> bool:
        return self.state == State.PENDING and self.expires_at <= timezone.now()


class AppCredentials(Row):
    """The public key to which credentials for this type of app are encrypted."""

    app_type = models.CharField(max_length=32, unique=True)
    public_key = models.TextField()

    def __str__(self) -> str:
        return self.app_type


class RefreshToken(Row):
    digest = models.CharField(max_length=64, unique=True)
    pairing = models.ForeignKey(Pairing, models.CASCADE)
    expires_at = models.DateTimeField()

    def __str__(self) -> str:
        return self.digest


class EncryptedCredentialsLog(Row):
    """Each delivery."""

    pairing = models.ForeignKey(Pairing, models.CASCADE)
    app_type = models.CharField(max_length=32)
    sn = models.CharField(max_length=64)
    digest = models.CharField(max_length=64)
    client_ip = models.GenericIPAddressField(null=True)
    created_at = models.DateTimeField(auto_now_add=True)

    def __str__(self) -> str:
        return self.digest


class AuditEntry(Row):
    action = models.CharField(max_length=20)
    udid = models.CharField(max_length=64, db_index=True)
    subscriber_code = models.CharField(max_length=64, blank=True)
    operator_id = models.CharField(max_length=50, blank=True)
    client_ip = models.GenericIPAddressField(null=True)
    user_agent = models.CharField(max_length=200, blank=True)
    details = models.JSONField(default=dict)
    timestamp = models.DateTimeField(auto_now_add=True, db_index=True)

    class Meta:
        indexes: ClassVar = [models.Index(fields=["action", "timestamp"])]

    def __str__(self) -> str:
        return self.action
