"""The product's settings without its middleware: what is compared is the door, not the house.

The peers find here what their documentation asks for, on the Redis that the gate uses.
"""

from stabilizer.settings import *  # noqa: F403
from stabilizer.settings import REDIS_URL

ROOT_URLCONF = "bench.urls"
MIDDLEWARE = []
REST_FRAMEWORK = {
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_AUTHENTICATION_CLASSES": [],
    "DEFAULT_PERMISSION_CLASSES": [],
    "UNAUTHENTICATED_USER": None,
}
# django-ratelimit counts in Django's default cache, which is django-redis.
RATELIMIT_BACKEND = "redis"
RATELIMIT_REDIS = {"url": REDIS_URL}
