"""The application that ASGI servers run: probes, then the gate, then Django in its pool."""

import os

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "stabilizer.settings")
django.setup(set_prefix=False)

from ratelimit import revision  # noqa: E402
from stabilizer.database import limit_waits  # noqa: E402
from stabilizer.gate.admission import Gate  # noqa: E402
from stabilizer.health import CHECKS, NEEDED, Health, Readiness  # noqa: E402
from stabilizer.lifespan import Lifespan  # noqa: E402
from stabilizer.metrics import Metrics  # noqa: E402
from stabilizer.serving import Serving  # noqa: E402

limit_waits()
serving = Serving()
gate = Gate(serving)
readiness = Readiness(CHECKS, needed=NEEDED)
application = Lifespan(
    Health(Metrics(gate, readiness), readiness),
    start=[revision.start, gate.start],
    stop=[gate.stop, revision.stop, serving.close],
)
