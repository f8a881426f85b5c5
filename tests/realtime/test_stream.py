"""The same messages as server-sent events."""

import json
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import pytest

from tests.pairing.conftest import Device, Operator
from tests.realtime.conftest import Gateway, OpenSocket


class Events:
    """An open stream: its answer, and its events as (name, data, id, retry)."""

    def __init__(self, response: httpx.Response) -> None:
        self.response = response
        self._lines = response.iter_lines()

    def next(self) -> tuple[str, dict, str, str]:
        found: dict[str, str] = {}
        for line in self._lines:
            if not line and found:
                break
            name, _, value = line.partition(": ")
            if value:  # not a comment, which only keeps the stream alive
                found[name] = value
        data = json.loads(found["data"])
        assert data["type"] == found["event"]
        return found["event"], data, found.get("id", ""), found.get("retry", "")

    def is_over(self) -> bool:
        return not "".join(self._lines)


@contextmanager
def stream(gateway: Gateway, device: Device, **headers: str) -> Iterator[Events]:
    given = {"Authorization": f"Bearer {device.bearer}", "X-Forwarded-For": device.address}
    url = f"http://127.0.0.1:{gateway.port}/sse/pairings/{device.udid}/"
    with httpx.stream("GET", url, headers=given | headers, timeout=5) as response:
        yield Events(response)


@pytest.fixture
def device(operator: Operator, gateway: Gateway) -> Device:
    return Device.create()


def test_a_device_hears_the_same_as_over_a_websocket(
    device: Device, operator: Operator, gateway: Gateway, socket: OpenSocket
) -> None:
    with stream(gateway, device) as events, socket() as tv:
        assert events.response.headers["content-type"] == "text/event-stream; charset=utf-8"
        pending = events.next()
        assert pending[1] | {"expires_in": 0} == tv.hello(device) | {"expires_in": 0}
        assert pending[2] == "1"
        operator.approve(device)
        approved = events.next()
        assert approved[1] == tv.hear()
        assert approved[2] == "3"
        assert device.acknowledge().status_code == 204
        assert events.next()[1] == {"type": "bye", "code": "finished"}
        assert events.is_over()


def test_a_stream_that_is_opened_again_goes_on_after_the_last_event(
    device: Device, operator: Operator, gateway: Gateway
) -> None:
    with stream(gateway, device) as events:
        events.next()
    operator.deny(device.user_code)
    with stream(gateway, device, **{"Last-Event-ID": "1"}) as events:
        assert events.next()[0] == "denied"
        assert events.next()[0] == "bye"


@pytest.mark.parametrize("seen", ["x", "-1", "9" * 30])
def test_a_last_event_id_that_is_none_of_ours_says_nothing(
    device: Device, gateway: Gateway, seen: str
) -> None:
    with stream(gateway, device, **{"Last-Event-ID": seen}) as events:
        assert events.next()[0] == "pending"


def test_only_the_device_itself_may_listen(device: Device, gateway: Gateway) -> None:
    url = f"http://127.0.0.1:{gateway.port}/sse/pairings/{device.udid}/"
    refused = httpx.get(url, headers={"Authorization": "Bearer dc_1_forged"})
    assert (refused.status_code, refused.json()["code"]) == (401, "invalid_device_code")
    device.udid = "another-device-01"
    with stream(gateway, device) as events:
        assert events.next()[1] == {"type": "bye", "code": "unauthorized"}
        assert events.is_over()


def test_the_sixth_stream_of_a_device_is_told_when_to_return(
    device: Device, gateway: Gateway, socket: OpenSocket
) -> None:
    from contextlib import ExitStack

    with ExitStack() as stack:
        five = [stack.enter_context(stream(gateway, device)) for _ in range(5)]
        assert [events.next()[0] for events in five] == ["pending"] * 5
        with stream(gateway, device) as sixth:
            assert sixth.response.status_code == 429
            assert 5 <= int(sixth.response.headers["retry-after"]) <= 15
            sixth.response.read()
            assert sixth.response.json()["code"] == "too_many_connections"
        with socket() as tv:
            assert tv.hello(device)["code"] == "too_many_connections"


def test_there_is_nothing_else(gateway: Gateway, device: Device) -> None:
    base = f"http://127.0.0.1:{gateway.port}"
    assert httpx.get(f"{base}/api/v1/pairings/").json()["code"] == "not_found"
    posted = httpx.post(f"{base}/sse/pairings/{device.udid}/")
    assert (posted.status_code, posted.json()["code"]) == (405, "method_not_allowed")
    assert httpx.get(f"{base}/healthz").status_code == 200
    assert gateway.complaints == []
