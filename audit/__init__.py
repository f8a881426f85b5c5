"""The trail of what happened: `audit.record(...)` and `audit.record_with_change(...)`.

Importing this package imports no model, so every module may do it at any time.
"""

from audit.recording import AuditUnavailable, record, record_with_change

__all__ = ["AuditUnavailable", "record", "record_with_change"]
