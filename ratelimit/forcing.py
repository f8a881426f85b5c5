"""The form by which a flag is forced or released, in the admin and on the dashboard."""

from datetime import timedelta
from typing import Any, ClassVar

from django import forms

from audit import clock
from ratelimit.flags import LONGEST_S
from ratelimit.models import Flag

AUTO, ON, OFF = "auto", "on", "off"
MOST_MINUTES = LONGEST_S // 60


class ForcingForm(forms.ModelForm):  # type: ignore[type-arg]
    """What to do, and for a flag that is forced: who answers for it, why, and for how long."""

    decision = forms.ChoiceField(
        choices=[(AUTO, "as the pressure says"), (ON, "force on"), (OFF, "force off")]
    )
    who = forms.CharField(label="owner", max_length=100, required=False)
    why = forms.CharField(label="reason", max_length=200, required=False)
    minutes = forms.IntegerField(
        min_value=1,
        max_value=MOST_MINUTES,
        required=False,
        help_text="it returns by itself after so many",
    )

    class Meta:
        model = Flag
        fields: ClassVar[list[str]] = []

    def clean(self) -> dict[str, Any]:
        given = super().clean() or self.cleaned_data
        if given.get("decision") in (ON, OFF):
            for name in ("who", "why", "minutes"):
                if name not in self.errors and not given.get(name):
                    self.add_error(name, self.fields[name].error_messages["required"])
        return given

    def decide(self, flag: Flag, *, actor: str) -> None:
        """Do what this valid form says."""
        given = self.cleaned_data
        if given["decision"] == AUTO:
            flag.release(actor=actor)
            return
        until = clock.now() + timedelta(minutes=given["minutes"])
        flag.force(
            given["decision"] == ON,
            until=until,
            owner=given["who"],
            reason=given["why"],
            actor=actor,
        )
