"""Makes `.venv` from `uv.lock`. Runs on Python's standard library alone, before anything is there.

python3.11 dev/install.py embedded            # what `make up` needs
python3.11 dev/install.py --development       # everything, for the tests and checks
python3.11 dev/install.py --debian --development    # and Debian's packages that are missing
"""

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
#: uv lives apart from `.venv`, which it makes.
TOOLS = ROOT / ".run" / "tools"
SBIN = "/usr/sbin:/sbin"
#: What must be there, and the Debian package that brings it.
DEBIAN = {
    "mariadbd": "mariadb-server",
    "redis-server": "redis-server",
    "mariadb_config": "libmariadb-dev",
    "pkg-config": "pkg-config",
    "gcc": "gcc",
    "chromium": "chromium",
    "haproxy": "haproxy",
    "nginx": "nginx-light",
    "promtool": "prometheus",
}
MYSQLCLIENT = ("mariadb_config", "pkg-config", "gcc")


def main() -> None:
    """Install what the command line names, unless it is there already."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("extras", nargs="*", metavar="extra", help="embedded, mariadb or plot")
    parser.add_argument("--development", action="store_true", help="every extra and group")
    parser.add_argument("--debian", action="store_true", help="apt-get install what is missing")
    asked = parser.parse_args()
    if sys.version_info < (3, 11):  # noqa: UP036  (this runs before any version is enforced)
        sys.exit("Stabilizer needs Python 3.11 or newer.  On Debian 12: apt install python3.11")
    if asked.debian:
        install_debian_packages()
    if "mariadb" in asked.extras or asked.development:
        refuse_without_compiler()
    sync(asked.extras, development=asked.development)


def install_debian_packages() -> None:
    missing = list(_missing_packages())
    if not missing:
        return
    if not shutil.which("apt-get"):
        sys.exit(f"Please install: {', '.join(missing)}  (apt-get is not here to do it)")
    become_root = [] if os.geteuid() == 0 else ["sudo"]
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    install = [*become_root, "apt-get", "install", "-y", "--no-install-recommends", *missing]
    print(f"installing Debian packages: {' '.join(missing)}", flush=True)
    if subprocess.run(install, env=environment, check=False).returncode:
        # The usual reason is a list of packages that is older than the archive.
        subprocess.run([*become_root, "apt-get", "update"], check=True)
        subprocess.run(install, env=environment, check=True)


def _missing_packages() -> Iterator[str]:
    for program, package in DEBIAN.items():
        if not _found(program):
            yield package
    if not (Path(sysconfig.get_paths()["include"]) / "Python.h").exists():
        yield f"python{sys.version_info.major}.{sys.version_info.minor}-dev"


def refuse_without_compiler() -> None:
    """mysqlclient is compiled: say what that needs before the compiler says it at length."""
    missing = [DEBIAN[program] for program in MYSQLCLIENT if not _found(program)]
    if missing:
        sys.exit(
            "MariaDB's driver is compiled at installation and needs: " + ", ".join(missing) + "\n"
            f"On Debian: apt install {' '.join(missing)} python3-dev"
        )


def sync(extras: Sequence[str], *, development: bool) -> None:
    """Bring `.venv` to `uv.lock`. Does nothing when the last time was for the same lock."""
    name = "development" if development else "-".join(["run", *sorted(extras)])
    stamp = VENV / f".installed-{name}"
    state = hashlib.sha256((ROOT / "uv.lock").read_bytes() + sys.version.encode()).hexdigest()
    if stamp.exists() and stamp.read_text(encoding="ascii") == state:
        return
    print(f"installing into {VENV.name}", flush=True)
    command = [_uv(), "sync", "--frozen", "--quiet", *_choice(extras, development=development)]
    if subprocess.run(command, cwd=ROOT, env=_environment(), check=False).returncode:
        sys.exit("The installation failed; uv's message is above.")
    stamp.write_text(state, encoding="ascii")


def _choice(extras: Sequence[str], *, development: bool) -> list[str]:
    if development:
        return ["--all-extras"]
    # Inexact: what `make test` installed before stays there.
    return [
        "--inexact",
        "--no-default-groups",
        *(word for extra in extras for word in ("--extra", extra)),
    ]


def _environment() -> dict[str, str]:
    environment = {name: value for name, value in os.environ.items() if name != "VIRTUAL_ENV"}
    return environment | {
        "UV_PROJECT_ENVIRONMENT": str(VENV),
        "UV_PYTHON": getattr(sys, "_base_executable", sys.executable),
        "UV_PYTHON_DOWNLOADS": "never",
    }


def _uv() -> str:
    if found := shutil.which("uv"):
        return found
    private = TOOLS / "bin" / "uv"
    if not private.exists():
        print("installing uv, the package manager, into .run/tools", flush=True)
        try:
            subprocess.run([sys.executable, "-m", "venv", str(TOOLS)], check=True)
            pip = [str(TOOLS / "bin" / "python"), "-m", "pip", "install", "-qq", "uv"]
            subprocess.run(pip, check=True)
        except subprocess.CalledProcessError:
            shutil.rmtree(TOOLS, ignore_errors=True)
            sys.exit("uv could not be installed.  On Debian: apt install python3.11-venv")
    return str(private)


def _found(program: str) -> bool:
    return shutil.which(program, path=f"{os.environ.get('PATH', '')}:{SBIN}") is not None


if __name__ == "__main__":
    main()
