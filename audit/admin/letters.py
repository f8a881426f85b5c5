"""What could not be stored: somebody looks at it, tries again, or gives it up and says why."""

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.db.models import Count, Max, QuerySet
from django.http import HttpRequest
from django.template.response import TemplateResponse

from audit import deadletters
from audit.admin.reading import Overseen, actor
from audit.models import DeadLetter


class DropForm(forms.Form):
    """Why letters are given up. `newest` is the last of them: none that comes later goes along."""

    why = forms.CharField(max_length=200)
    newest = forms.IntegerField(widget=forms.HiddenInput)


@admin.register(DeadLetter)
class DeadLetterAdmin(Overseen):
    list_display = ("at", "reason", "explanation", "source", "replays")
    list_filter = ("reason",)
    search_fields = ("source__exact",)
    search_help_text = "A whole source."
    ordering = ("-id",)
    actions = ("replay", "drop")

    @admin.action(description="Try to store the selected letters again")
    def replay(self, request: HttpRequest, letters: QuerySet[DeadLetter]) -> None:
        stored = dead = 0
        for batch in deadletters.replay(letters, actor=actor(request)):
            stored, dead = stored + batch.stored, dead + batch.dead
        level = messages.WARNING if dead else messages.SUCCESS
        self.message_user(request, f"{stored} stored, {dead} still dead.", level)

    @admin.action(description="Drop the selected letters for good")
    def drop(self, request: HttpRequest, letters: QuerySet[DeadLetter]) -> TemplateResponse | None:
        """Asks why on a page of its own, and drops when that page comes back with an answer."""
        asked = DropForm(request.POST if "newest" in request.POST else None)
        if asked.is_bound and asked.is_valid():
            meant = letters.filter(pk__lte=asked.cleaned_data["newest"])
            why = asked.cleaned_data["why"]
            dropped = deadletters.drop(meant, actor=actor(request), why=why)
            self.message_user(request, f"{dropped} dropped.", messages.SUCCESS)
            return None
        return self._confirmation(request, letters, asked)

    def _confirmation(
        self, request: HttpRequest, letters: QuerySet[DeadLetter], asked: DropForm
    ) -> TemplateResponse:
        reasons = letters.order_by("reason").values_list("reason")
        counts = list(reasons.annotate(letters=Count("pk"), newest=Max("pk")))
        asked.fields["newest"].initial = max((newest for _, _, newest in counts), default=0)
        context: dict[str, Any] = {
            **self.admin_site.each_context(request),
            "title": f"Dead letters to be dropped for good: {sum(each[1] for each in counts)}",
            "opts": self.opts,
            "form": asked,
            "reasons": [(DeadLetter.Reason(reason).label, many) for reason, many, _ in counts],
            "checkbox": ACTION_CHECKBOX_NAME,
            "chosen": request.POST.getlist(ACTION_CHECKBOX_NAME),
            "across": request.POST.get("select_across", "0"),
        }
        return TemplateResponse(request, "admin/audit/deadletter/drop.html", context)
