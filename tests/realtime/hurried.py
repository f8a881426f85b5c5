"""A gateway's process in which devices have little time: `python -m tests.realtime.hurried ...`.

The words after it are those of `stabilizer.server`. SIGUSR1 has it read the keys anew, which come
and go with the rows of each test. Whatever else it does is what it always does.
"""

import os
import signal
import sys
import threading

import django
from django.db import connection

GREET_S, PING_S, PONG_S = 1.0, 0.6, 0.5
REREAD = "the keys were read anew"


def main() -> int:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "stabilizer.settings")
    django.setup(set_prefix=False)
    from realtime import protocol
    from stabilizer import server

    protocol.GREET_S, protocol.PING_S, protocol.PONG_S = GREET_S, PING_S, PONG_S
    signal.signal(signal.SIGUSR1, lambda *_: threading.Thread(target=reread).start())
    return server.main(sys.argv[1:])


def reread() -> None:
    from accounts import snapshot

    snapshot.reload()
    connection.close()
    sys.stderr.write(f"{REREAD}\n")


if __name__ == "__main__":
    sys.exit(main())
