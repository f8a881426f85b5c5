"""How often a device may ask: RFC 8628's interval, widened for those who ask too early.

Kept apart from all limits and counted nowhere else: a poll costs its own device time, and no
attempt, no quota and no query. Without the store every poll is admitted.
"""

from dataclasses import dataclass
from pathlib import Path

from pairing import limits
from pairing.device_code import DeviceCode
from ratelimit import store
from ratelimit.scripts import Script
from ratelimit.store import StoreAway

_POLL = Script(Path(__file__).parent / "lua" / "poll.lua")
#: What a slow_down adds to the interval, and how far (RFC 8628, 3.5).
STEP_S = 5
WIDEST_S = 60
#: A poll this much before its time is the network's doing.
TOLERANCE_MS = 250


@dataclass(frozen=True, slots=True)
class Poll:
    """Whether the device may be answered now; if not, after `wait_s`."""

    admitted: bool
    interval_s: int
    wait_s: float = 0


def poll(device: DeviceCode) -> Poll:
    """Count one poll. No query."""
    interval_s = limits.current(limits.INTERVAL).window_s
    try:
        admitted, interval_s, wait_ms = store.shared().run(
            _POLL,
            [_key(device.tenant_id, device.digest)],
            [interval_s, STEP_S, WIDEST_S, TOLERANCE_MS],
        )
    except StoreAway:
        return Poll(True, interval_s)
    return Poll(bool(admitted), interval_s, wait_ms / 1000)


def forget(tenant_id: int, digest: str) -> None:
    """Let the device's next poll in at once: there is something for it to collect."""
    try:
        store.shared().call(lambda client: client.delete(_key(tenant_id, digest)))
    except StoreAway:
        return


def _key(tenant_id: int, digest: str) -> str:
    return f"poll:{{{tenant_id}}}:{digest}"
