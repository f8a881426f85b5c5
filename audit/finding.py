"""The admin's form for finding events: whole values, a day, and a time of it."""

from collections.abc import Iterator
from datetime import date, datetime, time, timedelta
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.timezone import get_current_timezone_name, make_aware
from django.utils.translation import get_language

from audit.entry import LENGTHS
from audit.models import Event
from audit.registry import ACTIONS
from audit.search import NAMES, Search

#: Ids begin in 1970, and a year has four digits.
_DAYS = (MinValueValidator(date(1971, 1, 1)), MaxValueValidator(date(9998, 12, 31)))
_MINUTE, _DAY = timedelta(minutes=1), timedelta(days=1)


def in_words(action: str) -> str:
    """What the reader's language calls an action; one that nobody registered says its name."""
    known = ACTIONS.get(action)
    if known is None:
        return action
    return known.es if (get_language() or "").startswith("es") else known.en


class FindForm(forms.Form):
    """What somebody looks for. Each value has an index of its own; more than one need a day."""

    subject = forms.CharField(required=False, max_length=LENGTHS["subject"])
    actor = forms.CharField(required=False, max_length=LENGTHS["actor"])
    action = forms.CharField(required=False, max_length=LENGTHS["action"], widget=forms.Select)
    request_id = forms.CharField(
        required=False, max_length=LENGTHS["request_id"], label="Request id"
    )
    day = forms.DateField(
        required=False, validators=_DAYS, widget=forms.DateInput({"type": "date"})
    )
    since = forms.TimeField(required=False, widget=forms.TimeInput({"type": "time"}), label="From")
    up_to = forms.TimeField(required=False, widget=forms.TimeInput({"type": "time"}), label="Up to")

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        # The list shows times of this zone.
        self.fields["day"].label = f"Day ({get_current_timezone_name()})"
        names = {*ACTIONS, self.data.get("action") or next(iter(ACTIONS))}
        words = sorted((in_words(name), name) for name in names)
        select: Any = self.fields["action"].widget
        select.choices = [("", "any"), *((name, text) for text, name in words)]

    def clean(self) -> dict[str, Any]:
        said = super().clean() or {}
        if said.get("day") or "day" in self.errors:
            return said
        if said.get("since") or said.get("up_to"):
            raise forms.ValidationError("Name the day that the time is of.")
        if len([name for name in NAMES if said.get(name)]) > 1:
            # One index serves one value: of the others every row would be looked at.
            raise forms.ValidationError("Name a day as well to search for several values at once.")
        return said

    def search(self) -> Search:
        """Of a form that is valid."""
        said = self.cleaned_data
        exact = {name: said[name] for name in NAMES if said[name]}
        if not (day := said["day"]):
            return Search(exact)
        since = _moment(day, said["since"] or time.min)
        until = _moment(day, said["up_to"]) + _MINUTE if said["up_to"] else _moment(day + _DAY)
        return Search(exact, since, until)

    def faults(self) -> Iterator[str]:
        """What is wrong with it, each in a sentence."""
        for name, errors in self.errors.items():
            where = (
                f"{self.fields[name].label or name.capitalize()}: " if name in self.fields else ""
            )
            yield from (f"{where}{error}" for error in errors)


def _moment(day: date, hour: time = time.min) -> datetime:
    return make_aware(datetime.combine(day, hour))


class Find(admin.ListFilter):
    """One form of the list's sidebar; it also keeps where the page begins."""

    title = "find"
    template = "admin/audit/find.html"
    parameters = (*FindForm.base_fields, "before")

    def __init__(
        self, request: HttpRequest, params: dict[str, Any], model: Any, model_admin: Any
    ) -> None:
        super().__init__(request, params, model, model_admin)
        given = {name: params.pop(name) for name in self.parameters if name in params}
        self.used_parameters = {name: values[-1] for name, values in given.items()}
        self.form = FindForm(self.used_parameters)

    def has_output(self) -> bool:
        return True

    def expected_parameters(self) -> list[str | None]:
        return list(self.parameters)

    def choices(self, changelist: Any) -> Iterator[dict[str, Any]]:
        """The template takes the form from here."""
        yield {"form": self.form}

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """What is found; nothing, and a message, where the form makes no sense."""
        if not self.form.is_valid():
            for fault in self.form.faults():
                messages.warning(request, fault)
            return queryset.none()
        found: QuerySet[Event, Any] = self.form.search().among(queryset)
        before = str(self.used_parameters.get("before", ""))
        return found.filter(pk__lt=before) if _is_id(before) else found


def _is_id(text: str) -> bool:
    return len(text) == 32 and all(letter in "0123456789abcdef" for letter in text)
