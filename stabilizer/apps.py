from django.apps import AppConfig, apps
from django.db.models.signals import post_migrate


class StabilizerConfig(AppConfig):
    name = "stabilizer"

    def ready(self) -> None:
        from ratelimit import revision
        from stabilizer import checks  # noqa: F401  registers the system checks
        from stabilizer.gate import policy

        revision.on_change(policy.table.reload)
        # Last: what was refused under the old limits is judged anew under those now in force.
        revision.on_change(_forget_refusals)
        post_migrate.connect(policy.ensure_rows, sender=apps.get_app_config("ratelimit"))


def _forget_refusals() -> None:
    from ratelimit import limiter

    limiter.shared().refusals.clear()
