"""Whatever changes something leaves its records: walked through every door of the project.

A door without an act, or a reason why it needs none, fails by its name; so does the reverse.
"""

import re
from collections import Counter
from typing import Any

import pytest
from django.contrib import admin
from django.http.response import HttpResponseBase

from accounts.models import Plan
from audit import clock
from audit.models import Event
from audit.registry import ACTIONS, Class
from stabilizer.env import ROOT
from tests.stabilizer.changes import (
    acts_at_the_gate,
    acts_in_the_admin,
    acts_of_commands,
    acts_of_devices,
    acts_of_operators,
    acts_of_people,
    doors,
)
from tests.stabilizer.changes.acts import Act, acts_in
from tests.stabilizer.changes.stage import Stage, watched_tables
from tests.stabilizer.changes.unrecorded import (
    ELSEWHERE,
    OTHERWISE,
    UNRECORDED,
    WITHOUT_A_DOOR,
    Unrecorded,
)

#: Counted per key and ten seconds, and no part of what is done with the key.
USAGE = {"key.used"}
#: What is done to nothing that has a name of its own.
WITHOUT_SUBJECT = {
    "audit.exported",
    "audit.letters_dropped",
    "audit.letters_replayed",
    "code.refused",
    "code.unknown",
    "subscribers.imported",
}
OF_A_TENANT = re.compile(r"(client|code|device|key|pairing|subscribers?|tenant|token)\.")
METHODS = ("GET", *doors.UNSAFE)
#: Where Django's own views answer any method as they answer GET.
LENIENT = ("/admin/", "/i18n/")

ACTS = [
    *acts_in(acts_of_devices),
    *acts_in(acts_of_operators),
    *acts_in(acts_of_people),
    *acts_in(acts_at_the_gate),
    *acts_in(acts_in_the_admin),
    *acts_in(acts_of_commands),
]
ACTED = {act.door for act in ACTS}


def reasons(door: str) -> list[Unrecorded]:
    return [each for each in UNRECORDED if re.fullmatch(each.doors, door)]


def is_known(door: str) -> bool:
    return door in ACTED | OTHERWISE.keys() | ELSEWHERE.keys() or bool(reasons(door))


def unknown() -> set[str]:
    return {door for door in doors.all_doors() if not is_known(door)}


@pytest.mark.parametrize("act", ACTS, ids=str)
def test_every_act_leaves_its_records(act: Act, stage: Stage):
    change = act.prepare(stage)
    began = clock.now()
    with watched_tables() as written:
        answer = change()
    ended = clock.now()
    if act.door.startswith(METHODS):
        assert_answered(answer, act)
    told = [event for event in stage.events() if event.at >= began and event.action not in USAGE]
    assert Counter(event.action for event in told) == Counter(act.records)
    if not act.records:
        assert written == set()
    elif any(ACTIONS[name].kind is Class.CHANGE for name in act.records):
        assert written
    for event in told:
        assert event.at <= ended
        assert_tells(event, act)
    assert_belong_together(told, answer, act)


def assert_answered(answer: Any, act: Act) -> None:
    """The act went through its own door, and was answered as it says."""
    method, path, *words = act.door.split(" ")
    assert isinstance(answer, HttpResponseBase)
    assert answer.request["REQUEST_METHOD"] == method
    assert doors.path_of(answer.resolver_match.route) == path
    assert answer.status_code == act.status or (not act.status and answer.status_code < 400)
    if words and not path.endswith("change/"):
        assert answer.wsgi_request.POST["action"] == words[0]


def assert_tells(event: Event, act: Act) -> None:
    """What happened, who did it, to what, and whose it is."""
    assert event.severity == ACTIONS[event.action].severity
    assert re.match(act.by, event.actor) if act.by else event.actor == ""
    assert re.fullmatch(r"[a-z]+:.+", event.subject) or event.action in WITHOUT_SUBJECT
    assert event.tenant in ("acme", "demo", "new") or not OF_A_TENANT.match(event.action)


def assert_belong_together(told: list[Event], answer: Any, act: Act) -> None:
    """The records of one request, or of one run, are found by its id."""
    ids = {(event.request_id, event.decision_id) for event in told}
    if isinstance(answer, HttpResponseBase):
        decision = answer["X-Request-ID"]
        assert len(decision) == 32
        assert ids <= {(decision, decision)}
    else:
        assert len(ids) <= 1
        assert all(request_id for request_id, _ in ids)


def test_every_door_has_an_act_or_a_reason():
    assert sorted(unknown()) == []


def test_no_act_and_no_reason_is_for_a_door_that_is_gone():
    found, paths = doors.all_doors(), doors.routes().keys()
    gone = (ACTED | OTHERWISE.keys() | ELSEWHERE.keys()) - found
    assert sorted(door for door in gone if door.removeprefix("GET ") not in paths) == []
    unused = [each for each in UNRECORDED if not any(each in reasons(door) for door in found)]
    assert unused == []
    assert sorted(door for door in ACTED if reasons(door)) == []


def test_a_new_path_and_a_new_action_of_the_admin_are_missed(settings, monkeypatch):
    before, page = unknown(), admin.site.get_model_admin(Plan)
    monkeypatch.setattr(page, "actions", [lambda *_: None])
    settings.ROOT_URLCONF = "tests.accounts.things"
    assert unknown() - before == {
        "POST /page/",
        "POST /admin/accounts/plan/ <lambda>",
        *(f"POST /api/{name}/" for name in ("things", "form", "failing", "guarded")),
    }


def test_what_needs_no_record_changes_nothing(stage: Stage):
    stage.furnish()
    guilty = {}
    for door in sorted(doors.of_urls()):
        for reason in reasons(door):
            status, written = tried(stage, door)
            if status not in reason.statuses or written:
                guilty[door] = (status, written)
    assert guilty == {}


def test_every_other_method_is_refused_or_changes_nothing(stage: Stage):
    stage.furnish()
    guilty = {}
    for path in doors.routes():
        for door in (f"{method} {path}" for method in doors.UNSAFE):
            if is_known(door):
                continue
            status, written = tried(stage, door)
            if written or not (status in (404, 405) or path.startswith(LENIENT)):
                guilty[door] = (status, written)
    assert guilty == {}


def test_to_look_at_something_changes_nothing(stage: Stage):
    stage.furnish()
    looks = {path: tried(stage, f"GET {path}") for path in doors.routes()}
    # Where no event loop feeds the dashboard it is busy.
    fed = looks | {"/ops/stream/": (200, looks["/ops/stream/"][1])}
    assert {path: look for path, look in fed.items() if look[1] or look[0] >= 500} == {}


def tried(stage: Stage, door: str) -> tuple[int, set[str]]:
    """The status of the answer, and the tables that were written to."""
    with watched_tables() as written:
        answer = stage.try_door(*door.split(" "))
    return answer.status_code, written


def test_every_action_is_recorded_by_some_act():
    elsewhere = [*ELSEWHERE.values(), *((file, name) for name, file in WITHOUT_A_DOOR.items())]
    for file, name in elsewhere:
        assert f'"{name}"' in (ROOT / file).read_text(encoding="utf-8"), (file, name)
    recorded = {name for act in ACTS for name in act.records} | {name for _, name in elsewhere}
    assert sorted(ACTIONS.keys() - recorded) == []
    assert sorted(recorded - ACTIONS.keys()) == []
