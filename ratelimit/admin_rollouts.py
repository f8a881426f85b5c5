"""Roll-outs of policies in the admin: begun, looked at, moved on and given up."""

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import ValidationError
from django.db.models import Model, QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect

from ratelimit import draft, rollouts
from ratelimit.draft import BadDraft, Draft
from ratelimit.models import Rollout
from ratelimit.rollouts import Refused


class StartForm(forms.ModelForm):  # type: ignore[type-arg]
    """What is to change, as `manage.py policy rollout start` reads it from a file."""

    class Meta:
        model = Rollout
        fields = ("policy", "draft", "bound", "least")

    plan: Draft

    def clean(self) -> dict[str, Any]:
        said = super().clean() or {}
        if "policy" in said and "draft" in said:
            try:
                (self.plan,) = draft.read({said["policy"].name: said["draft"]})
            except BadDraft as error:
                raise ValidationError({"draft": str(error)}) from error
            if not self.plan.changes():
                raise ValidationError({"draft": "These numbers are in force."})
        if rollouts.live():
            raise ValidationError("Another roll-out goes on: end it first.")
        return said


@admin.register(Rollout)
class RolloutAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """They hold for every tenant: staff may look at them, superusers move them."""

    form = StartForm
    list_display = (
        *("policy", "stage", "percent", "admitted", "refused", "refused_share", "bound"),
        *("started_at", "changed_at", "why"),
    )
    actions = ("advance", "abort")
    list_select_related = ("policy",)

    @admin.display(description="refused, %")
    def refused_share(self, rollout: Rollout) -> str:
        return f"{rollout.share:.2f}"

    def has_add_permission(self, request: HttpRequest) -> bool:
        return bool(request.user.is_superuser)

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_move_permission(self, request: HttpRequest) -> bool:
        return bool(request.user.is_superuser)

    def add_view(self, request: HttpRequest, *args: Any, **options: Any) -> HttpResponse:
        try:
            return super().add_view(request, *args, **options)
        except Refused as refused:
            # Somebody else has begun one in this very moment.
            messages.error(request, str(refused))
            return redirect("admin:ratelimit_rollout_changelist")

    def save_model(self, request: HttpRequest, obj: Model, form: Any, change: bool) -> None:
        said = form.cleaned_data
        started = rollouts.start(
            form.plan, actor=_actor(request), bound=said["bound"], least=said["least"]
        )
        obj.pk = started.pk

    @admin.action(description="Go on to the next step", permissions=["move"])
    def advance(self, request: HttpRequest, chosen: "QuerySet[Rollout, Any]") -> None:
        for rollout in chosen.select_related("policy"):
            self._told(request, rollout, rollouts.advance)

    @admin.action(description="Give up", permissions=["move"])
    def abort(self, request: HttpRequest, chosen: "QuerySet[Rollout, Any]") -> None:
        for rollout in chosen.select_related("policy"):
            self._told(request, rollout, rollouts.abort)

    def _told(self, request: HttpRequest, rollout: Rollout, move: Any) -> None:
        try:
            move(rollout, actor=_actor(request))
        except Refused as refused:
            messages.error(request, f"{rollout}: {refused}")
        else:
            messages.success(request, str(rollout))


def _actor(request: HttpRequest) -> str:
    return f"person:{request.user.pk}"
