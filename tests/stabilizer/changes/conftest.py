import getpass
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.contrib.contenttypes.models import ContentType
from django.db import connection
from django.test import Client as Http

from audit import outbox
from stabilizer.gate import policy, wsgi
from stabilizer.gate.control import Control
from tests.audit import conftest as trail
from tests.pairing import conftest as pairing
from tests.stabilizer.changes.stage import PASSWORD, Stage

spool_dir, parcels, deliver = trail.spool_dir, trail.parcels, trail.deliver
fresh = pairing.fresh


@pytest.fixture(autouse=True)
def quick_passwords(settings: Any) -> None:
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]


@pytest.fixture(autouse=True)
def own_transactions(monkeypatch: pytest.MonkeyPatch) -> None:
    """The transaction that a test runs in is not one of the change's own."""

    def require() -> None:
        if all(block._from_testcase for block in connection.atomic_blocks):
            raise outbox.TransactionRequired

    monkeypatch.setattr(outbox, "require_transaction", require)


@pytest.fixture
def control(fresh: None) -> Iterator[Control]:
    policy.table.swap(policy.DEFAULTS)
    control = Control(threads=16, configure=lambda: None)
    yield control
    control.stop_now()


@pytest.fixture
def gated(control: Control, monkeypatch: pytest.MonkeyPatch, settings: Any) -> None:
    """Devices, operators and browsers of `tests.pairing` come through the gate."""
    settings.MIDDLEWARE = ["stabilizer.gate.wsgi.GateMiddleware", *settings.MIDDLEWARE]
    monkeypatch.setattr(wsgi, "Control", lambda: control)
    monkeypatch.setattr(pairing.HTTP, "handler", Http().handler)


@pytest.fixture
def stage(
    db: None,
    gated: None,
    control: Control,
    deliver: Callable[[], None],
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Stage]:
    monkeypatch.setattr(getpass, "getpass", lambda prompt: PASSWORD)
    yield Stage(control, deliver)
    # Tests that count queries begin without it.
    ContentType.objects.clear_cache()
