"""Django's stock WSGI handler."""

import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "bench.unprotected.settings")
application = get_wsgi_application()
