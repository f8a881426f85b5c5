from django.apps import AppConfig, apps
from django.db.models.signals import post_migrate


class StabilizerConfig(AppConfig):
    name = "stabilizer"

    def ready(self) -> None:
        from ratelimit import revision

        # The checks register themselves; tasks that any process publishes go to our broker.
        from stabilizer import celery, checks  # noqa: F401
        from stabilizer.gate import policy, policy_rows

        revision.on_change(policy.table.reload)
        post_migrate.connect(policy_rows.ensure, sender=apps.get_app_config("ratelimit"))
