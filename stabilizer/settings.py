"""Django's settings, made once from the typed environment of `stabilizer.env`."""

from pathlib import Path

from stabilizer.database import database
from stabilizer.env import ROOT, load

env = load()

DEBUG = env.debug
DEMO = env.demo
SECRET_KEY = env.secret_key.get_secret_value() or ("only-for-debugging-" * 3 if DEBUG else "")
API_KEY_PEPPER = env.api_key_pepper.get_secret_value() or (SECRET_KEY if DEBUG else "")
AUDIT_SIGNING_SECRET = env.audit_signing_secret.get_secret_value() or (SECRET_KEY if DEBUG else "")
KEYRING_SECRET = env.keyring_secret.get_secret_value() or (SECRET_KEY if DEBUG else "")
ALLOWED_HOSTS = list(env.allowed_hosts)
TRUSTED_PROXIES = list(env.trusted_proxies)
PUBLIC_URL = env.public_url.rstrip("/")
REALTIME_URL = env.realtime_url or PUBLIC_URL
REALTIME_ORIGINS = [PUBLIC_URL, *env.realtime_origins]
CSRF_TRUSTED_ORIGINS = [PUBLIC_URL]
RUN_DIR = env.run_dir

ROOT_URLCONF = "stabilizer.urls"
ASGI_APPLICATION = "stabilizer.asgi.application"
WSGI_APPLICATION = "stabilizer.wsgi.application"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
AUTH_USER_MODEL = "accounts.User"
LOGIN_URL = "/accounts/login/"
LOGIN_REDIRECT_URL = "/activate/"
LOGOUT_REDIRECT_URL = "/accounts/login/"

INSTALLED_APPS = [
    "stabilizer",
    "realtime",
    "pairing",
    "accounts",
    "ratelimit",
    "audit",
    "rest_framework",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "stabilizer.static.StaticFilesMiddleware",
    "audit.context.RequestContextMiddleware",
    "accounts.handlers.UnavailableMiddleware",
    "accounts.programs.ProgramsMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.locale.LocaleMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]

DATABASES = {"default": database(env.database_url)}
REDIS_URL = env.redis_url
METRICS_TOKEN = env.metrics_token.get_secret_value()
CACHES = {
    "default": {
        "BACKEND": "django_redis.cache.RedisCache",
        "LOCATION": env.cache_url or env.redis_url,
        "KEY_PREFIX": "cache",
        "TIMEOUT": 300,
        "OPTIONS": {"SOCKET_TIMEOUT": 1, "SOCKET_CONNECT_TIMEOUT": 1, "IGNORE_EXCEPTIONS": True},
    }
}
SESSION_ENGINE = "django.contrib.sessions.backends.db"

CELERY_BROKER_URL = env.broker_url or env.redis_url

AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in (
        "UserAttributeSimilarityValidator",
        "MinimumLengthValidator",
        "CommonPasswordValidator",
        "NumericPasswordValidator",
    )
]

LANGUAGE_CODE = "en"
LANGUAGES = [("en", "English"), ("es", "Español")]
LOCALE_PATHS = [ROOT / "locale"]
TIME_ZONE = env.time_zone
USE_TZ = True

STATIC_URL = "/static/"
STATIC_ROOT = ROOT / "staticfiles"
#: Found where the apps keep them, so that a fresh clone serves its admin without `collectstatic`.
WHITENOISE_USE_FINDERS = True

SECURE_SSL_REDIRECT = env.https
SESSION_COOKIE_SECURE = env.https
CSRF_COOKIE_SECURE = env.https
SECURE_HSTS_SECONDS = 365 * 24 * 3600 if env.https else 0
SECURE_HSTS_INCLUDE_SUBDOMAINS = env.https
SECURE_HSTS_PRELOAD = env.https
SECURE_CONTENT_TYPE_NOSNIFF = True
X_FRAME_OPTIONS = "DENY"
#: An API call is at most this large; the gate refuses a longer body before Django reads it.
DATA_UPLOAD_MAX_MEMORY_SIZE = 2_621_440

GATE_SLOTS = env.slots
BACKGROUND_SLOTS = env.background_slots
GATE_QUEUE_LENGTH = env.queue_length
GATE_QUEUE_WAIT_MS = env.queue_wait_ms
SERVING_THREADS = env.threads
REALTIME_THREADS = env.realtime_threads
CONNECTIONS = env.connections
CONNECTIONS_PER_PROCESS = env.connections_per_process
CONNECTIONS_PER_CLIENT = env.connections_per_client
CONNECTIONS_PER_NETWORK = env.connections_per_network
SERVER_BACKLOG = env.backlog
SERVER_KEEP_ALIVE_S = env.keep_alive_s
SERVER_PINNED = env.pin_processes

AUDIT_SPOOL_DIR: Path = env.run_dir / "spool"
#: All spools of a host together; reports may use 80 % of it, so that changes are refused last.
AUDIT_SPOOL_QUOTA_BYTES = 256 * 1024 * 1024
AUDIT_RETENTION_DAYS = env.audit_retention_days
AUDIT_CHECKPOINT_DIR: Path = env.audit_checkpoint_dir or env.run_dir / "audit-checkpoints"
#: An unregistered action is an error. Not `DEBUG`, which a test run turns off.
AUDIT_STRICT = env.debug

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": ["accounts.authentication.PrincipalAuthentication"],
    "DEFAULT_PERMISSION_CLASSES": ["accounts.permissions.IsIdentified"],
    "DEFAULT_PARSER_CLASSES": ["accounts.strict.StrictJSONParser"],
    "DEFAULT_RENDERER_CLASSES": ["accounts.strict.SafeJSONRenderer"],
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "DEFAULT_PAGINATION_CLASS": "accounts.pagination.CodePagination",
    "PAGE_SIZE": 50,
    "EXCEPTION_HANDLER": "accounts.strict.problem_for_exception",
    "DEFAULT_THROTTLE_CLASSES": [],
    "UNAUTHENTICATED_USER": "django.contrib.auth.models.AnonymousUser",
    "TEST_REQUEST_DEFAULT_FORMAT": "json",
}
SPECTACULAR_SETTINGS = {
    "TITLE": "Stabilizer",
    "DESCRIPTION": (
        "Signs smart TVs and other devices in, and stays up when all of them come at once."
    ),
    "VERSION": "1",
    "SERVE_INCLUDE_SCHEMA": False,
    "SERVE_PUBLIC": True,
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "REDOC_DIST": "SIDECAR",
    "APPEND_COMPONENTS": {
        "securitySchemes": {"device_code": {"type": "http", "scheme": "bearer"}},
    },
}

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"format": "{asctime} {levelname} {name} {message}", "style": "{"}},
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
    "root": {"handlers": ["stderr"], "level": env.log_level},
    # Not a line, written while a crowd waits, for each 4xx: refusals are in the trail.
    # Nor a line for each WebSocket.
    "loggers": {"django.request": {"level": "ERROR"}, "uvicorn.error": {"level": "WARNING"}},
}
