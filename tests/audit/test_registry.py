import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.conf import settings

from audit.registry import ACTIONS, Class, Severity
from pairing.models import State
from stabilizer.env import ROOT

#: Who records, and the class of what is recorded so.
RECORDERS = {"record_with_change": Class.CHANGE, "record": Class.REPORT}
#: `Pairing.move` puts a name together from the state that a pairing moves on to.
MOVES = {f"pairing.{state}" for state in State if state != State.PENDING}


def sources() -> Iterator[tuple[Path, ast.Module]]:
    apps = [ROOT / name for name in settings.INSTALLED_APPS if (ROOT / name).is_dir()]
    for path in (file for app in apps for file in app.rglob("*.py")):
        if path.name != "registry.py" and path.parent.name != "migrations":
            yield path, ast.parse(path.read_text(encoding="utf-8"))


def named_calls() -> Iterator[tuple[str, str, Class]]:
    """Where an action is recorded by its name, and as which class."""
    for path, tree in sources():
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and (kind := RECORDERS.get(_name(node.func))):
                # A flood's cause comes before the action.
                for argument in node.args[:2]:
                    if isinstance(argument, ast.Constant) and isinstance(argument.value, str):
                        yield f"{path}:{node.lineno}", argument.value, kind
                        break


def _name(called: ast.expr) -> str:
    return called.attr if isinstance(called, ast.Attribute) else ast.unparse(called)


@pytest.mark.parametrize("action", ACTIONS.values(), ids=list(ACTIONS))
def test_every_action_has_a_class_a_severity_and_words_in_both_languages(action):
    assert action.kind in Class
    assert action.severity in Severity
    assert action.en.strip()
    assert action.es.strip()
    assert action.en != action.es


def test_no_two_actions_are_told_in_the_same_words():
    for language in ("en", "es"):
        assert len({getattr(action, language) for action in ACTIONS.values()}) == len(ACTIONS)


def test_names_fit_their_column():
    assert all(len(name) <= 64 for name in ACTIONS)


def test_every_action_is_used_by_some_code():
    texts = {
        node.value
        for _, tree in sources()
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    assert sorted(ACTIONS.keys() - texts - MOVES) == []


def test_whatever_is_recorded_by_name_is_registered_and_of_the_class_it_is_recorded_as():
    calls = list(named_calls())
    assert len(calls) >= 20
    wrong = [
        (place, name)
        for place, name, kind in calls
        if name not in ACTIONS or ACTIONS[name].kind is not kind
    ]
    assert wrong == []
