"""Identity: from headers and a small body alone, whatever is in them."""

import json
from dataclasses import replace

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from hypothesis import given
from hypothesis import strategies as st

from pairing import device_code
from stabilizer.gate.address import Proxies
from stabilizer.gate.arrival import Arrival
from stabilizer.gate.headers import Headers
from stabilizer.gate.identity import charges, read_fields
from tests.stabilizer.gate.door import scope_of

FORM = "application/x-www-form-urlencoded"


def arrival(path="/", method="POST", peer="127.0.0.1", proxies=(), **headers) -> Arrival:
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    scope = scope_of(method, path, given, peer)
    return Arrival.read(method, path, peer, scope["headers"], Proxies(proxies))


@given(st.binary(max_size=300), st.sampled_from(["application/json", FORM, "", "text/plain; x=y"]))
def test_any_body_can_be_looked_at(content, content_type):
    fields = read_fields(("udid", "client_id"), content_type, content)
    assert all(isinstance(value, str) for value in fields.values())


@pytest.mark.parametrize(
    "content",
    [
        b"[" * 60_000,
        b'{"udid":' * 10_000,
        b'{"udid": 7}',
        b'["udid"]',
        b'{"udid": "\xff"}',
        b"\x00",
        b"null",
    ],
)
def test_a_body_that_makes_no_sense_is_left_to_the_view(content):
    assert read_fields(("udid",), "application/json", content) == {}


def test_of_repeated_form_fields_the_last_counts_as_it_does_for_django():
    assert read_fields(("username",), FORM, b"username=a&username=b") == {"username": "b"}


def test_a_content_type_that_only_mentions_a_form_is_none():
    text = 'application/json; x="application/x-www-form-urlencoded"'
    assert read_fields(("udid",), text, b'{"udid": "A"}') == {"udid": "A"}


def test_cookies_and_repeated_headers_are_read_as_django_reads_them():
    headers = Headers(
        [
            (b"cookie", b"a=1; sessionid=first"),
            (b"cookie", b"sessionid=second"),
            (b"x-forwarded-for", b"1.1.1.1"),
            (b"x-forwarded-for", b"2.2.2.2"),
        ]
    )
    assert headers.cookie("sessionid") == "second"
    assert headers[b"x-forwarded-for"] == "1.1.1.1,2.2.2.2"


def test_https_and_request_ids_are_believed_from_our_proxies_only():
    told = {"x_forwarded_proto": "https", "x_request_id": "abcdef0123456789"}
    ours = arrival(proxies=["127.0.0.1"], **told)
    theirs = arrival(**told)
    assert (ours.is_https, ours.request_id) == (True, "abcdef0123456789")
    assert (theirs.is_https, theirs.request_id) == (False, theirs.decision_id)


@pytest.mark.parametrize("given", ["short", "x" * 65, "with space in it", "<script>alert(1)"])
def test_a_request_id_that_could_break_a_log_is_replaced(given):
    assert arrival(proxies=["127.0.0.1"], x_request_id=given).request_id != given


def test_everybody_is_identified_without_a_query(known, key, token):
    code = device_code.mint(known.pk)
    with CaptureQueriesContext(
        connection,
    ) as queries:
        kinds = [
            arrival(authorization=f"Bearer {text}").identify(b"") for text in (key, token, code)
        ]
    assert len(queries) == 0
    assert [each.principal and each.principal.kind for each in kinds] == ["key", "token", None]
    assert kinds[2].code == device_code.parse(code)
    assert {each.tenant for each in kinds} == {f"t{known.pk}"}


@pytest.mark.parametrize(
    "authorization", ["", "Bearer", "Bearer ", "Basic eDp5", "Bearer stb_x_y", "Bearer a.b.c", "ÿ"]
)
def test_a_credential_that_is_none_makes_a_stranger_and_not_an_error(known, authorization):
    caller = arrival(authorization=authorization.encode().decode("latin-1")).identify(b"")
    assert caller.is_stranger
    assert not caller.forged


def test_the_session_counts_only_together_with_the_network(known):
    def accounts(peer):
        come = arrival("/api/v1/pairings/associate/", peer=peer, cookie="sessionid=abc")
        return [charge.key for charge in charges(come.policy, come.identify(b"{}"))]

    assert accounts("192.0.2.1") == accounts("192.0.2.2") != accounts("198.51.100.1")


def test_a_key_is_counted_by_its_plan_and_not_as_a_person(known, key):
    come = arrival("/api/v1/pairings/associate/", authorization=f"Bearer {key}")
    found = charges(come.policy, come.identify(json.dumps({"user_code": "X"}).encode()))
    assert [charge.limit.name for charge in found] == ["tenant"]
    assert found[0].key == f"rl:{{t{known.pk}}}:plan.tenant"


@pytest.mark.parametrize(
    ("method", "path", "level", "budget"),
    [
        ("GET", "/api/v1/pairings/UDID-1/", "normal", "begun"),
        ("POST", "/api/v1/pairings/associate/", "normal", "begun"),
        ("POST", "/api/v1/pairings/UDID-1/credentials/", "critical", "pairing"),
        ("POST", "/api/v1/pairings/", "normal", "pairing"),
        ("GET", "/api/v1/devices/", "sheddable", "devices"),
        ("GET", "/admin/", "admin", "admin"),
    ],
)
def test_who_proves_itself_goes_first_with_what_was_begun(known, key, method, path, level, budget):
    device = device_code.mint(known.pk)
    for credential in (key, device):
        one = arrival(path, method, authorization=f"Bearer {credential}")
        ticket = one.ticket(0, one.identify(b""))
        assert (ticket.level, ticket.budget) == (level, budget)
    stranger = arrival(path, method)
    ticket = stranger.ticket(0, stranger.identify(b""))
    assert (ticket.level, ticket.budget) == (level, budget.replace("begun", "pairing"))


def test_each_device_has_its_own_turn_and_who_approves_takes_the_turn_of_the_set(known, key):
    code = device_code.mint(known.pk)
    polling = arrival("/api/v1/pairings/UDID-1/", "GET", authorization=f"Bearer {code}")
    caller = polling.identify(b"")
    assert polling.ticket(0, caller).names == (f"t{known.pk}", caller.device_code)
    approving = arrival("/api/v1/pairings/associate/", authorization=f"Bearer {key}")
    content = json.dumps({"user_code": "ABCD-EFGH"}).encode()
    assert approving.ticket(0, approving.identify(content)).names == (f"t{known.pk}", "ABCD-EFGH")
    one, other = (
        arrival("/api/v1/pairings/").identify(json.dumps({"udid": udid}).encode()).device
        for udid in ("set-1", "set-2")
    )
    assert one != other


@pytest.mark.parametrize("criticality", ["critical", "sheddable"])
def test_the_criticality_that_an_admin_gave_holds_for_what_was_begun_too(known, criticality):
    one = arrival(
        "/api/v1/pairings/UDID-1/", "GET", authorization=f"Bearer {device_code.mint(known.pk)}"
    )
    one.policy = replace(one.policy, criticality=criticality)
    assert one.ticket(0, one.identify(b"")).level == criticality
