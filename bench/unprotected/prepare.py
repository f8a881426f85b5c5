"""`python -m bench.unprotected.prepare`: the schema, and everybody whom a stampede asks for.

The operator's key is API_KEY of the environment.
"""

import os
import secrets

import django
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from django.core.management import call_command

SUBSCRIBERS = 1_000
CARDS = 10
BATCH = 2_000
APP_TYPE = "stampede"
RSA_BITS = 2048


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "bench.unprotected.settings")
    django.setup()
    call_command("migrate", interactive=False, verbosity=1)
    _make_key(os.environ["API_KEY"])
    _make_subscribers()


def _make_key(api_key: str) -> None:
    from bench.unprotected.authentication import digest
    from bench.unprotected.models import ApiKey, AppCredentials

    ApiKey.objects.create(name="operator", digest=digest(api_key))
    public = rsa.generate_private_key(65537, RSA_BITS).public_key()
    pem = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    AppCredentials.objects.create(app_type=APP_TYPE, public_key=pem)


def _make_subscribers() -> None:
    from bench.unprotected.models import Smartcard, Subscriber

    Subscriber.objects.bulk_create(
        (
            Subscriber(
                code=f"S{number:06d}",
                login1=f"s{number:06d}",
                password=secrets.token_urlsafe(9),
                pin=f"{secrets.randbelow(10_000):04d}",
                packages=["basic"],
            )
            for number in range(1, SUBSCRIBERS + 1)
        ),
        BATCH,
    )
    Smartcard.objects.bulk_create(
        (
            Smartcard(sn=f"SC{subscriber.code[1:]}{card:04d}", subscriber=subscriber)
            for subscriber in Subscriber.objects.all()
            for card in range(1, CARDS + 1)
        ),
        BATCH,
    )


if __name__ == "__main__":
    main()
