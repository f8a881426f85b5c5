"""A device's HTTP: each call until it is answered or the deadline comes, every try counted."""

import asyncio
import random
import time
from collections.abc import Mapping
from typing import Any

from stabilizer.stampede.connection import Answer, Broken, Connection, request
from stabilizer.stampede.tally import Step, Tally
from stabilizer.stampede.target import Target

ANSWER_S = 10.0
THINK_S = (0.1, 0.3)
#: After a broken connection, or a refusal that does not say when to return.
AGAIN_S = (0.5, 1.5)


class Unserved(Exception):
    """The device gives up. The message says why, in words to be counted."""


class Caller:
    """One device's calls over one connection. The device arrives when its caller is made.

    `headers` say who it is, on whatever connection it opens.
    """

    def __init__(
        self, headers: Mapping[str, str], target: Target, tally: Tally, deadline_s: float
    ) -> None:
        self.headers = headers
        self.target = target
        self.tally = tally
        self.arrived = time.monotonic()
        #: An earlier try of the last call may have been done, though its answer was lost.
        self.unsure = False
        self._deadline = self.arrived + deadline_s
        self._connection = Connection(target)

    async def ask(
        self,
        step: Step,
        method: str,
        path: str,
        body: dict[str, Any] | None = None,
        bearer: str = "",
    ) -> Answer:
        """Ask until there is an answer that is no refusal; each try has `ANSWER_S`.

        Raises `Unserved` when the device's time is over.
        """
        headers = {"Host": self.target.authority, **self.headers}
        words = request(method, path, headers, bearer=bearer, body=body)
        self.unsure = False
        while True:
            began = time.monotonic()
            limit_s = min(ANSWER_S, self.left_s(step))
            try:
                answer = await self._connection.ask(words, limit_s)
            except (Broken, TimeoutError) as error:
                self.unsure = True
                await self.broke(step, error, began)
                continue
            if not await self.put_off(step, answer):
                now = time.monotonic()
                self.tally.answered(step, now - began, now)
                return answer

    def left_s(self, step: Step) -> float:
        """How much of the device's time is left; raises `Unserved` when it is over."""
        left_s = self._deadline - time.monotonic()
        if left_s <= 0:
            raise Unserved(f"{step}: late")
        return left_s

    async def broke(self, step: Step, error: Exception, began: float) -> None:
        """Count a try that broke, and return when it is time for the next one."""
        self.tally.broke(str(error) or "timeout", time.monotonic() - began)
        await self.pause(step, random.uniform(*AGAIN_S))  # noqa: S311

    async def put_off(self, step: Step, answer: Answer) -> bool:
        """If `answer` is a refusal, count it, and return when the device was told to return."""
        if answer.status not in (429, 503):
            return False
        self.tally.refused(step, answer.status, time.monotonic())
        advised = answer.retry_after_s
        await self.pause(step, random.uniform(*AGAIN_S) if advised is None else advised)  # noqa: S311
        return True

    async def pause(self, step: Step, seconds: float) -> None:
        """Wait so long, not shorter; raises `Unserved` at once if the deadline comes before."""
        if time.monotonic() + seconds >= self._deadline:
            raise Unserved(f"{step}: late")
        await asyncio.sleep(seconds)

    async def think(self) -> None:
        """What people and devices take between two steps."""
        await asyncio.sleep(random.uniform(*THINK_S))  # noqa: S311

    def close(self) -> None:
        self._connection.close()


def expect(step: Step, answer: Answer, status: int) -> dict[str, Any]:
    """The document of an answer that has this status; raises `Unserved` for any other."""
    document = answer.json()
    if answer.status != status:
        raise Unserved(f"{step}: {answer.status} {document.get('code', '')}".rstrip())
    return document
