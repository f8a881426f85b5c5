"""`audit.record` and `audit.record_with_change`: how the product says what happened."""

import logging
from collections.abc import Mapping

from audit import entry, frames, registry, spool
from audit.entry import JSON

logger = logging.getLogger(__name__)


class AuditUnavailable(Exception):
    """A change is refused because its record could not be kept: 503, `audit_unavailable`."""

    code = "audit_unavailable"


def record(
    action: str,
    outcome: str = "ok",
    *,
    subject: str = "",
    subject_version: int = 0,
    actor: str = "",
    tenant: str = "",
    detail: Mapping[str, JSON] | None = None,
) -> None:
    """Report something that happened (class R): one write() to this process's spool.

    Neither Redis nor SQL is touched, and nothing is raised: a record that cannot be written is
    counted and told in one `audit.suppressed` event later. (With `AUDIT_STRICT`, in development and
    tests, an action that is not registered for this class raises `UnknownAction`.)
    """
    known = registry.action(action, registry.Class.REPORT)
    draft = entry.Draft(known, outcome, subject, subject_version, actor, tenant, detail)
    try:
        spool.shared().append(frames.pack(entry.encode(draft)[1]))
    except Exception:
        logger.exception("audit: a record of %s is lost", action)


def record_with_change(
    action: str,
    outcome: str = "ok",
    *,
    subject: str = "",
    subject_version: int = 0,
    actor: str = "",
    tenant: str = "",
    detail: Mapping[str, JSON] | None = None,
) -> None:
    """Record a change (class S) inside its transaction: both commit, or neither does.

    One INSERT. Raises `TransactionRequired` outside of `transaction.atomic`, and `AuditUnavailable`
    while records cannot be kept.
    """
    from audit import outbox  # models, which cannot be imported before the apps are ready

    known = registry.action(action, registry.Class.CHANGE)
    draft = entry.Draft(known, outcome, subject, subject_version, actor, tenant, detail)
    outbox.require_transaction()
    if not spool.shared().accepts_changes():
        raise AuditUnavailable("the audit spool cannot be written")
    outbox.put(draft)
