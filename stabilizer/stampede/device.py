"""One device of the stampede: who it is, what it came for, and how it goes about it."""

import asyncio
import base64
import json
import random
import time
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any

from stabilizer.stampede.connection import Answer, Broken, Connection
from stabilizer.stampede.tally import Step, Tally
from stabilizer.stampede.target import Target

ANSWER_S = 10.0
THINK_S = (0.1, 0.3)
#: After a broken connection, or a refusal that does not say when to return.
AGAIN_S = (0.5, 1.5)
#: As `manage.py demo` makes them.
SUBSCRIBERS = 1_000
CARDS = 10
MOST_DEVICES = SUBSCRIBERS * CARDS


class Errand(Enum):
    """What a device comes for: 40, 30 and 30 in a hundred."""

    PAIR = auto()
    ONLY_CREATE = auto()
    PAIR_AGAIN = auto()


@dataclass(frozen=True, slots=True)
class Identity:
    """Everything that tells one device from the others. It is the same in every run, but for the
    network, so that a run takes over the smartcards of the run before."""

    number: int
    network: int

    @property
    def errand(self) -> Errand:
        in_ten = self.number % 10
        if in_ten < 4:
            return Errand.PAIR
        return Errand.ONLY_CREATE if in_ten < 7 else Errand.PAIR_AGAIN

    @property
    def leaves(self) -> bool:
        """One in four of those who pair revokes its device at the end."""
        return self.errand is Errand.PAIR and self.number % 40 < 10

    @property
    def udid(self) -> str:
        return f"stampede-device-{self.number:06d}"

    @property
    def address(self) -> str:
        """An address in a /24 of its own: nobody shares a limit with a neighbour."""
        return f"10.{self.network >> 8 & 255}.{self.network & 255}.{1 + self.number % 250}"

    @property
    def subscriber_code(self) -> str:
        return f"S{1 + self.number % SUBSCRIBERS:06d}"

    @property
    def smartcard_sn(self) -> str:
        """From the last card down: whoever was paired by hand has been given the first."""
        return f"SC{1 + self.number % SUBSCRIBERS:06d}{CARDS - self.number // SUBSCRIBERS:04d}"


class Unserved(Exception):
    """The device gives up. The message says why, in words to be counted."""


class Device:
    """Runs one errand over one connection and tells the tally about every answer."""

    def __init__(self, identity: Identity, target: Target, tally: Tally, deadline_s: float) -> None:
        self.identity = identity
        self._target = target
        self._tally = tally
        self._deadline_s = deadline_s
        self._connection = Connection(target)
        self._unsure = False

    async def run(self) -> None:
        """Arrive now, and be served or give up by the deadline."""
        self._arrived = time.monotonic()
        self._deadline = self._arrived + self._deadline_s
        try:
            await self._run_errand()
        except Unserved as reason:
            self._tally.failures[str(reason)] += 1
        finally:
            self._connection.close()
            self._tally.done += 1

    async def _run_errand(self) -> None:
        errand = self.identity.errand
        if errand is Errand.PAIR_AGAIN:
            await self._revoke()
            await self._think()
        created = await self._create()
        self._tally.created += 1
        if errand is not Errand.ONLY_CREATE:
            await self._collect(created)
        self._tally.serve(self._arrived, time.monotonic())
        if errand is not Errand.ONLY_CREATE:
            await self._finish(created["device_code"])

    async def _create(self) -> dict[str, Any]:
        body = {"app_type": "stampede", "udid": self.identity.udid, "model": "Stampede"}
        answer = await self._ask(Step.CREATE, "POST", "/api/v1/pairings/", body)
        return self._expect(Step.CREATE, answer, 201)

    async def _collect(self, created: dict[str, Any]) -> None:
        """The operator approves, the device asks how it stands, and collects."""
        identity, device_code = self.identity, created["device_code"]
        await self._think()
        body = {
            "user_code": created["user_code"],
            "subscriber_code": identity.subscriber_code,
            "sn": identity.smartcard_sn,
        }
        path = "/api/v1/pairings/associate/"
        answer = await self._ask(Step.ASSOCIATE, "POST", path, body, self._target.api_key)
        # The answer of an earlier try may have been lost.
        approved_before = self._unsure and answer.json().get("code") == "already_approved"
        if not approved_before:
            self._expect(Step.ASSOCIATE, answer, 200)
        await self._think()
        path = f"/api/v1/pairings/{identity.udid}/"
        answer = await self._ask(Step.STATUS, "GET", path, None, device_code)
        if self._expect(Step.STATUS, answer, 200).get("status") != "approved":
            raise Unserved("status: approved, but not told so")
        await self._think()
        answer = await self._ask(Step.CREDENTIALS, "POST", f"{path}credentials/", None, device_code)
        if not are_right(self._expect(Step.CREDENTIALS, answer, 200), identity):
            raise Unserved("credentials: somebody else's")

    async def _finish(self, device_code: str) -> None:
        await self._think()
        path = f"/api/v1/pairings/{self.identity.udid}/ack/"
        answer = await self._ask(Step.ACK, "POST", path, None, device_code)
        self._expect(Step.ACK, answer, 204)
        if self.identity.leaves:
            await self._think()
            await self._revoke()

    async def _revoke(self) -> None:
        path = f"/api/v1/devices/{self.identity.udid}/revoke/"
        answer = await self._ask(Step.REVOKE, "POST", path, {}, self._target.api_key)
        # 409: it was revoked by a try whose answer was lost.
        self._expect(Step.REVOKE, answer, 409 if answer.status == 409 and self._unsure else 200)

    def _expect(self, step: Step, answer: Answer, status: int) -> dict[str, Any]:
        document = answer.json()
        if answer.status != status:
            raise Unserved(f"{step}: {answer.status} {document.get('code', '')}".rstrip())
        return document

    async def _ask(
        self, step: Step, method: str, path: str, body: dict[str, Any] | None, bearer: str = ""
    ) -> Answer:
        """Ask until there is an answer that is no refusal; each try has `ANSWER_S`."""
        request = self._request(method, path, body, bearer)
        self._unsure = False
        while True:
            asked = time.monotonic()
            left_s = self._deadline - asked
            if left_s <= 0:
                raise Unserved(f"{step}: late")
            try:
                answer = await self._connection.ask(request, min(ANSWER_S, left_s))
            except (Broken, TimeoutError) as error:
                self._tally.broke(str(error) or "timeout", time.monotonic() - asked)
                self._unsure = True
                await self._wait(step, random.uniform(*AGAIN_S))  # noqa: S311
                continue
            now = time.monotonic()
            if answer.status not in (429, 503):
                self._tally.answered(step, now - asked, now)
                return answer
            self._tally.refused(step, answer.status, now)
            advised = answer.retry_after_s
            await self._wait(step, random.uniform(*AGAIN_S) if advised is None else advised)  # noqa: S311

    async def _wait(self, step: Step, seconds: float) -> None:
        if time.monotonic() + seconds >= self._deadline:
            raise Unserved(f"{step}: late")
        await asyncio.sleep(seconds)

    async def _think(self) -> None:
        await asyncio.sleep(random.uniform(*THINK_S))  # noqa: S311

    def _request(self, method: str, path: str, body: dict[str, Any] | None, bearer: str) -> bytes:
        content = b"" if body is None else json.dumps(body).encode()
        lines = [
            f"{method} {path} HTTP/1.1",
            f"Host: {self._target.authority}",
            f"X-Forwarded-For: {self.identity.address}",
            f"X-Device-Fingerprint: {self.identity.udid}",
        ]
        if bearer:
            lines.append(f"Authorization: Bearer {bearer}")
        if content:
            lines.append("Content-Type: application/json")
        if method == "POST":
            lines.append(f"Content-Length: {len(content)}")
        return "\r\n".join((*lines, "", "")).encode() + content


def are_right(delivered: dict[str, Any], identity: Identity) -> bool:
    """Whether these are the credentials of the device's own subscriber, in a token of its own."""
    claims = _claims(delivered.get("access_token", ""))
    credentials = delivered.get("credentials")
    return (
        claims.get("sub") == identity.subscriber_code
        and claims.get("dev") == identity.udid
        and isinstance(credentials, dict)
        and credentials.get("login1") == identity.subscriber_code.lower()
    )


def _claims(token: str) -> dict[str, Any]:
    # The signature is not looked at: what counts is whom the service meant.
    parts = token.split(".")
    if len(parts) != 3:
        return {}
    try:
        claims = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except ValueError:
        return {}
    return claims if isinstance(claims, dict) else {}
