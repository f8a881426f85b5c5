"""Django's own commands for people's accounts leave a record, or nothing."""

import getpass
import io

import pytest
from django.core.management import call_command

import audit
from accounts.models import User
from audit import outbox
from tests.accounts.conftest import PASSWORD


def create_superuser() -> None:
    call_command("createsuperuser", username="root", interactive=False, verbosity=0)


def test_a_superuser_made_by_the_command_is_recorded(db, changes):
    create_superuser()
    assert User.objects.get(username="root").is_superuser
    assert changes() == ["person.changed"]


def test_no_superuser_is_made_while_the_trail_is_unavailable(db, changes, monkeypatch):
    def refuse(draft):
        raise audit.AuditUnavailable("full")

    monkeypatch.setattr(outbox, "put", refuse)
    with pytest.raises(audit.AuditUnavailable):
        create_superuser()
    assert not User.objects.exists()


def test_a_password_set_by_the_command_is_recorded(tenant, changes, monkeypatch):
    User.objects.create_user("ana", password="before", tenant=tenant)
    changes()
    monkeypatch.setattr(getpass, "getpass", lambda prompt: PASSWORD)
    call_command("changepassword", "ana", stdout=io.StringIO())
    assert User.objects.get(username="ana").check_password(PASSWORD)
    assert changes() == ["person.changed"]
    User.objects.get(username="ana").save()
    assert changes() == []
