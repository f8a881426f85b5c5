"""Django's stock ASGI handler."""

import os

from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "bench.unprotected.settings")
application = get_asgi_application()
