"""Settings of the unprotected service. Django's defaults wherever the predecessor had them."""

import os
import secrets
from urllib.parse import urlsplit

_database = urlsplit(os.environ["DATABASE_URL"])
#: "0", Django's default: a connection per request. "none": it persists, for servers with threads.
_max_age = os.environ.get("CONN_MAX_AGE", "0")

SECRET_KEY = os.environ.get("SECRET_KEY") or secrets.token_urlsafe(48)
ALLOWED_HOSTS = ["127.0.0.1", "localhost"]
PUBLIC_URL = os.environ.get("PUBLIC_URL", "http://127.0.0.1")

ROOT_URLCONF = "bench.unprotected.urls"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
USE_TZ = True
INSTALLED_APPS = ["bench.unprotected", "rest_framework"]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.middleware.common.CommonMiddleware",
]

DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.mysql",
        "HOST": _database.hostname,
        "PORT": _database.port,
        "USER": _database.username,
        "PASSWORD": _database.password or "",
        "NAME": _database.path.lstrip("/"),
        "OPTIONS": {"charset": "utf8mb4"},
        "CONN_MAX_AGE": None if _max_age == "none" else int(_max_age),
    }
}

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [],
    "DEFAULT_PERMISSION_CLASSES": [],
    "DEFAULT_PARSER_CLASSES": ["rest_framework.parsers.JSONParser"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "UNAUTHENTICATED_USER": None,
}

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "handlers": {"stderr": {"class": "logging.StreamHandler"}},
    # Thousands of tracebacks, written while everybody waits, would slow the service down further.
    "loggers": {"django.request": {"handlers": ["stderr"], "level": "CRITICAL"}},
}
