"""Who calls, from headers, signatures and a small body; never from the database."""

import json
import unicodedata
from collections.abc import Mapping
from functools import lru_cache
from hashlib import blake2b
from typing import Any
from urllib.parse import parse_qsl

from django.conf import settings

from accounts import principal as principals
from accounts import snapshot
from accounts.principal import Principal
from accounts.snapshot import PlanEntry
from pairing import device_code
from pairing.device_code import DeviceCode
from ratelimit import shared_networks
from ratelimit.gcra import SECOND_US, Charge, Limit
from ratelimit.network import network
from stabilizer.gate.headers import Headers
from stabilizer.gate.policy import Policy

#: A form of more fields than this is not read; the view answers it.
MOST_FIELDS = 100
NOBODY = "-"
FORM = "application/x-www-form-urlencoded"
DEVICE_CODE_SCHEME = "dc_"


class Caller:
    """What is known of a caller. A limit that counts by a part that is None does not apply."""

    __slots__ = (
        "_headers",
        "address",
        "code",
        "fingerprint",
        "forged",
        "network",
        "principal",
        "tenant",
        "udid",
        "user_code",
        "username",
    )

    def __init__(self, address: str, headers: Headers, fields: Mapping[str, str]) -> None:
        bearer = principals.bearer(headers[b"authorization"])
        is_device = bearer.startswith(DEVICE_CODE_SCHEME)
        shown = bearer if is_device else fields.get("device_code", "")
        self._headers = headers
        self.address = address
        self.network = network(address)
        #: The tenant's hash tag in the keys of Redis.
        self.tenant = NOBODY
        self.code: DeviceCode | None = device_code.parse(shown) if shown else None
        #: Shows a device_code that we did not make.
        self.forged = bool(shown) and self.code is None
        self.principal: Principal | None = None
        if bearer and not is_device:
            self.principal = principals.identify(headers[b"authorization"])
        self.fingerprint = headers.fingerprint or None
        self.udid = fields.get("udid", "").lower() or None
        self.user_code = fields.get("user_code")
        # Counted even when the body does not say it: what cannot be read is somebody's guess.
        self.username = _folded(fields.get("username", ""))

    @property
    def is_stranger(self) -> bool:
        """Shows neither a key nor the token of an earlier pairing.

        A device_code is no such proof: whoever asks gets one, and with it could ask for the next.
        """
        return self.principal is None

    @property
    def is_proven(self) -> bool:
        """Shows a key, a token or a device_code of ours."""
        return not self.is_stranger or self.code is not None

    @property
    def device_code(self) -> str | None:
        return self.code.digest if self.code else None

    @property
    def device(self) -> str:
        """Whose turn it is, where a tenant's devices take turns, by the best sign of it.

        Who approves does so for one device, and takes that one's turn.
        """
        if self.user_code:
            return self.user_code
        if self.principal is not None:
            return self.principal.family or self.principal.id
        if self.code is not None:
            return self.code.digest
        return f"{self.udid or self.fingerprint or ''} {self.network}"

    @property
    def proof(self) -> str | None:
        """The sign-in that its token comes from."""
        return self.principal.family if self.principal else None

    @property
    def person(self) -> str | None:
        """A key is counted by its plan. A cookie is not verified here: only with its network."""
        if self.principal is not None:
            is_key = self.principal.kind == "key"
            return None if is_key else self.principal.subscriber_code or self.principal.id
        session = self._headers.cookie(settings.SESSION_COOKIE_NAME)
        return f"{session} {self.network}" if session else self.address


def identify(policy: Policy, address: str, headers: Headers, fields: Mapping[str, str]) -> Caller:
    """The caller of a request; `fields` are those of the body that `policy` names."""
    caller = Caller(address, headers, fields)
    if caller.principal is not None:
        caller.tenant = f"t{caller.principal.tenant_id}"
    elif "client_id" in policy.body_fields:
        known = snapshot.current()
        name = fields.get("client_id")
        client = known.clients.get(name) if name else known.default_client(headers[b"host"])
        caller.tenant = f"t{client.tenant_id}" if client else NOBODY
    elif caller.code is not None:
        caller.tenant = f"t{caller.code.tenant_id}"
    return caller


def charges(policy: Policy, caller: Caller) -> list[Charge]:
    """What a request of `caller` costs under `policy`: one charge for each limit that applies."""
    found = []
    for rule in policy.rules:
        if rule.strangers_only and caller.principal is not None:
            continue
        account = rule.account(caller)
        if None not in account:
            key = f"rl:{{{caller.tenant}}}:{rule.counter}:{digest(' '.join(account))}"
            limit = rule.limit
            if rule.of_network:
                limit = shared_networks.widened(limit, caller.address)
            found.append(Charge(limit, key))
    if caller.principal is not None and caller.principal.kind == "key":
        prefix = f"rl:{{{caller.tenant}}}:plan."
        found += [Charge(limit, prefix + limit.name) for limit in _plan(caller.principal.plan)]
    return found


@lru_cache(maxsize=256)
def _plan(plan: PlanEntry) -> tuple[Limit, ...]:
    return tuple(
        Limit(name, min(quantity, window_s * SECOND_US), window_s)
        for name, quantity, window_s in plan.quotas()
    )


@lru_cache(maxsize=1)
def _hasher() -> "blake2b":
    secret = blake2b(b"stabilizer.gate " + settings.SECRET_KEY.encode(), digest_size=32)
    return blake2b(digest_size=12, key=secret.digest())


def digest(text: str) -> str:
    """Keyed, so that Redis holds nobody's address, and one process counts as another does."""
    hasher = _hasher().copy()
    hasher.update(text.encode("utf-8", "surrogatepass"))
    return hasher.hexdigest()


def _folded(username: str) -> str:
    """One spelling for all that the database may take as the same name: case, accents, spaces."""
    if username.isascii():
        return username.strip().lower()
    decomposed = unicodedata.normalize("NFKD", username)
    bare = "".join(letter for letter in decomposed if not unicodedata.combining(letter))
    return bare.strip().casefold()


def read_fields(names: tuple[str, ...], content_type: str, body: bytes) -> Mapping[str, str]:
    """The text fields `names` of a JSON or form body. What cannot be read is left to the view."""
    if not body:
        return {}
    is_form = content_type.partition(";")[0].strip().lower() == FORM
    given = _form(body) if is_form else _json(body)
    return {name: value for name in names if isinstance(value := given.get(name), str)}


def _form(body: bytes) -> Mapping[str, Any]:
    try:
        text = body.decode()
    except UnicodeDecodeError:
        text = body.decode("latin-1")
    try:
        return dict(parse_qsl(text, keep_blank_values=True, max_num_fields=MOST_FIELDS))
    except ValueError:
        return {}


def _json(body: bytes) -> Mapping[str, Any]:
    try:
        given = json.loads(body.decode())
    except (ValueError, RecursionError):
        return {}
    return given if isinstance(given, dict) else {}
