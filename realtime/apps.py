"""The realtime app: what changes is published, by whichever process changes it."""

from django.apps import AppConfig


class RealtimeConfig(AppConfig):
    name = "realtime"
    verbose_name = "Realtime"

    def ready(self) -> None:
        from pairing.signals import changed
        from realtime import publisher

        changed.connect(publisher.on_changed)
