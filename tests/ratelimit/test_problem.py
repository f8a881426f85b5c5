import json
from typing import Any

import pytest

from ratelimit import problem
from ratelimit.problem import CODES, DuplicateCode, Problem, document, register, render


def test_a_document_has_the_members_of_rfc_9457_and_a_stable_code() -> None:
    members = document(problem.RATE_LIMITED, "Slower.", retry_after=9)
    assert members == {
        "type": "https://iana.org/assignments/http-problem-types#quota-exceeded",
        "title": "Too many requests",
        "status": 429,
        "code": "rate_limited",
        "detail": "Slower.",
        "retry_after": 9,
    }


def test_an_empty_detail_is_left_out() -> None:
    assert "detail" not in document(problem.RATE_LIMITED)


def test_it_renders_compact_json_with_members_that_are_no_names_of_python() -> None:
    members: dict[str, Any] = {"violated-policies": ["udid"]}
    body = render(problem.RATE_LIMITED, **members)
    assert b" :" not in body
    assert json.loads(body)["violated-policies"] == ["udid"]


def test_registering_the_same_problem_again_changes_nothing() -> None:
    register(problem.RATE_LIMITED)
    assert CODES["rate_limited"] is problem.RATE_LIMITED


def test_a_code_cannot_mean_two_things() -> None:
    with pytest.raises(DuplicateCode, match="rate_limited"):
        register(Problem(400, "rate_limited", "Something else"))
