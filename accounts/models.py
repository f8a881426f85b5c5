"""Who may call: tenants and their plans, public clients, keys, people, and the keys that sign."""

from typing import ClassVar

from django.contrib.auth.models import AbstractUser
from django.core.validators import MinValueValidator
from django.db import models
from uuid_utils.compat import uuid7

from audit import clock

AT_LEAST_ONE = [MinValueValidator(1)]


class Plan(models.Model):
    """How much a tenant may ask for with its API keys. An empty quota is no limit."""

    name = models.SlugField(max_length=40, unique=True)
    per_minute = models.PositiveIntegerField(null=True, blank=True, validators=AT_LEAST_ONE)
    per_hour = models.PositiveIntegerField(null=True, blank=True, validators=AT_LEAST_ONE)
    per_day = models.PositiveIntegerField(null=True, blank=True, validators=AT_LEAST_ONE)

    def __str__(self) -> str:
        return self.name


class Tenant(models.Model):
    """An operator of televisions. Everything a caller can see belongs to one tenant."""

    slug = models.SlugField(max_length=40, unique=True)
    name = models.CharField(max_length=100)
    plan = models.ForeignKey(Plan, on_delete=models.PROTECT, related_name="tenants")
    created_at = models.DateTimeField(default=clock.now, editable=False)

    def __str__(self) -> str:
        return self.name


class Client(models.Model):
    """A public client as in OAuth: an app that devices run. It names their tenant."""

    tenant = models.ForeignKey(Tenant, on_delete=models.CASCADE, related_name="clients")
    client_id = models.SlugField(max_length=64, unique=True)
    name = models.CharField(max_length=100)
    #: The host whose devices may leave `client_id` out; `*` is every other host.
    default_for_host = models.CharField(max_length=253, unique=True, null=True, blank=True)
    active = models.BooleanField(default=True)

    def __str__(self) -> str:
        return self.client_id


class User(AbstractUser):
    """A person who logs in: an admin, an operator of a tenant, or a subscriber."""

    tenant = models.ForeignKey(
        Tenant, on_delete=models.PROTECT, related_name="users", null=True, blank=True
    )
    REQUIRED_FIELDS: ClassVar[list[str]] = []


class Scope(models.TextChoices):
    """What an API key may do."""

    PAIRING_APPROVE = "pairing:approve"
    DEVICES_READ = "devices:read"
    DEVICES_WRITE = "devices:write"
    SUBSCRIBERS_READ = "subscribers:read"
    SUBSCRIBERS_WRITE = "subscribers:write"


class ApiKey(models.Model):
    """A tenant's key. Only its HMAC is stored; the key itself is shown once, when it is made."""

    tenant = models.ForeignKey(Tenant, on_delete=models.CASCADE, related_name="api_keys")
    name = models.CharField(max_length=100)
    prefix = models.CharField(max_length=12, unique=True, editable=False)
    digest = models.CharField(max_length=64, editable=False)
    scopes = models.JSONField(default=list)
    created_at = models.DateTimeField(default=clock.now, editable=False)
    expires_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True, editable=False)

    class Meta:
        verbose_name = "API key"

    def __str__(self) -> str:
        return f"{self.name} ({self.prefix})"


class KeyringKey(models.Model):
    """A key of the one keyring: it signs tokens or seals credentials at rest.

    The secret half is sealed under a key derived from the setting KEYRING_SECRET.
    """

    class Purpose(models.TextChoices):
        TOKEN = "token", "signs access tokens (Ed25519)"
        CREDENTIALS = "credentials", "seals credentials at rest (AES-256-GCM)"

    class State(models.TextChoices):
        ACTIVE = "active", "signs and seals"
        RETIRING = "retiring", "only verifies and opens"
        COMPROMISED = "compromised", "is refused"

    kid = models.CharField(max_length=26, unique=True)
    purpose = models.CharField(max_length=16, choices=Purpose.choices)
    state = models.CharField(max_length=16, choices=State.choices, default=State.ACTIVE)
    sealed = models.BinaryField()
    public = models.JSONField(default=dict)
    created_at = models.DateTimeField(default=clock.now, editable=False)

    class Meta:
        verbose_name = "key of the keyring"
        verbose_name_plural = "keyring"

    def __str__(self) -> str:
        return self.kid


class TokenFamily(models.Model):
    """All tokens that descend from one sign-in of one device; revoked together."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    tenant = models.ForeignKey(Tenant, on_delete=models.CASCADE, related_name="token_families")
    #: The OAuth client the tokens were given to: no other may refresh them (RFC 6749, 6).
    client_id = models.CharField(max_length=64, blank=True)
    subject = models.CharField(max_length=64)
    device = models.CharField(max_length=64)
    scopes = models.JSONField(default=list)
    created_at = models.DateTimeField(default=clock.now, editable=False)
    revoked_at = models.DateTimeField(null=True, blank=True, db_index=True)

    class Meta:
        verbose_name_plural = "token families"

    def __str__(self) -> str:
        return str(self.id)


class RefreshToken(models.Model):
    """One refresh token of a family, stored as its digest, used once (RFC 6749, RFC 9700 4.14)."""

    family = models.ForeignKey(TokenFamily, on_delete=models.CASCADE, related_name="refresh_tokens")
    digest = models.CharField(max_length=64, unique=True)
    expires_at = models.DateTimeField()
    used_at = models.DateTimeField(null=True, blank=True)

    def __str__(self) -> str:
        return f"of {self.family_id}"
