"""The devices that comparisons send: what the gate makes of them."""

import httptools
import pytest

from bench.devices import PATH, Device
from ratelimit.gcra import Charge
from stabilizer.gate import identity
from stabilizer.gate.address import Proxies
from stabilizer.gate.arrival import Arrival

pytestmark = pytest.mark.django_db


def charges(device: Device) -> list[Charge]:
    scope = device.scope()
    peer, _ = scope["client"]
    arrival = Arrival.read("POST", PATH, peer, scope["headers"], Proxies(["127.0.0.1/32"]))
    return identity.charges(arrival.policy, arrival.identify(device.body))


def test_a_device_has_three_limits() -> None:
    assert [charge.limit.name for charge in charges(Device(1))] == [
        "udid",
        "fingerprint",
        "network",
    ]


def test_no_two_devices_share_a_limit() -> None:
    numbers = [0, 1, 255, 256, 65_535, 65_536, (1 << 23) - 1]
    keys = [charge.key for number in numbers for charge in charges(Device(number))]

    assert len(set(keys)) == 3 * len(numbers)


async def test_what_goes_over_the_wire_is_what_an_asgi_server_hands_over() -> None:
    class Heard:
        headers: list[tuple[bytes, bytes]] = []
        body = b""

        def on_header(self, name: bytes, value: bytes) -> None:
            self.headers.append((name, value))

        def on_body(self, body: bytes) -> None:
            self.body += body

    device, heard = Device(7), Heard()
    parser = httptools.HttpRequestParser(heard)
    parser.feed_data(device.request())

    assert parser.get_method() == b"POST"
    assert heard.headers == device.scope()["headers"]
    assert heard.body == (await device.receive())["body"]
