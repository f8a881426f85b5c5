import json
from datetime import timedelta
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audit import clock, context, entry, registry

ACTION = registry.ACTIONS["gate.refused"]
ANY_TEXT = st.text(max_size=20) | st.sampled_from(["x" * 600, "\ud800", "\udcff", "\0", "😀" * 300])
ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | ANY_TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(ANY_TEXT, inner, max_size=4),
    max_leaves=6,
)


def stored(**values) -> dict:
    return entry.decode(entry.encode(entry.Draft(ACTION, "limited", **values))[1])


def test_an_entry_keeps_what_the_caller_said():
    columns = stored(
        subject="tv-1", subject_version=7, actor="key:k", tenant="demo", detail={"n": [1, None]}
    )
    assert columns["action"] == "gate.refused"
    assert columns["severity"] == "info"
    assert columns["outcome"] == "limited"
    assert (columns["subject"], columns["subject_version"]) == ("tv-1", 7)
    assert (columns["actor"], columns["tenant"]) == ("key:k", "demo")
    assert columns["detail"] == {"n": [1, None]}


def test_the_event_has_the_time_at_which_it_happened(clock):
    clock.advance(-3600)
    assert abs(stored()["at"] - clock.now()) < timedelta(seconds=1)


def test_its_id_is_a_uuid_7_of_that_time():
    columns = stored()
    made = UUID(columns["id"])
    assert made.version == 7
    assert abs((made.int >> 80) / 1000 - clock.timestamp()) < 1


def test_entries_of_a_process_sort_by_id_as_they_were_made():
    ids = [entry.encode(entry.Draft(ACTION, "ok"))[0] for _ in range(2000)]
    # The id counts quarters of a microsecond, and floats of today's time count as coarsely.
    assert [i[:15] for i in ids] == sorted(i[:15] for i in ids)
    assert len(set(ids)) == len(ids)


@settings(deadline=None, max_examples=50)
@given(subject=ANY_TEXT, actor=ANY_TEXT, detail=st.dictionaries(ANY_TEXT, ANY_JSON))
def test_whatever_is_said_becomes_an_entry_that_can_be_stored(subject, actor, detail):
    columns = stored(subject=subject, actor=actor, detail=detail)
    assert len(columns["subject"]) <= 200
    assert len(json.dumps(columns["detail"])) < 3 * entry.DETAIL_CHARACTERS


@pytest.mark.parametrize("agent", ["\udcff\0bad", "x" * 1_000_000, "\ud83d", "[{" * 200])
def test_a_hostile_user_agent_is_kept_readable(agent):
    with context.bound(context.RequestContext(user_agent=agent)):
        columns = stored()
    assert columns["user_agent"]
    assert len(columns["user_agent"]) <= 256


def test_what_is_not_text_is_kept_as_its_representation():
    columns = stored(subject=12, actor=None, detail={"when": timedelta(1), 3: {4}})
    assert columns["subject"] == "12"
    assert columns["detail"] == {"when": "datetime.timedelta(days=1)", "3": "{4}"}


def test_a_detail_that_contains_itself_ends_somewhere():
    detail: dict = {}
    detail["self"] = detail
    assert stored(detail=detail)["detail"]["self"]


def test_a_detail_that_is_too_long_is_cut_and_says_so():
    detail = stored(detail={"body": "x" * 100_000})["detail"]
    assert detail["truncated"].startswith('{"body":"xxx')


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        (0, 99, "not an entry of format 1"),
        (1, "7f0c1a0e-0d4b-4b5e-9d52-3c0f3a2b1c4d", "id: not the 32 hexadecimal digits"),
        (2, "yesterday", "at: not microseconds since 1970"),
        (2, 10**40, "at: not microseconds since 1970"),
        (5, "o" * 65, "outcome: 65 characters, at most 64"),
        (6, "nul\0", "subject: NUL or lone surrogate"),
        (6, "\ud800", "subject: NUL or lone surrogate"),
        (7, -1, "subject_version: not a count"),
        (8, None, "actor: not text"),
        (14, {"x": "\ud800"}, "detail: lone surrogate"),
    ],
)
def test_an_entry_that_no_row_can_hold_says_why(field, value, reason):
    row = json.loads(entry.encode(entry.Draft(ACTION, "ok"))[1])
    row[field] = value
    with pytest.raises(entry.Unstorable, match=reason):
        entry.decode(json.dumps(row))


def test_text_that_is_no_json_is_unstorable():
    with pytest.raises(entry.Unstorable, match="not JSON"):
        entry.decode("[1,")
