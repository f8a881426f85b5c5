from django.apps import AppConfig
from django.db.models.signals import post_migrate


class RatelimitConfig(AppConfig):
    name = "ratelimit"
    verbose_name = "limits"

    def ready(self) -> None:
        from ratelimit import cache, flags, revision, shared_networks

        post_migrate.connect(revision.ensure_row, sender=self)
        post_migrate.connect(flags.ensure_rows, sender=self)
        revision.on_change(shared_networks.reload)
        revision.on_change(flags.reload)
        revision.on_look(flags.expire)
        revision.on_look(cache.follow)
