"""What commands do to people's accounts is recorded, as what the admin does is."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.db import transaction
from django.db.models.signals import post_save

import audit
from accounts.models import User
from audit import context


@contextmanager
def recorded(actor: str) -> Iterator[None]:
    """Record every person saved inside the block; all of it commits together, or nothing does."""

    def record(instance: User, created: bool, **_: Any) -> None:
        audit.record_with_change(
            "person.changed",
            subject=f"person:{instance.pk}",
            actor=actor,
            tenant=instance.tenant.slug if instance.tenant else "",
            detail={"what": "added" if created else "changed", "name": instance.username},
        )

    post_save.connect(record, sender=User, weak=False)
    try:
        with context.a_run(), transaction.atomic():
            yield
    finally:
        post_save.disconnect(record, sender=User)
