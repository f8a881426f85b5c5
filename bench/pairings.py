"""Pairings that wait, put straight into the table: `python -m bench.pairings`.

Reads {"file", "count"} and writes a line for each: udid, device_code, user_code.
"""

import json
import os
import secrets
import sys
from datetime import timedelta
from pathlib import Path
from typing import NamedTuple

import django

if __name__ == "__main__":
    os.environ["DJANGO_SETTINGS_MODULE"] = "stabilizer.settings"
    django.setup(set_prefix=False)

LIVES = timedelta(hours=2)
INSERTED = 1_000


class Line(NamedTuple):
    """One pairing: what its device knows, and what its screen shows."""

    udid: str
    device_code: str
    user_code: str


def read(file: Path, first: int, count: int) -> list[Line]:
    """Of the lines of `file`, `count` from `first` on."""
    lines = file.read_text(encoding="ascii").splitlines()[first : first + count]
    return [Line(*line.split()) for line in lines]


def make(file: Path, count: int) -> None:
    """Of devices that there never were before."""
    from accounts.models import Client
    from audit import clock
    from pairing import device_code, user_code
    from pairing.models import Pairing

    client = Client.objects.get()
    run = secrets.token_hex(4)
    lines = [
        Line(f"bench-{run}-{number:06d}", device_code.mint(client.tenant_id), user_code.mint())
        for number in range(count)
    ]
    Pairing.objects.bulk_create(
        [
            Pairing(
                tenant_id=client.tenant_id,
                client_id=client.pk,
                udid=line.udid,
                app_type="bench",
                device_code_digest=device_code.digest(line.device_code),
                user_code=line.user_code,
                expires_at=clock.now() + LIVES,
            )
            for line in lines
        ],
        batch_size=INSERTED,
    )
    file.write_text("".join(f"{' '.join(line)}\n" for line in lines), encoding="ascii")


def main() -> None:
    given = json.load(sys.stdin)
    make(Path(given["file"]), given["count"])
    json.dump(None, sys.stdout)


if __name__ == "__main__":
    main()
