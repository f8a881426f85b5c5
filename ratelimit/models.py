"""The limits that admins edit, and the number that tells every process to read them again."""

from ipaddress import ip_network
from typing import ClassVar

from django.core.exceptions import ValidationError
from django.core.validators import MinValueValidator
from django.db import models


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
