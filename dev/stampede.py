"""`make stampede`: all devices at once, against a service that runs for this alone.

On a private MariaDB and Redis, or with DB=sqlite on the embedded default.
"""

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from dev import children, ports
from dev.environment import ROOT

START_S = 180


def main() -> int:
    """Start the service on a free port, let DEVICES (1,000) devices come, stop it.

    Words on the command line go to `manage.py stampede`. Returns its exit status.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    devices = os.environ.get("DEVICES") or "1000"
    with tempfile.TemporaryDirectory(prefix="stabilizer-", ignore_cleanup_errors=True) as name:
        run_dir = Path(name)
        run_dir.chmod(0o755)
        up = _start(run_dir)
        try:
            _wait(up, run_dir)
            load = ["stampede", "--devices", devices, "--at-once", *sys.argv[1:]]
            # The command finds the service by what it wrote into its run directory.
            env = {**os.environ, "RUN_DIR": str(run_dir)}
            command = [sys.executable, "manage.py", *load]
            return subprocess.run(command, cwd=ROOT, env=env, check=False).returncode
        except (KeyboardInterrupt, NotStarted) as error:
            print(error or "stopped", file=sys.stderr)
            return 1
        finally:
            children.stop([up], patience_s=40)


class NotStarted(Exception):
    """The service did not start. Carries what it said."""


def _start(run_dir: Path) -> children.Child:
    database = os.environ.get("DB") or "mariadb"
    env = {**os.environ, "DB": database, "PORT": str(ports.free()), "RUN_DIR": str(run_dir)}
    for name in ("DATABASE_URL", "REDIS_URL"):
        env.pop(name, None)
    command = [sys.executable, "-m", "dev.up"]
    return children.start("up", command, run_dir / "up.log", env=env, cwd=ROOT)


def _wait(up: children.Child, run_dir: Path) -> None:
    deadline = time.monotonic() + START_S
    while not (run_dir / "up.env").exists():
        if up.status is not None or time.monotonic() > deadline:
            raise NotStarted(up.last_lines())
        time.sleep(0.2)


if __name__ == "__main__":
    sys.exit(main())
