from ratelimit.gcra import Limit, Quota, Verdict
from ratelimit.headers import fields, quoted

UDID, TENANT = Limit("udid", 5, 300), Limit("tenant", 60_000, 60)


def test_an_allowed_answer_says_what_is_left_and_no_retry_after() -> None:
    verdict = Verdict(True, (Quota(UDID, 4, 60), Quota(TENANT, 51_200, 1)))
    assert fields(verdict) == [
        (b"ratelimit-policy", b'"udid";q=5;w=300, "tenant";q=60000;w=60'),
        (b"ratelimit", b'"udid";r=4;t=60, "tenant";r=51200;t=1'),
    ]


def test_retry_after_is_a_whole_second_rounded_up_and_never_earlier_than_t() -> None:
    verdict = Verdict(False, (Quota(UDID, 0, 9),), ("udid",), retry_after_s=8.000001)
    assert (b"retry-after", b"9") in fields(verdict)


def test_retry_after_is_at_least_one_second() -> None:
    verdict = Verdict(False, (Quota(UDID, 0, 1),), ("udid",), retry_after_s=0)
    assert (b"retry-after", b"1") in fields(verdict)


def test_a_request_without_limits_gets_no_fields() -> None:
    assert fields(Verdict(True, ())) == []


def test_a_name_cannot_break_out_of_its_string() -> None:
    assert quoted('a"b\\c\r\nü') == '"a\\"b\\\\c???"'
