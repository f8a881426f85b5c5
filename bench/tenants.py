"""Tenants with a key each: `python -m bench.tenants` reads how many, and answers with the keys."""

import json
import os
import secrets
import sys

import django

if __name__ == "__main__":
    os.environ["DJANGO_SETTINGS_MODULE"] = "stabilizer.settings"
    django.setup(set_prefix=False)


def make(count: int) -> list[str]:
    """The keys of so many tenants that there never were before."""
    from accounts import keys
    from accounts.models import Plan, Tenant

    plan, _ = Plan.objects.get_or_create(name="bench")
    run = secrets.token_hex(4)
    tenants = [
        Tenant.objects.create(slug=f"bench-{run}-{number}", name=f"Bench {number}", plan=plan)
        for number in range(count)
    ]
    return [keys.create(tenant, "bench", [])[1] for tenant in tenants]


if __name__ == "__main__":
    json.dump(make(json.load(sys.stdin)), sys.stdout)
