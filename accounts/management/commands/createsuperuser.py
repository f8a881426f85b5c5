"""Django's ``manage.py createsuperuser``, recorded in the trail."""

from typing import Any

from django.contrib.auth.management.commands import createsuperuser

from accounts import people


class Command(createsuperuser.Command):
    def handle(self, *arguments: Any, **options: Any) -> str | None:
        with people.recorded("command:createsuperuser"):
            return super().handle(*arguments, **options)
