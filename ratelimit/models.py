"""The limits and flags that admins edit, and the number by which every process reads them again."""

from datetime import datetime
from ipaddress import ip_network
from typing import Any, ClassVar

from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models, transaction
from django.db.models import Q

import audit
from audit import clock
from ratelimit import flags, revision


class Revision(models.Model):
    """One row: a number that grows with every change of the configuration."""

    number = models.PositiveBigIntegerField(default=0)

    def __str__(self) -> str:
        return str(self.number)


class Criticality(models.TextChoices):
    CRITICAL = "critical"
    NORMAL = "normal"
    SHEDDABLE = "sheddable"


class StoreAway(models.TextChoices):
    """What holds while Redis cannot be asked."""

    LOCAL = "local", "each process's share"
    OPEN = "open", "no limit"
    CLOSED = "closed", "no request"


class PolicyRow(models.Model):
    """How the routes of one policy are admitted. Which routes those are is code."""

    name = models.CharField(max_length=60, unique=True)
    criticality = models.CharField(
        max_length=10, choices=Criticality.choices, default=Criticality.NORMAL
    )
    weight = models.PositiveSmallIntegerField(
        default=1, validators=[MinValueValidator(1)], help_text="slots that a request holds"
    )
    wait_ms = models.PositiveIntegerField(default=1500, help_text="longest wait for a slot")
    store_away = models.CharField(
        "while Redis is away", max_length=6, choices=StoreAway.choices, default=StoreAway.LOCAL
    )

    class Meta:
        ordering: ClassVar = ["name"]
        verbose_name = "policy"
        verbose_name_plural = "policies"

    def __str__(self) -> str:
        return self.name


class LimitRow(models.Model):
    """A limit of a policy: `quantity` requests in `window_s` seconds."""

    policy = models.ForeignKey(PolicyRow, on_delete=models.CASCADE, related_name="limits")
    name = models.CharField(max_length=60)
    quantity = models.PositiveIntegerField(validators=[MinValueValidator(1)])
    window_s = models.PositiveIntegerField("window in s", validators=[MinValueValidator(1)])

    class Meta:
        ordering: ClassVar = ["name"]
        verbose_name = "limit"
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["policy", "name"], name="limit_once_per_policy")
        ]

    def __str__(self) -> str:
        return f"{self.quantity} per {self.window_s} s"


class Rollout(models.Model):
    """A change of one policy's numbers on its way: counted, then for some tenants, then for all.

    `ratelimit.rollouts` moves it. Of what the numbers in force admit, no more than `bound` percent
    may be refused by the changed ones, or they are taken back.
    """

    class Stage(models.TextChoices):
        SHADOW = "shadow", "counted, not enforced"
        PERCENTAGE = "percentage", "for a percentage of tenants"
        ALL = "all", "for all tenants"
        DONE = "done", "in force"
        ABORTED = "aborted", "given up"
        WITHDRAWN = "withdrawn", "taken back by itself"

    policy = models.ForeignKey(PolicyRow, on_delete=models.CASCADE, related_name="rollouts")
    draft = models.JSONField(help_text='such as {"limits": {"udid": {"quantity": 3}}}')
    stage = models.CharField(max_length=10, choices=Stage.choices, default=Stage.SHADOW)
    percent = models.PositiveSmallIntegerField("percent of tenants", default=0)
    bound = models.FloatField(
        "bound in percent",
        default=1.0,
        validators=[MinValueValidator(0), MaxValueValidator(100)],
        help_text="of what the numbers in force admit, so many percent may be refused",
    )
    least = models.PositiveIntegerField(
        default=200,
        validators=[MinValueValidator(1)],
        help_text="requests of a step before it is judged",
    )
    #: Grows with each stage and percentage: what was counted belongs to one of them.
    step = models.PositiveIntegerField(default=1, editable=False)
    admitted = models.PositiveBigIntegerField(default=0, editable=False)
    refused = models.PositiveBigIntegerField(default=0, editable=False)
    #: True while it goes on, then nothing: one change at a time, or nobody knew which one it was.
    live = models.BooleanField(null=True, default=True, unique=True, editable=False)
    started_at = models.DateTimeField(default=clock.now, editable=False)
    changed_at = models.DateTimeField(default=clock.now, editable=False)
    why = models.CharField(max_length=200, blank=True, editable=False)

    class Meta:
        ordering: ClassVar = ["-pk"]
        verbose_name = "roll-out"
        verbose_name_plural = "roll-outs"

    def __str__(self) -> str:
        return f"{self.policy}: {self.stage}"

    @property
    def trial(self) -> str:
        """What the requests of this step are counted under."""
        return f"{self.policy.name}:{self.pk}.{self.step}"

    @property
    def share(self) -> float:
        """Percent of what the numbers in force admit that the changed ones refuse."""
        counted = self.admitted + self.refused
        return 100 * self.refused / counted if counted else 0.0


class SharedNetwork(models.Model):
    """A network whose addresses stand for many homes each, such as a carrier's NAT."""

    network = models.CharField(max_length=43, unique=True, help_text="CIDR, such as 100.64.0.0/10")
    stands_for = models.PositiveIntegerField(
        "stands for",
        default=100,
        validators=[MinValueValidator(2)],
        help_text="networks that each of its /24 (IPv6: /64) counts as where a network is limited",
    )
    note = models.CharField(max_length=200, blank=True, help_text="whose it is, and who asked")

    class Meta:
        ordering: ClassVar = ["network"]

    def __str__(self) -> str:
        return self.network

    def clean(self) -> None:
        """In its one spelling, so that no network is listed twice."""
        try:
            self.network = str(ip_network(self.network.strip()))
        except ValueError as error:
            raise ValidationError({"network": str(error)}) from error


class FlagQuerySet(models.QuerySet["Flag"]):
    def forced(self) -> "FlagQuerySet":
        """Those that somebody has forced, those included whose time has just passed."""
        return self.filter(forced__isnull=False)

    def expire(self, now: datetime) -> int:
        """Release those whose time has passed, each with its record; returns how many."""
        overdue = self.forced().filter(expires_at__lte=now)
        return sum(flag._free("flag.expired", actor="time") for flag in overdue)


class Flag(models.Model):
    """A step that is taken under pressure (`ratelimit.flags`), and what somebody decided of it."""

    name = models.CharField(max_length=40, unique=True, editable=False)
    #: None: the pressure decides.
    forced = models.BooleanField(null=True, blank=True, editable=False)
    owner = models.CharField(max_length=100, blank=True, help_text="who answers for it")
    reason = models.CharField(max_length=200, blank=True)
    expires_at = models.DateTimeField(null=True, blank=True)

    objects = FlagQuerySet.as_manager()

    class Meta:
        ordering: ClassVar = ["id"]
        constraints: ClassVar = [
            models.CheckConstraint(
                condition=Q(forced__isnull=True)
                | Q(expires_at__isnull=False) & ~Q(owner="") & ~Q(reason=""),
                name="forced_by_somebody_for_a_time",
            )
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def step(self) -> flags.Step:
        return flags.BY_NAME[self.name]

    @property
    def state(self) -> flags.Forced:
        """What is forced; only of a flag that is."""
        assert self.forced is not None
        assert self.expires_at is not None
        return flags.Forced(self.forced, self.expires_at.timestamp(), self.owner, self.reason)

    def force(self, on: bool, *, until: datetime, owner: str, reason: str, actor: str) -> None:
        """Have the step be taken, or not, `until` then; in force everywhere within a second."""
        self.forced, self.expires_at = on, until
        self.owner, self.reason = owner, reason
        with transaction.atomic():
            self.save()
            self._tell("flag.forced", actor, on=on, until=until.isoformat(), reason=reason)

    def release(self, *, actor: str) -> bool:
        """Let the pressure decide again; False where nothing was forced."""
        return self._free("flag.released", actor=actor)

    def _free(self, action: str, *, actor: str) -> bool:
        """One conditional UPDATE: of all who try, one writes the record."""
        as_read = Flag.objects.filter(pk=self.pk, forced=self.forced, expires_at=self.expires_at)
        was = self.forced
        if was is None:
            return False
        with transaction.atomic():
            if not as_read.update(forced=None, owner="", reason="", expires_at=None):
                return False
            self._tell(action, actor, on=was)
        self.forced, self.expires_at, self.owner, self.reason = None, None, "", ""
        return True

    def _tell(self, action: str, actor: str, **detail: Any) -> None:
        audit.record_with_change(
            action,
            subject=f"flag:{self.name}",
            actor=actor,
            detail={"owner": self.owner, **detail},
        )
        revision.bump()
