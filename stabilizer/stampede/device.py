"""One device of the stampede: who it is, what it came for, and how it goes about it."""

import base64
import json
import time
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any

from stabilizer.stampede import waits
from stabilizer.stampede.caller import Caller, Unserved, expect
from stabilizer.stampede.tally import Step, Tally
from stabilizer.stampede.target import Target
from stabilizer.stampede.waits import Wait, Way

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


class Device:
    """Runs one errand, which a tally is told about. It arrives when it is made."""

    def __init__(
        self,
        identity: Identity,
        target: Target,
        tally: Tally,
        deadline_s: float,
        way: Way = Way.POLL,
    ) -> None:
        self.identity = identity
        self._target = target
        self._tally = tally
        self._way = way
        headers = {
            "X-Forwarded-For": identity.address,
            "X-Device-Fingerprint": identity.udid,
        }
        self._caller = Caller(headers, target, tally, deadline_s)
        self._wait: Wait | None = None

    async def run(self) -> None:
        """Be served or give up by the deadline."""
        try:
            await self._run_errand()
        except Unserved as reason:
            self._tally.failures[str(reason)] += 1
        finally:
            if self._wait is not None:
                self._wait.close()
            self._caller.close()
            self._tally.done += 1

    async def _run_errand(self) -> None:
        errand, caller = self.identity.errand, self._caller
        if errand is Errand.PAIR_AGAIN:
            await self._revoke()
            await caller.think()
        created = await self._create()
        self._tally.created += 1
        if errand is Errand.ONLY_CREATE:
            self._tally.serve(caller.arrived, time.monotonic())
            return
        self._wait = waits.by(self._way, caller, self.identity.udid, created)
        await self._collect(created["user_code"], self._wait)
        self._tally.serve(caller.arrived, time.monotonic())
        await caller.think()
        await self._wait.acknowledge()
        if self.identity.leaves:
            await caller.think()
            await self._revoke()

    async def _create(self) -> dict[str, Any]:
        body = {"app_type": "stampede", "udid": self.identity.udid, "model": "Stampede"}
        answer = await self._caller.ask(Step.CREATE, "POST", "/api/v1/pairings/", body)
        return expect(Step.CREATE, answer, 201)

    async def _collect(self, user_code: str, wait: Wait) -> None:
        """The device waits, the operator approves, the device collects."""
        await wait.begin()
        await self._caller.think()
        await self._approve(user_code)
        if not are_right(await wait.collect(time.monotonic()), self.identity):
            raise Unserved("credentials: somebody else's")

    async def _approve(self, user_code: str) -> None:
        body = {
            "user_code": user_code,
            "subscriber_code": self.identity.subscriber_code,
            "sn": self.identity.smartcard_sn,
        }
        path = "/api/v1/pairings/associate/"
        answer = await self._caller.ask(Step.ASSOCIATE, "POST", path, body, self._target.api_key)
        # The answer of an earlier try may have been lost.
        approved_before = self._caller.unsure and answer.json().get("code") == "already_approved"
        if not approved_before:
            expect(Step.ASSOCIATE, answer, 200)

    async def _revoke(self) -> None:
        path = f"/api/v1/devices/{self.identity.udid}/revoke/"
        answer = await self._caller.ask(Step.REVOKE, "POST", path, {}, self._target.api_key)
        # 409: it was revoked by a try whose answer was lost.
        was_revoked = self._caller.unsure and answer.status == 409
        expect(Step.REVOKE, answer, 409 if was_revoked else 200)


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
