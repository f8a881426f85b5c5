"""For WSGI servers. The gate is then `stabilizer.gate`'s middleware in Django's MIDDLEWARE."""

import os

from django.core.wsgi import get_wsgi_application

from stabilizer.database import limit_waits

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "stabilizer.settings")
application = get_wsgi_application()
limit_waits()
