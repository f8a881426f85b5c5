"""Which policy a request falls under: the only place where paths and policies meet.

A policy's numbers come from its row in the database where there is one, else from the code below;
what it counts by, and which paths it covers, is code only.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from operator import attrgetter
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal

from ratelimit.gcra import Limit
from stabilizer.gate.ticket import Budget, Level

if TYPE_CHECKING:
    from ratelimit.models import Rollout
    from stabilizer.gate.trial import Trial

Criticality = Literal["critical", "normal", "sheddable"]
StoreAway = Literal["local", "open", "closed"]
#: Under pressure policies of a rank below one of these are refused.
NOTHING, ONLY_SHEDDABLE, ALL_BUT_CRITICAL = range(3)
RANKS: Mapping[Criticality, int] = {"sheddable": 0, "normal": 1, "critical": 2}
#: What a limit may count by, as `identity.Caller` says it. Who lacks a part skips the limit.
Part = Literal["device_code", "fingerprint", "network", "person", "proof", "udid", "username"]


@dataclass(frozen=True, slots=True)
class Rule:
    """One limit of a policy, and whose calls it counts."""

    limit: Limit
    #: The parts of the caller that make up an account.
    by: tuple[Part, ...]
    #: Rules of one counter share what they count, whichever route was called.
    counter: str
    #: Callers with a token or a key skip it: thousands of sets sit behind one carrier's address.
    strangers_only: bool = False
    #: What a caller is counted as under this rule, with None for what it lacks.
    account: Callable[[Any], tuple[Any, ...]] = field(init=False, repr=False, compare=False)

    #: Counts all who come from one network: more where many people share it.
    of_network: bool = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "account", attrgetter("tenant", *self.by))
        object.__setattr__(self, "of_network", self.by == ("network",))


@dataclass(frozen=True, slots=True)
class Policy:
    """How a route is admitted."""

    name: str
    criticality: Criticality = "normal"
    #: Slots that a request holds while it runs.
    weight: int = 1
    #: The named share of the slots that it has at least when all are taken.
    budget: Budget = "site"
    rules: tuple[Rule, ...] = ()
    #: It carries on a pairing that was begun: who proves itself goes before those who begin one.
    continues: bool = False
    #: Longest wait for a slot.
    wait_ms: int = 1500
    #: What happens to the limits while their store is away.
    store_away: StoreAway = "local"
    #: Fields of the body that say who the caller is; where there are any the body is at most 64 KB.
    body_fields: tuple[str, ...] = ()
    #: Statuses that mean the attempt failed. Any other answer gives the charge back.
    failures: frozenset[int] = frozenset()
    #: The policy of those whose body does not ask with a device_code that we made.
    without_device: str = ""
    #: Errors carry OAuth's own `error` member as well (RFC 6749, 5.2).
    oauth: bool = False
    #: People meet it in a browser: they are refused with a page.
    page: bool = False
    #: How long it takes says how the database does: its calls are counted by a breaker, and refused
    #: while that is open. Not those that need no database or compute for long, nor operators'.
    breaks: bool = True
    #: No pressure refuses it: operators come this way, and are needed exactly then.
    stays: bool = False
    #: Its answers are kept for a moment, and given again under pressure.
    copied: bool = False
    #: A changed one stands beside it while it is rolled out.
    trial: "Trial | None" = field(default=None, repr=False, compare=False)
    rank: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        rank = ALL_BUT_CRITICAL if self.stays else RANKS[self.criticality]
        object.__setattr__(self, "rank", rank)

    @property
    def level(self) -> Level:
        """Where its requests stand when all slots are taken. Operators have their own place."""
        return "admin" if self.budget == "admin" else self.criticality

    @property
    def limits(self) -> tuple[Limit, ...]:
        return tuple(rule.limit for rule in self.rules)


def _rule(
    counter: str,
    quantity: int,
    window_s: int,
    *by: Part,
    strangers_only: bool = False,
    refundable: bool = False,
) -> Rule:
    limit = Limit(counter.rpartition(".")[2], quantity, window_s, refundable=refundable)
    return Rule(limit, by, counter, strangers_only)


CREATE = (
    _rule("create.udid", 5, 300, "udid", "network"),
    _rule("create.fingerprint", 5, 300, "fingerprint", "network"),
    _rule("create.network", 120, 60, "network", strangers_only=True),
    _rule("create.proof", 5, 300, "proof"),
)
LOGIN = (
    _rule("login.person", 5, 900, "username", "network", refundable=True),
    _rule("login.network", 30, 900, "network", refundable=True),
)
# Refreshing is given back when it succeeds. Many sets share an address, and some tokens have ended.
REFRESH = (_rule("refresh.network", 300, 900, "network", refundable=True),)
# RFC 7009 answers 200 to an unknown token too: nothing tells who guesses.
SIGN_OUT = (_rule("sign_out.network", 120, 60, "network"),)
APPROVAL = (_rule("approval.person", 120, 60, "person"),)

TOKEN_FIELDS = ("device_code", "grant_type")

DEFAULT = Policy("default", page=True)
_POLICIES = (
    DEFAULT,
    Policy("pairing.create", rules=CREATE, body_fields=("client_id", "udid"), budget="pairing"),
    Policy(
        "pairing.renew",
        rules=(_rule("renew.device_code", 5, 300, "device_code"),),
        continues=True,
        budget="pairing",
    ),
    # Its limit is the poll interval, which pairing keeps: too early is `slow_down`, not a refusal.
    Policy("pairing.status", continues=True, budget="pairing"),
    Policy(
        "pairing.credentials",
        "critical",
        rules=(_rule("credentials.device_code", 5, 60, "device_code"),),
        budget="pairing",
    ),
    Policy(
        "pairing.ack",
        "critical",
        rules=(_rule("ack.device_code", 10, 60, "device_code"),),
        budget="pairing",
    ),
    Policy(
        "pairing.associate",
        rules=APPROVAL,
        body_fields=("user_code",),
        continues=True,
        budget="pairing",
    ),
    Policy("activate", rules=APPROVAL, page=True, budget="pairing"),
    Policy("devices.list", "sheddable", budget="devices", copied=True),
    Policy("devices.write", budget="devices"),
    Policy("devices.revoke", budget="devices"),
    Policy("subscribers.list", "sheddable", budget="subscribers", copied=True),
    Policy("subscribers.read", budget="subscribers"),
    Policy("subscribers.write", budget="subscribers"),
    Policy("me", budget="accounts"),
    Policy(
        "oauth.device",
        rules=CREATE,
        body_fields=("client_id", "udid"),
        oauth=True,
        budget="pairing",
    ),
    # Its limit is the poll interval too; "not yet" is a 400 there, and no failure.
    Policy(
        "oauth.token",
        "critical",
        body_fields=TOKEN_FIELDS,
        without_device="oauth.refresh",
        oauth=True,
        budget="pairing",
    ),
    Policy(
        "oauth.refresh",
        rules=REFRESH,
        body_fields=TOKEN_FIELDS,
        failures=frozenset({400}),
        oauth=True,
        budget="accounts",
    ),
    Policy("oauth.revoke", rules=SIGN_OUT, body_fields=("token",), oauth=True, budget="accounts"),
    Policy("oauth.metadata", breaks=False),
    Policy(
        "login",
        rules=LOGIN,
        body_fields=("username",),
        failures=frozenset({401}),
        page=True,
        breaks=False,
        budget="accounts",
        stays=True,
    ),
    # The form itself: it asks the database nothing.
    Policy("login.page", page=True, breaks=False, stays=True),
    # Django's admin shows its form again, with 200, to whoever failed.
    Policy(
        "login.admin",
        rules=LOGIN,
        body_fields=("username",),
        failures=frozenset({200}),
        budget="admin",
        page=True,
        breaks=False,
        stays=True,
    ),
    Policy("admin", budget="admin", page=True, breaks=False, stays=True),
    Policy("static", breaks=False, stays=True),
    Policy("docs", "sheddable", breaks=False),
)
DEFAULTS: Mapping[str, Policy] = MappingProxyType({policy.name: policy for policy in _POLICIES})

#: `*` stands for one segment.
ROUTES: Mapping[tuple[str, str], str] = MappingProxyType(
    {
        ("POST", "/api/v1/pairings/"): "pairing.create",
        ("POST", "/api/v1/pairings/associate/"): "pairing.associate",
        ("POST", "/api/v1/pairings/deny/"): "pairing.associate",
        ("GET", "/api/v1/pairings/*/"): "pairing.status",
        ("POST", "/api/v1/pairings/*/renew/"): "pairing.renew",
        ("POST", "/api/v1/pairings/*/credentials/"): "pairing.credentials",
        ("POST", "/api/v1/pairings/*/ack/"): "pairing.ack",
        ("GET", "/api/v1/devices/"): "devices.list",
        ("PATCH", "/api/v1/devices/*/"): "devices.write",
        ("POST", "/api/v1/devices/*/revoke/"): "devices.revoke",
        ("GET", "/api/v1/subscribers/"): "subscribers.list",
        ("GET", "/api/v1/subscribers/*/"): "subscribers.read",
        ("PUT", "/api/v1/subscribers/*/"): "subscribers.write",
        ("POST", "/api/v1/subscribers/*/devices/revoke/"): "devices.revoke",
        ("GET", "/api/v1/me/"): "me",
        ("POST", "/oauth/device_authorization"): "oauth.device",
        ("POST", "/oauth/token"): "oauth.token",
        ("POST", "/oauth/revoke"): "oauth.revoke",
        ("GET", "/.well-known/oauth-authorization-server"): "oauth.metadata",
        ("GET", "/accounts/login/"): "login.page",
        ("POST", "/accounts/login/"): "login",
        ("POST", "/activate/"): "activate",
        ("POST", "/activate/*/"): "activate",
        ("POST", "/admin/login/"): "login.admin",
    }
)
PREFIXES = (
    ("/admin/", "admin"),
    ("/ops/", "admin"),
    ("/static/", "static"),
    ("/api/docs/", "docs"),
    ("/api/schema/", "docs"),
)
#: Which segment varies, below which path.
VARIABLES = (("/api/v1/", 4), ("/activate/", 2))


def route(method: str, path: str) -> str:
    """The name of the policy that covers `method` and `path`; pure."""
    method = "GET" if method == "HEAD" else method.upper()
    name = ROUTES.get((method, path))
    if name is not None:
        return name
    for prefix, variable in VARIABLES:
        if path.startswith(prefix):
            segments = path.split("/")
            segments[variable : variable + 1] = "*"
            return ROUTES.get((method, "/".join(segments)), DEFAULT.name)
    for prefix, name in PREFIXES:
        if path.startswith(prefix):
            return name
    return DEFAULT.name


@dataclass(slots=True)
class PolicyTable:
    """The policies in force, replaced all at once: no request sees half a change."""

    policies: Mapping[str, Policy] = field(default_factory=lambda: DEFAULTS)
    #: The roll-out that goes on.
    rollout: "Rollout | None" = None

    def match(self, method: str, path: str) -> Policy:
        """The policy in force for `method` and `path`."""
        return self.policies[route(method, path)]

    def swap(self, policies: Mapping[str, Policy], rollout: "Rollout | None" = None) -> None:
        self.policies, self.rollout = policies, rollout

    def reload(self) -> None:
        """Reads the rows of the database; `ratelimit.revision` calls it, away from any request."""
        from ratelimit import rollouts  # models cannot be imported before the apps are ready
        from stabilizer.gate import policy_rows, trial

        rollout = rollouts.live()
        self.swap(trial.beside(policy_rows.read(), rollout), rollout)


table = PolicyTable()
match = table.match
