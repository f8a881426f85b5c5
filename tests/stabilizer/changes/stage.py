"""A tenant with everything that can be changed, behind the gate, and the trail of what was."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import Any
from urllib.parse import urlencode

from django.apps import apps
from django.contrib.auth.models import Group, Permission
from django.db import connection
from django.test import Client as Http

from accounts.models import ApiKey, Client, Plan, Scope, Tenant, User
from audit import outbox
from audit.models import DeadLetter, Event, Hold
from ratelimit.models import PolicyRow, Rollout, SharedNetwork
from stabilizer.gate.control import Control
from tests.pairing.conftest import Device, Operator, browser, key_of, subscribe

PASSWORD = "correct horse battery staple"
_WRITE = re.compile(r"\s*(?:INSERT INTO|UPDATE|DELETE FROM|REPLACE INTO)\s+[`\"]?(\w+)", re.I)
#: Sessions, Django's own log, the records, and the number that has processes read them again.
ASIDE = {"django_session", "django_admin_log", "audit_outbox", "ratelimit_revision"}
#: How the API's last route is written.
ELSEWHERE = r"(?:api|oauth|\.well-known)/"
FORM = "application/x-www-form-urlencoded"
#: What a page might take for a change.
ANYTHING = {"post": "yes", "name": "new", "code": "new", "language": "es", "_save": "yes"}


class Stage:
    """Who may change things, and the things; `deliver` has the spools stored."""

    def __init__(self, control: Control, deliver: Callable[[], None]) -> None:
        plan = Plan.objects.create(name="operator", per_minute=60_000)
        self.control = control
        self.tenant = Tenant.objects.create(slug="acme", name="Acme TV", plan=plan)
        self.tv = Client.objects.create(
            tenant=self.tenant, client_id="acme-tv", name="Acme's app", default_for_host="*"
        )
        self.subscriber = subscribe(self.tenant, "S-1", "C-1", "C-2")
        #: A superuser of no tenant.
        self.root = User.objects.create_superuser("root", password=PASSWORD)
        #: The person of the subscriber.
        self.anna = User.objects.create_user("anna", password=PASSWORD, tenant=self.tenant)
        self.subscriber.user = self.anna
        self.subscriber.save()
        self.operator = Operator(key_of(self.tenant, *Scope.values))
        self._deliver = deliver

    def device(self, **facts: Any) -> Device:
        """A device that shows its code."""
        return Device.create(**facts)

    def approved(self, **facts: Any) -> Device:
        device = self.device(**facts)
        assert self.operator.approve(device).status_code == 200
        return device

    def signed_in(self, **facts: Any) -> tuple[Device, dict[str, Any]]:
        """A device that has collected, and what it was given."""
        device = self.approved(**facts)
        answer = device.collect()
        assert answer.status_code == 200, answer.content
        return device, answer.json()

    def approver(self) -> Http:
        """The browser of a person who approves for every subscriber of the tenant."""
        oscar = User.objects.create_user("oscar", password=PASSWORD, tenant=self.tenant)
        oscar.user_permissions.add(Permission.objects.get(codename="approve"))
        return browser(oscar)

    @cached_property
    def desk(self) -> Http:
        """A browser in which the superuser is logged in."""
        return browser(self.root)

    def furnish(self) -> None:
        """A row of whatever the admin has a page for, and somebody at the desk."""
        self.signed_in()
        Group.objects.create(name="operators")
        SharedNetwork.objects.create(network="100.64.0.0/10")
        policy = PolicyRow.objects.get(name="me")
        Rollout.objects.create(policy=policy, draft={"wait_ms": 9}, live=None, stage="aborted")
        DeadLetter.objects.create(reason="refused", source="outbox", producer="a host", entry="")
        Hold.objects.create(first_day="2026-01-01", last_day="2026-01-31", owner="the court")
        assert self.events()
        assert self.desk.get("/admin/").status_code == 200

    def try_door(self, method: str, path: str) -> Any:
        """Somebody who may do everything asks for this route, with whatever it might take."""
        address = self._example(path)
        if path.startswith(("/api/", "/oauth/")):
            return self.operator.send(method, address, {})
        content = "" if method == "GET" else urlencode(ANYTHING)
        return self.desk.generic(method, address, content, FORM)

    def _example(self, path: str) -> str:
        """A path that leads to the route and, where it has a row, to one that is there."""
        path = re.sub(r"\(\?P<app_label>.*", "accounts/", path)
        path = re.sub(r"\(\?P<url>.*", "nowhere/", path).replace(ELSEWHERE, "api/nowhere/")
        values = {
            "udid": "U" * 16,
            "code": "S-1",
            "ticket": "none",
            "form": "jsonl",
            "content_type_id": "1",
            "object_id": _row_of(path),
            "id": self.anna.pk,
            "name": "search_off",
            "key_id": ApiKey.objects.values_list("pk", flat=True)[0],
        }
        return re.sub(r"<(?:\w+:)?(\w+)>", lambda part: str(values[part[1]]), path)

    def events(self) -> list[Event]:
        """The trail, as soon as all that was recorded has come there."""
        while outbox.move():
            pass
        self._deliver()
        return list(Event.objects.order_by("pk"))


def _row_of(path: str) -> Any:
    found = re.match(r"/admin/(\w+)/(\w+)/", path)
    if found is None or "<path:object_id>" not in path:
        return 1
    row = apps.get_model(found[1], found[2])._default_manager.first()
    assert row is not None, f"{path}: furnish the stage with a row of it"
    return row.pk


@contextmanager
def watched_tables() -> Iterator[set[str]]:
    """The tables that are written to inside the block, but for those `ASIDE`."""
    written: set[str] = set()

    def look(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        if found := _WRITE.match(sql):
            written.update({found[1]} - ASIDE)
        return execute(sql, params, many, context)

    with connection.execute_wrapper(look):
        yield written
