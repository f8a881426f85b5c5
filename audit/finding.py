"""The admin's form for finding events: whole values, a day, and a time of it."""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, time, timedelta
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.translation import get_language

from audit.models import Event
from audit.registry import ACTIONS
from audit.search import NAMES, Search


class FindForm(forms.Form):
    """Each field finds by an index of its own."""

    subject = forms.CharField(required=False, max_length=200)
    actor = forms.CharField(required=False, max_length=200)
    action = forms.ChoiceField(required=False)
    request_id = forms.CharField(required=False, max_length=64, label="Request id")
    day = forms.DateField(required=False, widget=forms.DateInput({"type": "date"}))
    up_to = forms.TimeField(
        required=False, widget=forms.TimeInput({"type": "time"}), label="Up to (UTC)"
    )

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        spanish = (get_language() or "").startswith("es")
        words = [(name, each.es if spanish else each.en) for name, each in ACTIONS.items()]
        self.fields["action"].choices = [("", "any"), *sorted(words, key=lambda pair: pair[1])]  # type: ignore[attr-defined]


class Find(admin.ListFilter):
    """One form of the list's sidebar; it also keeps where the page begins."""

    title = "find"
    template = "admin/audit/find.html"
    parameters = (*NAMES, "day", "up_to", "before")

    def __init__(
        self, request: HttpRequest, params: dict[str, Any], model: Any, model_admin: Any
    ) -> None:
        super().__init__(request, params, model, model_admin)
        given = {name: params.pop(name) for name in self.parameters if name in params}
        self.used_parameters = {name: values[-1] for name, values in given.items()}
        self.form = FindForm(self.used_parameters)

    @staticmethod
    def search(given: Mapping[str, Any]) -> Search:
        """What somebody looks for; a field that makes no sense looks for nothing."""
        form = FindForm(given)
        form.is_valid()
        said = form.cleaned_data
        exact = {name: said[name] for name in NAMES if said.get(name)}
        if not (day := said.get("day")):
            return Search(exact)
        since = datetime.combine(day, time.min, UTC)
        until = since + timedelta(days=1)
        if up_to := said.get("up_to"):
            until = datetime.combine(day, up_to, UTC) + timedelta(minutes=1)
        return Search(exact, since, until)

    def has_output(self) -> bool:
        return True

    def expected_parameters(self) -> list[str | None]:
        return list(self.parameters)

    def choices(self, changelist: Any) -> Iterator[dict[str, Any]]:
        """The template takes the form from here."""
        yield {"form": self.form}

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        search = self.search(self.used_parameters)
        if len(search.exact) > 1 and search.since is None:
            # One index serves one value: of the others every row would be looked at.
            messages.warning(request, "Name a day as well to search for several values at once.")
            return queryset.none()
        found: QuerySet[Event, Any] = search.among(queryset)
        before = str(self.used_parameters.get("before", ""))
        return found.filter(pk__lt=before) if _is_id(before) else found


def _is_id(text: str) -> bool:
    return len(text) == 32 and all(letter in "0123456789abcdef" for letter in text)
