"""The application that ASGI servers run: probes, then the gate, then Django in its pool."""

import os

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "stabilizer.settings")
django.setup(set_prefix=False)

from django.conf import settings  # noqa: E402

from pairing import pending  # noqa: E402
from ratelimit import revision  # noqa: E402
from realtime.subscription import Subscription  # noqa: E402
from stabilizer.database import limit_waits  # noqa: E402
from stabilizer.gate.admission import Gate  # noqa: E402
from stabilizer.health import CHECKS, NEEDED, Health, Readiness  # noqa: E402
from stabilizer.lifespan import Lifespan  # noqa: E402
from stabilizer.metrics import Metrics  # noqa: E402
from stabilizer.ops import feed  # noqa: E402
from stabilizer.ops.collector import Collector  # noqa: E402
from stabilizer.ops.feed import Feed  # noqa: E402
from stabilizer.serving import Serving  # noqa: E402
from stabilizer.warming import warm  # noqa: E402

limit_waits()
serving = Serving()
gate = Gate(serving)
readiness = Readiness(CHECKS, needed=NEEDED)
collector = Collector(gate.control, readiness)
#: Changes of pairings, heard by this process for polls under pressure.
hearing = Subscription(
    settings.REDIS_URL,
    pending.shared.changed,
    pending.shared.missed,
    on_alive=pending.shared.alive,
    ping_s=pending.PROOF_S,
)
dashboards = Feed(collector)
feed.install(dashboards)
application = Lifespan(
    Health(Metrics(gate, readiness), readiness),
    start=[revision.start, gate.start, hearing.start, warm, collector.start],
    stop=[collector.stop, hearing.stop, gate.stop, revision.stop, serving.close],
)
#: What the server calls before it ends: dashboards would look on for ever.
drain = dashboards.close
