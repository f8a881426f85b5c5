"""A process reads what is used most before its first request, and waits for nothing that hangs."""

import threading
import time

import pytest

from ratelimit import cache
from stabilizer import warming

pytestmark = pytest.mark.usefixtures("redis_client")


async def test_rows_are_read_before_the_first_request(monkeypatch):
    began_in = []
    monkeypatch.setattr(cache, "warm", lambda: began_in.append(threading.current_thread().name))
    await warming.warm()
    assert began_in == ["warming"]


async def test_what_hangs_is_not_waited_for(monkeypatch):
    hung = threading.Event()
    monkeypatch.setattr(cache, "warm", lambda: hung.wait(10))
    monkeypatch.setattr(warming, "PATIENCE_S", 0.05)
    began = time.monotonic()
    await warming.warm()
    assert time.monotonic() - began < 1
    hung.set()


async def test_what_fails_keeps_no_process_from_starting(monkeypatch, caplog):
    def fail() -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(cache, "warm", fail)
    await warming.warm()
    assert "rows could not be warmed" in caplog.text
