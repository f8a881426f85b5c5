"""Who is sent away, and when each of them shall return."""

import asyncio
import random
from collections.abc import Callable
from typing import Any

from audit import floods, identifier
from audit.context import RequestContext
from ratelimit.herd import Herd
from realtime.protocol import End

#: New connections per second that a process of a small machine takes with ease.
RETURNS_PER_S = 500
DRAIN_S = 10.0
SLICE_S = 0.25
#: When the sixth connection of a device may try again: by then its dead ones have been found.
PATIENT_MS = (5000, 15000)
PATIENT = (End.TOO_MANY_CONNECTIONS, End.TOO_MANY_STRANGERS)


class Returns:
    """The open connections of this process, and the ramp on which those sent away come back."""

    def __init__(
        self, herd: Herd | None = None, *, on_refusal: Callable[[str], object] = lambda code: None
    ) -> None:
        """`on_refusal` hears the code of each connection that was refused."""
        #: Whether they wait already or have not said yet who they are.
        self.wires: set[Any] = set()
        self.draining = False
        self._herd = herd or Herd()
        self._on_refusal = on_refusal

    def served(self) -> None:
        """A device has come and been taken: what the ramp is measured by."""
        self._herd.served("connection")

    def after_ms(self, end: End = End.DRAINING) -> int:
        """When one more may come back: not all at once, and not sooner than they can be taken."""
        if end in PATIENT:
            return random.randint(*PATIENT_MS)  # noqa: S311 - jitter, no secret
        second = self._herd.retry_after("connection", RETURNS_PER_S)
        return int((second - 1 + random.uniform(0.1, 1)) * 1000)  # noqa: S311 - jitter, no secret

    async def drain(self) -> None:
        """Say bye to everybody, in slices over `DRAIN_S`, each with a time of its own to return."""
        self.draining = True
        leaving = list(self.wires)
        slices = max(1, round(DRAIN_S / SLICE_S))
        for number in range(slices):
            for wire in leaving[number::slices]:
                wire.end(End.DRAINING, self.after_ms())
            if not self.wires:
                break
            await asyncio.sleep(SLICE_S)

    def record_refusal(self, end: End, key: str) -> None:
        """Count a refused connection, and leave it in the trail, as the gate does with requests."""
        self._on_refusal(end.code)
        floods.shared().record(
            (end.code, key),
            "gate.refused",
            "refused",
            detail={"policy": "realtime", "limits": [end.code], "keys": [key]},
            context=RequestContext(identifier.new()),
        )
