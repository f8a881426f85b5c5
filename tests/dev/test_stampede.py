"""`make stampede` runs a service on MariaDB for itself, lets devices come, and leaves nothing."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from stabilizer.env import ROOT


@pytest.mark.processes
def test_all_devices_are_served_and_nothing_stays(tmp_path: Path) -> None:
    env = {name: value for name, value in os.environ.items() if name != "COVERAGE_PROCESS_CONFIG"}
    tmp_path.chmod(0o755)
    run = subprocess.run(
        [sys.executable, "-m", "dev.stampede", "--json"],
        cwd=ROOT,
        env={**env, "DEVICES": "20", "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )

    assert run.returncode == 0, run.stdout + run.stderr
    assert '"served_percent": 100.0' in run.stdout
    assert list(tmp_path.iterdir()) == []
