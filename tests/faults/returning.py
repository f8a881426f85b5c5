"""Devices that pair whatever happens, and come back in the second that they are told."""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, field
from time import monotonic
from typing import Any, NamedTuple

from stabilizer.stampede.connection import Answer, Connection
from stabilizer.stampede.target import Target
from tests.faults.crowd import PAIRINGS, request

ANSWER_S = 20.0


class Told(NamedTuple):
    """An answer: when it was asked for and came, and what it said."""

    asked: float
    at: float
    status: int
    code: str
    retry_after_s: float | None


@dataclass
class Record:
    """All that the devices were told."""

    told: list[Told] = field(default_factory=list)
    #: By request id, the action that was answered with success.
    done: dict[str, str] = field(default_factory=dict)
    paired: int = 0


async def pair_all(to: Target, count: int, at_once: int, record: Record) -> None:
    """`count` devices pair, `at_once` at a time."""
    numbers = iter(range(count))
    await asyncio.gather(*(_one_by_one(to, numbers, record) for _ in range(at_once)))


async def _one_by_one(to: Target, numbers: Iterator[int], record: Record) -> None:
    connection = Connection(to)
    try:
        for number in numbers:
            await _Device(to, connection, number, record).pair()
            record.paired += 1
    finally:
        connection.close()


class _Device:
    def __init__(self, to: Target, connection: Connection, number: int, record: Record) -> None:
        self.udid = f"returning-device-{number:06d}"
        self._to = to
        self._connection = connection
        self._record = record
        self._subscriber = f"S{1 + number % 1000:06d}"

    async def pair(self) -> None:
        about = {"app_type": "returning", "udid": self.udid, "model": "TV"}
        created = await self._done("pairing.created", 201, PAIRINGS, about)
        approval = {
            "user_code": created["user_code"],
            "subscriber_code": self._subscriber,
            # The first card is for devices of other tests.
            "sn": f"SC{self._subscriber[1:]}0002",
        }
        path, code = f"{PAIRINGS}{self.udid}/", created["device_code"]
        key = self._to.api_key
        await self._done("pairing.approved", 200, f"{PAIRINGS}associate/", approval, key)
        await self._done("pairing.delivered", 200, f"{path}credentials/", None, code)
        await self._done("pairing.acknowledged", 204, f"{path}ack/", None, code)

    async def _done(
        self, action: str, status: int, path: str, body: object, bearer: str = ""
    ) -> dict[str, Any]:
        """Ask until it is done.

        After a 503 nobody knows whether it had been done: the answer, or the one before, was lost.
        """
        answer, unsure = await self._answer(request(self._to, self.udid, path, body, bearer))
        document = answer.json()
        if answer.status == status:
            # Of an earlier one the trail may know what was done.
            if not unsure:
                self._record.done[answer.request_id] = action
        else:
            assert unsure, (path, answer.status, document)
            assert document["code"] == "already_approved", (path, answer.status, document)
        return document

    async def _answer(self, content: bytes) -> tuple[Answer, bool]:
        unsure = False
        while True:
            asked = monotonic()
            answer = await self._connection.ask(content, ANSWER_S)
            code = answer.json().get("code", "")
            self._record.told.append(
                Told(asked, monotonic(), answer.status, code, answer.retry_after_s)
            )
            if answer.status != 503:
                return answer, unsure
            unsure = True
            assert answer.retry_after_s, code
            await asyncio.sleep(answer.retry_after_s)
