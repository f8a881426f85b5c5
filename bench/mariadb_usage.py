"""What MariaDB has been asked, by its own counters."""

from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from typing import Any
from urllib.parse import urlsplit

SELECTS, CONNECTIONS = "Com_select", "Threads_connected"


class Counters:
    """Reads global counters over one connection, which is not counted among the others."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    @property
    def selects(self) -> int:
        """Since it started."""
        return self._read()[SELECTS]

    @property
    def connections(self) -> int:
        """Open now, without this one."""
        return self._read()[CONNECTIONS] - 1

    def _read(self) -> Mapping[str, int]:
        with self._connection.cursor() as cursor:
            names = (SELECTS, CONNECTIONS)
            cursor.execute("SHOW GLOBAL STATUS WHERE Variable_name IN %s", [names])
            return {name: int(value) for name, value in cursor.fetchall()}


@contextmanager
def counters(url: str) -> Iterator[Counters]:
    """Of the server at `url`."""
    # Only what measures MariaDB needs its driver.
    import MySQLdb

    connect: Any = MySQLdb.connect
    place = urlsplit(url)
    with closing(connect(host=place.hostname, port=place.port, user=place.username)) as connection:
        yield Counters(connection)
