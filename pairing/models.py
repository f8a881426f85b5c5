"""Subscribers, their smartcards, and the pairings that put a device on one of them."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Any, ClassVar

from django.conf import settings
from django.db import models, transaction
from django.db.models import OuterRef, Q, Subquery
from uuid_utils.compat import uuid7

import audit
from accounts import snapshot, tokens
from accounts.models import Client, Tenant
from audit import clock, statements
from pairing import rows, signals
from pairing.pending import Known


class Subscriber(models.Model):
    """A customer of a tenant, with the service credentials a device receives."""

    class State(models.TextChoices):
        ACTIVE = "active"
        LOCKED = "locked"

    tenant = models.ForeignKey(Tenant, on_delete=models.CASCADE, related_name="subscribers")
    code = models.CharField(max_length=64)
    name = models.CharField(max_length=200, blank=True)
    state = models.CharField(max_length=16, choices=State.choices, default=State.ACTIVE)
    user = models.OneToOneField(
        settings.AUTH_USER_MODEL,
        on_delete=models.SET_NULL,
        related_name="subscriber",
        null=True,
        blank=True,
    )
    #: Login, password, PIN and packages as JSON, sealed by the keyring.
    sealed_credentials = models.TextField(blank=True, editable=False)
    created_at = models.DateTimeField(default=clock.now, editable=False)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["tenant", "code"], name="one_subscriber_per_code")
        ]

    def __str__(self) -> str:
        return self.code

    @property
    def cards(self) -> "models.QuerySet[Smartcard]":
        """Its smartcards in order, each with the device that holds it."""
        return self.smartcards.select_related("active_pairing").order_by("sn")


class Smartcard(models.Model):
    """A card of a subscriber. At most one active device holds it."""

    tenant = models.ForeignKey(Tenant, on_delete=models.CASCADE, related_name="smartcards")
    subscriber = models.ForeignKey(Subscriber, on_delete=models.CASCADE, related_name="smartcards")
    sn = models.CharField("serial number", max_length=64)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["tenant", "sn"], name="one_smartcard_per_serial_number")
        ]

    def __str__(self) -> str:
        return self.sn


class State(models.TextChoices):
    PENDING = "pending"
    APPROVED = "approved"
    DELIVERED = "delivered"
    ACKNOWLEDGED = "acknowledged"
    REVOKED = "revoked"
    DENIED = "denied"
    EXPIRED = "expired"


#: The states in which the time until `expires_at` runs.
TIMED = (State.PENDING, State.APPROVED, State.DELIVERED)
#: The states that hold a card and a UDID.
ACTIVE = (State.APPROVED, State.DELIVERED, State.ACKNOWLEDGED)


#: What a change of state reads of a pairing; anything else is fetched when somebody asks for it.
MOVED = (
    "tenant_id",
    "client_id",
    "state",
    "version",
    "udid",
    "device_code_digest",
    "user_code",
    "expires_at",
    "acknowledges_itself",
    "token_family",
)


class PairingQuerySet(models.QuerySet["Pairing"]):
    def with_rival(self) -> "PairingQuerySet":
        """Each with `rival_id`: the pairing that holds its UDID as the active device, if any."""
        active = Pairing.objects.filter(tenant=OuterRef("tenant"), active_udid=OuterRef("udid"))
        return self.annotate(rival_id=Subquery(active.values("pk")[:1]))

    def overdue(self, now: datetime) -> "PairingQuerySet":
        """Those that still hold a card although their time is over."""
        return self.filter(state__in=(State.APPROVED, State.DELIVERED), expires_at__lte=now)

    def active(self, now: datetime) -> "PairingQuerySet":
        """Those whose device is on its card, or on the way to it."""
        return self.filter(
            Q(state=State.ACKNOWLEDGED)
            | Q(state=State.DELIVERED, acknowledges_itself=True)
            | Q(state__in=(State.APPROVED, State.DELIVERED), expires_at__gt=now)
        )


def standing(state: str, expires_at: datetime, acknowledges_itself: bool, now: datetime) -> State:
    """`Pairing.standing` of a row whose columns these are."""
    stored = State(state)
    if stored not in TIMED or expires_at > now:
        return stored
    if stored is State.DELIVERED and acknowledges_itself:
        return State.ACKNOWLEDGED
    return State.EXPIRED


class Pairing(models.Model):
    """One device's way from showing a code to holding credentials.

    ``pending > approved > delivered > acknowledged``, and from there ``revoked``;
    ``pending > denied | expired``; ``approved | delivered > revoked | expired``. Each change is one
    conditional UPDATE on (state, version). Expiry is a comparison with `expires_at`: a row past it
    still says `pending`, `approved` or `delivered` until somebody needs what it holds.
    """

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    tenant = models.ForeignKey(
        Tenant, on_delete=models.CASCADE, related_name="pairings", db_index=False
    )
    client = models.ForeignKey(Client, on_delete=models.PROTECT, related_name="pairings")
    state = models.CharField(max_length=16, choices=State.choices, default=State.PENDING)
    version = models.PositiveIntegerField(default=1)

    udid = models.CharField("UDID", max_length=64)
    device_code_digest = models.CharField(max_length=64, unique=True, editable=False)
    user_code = models.CharField(max_length=8, unique=True)
    app_type = models.CharField(max_length=32)
    model = models.CharField(max_length=100, blank=True)
    os = models.CharField("operating system", max_length=100, blank=True)
    name = models.CharField(max_length=100, blank=True)
    public_key = models.JSONField(null=True, blank=True)
    address = models.GenericIPAddressField(null=True, blank=True)

    subscriber = models.ForeignKey(
        Subscriber, on_delete=models.PROTECT, related_name="pairings", null=True, blank=True
    )
    #: The card it was put on, for as long as the subscriber has that card.
    smartcard = models.ForeignKey(
        Smartcard, on_delete=models.SET_NULL, related_name="pairings", null=True, blank=True
    )
    #: The card and the UDID while this pairing is the active one, else NULL: the unique columns,
    #: and not a query, say that there is one. MariaDB has no conditional unique constraint.
    active_smartcard = models.OneToOneField(
        Smartcard,
        on_delete=models.PROTECT,
        related_name="active_pairing",
        null=True,
        blank=True,
        editable=False,
    )
    active_udid = models.CharField(max_length=64, null=True, blank=True, editable=False)  # noqa: DJ001

    created_at = models.DateTimeField(default=clock.now, editable=False)
    expires_at = models.DateTimeField()
    approved_at = models.DateTimeField(null=True, blank=True, editable=False)
    approved_by = models.CharField(max_length=100, blank=True, editable=False)
    delivered_at = models.DateTimeField(null=True, blank=True, editable=False)
    acknowledged_at = models.DateTimeField(null=True, blank=True, editable=False)
    ended_at = models.DateTimeField(null=True, blank=True, editable=False)
    ended_reason = models.CharField(max_length=100, blank=True, editable=False)
    #: The answer of the delivery, sealed, for the same device_code until it acknowledges.
    sealed_answer = models.TextField(blank=True, editable=False)
    #: Collected through OAuth, which has no acknowledgement: time acknowledges instead of expiring.
    acknowledges_itself = models.BooleanField(default=False, editable=False)
    token_family = models.UUIDField(null=True, blank=True, editable=False, db_index=True)

    objects = PairingQuerySet.as_manager()

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["tenant", "active_udid"], name="one_active_device_per_udid"
            )
        ]
        indexes: ClassVar = [
            models.Index(fields=["tenant", "udid"], name="pairing_by_udid"),
            models.Index(fields=["tenant", "state", "created_at"], name="pairing_by_state"),
            models.Index(fields=["state", "expires_at"], name="pairing_by_deadline"),
        ]
        permissions: ClassVar = [("approve", "Can approve pairings for any subscriber")]

    def __str__(self) -> str:
        return f"{self.udid} ({self.state})"

    @property
    def known(self) -> Known:
        """What a process keeps of a pairing that waits."""
        return Known(
            self.pk, self.version, self.udid, self.client_id, self.user_code, self.expires_at
        )

    def standing(self, now: datetime) -> State:
        """The state as anybody outside sees it: the stored one, and what time has made of it."""
        return standing(self.state, self.expires_at, self.acknowledges_itself, now)

    def move(
        self, to: State, *, actor: str, detail: Mapping[str, Any] | None = None, **columns: Any
    ) -> bool:
        """Go on to `to` if this row still is as it was read; False when somebody was faster.

        One conditional UPDATE, its audit record, and `signals.changed` on commit. Must run inside
        a transaction.
        """
        if not statements.update(Pairing, self._as_read, self._changes(to, columns)):
            return False
        self._moved(to, actor, detail, columns)
        return True

    def must_move(
        self, to: State, *, actor: str, detail: Mapping[str, Any] | None = None, **columns: Any
    ) -> None:
        """`move`, where the transaction is to fail when somebody was faster.

        So nobody waits for its outcome: it raises `statements.Unmatched` here or at the commit.
        """
        statements.must_update(Pairing, self._as_read, self._changes(to, columns))
        self._moved(to, actor, detail, columns)

    @property
    def _as_read(self) -> Mapping[str, Any]:
        return {"id": self.pk, "state": self.state, "version": self.version}

    def _changes(self, to: State, columns: Mapping[str, Any]) -> Mapping[str, Any]:
        return {"state": to, "version": self.version + 1, **columns}

    def _moved(
        self, to: State, actor: str, detail: Mapping[str, Any] | None, columns: Mapping[str, Any]
    ) -> None:
        self.state, self.version = to, self.version + 1
        for column, value in columns.items():
            setattr(self, column, value)
        self._tell(f"pairing.{to.value}", actor, detail)

    def end(self, to: State, *, actor: str, reason: str = "") -> bool:
        """Move to a final state: card and UDID are free, tokens and the kept answer are gone."""
        return end_all([self], to, actor=actor, reason=reason)

    def lapse(self) -> bool:
        """Write down what time has made of a pairing that is past `expires_at`."""
        standing = self.standing(clock.now())
        if standing == self.state:
            return False
        if standing is State.ACKNOWLEDGED:
            return self.acknowledge(actor="time")
        return self.end(State.EXPIRED, actor="time", reason="out of time")

    def acknowledge(self, *, actor: str) -> bool:
        """The device has its credentials; the kept answer is forgotten."""
        return self.move(State.ACKNOWLEDGED, actor=actor, **_acknowledged())

    def must_acknowledge(self, *, actor: str) -> None:
        """`acknowledge`, as `must_move` is to `move`."""
        self.must_move(State.ACKNOWLEDGED, actor=actor, **_acknowledged())

    def _tell(self, action: str, actor: str, detail: Mapping[str, Any] | None) -> None:
        audit.record_with_change(
            action,
            subject=f"pairing:{self.pk}",
            subject_version=self.version,
            actor=actor,
            tenant=tenant_slug(self.tenant_id),
            detail=detail,
        )
        transaction.on_commit(
            partial(signals.changed.send, Pairing, id=self.pk, version=self.version)
        )


def _acknowledged() -> Mapping[str, Any]:
    return {"sealed_answer": "", "acknowledged_at": clock.now()}


def end_all(pairings: Sequence[Pairing], to: State, *, actor: str, reason: str = "") -> bool:
    """`Pairing.end` for several; False as soon as one was changed by somebody else meanwhile."""
    held = [pairing for pairing in pairings if pairing.state in ACTIVE]
    ended = all(
        pairing.move(
            to,
            actor=actor,
            detail={"reason": reason} if reason else None,
            active_smartcard_id=None,
            active_udid=None,
            sealed_answer="",
            ended_at=clock.now(),
            ended_reason=reason,
        )
        for pairing in pairings
    )
    if ended:
        for pairing in held:
            if pairing.subscriber is not None:
                rows.changed(pairing.tenant_id, [pairing.subscriber.code])
        for pairing in pairings:
            if pairing.token_family is not None:
                tenant = tenant_slug(pairing.tenant_id)
                tokens.revoke_family(
                    pairing.token_family, reason=reason, actor=actor, tenant=tenant
                )
    return ended


def tenant_slug(tenant_id: int) -> str:
    """The tenant's name in the trail, without a query."""
    tenant = snapshot.current().tenants.get(tenant_id)
    return tenant.slug if tenant else str(tenant_id)
