"""Which user_codes are live, without a query, and what guessing them costs.

Redis holds a key per live code. That a code is absent there is believed only while the store is
HEALTHY and has been written every code for longer than a code lives; otherwise one indexed query
decides. Wrong codes are charged to the person and to the network, never to the code.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from accounts.principal import Principal
from audit import context, floods
from audit.prepared import Prepared, given
from pairing import limits, user_code
from pairing.lifetimes import CODE_REMEMBERED_S, CODE_S
from pairing.models import MOVED, Pairing
from pairing.refusal import Refusal
from ratelimit import limiter, shared_networks, store
from ratelimit.gcra import Charge, Verdict
from ratelimit.health import Mode
from ratelimit.network import network
from ratelimit.scripts import Script
from ratelimit.store import StoreAway

logger = logging.getLogger(__name__)

_LUA = Path(__file__).parent / "lua"
_FIND, _REMEMBER = Script(_LUA / "codes.lua"), Script(_LUA / "remember.lua")
_DOUBT = Script(_LUA / "doubt.lua")
_SINCE = "codes:since"
_SHOWN = Prepared(
    lambda: (
        Pairing.objects.only(*MOVED)
        .with_rival()
        .filter(tenant=given(0, Pairing, "tenant"), user_code=given(1, Pairing, "user_code"))
    )
)


class _Answer(Enum):
    LIVE = "live"
    #: Proven to be wrong, and charged.
    UNKNOWN = "unknown"
    #: Not in the store, which proves nothing; charged.
    UNSURE = "unsure"


@dataclass(slots=True)
class _Gap:
    """Whether codes of this process may be missing in the store: a write failed, or it was away."""

    failures: int = 0
    told: int = 0
    recovered_at: float = float("-inf")

    def opened(self) -> bool:
        return self.failures != self.told or self.recovered_at != store.shared().health.recovered_at


_gap = _Gap()


def remember(tenant_id: int, code: str, *, instead_of: str | None = None) -> None:
    """Make `code` known as live. Never fails: without the store, look-ups ask the database."""
    keys = [_key(tenant_id, code), _SINCE]
    if instead_of is not None:
        keys.append(_key(tenant_id, instead_of))
    try:
        _run(_REMEMBER, keys, [CODE_REMEMBERED_S])
    except StoreAway:
        _gap.failures += 1


def find(principal: Principal, text: str) -> Pairing | Refusal:
    """The pairing of the caller's tenant that shows this code, in whatever state it is.

    Refuses `rate_limited` after too many wrong codes, and `unknown_code` for all that is no code of
    the tenant, missing and foreign alike. A wrong code costs no query while the store is healthy.
    """
    code = user_code.normalise(text)
    if code is None:
        return _unknown(principal)
    charges = _charges(principal)
    answer = _ask(principal, code, charges)
    if isinstance(answer, Refusal):
        _report("code.refused", principal)
        return answer
    if answer is _Answer.UNKNOWN:
        return _unknown(principal)
    pairing = _SHOWN.row(principal.tenant_id, code)
    if pairing is None:
        return _unknown(principal)
    if answer is _Answer.UNSURE:
        limiter.shared().refund_now(charges)
    return pairing


def _ask(principal: Principal, code: str, charges: list[Charge]) -> _Answer | Refusal:
    keys = [_key(principal.tenant_id, code), _SINCE, *(charge.key for charge in charges)]
    numbers = [
        number
        for charge in charges
        for number in (charge.limit.tolerance_us, charge.limit.emission_us)
    ]
    trusted = store.shared().mode is Mode.HEALTHY and not _gap.opened()
    try:
        found, *rest = _run(_FIND, keys, [CODE_S], numbers)
    except StoreAway:
        return _without_store(charges)
    if found == 1:
        return _Answer.LIVE
    if found == 0:
        return _Answer.UNKNOWN if rest[0] and trusted else _Answer.UNSURE
    return _exhausted(charges[rest[0] - 1].limit.name, wait_s=rest[1] / 1_000_000)


def _without_store(charges: list[Charge]) -> _Answer | Refusal:
    verdict: Verdict = limiter.shared().charge_now(charges)
    if verdict.allowed:
        return _Answer.UNSURE
    return _exhausted(*verdict.violated, wait_s=verdict.retry_after_s)


def close_gap() -> None:
    """Tell the other processes, by `codes:since`, that codes of this one may be missing.

    They saw no write fail and trust what they do not find. The watcher calls this twice a second,
    so that they are told as soon as the store answers, and not by this process's next request.
    """
    if not _gap.opened():
        return
    try:
        with _closing():
            store.shared().run(_DOUBT, [_SINCE], [])
    except StoreAway:
        logger.info("codes may be missing in the store, and it cannot be told yet")


def _run(script: Script, keys: list[str], args: list[int], numbers: list[int] | None = None) -> Any:
    """Run a script that begins the count of `codes:since` anew when this process has a gap."""
    with _closing():
        words = [*args, int(_gap.opened()), *(numbers or ())]
        return store.shared().run(script, keys, words)


@contextmanager
def _closing() -> Iterator[None]:
    """What opened the gap before is told when the block ends well; what opens it during, is not."""
    failures, recovered_at = _gap.failures, store.shared().health.recovered_at
    yield
    _gap.told, _gap.recovered_at = failures, recovered_at


def _charges(principal: Principal) -> list[Charge]:
    """A key stands for many people behind one address, so only people are counted by network."""
    tag = f"rl:{{{principal.tenant}}}:{limits.WRONG}"
    if principal.kind == "key":
        return [Charge(limits.current(f"{limits.WRONG}key"), f"{tag}key:{principal.id}")]
    address = context.current().address
    of_network = shared_networks.widened(limits.current(f"{limits.WRONG}network"), address)
    return [
        Charge(limits.current(f"{limits.WRONG}person"), f"{tag}person:{_person(principal)}"),
        Charge(of_network, f"{tag}network:{network(address)}"),
    ]


def _person(principal: Principal) -> str:
    """A token is renewed and a device replaced; the subscriber behind them stays the same."""
    return principal.subscriber_code or str(principal)


def _unknown(principal: Principal) -> Refusal:
    _report("code.unknown", principal)
    return Refusal("unknown_code")


def _report(action: str, principal: Principal) -> None:
    """Texts that cannot be codes are charged to nobody, so a key may send as many as its plan lets
    it: they must not drive everything else out of the trail.
    """
    actor = str(principal)
    cause = (action, principal.tenant, actor)
    floods.shared().record(cause, action, "refused", actor=actor, tenant=principal.tenant)


def _exhausted(*names: str, wait_s: float) -> Refusal:
    return Refusal("rate_limited", retry_after_s=wait_s, violated=names)


def _key(tenant_id: int, code: str) -> str:
    return f"code:{{{tenant_id}}}:{code}"
