"""Every action the trail knows: its class, severity, and words for people."""

from dataclasses import dataclass
from enum import StrEnum

from django.conf import settings


class Class(StrEnum):
    """How strongly a record is tied to what it tells of."""

    #: With its change: both commit, or neither does.
    CHANGE = "S"
    #: To the process's spool, after the fact.
    REPORT = "R"


class Severity(StrEnum):
    INFO = "info"
    NOTICE = "notice"
    WARNING = "warning"
    #: Raises an alert.
    CRITICAL = "critical"


@dataclass(frozen=True, slots=True)
class Action:
    """One thing that can happen; `en` and `es` say it in a sentence's past tense."""

    name: str
    kind: Class
    severity: Severity
    en: str
    es: str


class UnknownAction(LookupError):
    """Raised in development and tests only: not in the registry, or of the other class."""


S, R = Class.CHANGE, Class.REPORT
INFO, NOTICE, WARNING, CRITICAL = Severity

_ALL = (
    Action("pairing.created", R, INFO, "pairing asked for", "emparejamiento solicitado"),
    Action("pairing.renewed", R, INFO, "pairing code renewed", "código de emparejamiento renovado"),
    Action("pairing.approved", S, NOTICE, "pairing approved", "emparejamiento aprobado"),
    Action("pairing.denied", S, NOTICE, "pairing denied", "emparejamiento rechazado"),
    Action("pairing.delivered", S, NOTICE, "credentials delivered", "credenciales entregadas"),
    Action("pairing.acknowledged", S, INFO, "credentials acknowledged", "credenciales confirmadas"),
    Action("pairing.revoked", S, NOTICE, "device revoked", "dispositivo revocado"),
    Action("pairing.expired", S, INFO, "pairing expired", "emparejamiento caducado"),
    Action("code.unknown", R, NOTICE, "unknown code tried", "código desconocido probado"),
    Action(
        "code.refused",
        R,
        NOTICE,
        "code not looked up, after too many wrong ones",
        "código no buscado, tras demasiados erróneos",
    ),
    Action("device.renamed", S, INFO, "device renamed", "dispositivo renombrado"),
    Action("subscriber.changed", S, NOTICE, "subscriber changed", "abonado modificado"),
    Action("subscribers.imported", S, NOTICE, "subscribers imported", "abonados importados"),
    Action("token.refreshed", R, INFO, "token refreshed", "token renovado"),
    Action("token.revoked", S, NOTICE, "token revoked", "token revocado"),
    Action("key.created", S, NOTICE, "API key created", "clave de API creada"),
    Action("key.revoked", S, NOTICE, "API key revoked", "clave de API revocada"),
    Action("key.used", R, INFO, "API key used", "clave de API usada"),
    Action("tenant.changed", S, NOTICE, "tenant changed", "operador modificado"),
    Action("client.changed", S, NOTICE, "public client changed", "cliente público modificado"),
    Action("person.changed", S, NOTICE, "person's account changed", "cuenta de persona modificada"),
    Action("keyring.changed", S, WARNING, "keyring changed", "llavero modificado"),
    Action("plan.changed", S, NOTICE, "plan changed", "plan modificado"),
    Action("policy.changed", S, WARNING, "limit policy changed", "política de límites modificada"),
    Action(
        "policy.rollout_started",
        S,
        WARNING,
        "roll-out of a policy begun, in shadow",
        "despliegue de una política iniciado, en sombra",
    ),
    Action(
        "policy.rollout_advanced",
        S,
        WARNING,
        "roll-out of a policy went on",
        "despliegue de una política continuado",
    ),
    Action(
        "policy.rollout_aborted",
        S,
        WARNING,
        "roll-out of a policy given up",
        "despliegue de una política abandonado",
    ),
    Action(
        "policy.rollout_withdrawn",
        S,
        WARNING,
        "changed policy taken back by itself, for it refused too many",
        "política cambiada retirada por sí sola, pues rechazaba demasiado",
    ),
    Action("network.changed", S, WARNING, "shared network changed", "red compartida modificada"),
    Action("flag.forced", S, WARNING, "flag forced", "indicador forzado"),
    Action("flag.released", S, NOTICE, "flag released", "indicador liberado"),
    Action("flag.expired", S, NOTICE, "forced flag expired", "indicador forzado caducado"),
    Action("login.staff", S, NOTICE, "staff logged in", "personal inició sesión"),
    Action("login.succeeded", R, INFO, "person logged in", "persona inició sesión"),
    Action("login.failed", R, NOTICE, "login failed", "inicio de sesión fallido"),
    Action("logout", R, INFO, "person logged out", "persona cerró sesión"),
    Action("gate.refused", R, INFO, "request refused", "petición rechazada"),
    Action("audit.day_closed", S, NOTICE, "day of the trail closed", "día del registro cerrado"),
    Action("audit.day_dropped", S, WARNING, "day of the trail dropped", "día del registro borrado"),
    Action("audit.hold_placed", S, WARNING, "legal hold placed", "retención legal impuesta"),
    Action("audit.hold_released", S, WARNING, "legal hold released", "retención legal levantada"),
    Action("audit.exported", R, WARNING, "trail exported", "registro exportado"),
    Action(
        "audit.letters_dropped", S, WARNING, "dead letters dropped", "registros fallidos borrados"
    ),
    Action(
        "audit.letters_replayed",
        S,
        NOTICE,
        "dead letters tried again",
        "registros fallidos reintentados",
    ),
    Action(
        "audit.chain_broken",
        R,
        CRITICAL,
        "the trail is not what was sealed",
        "el registro no es lo que se selló",
    ),
    Action(
        "audit.records_missing",
        R,
        CRITICAL,
        "records of a spool are missing",
        "faltan registros de una cola local",
    ),
    Action(
        "audit.suppressed",
        R,
        CRITICAL,
        "records suppressed while the spool could not be written",
        "registros suprimidos mientras no se podía escribir en la cola local",
    ),
)

ACTIONS = {action.name: action for action in _ALL}


def action(name: str, kind: Class) -> Action:
    """The registered action, which must be of class `kind`.

    With `AUDIT_STRICT` (development, tests) anything else raises `UnknownAction`. In production a
    wrong name is recorded as it stands, with severity `warning`: an odd record beats none.
    """
    known = ACTIONS.get(name)
    if known is not None and known.kind is kind:
        return known
    if settings.AUDIT_STRICT:
        raise UnknownAction(f"audit action {name!r} of class {kind} is not in audit/registry.py")
    return known or Action(name, kind, Severity.WARNING, name, name)
