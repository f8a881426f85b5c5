"""Brings the database of `make up` to today's schema and fills it with the demonstration's data.

One process for both, because starting Django twice costs a second start more than both steps.
"""

import io
import json
import os
import sys
from pathlib import Path

import django
from django.core.checks import Tags
from django.core.management import call_command

from dev.environment import write_private


def main() -> None:
    """`python -m dev.prepare FILE`: migrate and demo; what demo reports goes to FILE, as lines.

    Whoever gave DATABASE_URL or REDIS_URL hears first what is wrong with those servers.
    """
    django.setup()
    call_command("check", databases=["default"], tags=[Tags.database])
    call_command("migrate", interactive=False, verbosity=1)
    report = Path(sys.argv[1])
    output = io.StringIO()
    call_command(
        "demo",
        json=True,
        key_file=report.with_name("demo.key"),
        admin_password=os.environ["ADMIN_PASSWORD"],
        stdout=output,
    )
    write_private(report, json.loads(output.getvalue()))


if __name__ == "__main__":
    main()
