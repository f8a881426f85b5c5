import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pairing import user_code


def test_a_code_is_eight_consonants_shown_in_two_groups():
    for _ in range(200):
        shown = user_code.display(user_code.mint())
        assert re.fullmatch(r"[BCDFGHJKLMNPQRSTVWXZ]{4}-[BCDFGHJKLMNPQRSTVWXZ]{4}", shown)


@pytest.mark.parametrize("typed", ["WDJB-MJHT", "wdjbmjht", " wd jb-mj ht ", "W-D-J-B-M-J-H-T"])
def test_case_dashes_and_spaces_do_not_matter(typed: str):
    assert user_code.normalise(typed) == "WDJBMJHT"


@pytest.mark.parametrize(
    "typed", ["", "WDJB-MJH", "WDJB-MJHTT", "WDJA-MJHT", "WDJ8-MJHT", "ẞDJB-MJHT", "-" * 40]
)
def test_what_cannot_be_a_code_is_refused_before_any_look_up(typed: str):
    assert user_code.normalise(typed) is None


@given(st.text())
def test_whatever_is_typed_becomes_a_code_or_nothing(typed: str):
    code = user_code.normalise(typed)
    assert code is None or re.fullmatch(r"[BCDFGHJKLMNPQRSTVWXZ]{8}", code)
