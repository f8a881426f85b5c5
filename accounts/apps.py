"""The accounts app: a snapshot that follows the revision, a keyring that is never empty."""

from typing import Any

from django.apps import AppConfig
from django.db.models.signals import post_migrate


class AccountsConfig(AppConfig):
    name = "accounts"
    verbose_name = "Accounts"

    def ready(self) -> None:
        from accounts import problems, schema, snapshot  # noqa: F401
        from ratelimit import revision

        revision.on_change(snapshot.reload)
        revision.on_look(snapshot.follow_revocations)
        post_migrate.connect(_make_first_keys, sender=self)


def _make_first_keys(**_: Any) -> None:
    from accounts import keyring

    keyring.ensure()
