"""Where the servers of a comparison live while they are tested."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from dev.test import temporary_directory


@pytest.fixture(scope="module")
def open_directory() -> Iterator[Path]:
    """pytest's own directories are closed to the unprivileged user of MariaDB."""
    with temporary_directory() as directory:
        yield directory
