"""System checks: what would lose records is refused before the first request."""

import tempfile
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core import checks


@checks.register("audit")
def spool_is_writable(app_configs: Any, **kwargs: Any) -> list[checks.CheckMessage]:
    """audit.E001: every record goes to a file in this directory first."""
    directory = Path(settings.AUDIT_SPOOL_DIR)
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=directory):
            pass
    except OSError as error:
        return [
            checks.Error(
                f"The audit spool's directory cannot be written: {error}",
                hint="Point RUN_DIR to a directory on a local disk which this user may write to.",
                id="audit.E001",
            )
        ]
    return []
