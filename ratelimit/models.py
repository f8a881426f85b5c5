"""The limits that admins edit, and the number that tells every process to read them again."""

from typing import ClassVar

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
