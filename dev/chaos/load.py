"""Clients that pair devices all the time, and write down what they were told was done."""

import asyncio
import itertools
import json
import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from stabilizer.stampede.connection import Answer, Broken, Connection
from stabilizer.stampede.device import CARDS, SUBSCRIBERS
from stabilizer.stampede.target import Target

CLIENTS = 6
ANSWER_S = 5.0
#: Between two calls of a client: together they ask some sixty times a second.
THINK_S = (0.02, 0.15)
TRIES = 5


@dataclass
class Witness:
    """What clients saw."""

    #: By request id, the action that was answered with success.
    done: dict[str, str] = field(default_factory=dict)
    #: Other answers by status, and lost connections by 0: what was asked may have been done.
    others: Counter[int] = field(default_factory=Counter)


class Unanswered(Exception):
    """Nobody knows whether it was done; the client goes on with another device."""


async def run(target: Target, witness: Witness, stopped: asyncio.Event) -> None:
    """Load the service until `stopped` is set."""
    numbers = itertools.count()
    await asyncio.gather(*(_client(target, witness, stopped, numbers) for _ in range(CLIENTS)))


async def _client(
    target: Target, witness: Witness, stopped: asyncio.Event, numbers: Iterator[int]
) -> None:
    while not stopped.is_set():
        device = Device(next(numbers), target, witness)
        try:
            await device.pair()
        except Unanswered:
            continue
        finally:
            device.connection.close()


class Device:
    """One device that is paired and revoked again, so that its smartcard is free."""

    def __init__(self, number: int, target: Target, witness: Witness) -> None:
        self.connection = Connection(target)
        self._target = target
        self._witness = witness
        self._udid = f"chaos-device-{number:08d}"
        self._address = f"10.{number >> 16 & 255}.{number >> 8 & 255}.{1 + number % 250}"
        self._subscriber = f"S{1 + number % SUBSCRIBERS:06d}"
        self._card = f"SC{1 + number % SUBSCRIBERS:06d}{1 + number // SUBSCRIBERS % CARDS:04d}"

    async def pair(self) -> None:
        path = f"/api/v1/pairings/{self._udid}/"
        key = self._target.api_key
        about = {"app_type": "chaos", "udid": self._udid, "model": "Chaos"}
        created = await self._do("pairing.created", 201, "/api/v1/pairings/", about)
        code = created["device_code"]
        approval = {
            "user_code": created["user_code"],
            "subscriber_code": self._subscriber,
            "sn": self._card,
        }
        await self._do("pairing.approved", 200, "/api/v1/pairings/associate/", approval, key)
        await self._do("pairing.delivered", 200, f"{path}credentials/", None, code)
        await self._do("pairing.acknowledged", 204, f"{path}ack/", None, code)
        await self._do("pairing.revoked", 200, f"/api/v1/devices/{self._udid}/revoke/", {}, key)

    async def _do(
        self, action: str, status: int, path: str, body: Any, bearer: str = ""
    ) -> dict[str, Any]:
        """Ask until it is done or nobody knows; raises `Unanswered`."""
        request = self._request(path, body, bearer)
        for _ in range(TRIES):
            await asyncio.sleep(random.uniform(*THINK_S))  # noqa: S311
            answer = await self._ask(request)
            if answer.status == status:
                self._witness.done[answer.request_id] = action
                return answer.json()
            self._witness.others[answer.status] += 1
            if answer.status not in (429, 503):
                break
            await asyncio.sleep(min(1.0, answer.retry_after_s or 0.2))
        raise Unanswered

    async def _ask(self, request: bytes) -> Answer:
        try:
            return await self.connection.ask(request, ANSWER_S)
        except (Broken, TimeoutError) as error:
            self._witness.others[0] += 1
            raise Unanswered from error

    def _request(self, path: str, body: Any, bearer: str) -> bytes:
        content = b"" if body is None else json.dumps(body).encode()
        lines = [
            f"POST {path} HTTP/1.1",
            f"Host: {self._target.authority}",
            f"X-Forwarded-For: {self._address}",
            f"X-Device-Fingerprint: {self._udid}",
            "Content-Type: application/json",
            f"Content-Length: {len(content)}",
        ]
        if bearer:
            lines.append(f"Authorization: Bearer {bearer}")
        return "\r\n".join((*lines, "", "")).encode() + content
