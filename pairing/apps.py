"""The pairing app: its limits follow the configuration's revision."""

from django.apps import AppConfig
from django.db.models.signals import post_migrate


class PairingConfig(AppConfig):
    name = "pairing"
    verbose_name = "Pairing"

    def ready(self) -> None:
        from accounts.signals import token_used
        from pairing import codes, first_use, limits, pending, problems, rows, signals  # noqa: F401
        from ratelimit import revision

        revision.on_change(limits.reload)
        revision.on_look(codes.close_gap)
        revision.on_look(pending.check)
        signals.changed.connect(pending.on_changed)
        token_used.connect(first_use.acknowledge)
        rows.watch()
        post_migrate.connect(limits.ensure_rows, sender=self)
