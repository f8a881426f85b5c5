"""Django's ``manage.py changepassword``, recorded in the trail."""

from typing import Any

from django.contrib.auth.management.commands import changepassword

from accounts import people


class Command(changepassword.Command):
    def handle(self, *arguments: Any, **options: Any) -> str | None:
        with people.recorded("command:changepassword"):
            return super().handle(*arguments, **options)
