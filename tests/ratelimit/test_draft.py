"""A draft of numbers: what is wrong in it is told by a stable code and by its place."""

import pytest

from ratelimit import draft
from ratelimit.draft import BadDraft
from ratelimit.models import LimitRow, PolicyRow

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def policy():
    row = PolicyRow.objects.create(name="test.create", wait_ms=1500)
    LimitRow.objects.create(policy=row, name="udid", quantity=5, window_s=300)
    return row


def written(tmp_path, text):
    path = tmp_path / "draft.toml"
    path.write_text(text)
    return path


def test_a_file_names_only_what_changes(tmp_path):
    path = written(tmp_path, '["test.create"]\nwait_ms = 500\nlimits.udid = {quantity = 3}\n')
    (plan,) = draft.load(path)
    assert plan.changes() == {"wait_ms": [1500, 500], "udid.quantity": [5, 3]}
    assert draft.read({plan.policy: plan.document}) == [plan]


def test_what_is_in_force_already_is_no_change():
    (plan,) = draft.read({"test.create": {"wait_ms": 1500, "limits": {"udid": {"window_s": 300}}}})
    assert plan.changes() == {}


@pytest.mark.parametrize(
    ("text", "code", "where"),
    [
        ("", "nothing_changes", ""),
        ("[", "not_toml", "draft.toml"),
        ("other = {wait_ms = 1}", "unknown_policy", "other"),
        ('"test.create" = 5', "bad_value", "test.create"),
        ('"test.create" = {budget = "x"}', "unknown_field", "test.create.budget"),
        ('"test.create" = {criticality = "high"}', "bad_value", "test.create.criticality"),
        ('"test.create" = {weight = 0}', "bad_value", "test.create.weight"),
        ('"test.create" = {wait_ms = true}', "bad_value", "test.create.wait_ms"),
        ('"test.create" = {limits = 5}', "bad_value", "test.create.limits"),
        ('"test.create".limits.ip = {quantity = 1}', "unknown_limit", "test.create.limits.ip"),
        ('"test.create".limits.udid = 5', "bad_value", "test.create.limits.udid"),
        ('"test.create".limits.udid.rate = 5', "unknown_field", "test.create.limits.udid.rate"),
        (
            '"test.create".limits.udid.quantity = 0',
            "bad_value",
            "test.create.limits.udid.quantity",
        ),
        (
            '"test.create".limits.udid = {quantity = 2000000, window_s = 1}',
            "bad_value",
            "test.create.limits.udid",
        ),
    ],
)
def test_what_is_wrong_has_a_code_and_a_place(tmp_path, text, code, where):
    with pytest.raises(BadDraft) as raised:
        draft.load(written(tmp_path, text))
    assert raised.value.code == code
    assert raised.value.where.endswith(where)


def test_a_file_that_is_not_there_is_told(tmp_path):
    with pytest.raises(BadDraft) as raised:
        draft.load(tmp_path / "nowhere.toml")
    assert raised.value.code == "unreadable"
