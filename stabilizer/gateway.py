"""The application of role `realtime`: probes, then the gateway for all who wait."""

import os

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "stabilizer.settings")
django.setup(set_prefix=False)

from django.conf import settings  # noqa: E402
from django.db import connections  # noqa: E402

from ratelimit import revision, store  # noqa: E402
from ratelimit.connections import Caps  # noqa: E402
from realtime import routing  # noqa: E402
from realtime.gateway import Gateway  # noqa: E402
from stabilizer.database import limit_waits  # noqa: E402
from stabilizer.desk import Desk  # noqa: E402
from stabilizer.gate.address import Proxies  # noqa: E402
from stabilizer.gate.control import Control  # noqa: E402
from stabilizer.health import CHECKS, NEEDED, Health, Readiness  # noqa: E402
from stabilizer.introduction import Introduction  # noqa: E402
from stabilizer.lifespan import Lifespan  # noqa: E402
from stabilizer.metrics import Metrics  # noqa: E402
from stabilizer.ops.collector import Collector  # noqa: E402
from stabilizer.pool import Pool  # noqa: E402

limit_waits()
pool = Pool(settings.REALTIME_THREADS, on_idle=connections.close_all)
control = Control(threads=settings.REALTIME_THREADS)
desk = Desk(control, pool)
gateway = Gateway(
    store.shared(),
    desk.run,
    desk.charge,
    caps=Caps(
        fleet=settings.CONNECTIONS,
        process=settings.CONNECTIONS_PER_PROCESS,
        client=settings.CONNECTIONS_PER_CLIENT,
        network=settings.CONNECTIONS_PER_NETWORK,
    ),
    on_push=control.observer.pushed,
    on_refusal=control.observer.turned_away,
)
readiness = Readiness(CHECKS, needed=NEEDED)
served = Introduction(
    routing.application(gateway, frozenset(settings.REALTIME_ORIGINS)),
    Proxies(settings.TRUSTED_PROXIES),
)
collector = Collector(control, readiness, role="realtime")
application = Lifespan(
    Health(Metrics(served, readiness), readiness),
    start=[revision.start, control.start, gateway.start, collector.start],
    stop=[collector.stop, gateway.stop, control.stop, revision.stop, pool.close],
)
#: What the server calls before it ends.
drain = gateway.returns.drain
