"""What is done from a shell, or by the clock: no request, but a run with an id of its own."""

from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management import call_command

from audit import days, entry, registry, retention
from audit.models import DeadLetter
from pairing.tasks import sweep
from tests.stabilizer.changes.acts import Change, act
from tests.stabilizer.changes.acts_of_devices import expire
from tests.stabilizer.changes.stage import Stage

AUDIT = "manage.py audit"


def command(name: str, *words: Any, **options: Any) -> Callable[[], None]:
    def run() -> None:
        call_command(name, *words, stdout=StringIO(), **options)

    return run


@act("manage.py createsuperuser", "person.changed", by="command:createsuperuser")
def a_superuser_is_made(stage: Stage) -> Change:
    return command("createsuperuser", username="chief", interactive=False)


@act("manage.py changepassword", "person.changed", by="command:changepassword")
def a_password_is_set(stage: Stage) -> Change:
    return command("changepassword", "anna")


@act("manage.py import_subscribers", "subscribers.imported", by="command:import_subscribers")
def subscribers_are_imported(stage: Stage) -> Change:
    path = Path(settings.RUN_DIR) / "subscribers.csv"
    path.write_text("subscriber_code,sn\nS-9,C-9\n")
    return command("import_subscribers", str(path), tenant="acme", json=True)


MADE_BY_THE_DEMO = (
    *("plan.changed",),  # The stage has the other plan.
    *("tenant.changed", "subscribers.imported", "subscriber.changed"),
    *("key.created", "client.changed", "person.changed", "person.changed"),
)


@act("manage.py demo", *MADE_BY_THE_DEMO, by="command:demo")
def a_demo_is_made(stage: Stage) -> Change:
    return command("demo", subscribers=2, cards=1, json=True)


@act("manage.py demo")
def a_demo_is_made_again(stage: Stage) -> Change:
    key_file = Path(settings.RUN_DIR) / "demo-key"
    again = command("demo", subscribers=2, cards=1, json=True, key_file=key_file)
    again()
    return again


@act("task pairing.tasks.sweep", "pairing.expired", by="time")
def an_approval_runs_out_of_time(stage: Stage) -> Change:
    expire(stage.approved().row)
    return sweep


@act("task pairing.tasks.sweep", "pairing.expired", "token.revoked", by="time")
def a_delivery_runs_out_of_time(stage: Stage) -> Change:
    expire(stage.signed_in()[0].row)
    return sweep


@act(f"{AUDIT} hold place", "audit.hold_placed", by="command:audit hold")
def a_legal_hold_is_placed(stage: Stage) -> Change:
    day = str(days.today())
    return command("audit", "hold", "place", day, day, reason="a case", owner="the court")


@act(f"{AUDIT} hold release", "audit.hold_released", by="command:audit hold")
def a_legal_hold_is_released(stage: Stage) -> Change:
    day = days.today()
    hold = retention.place_hold(day, day, reason="a case", owner="the court", actor="person:1")
    return command("audit", "hold", "release", hold.pk)


@act(f"{AUDIT} dlq drop", "audit.letters_dropped", by="command:audit dlq")
def a_dead_letter_is_dropped(stage: Stage) -> Change:
    return command("audit", "dlq", "drop", letter().pk, why="theirs")


@act(f"{AUDIT} dlq replay", "audit.letters_replayed", by="command:audit dlq")
def a_dead_letter_is_replayed(stage: Stage) -> Change:
    return command("audit", "dlq", "replay", letter().pk)


@act(f"{AUDIT} export", "audit.exported", by="command:audit export")
def the_trail_is_exported(stage: Stage) -> Change:
    return command("audit", "export", out=Path(settings.RUN_DIR) / "trail.jsonl")


@act("manage.py policy rollout start", "policy.rollout_started", by="command:policy rollout")
def a_roll_out_is_begun(stage: Stage) -> Change:
    path = Path(settings.RUN_DIR) / "draft.toml"
    path.write_text('["pairing.create"]\nlimits.udid = {quantity = 3}\n')
    return command("policy", "rollout", "start", str(path))


@act("manage.py policy rollout advance", "policy.rollout_advanced", by="command:policy rollout")
def a_roll_out_goes_on(stage: Stage) -> Change:
    a_roll_out_is_begun.prepare(stage)()
    return command("policy", "rollout", "advance", "--percent", "20")


@act(
    "manage.py policy rollout advance",
    *("policy.rollout_advanced", "policy.changed"),
    by="command:policy rollout",
)
def a_rolled_out_policy_is_put_in_force(stage: Stage) -> Change:
    a_roll_out_is_begun.prepare(stage)()
    for _ in range(3):
        command("policy", "rollout", "advance")()
    return command("policy", "rollout", "advance")


@act("manage.py policy rollout abort", "policy.rollout_aborted", by="command:policy rollout")
def a_roll_out_is_given_up(stage: Stage) -> Change:
    a_roll_out_is_begun.prepare(stage)()
    return command("policy", "rollout", "abort", "--why", "too strict")


def letter() -> DeadLetter:
    """A record that was not stored and could be by now."""
    _, text = entry.encode(entry.Draft(registry.ACTIONS["login.failed"], "refused", "login:anna"))
    return DeadLetter.objects.create(
        reason="refused", explanation="", source="outbox", producer="a host", entry=text
    )
