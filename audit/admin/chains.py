"""The days' chains: how far they have come, which are closed, which are gone; and legal holds."""

from typing import Any

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest

from audit import retention
from audit.admin.reading import Overseen, actor, oversees_all
from audit.models import Day, Hold


@admin.register(Day)
class DayAdmin(Overseen):
    list_display = ("day", "height", "head_hash", "closed_at", "dropped_at")
    ordering = ("-day",)
    actions = None

    @admin.display(description="hash")
    def head_hash(self, day: Day) -> str:
        return day.hash[:16]


@admin.register(Hold)
class HoldAdmin(Overseen):
    """Holds are placed and released, never edited or deleted: the trail speaks of them."""

    list_display = ("first_day", "last_day", "reason", "owner", "placed_at", "released_at")
    ordering = ("-id",)
    actions = ("release",)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return oversees_all(request)

    def get_fields(self, request: HttpRequest, obj: Hold | None = None) -> tuple[str, ...]:
        asked = ("first_day", "last_day", "reason", "owner")
        return (*asked, "placed_at", "released_at") if obj else asked

    def save_model(self, request: HttpRequest, obj: Hold, form: Any, change: bool) -> None:
        placed = retention.place_hold(
            obj.first_day, obj.last_day, reason=obj.reason, owner=obj.owner, actor=actor(request)
        )
        obj.pk = placed.pk

    @admin.action(description="Release the selected holds")
    def release(self, request: HttpRequest, holds: QuerySet[Hold]) -> None:
        in_force = list(holds.filter(released_at=None))
        for hold in in_force:
            retention.release_hold(hold, actor=actor(request))
        self.message_user(request, f"{len(in_force)} released.", messages.SUCCESS)
