"""What the stampede runs against: an address, and the key that approves its devices."""

import ipaddress
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

RUN_DIR = Path(__file__).resolve().parents[2] / ".run"
PORTS = {"http": 80, "https": 443}


class NoTarget(Exception):
    """There is nothing to run against, or it is not allowed. The message says what to do."""


@dataclass(frozen=True, slots=True)
class Target:
    host: str
    port: int
    secure: bool
    api_key: str
    allows_remote: bool = False

    @property
    def authority(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    @property
    def is_loopback(self) -> bool:
        return is_loopback(self.host)

    def allows(self, host: str) -> bool:
        """Whether devices that the service sends on to `host` may go there."""
        return self.allows_remote or is_loopback(host)


def is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def find(url: str | None, *, allow_remote: bool, environ: Mapping[str, str] = os.environ) -> Target:
    """The target at `url`, or the one that `make up` described in its run directory.

    The key is API_KEY of the environment or of that description. Raises `NoTarget`.
    """
    described = _described(Path(environ.get("RUN_DIR") or RUN_DIR) / "up.env")
    address = url or described.get("BASE_URL")
    if not address:
        raise NoTarget("Nothing is up here. Start it with `make up`, or give --url and API_KEY.")
    api_key = environ.get("API_KEY") or described.get("API_KEY", "")
    target = _target(address, api_key, allow_remote)
    if not (target.is_loopback or allow_remote):
        raise NoTarget(
            f"{target.host} is not this machine. A stampede is an attack on whoever did not ask "
            "for it; give --allow-remote if you did."
        )
    if not target.api_key:
        raise NoTarget("API_KEY is missing: a key with the scopes pairing:approve, devices:write.")
    return target


def _target(address: str, api_key: str, allows_remote: bool) -> Target:
    parts = urlsplit(address)
    if parts.scheme not in PORTS or not parts.hostname:
        raise NoTarget(f"{address} is not an address like http://127.0.0.1:9000")
    try:
        port = parts.port or PORTS[parts.scheme]
    except ValueError:
        raise NoTarget(f"{address} has no valid port") from None
    return Target(parts.hostname, port, parts.scheme == "https", api_key, allows_remote)


def _described(file: Path) -> dict[str, str]:
    if not file.exists():
        return {}
    lines = (line.partition("=") for line in file.read_text(encoding="utf-8").splitlines())
    return {name: value.strip("'\"") for name, equals, value in lines if equals}
