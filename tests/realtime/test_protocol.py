"""What a device's frame is read as, whatever is in it, and how ours are written."""

import json

import pytest

from realtime import asyncapi, protocol
from realtime.protocol import (
    FRAME_BYTES,
    FROM_CLIENT,
    FROM_GATEWAY,
    Ack,
    Approved,
    Bye,
    Error,
    Hello,
    Mistake,
    Pong,
    Renew,
)

UDID = "a-television-of-mine"
#: Digits that fit into one message.
HUGE = "9" * (FRAME_BYTES - 200)


def hello(**members: object) -> str:
    return json.dumps({"type": "hello", "udid": UDID, "device_code": "dc_1_x"} | members)


def deep(levels: int) -> str:
    return '{"type":"ack","more":' + "[" * levels + "]" * levels + "}"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"type":"ack"}', Ack()),
        ('{"type":"renew"}', Renew()),
        (' { "type" : "pong" } \n', Pong()),
        (hello(), Hello(udid=UDID, device_code="dc_1_x", resume=0)),
        (hello(resume=7), Hello(udid=UDID, device_code="dc_1_x", resume=7)),
    ],
)
def test_a_message_is_read_as_its_class(text: str, said: object):
    assert protocol.read(text) == said


def test_a_device_may_name_its_members_in_any_order():
    assert protocol.read('{"device_code":"x","udid":"' + UDID + '","type":"hello"}') == Hello(
        udid=UDID, device_code="x"
    )


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "x",
        "{'type': 'ack'}",
        '{"type":"ack",}',
        '{"type":"ack"} {"type":"ack"}',
        '\ufeff{"type":"ack"}',
        '{"type":"ack\x00"}',
        hello(device_code="\ud800"),
    ],
)
def test_what_is_no_json_is_malformed(text: str):
    assert protocol.read(text) is Mistake.MALFORMED


@pytest.mark.parametrize(
    "text",
    ["[" * FRAME_BYTES, '{"a":' * 600 + "1" + "}" * 600, deep(1900)],
    ids=["never closed", "objects", "lists"],
)
def test_what_nests_too_deep_is_malformed(text: str):
    assert protocol.read(text) is Mistake.MALFORMED


@pytest.mark.parametrize("text", ["null", "[]", "1", "true", '"ack"', '[{"type":"ack"}]'])
def test_what_is_no_object_is_invalid(text: str):
    assert protocol.read(text) is Mistake.INVALID


@pytest.mark.parametrize(
    "members",
    [
        {"udid": None},
        {"udid": 1},
        {"udid": ["a-television-of-mine"]},
        {"udid": "short"},
        {"udid": "u" * 65},
        {"udid": f"{UDID}\n"},
        {"udid": f"{UDID}ö"},
        {"device_code": None},
        {"device_code": 5},
        {"device_code": {"a": 1}},
        {"device_code": "d" * 129},
        {"resume": None},
        {"resume": "1"},
        {"resume": 1.0},
        {"resume": -1},
        {"resume": float("nan")},
        {"resume": float("inf")},
    ],
    ids=str,
)
def test_a_member_of_a_wrong_type_or_form_is_invalid(members: dict[str, object]):
    assert protocol.read(hello(**members)) is Mistake.INVALID


@pytest.mark.parametrize("value", [True, False])
def test_a_boolean_is_no_integer(value: bool):
    assert protocol.read(hello(resume=value)) is Mistake.INVALID


@pytest.mark.parametrize("member", ["udid", "device_code"])
def test_a_member_that_is_missing_is_invalid(member: str):
    members = json.loads(hello())
    del members[member]
    assert protocol.read(json.dumps(members)) is Mistake.INVALID


@pytest.mark.parametrize("number", [HUGE, f"-{HUGE}", f"{HUGE}.5", "1e999", "1E-999"])
def test_a_huge_number_is_read_or_refused_and_nothing_is_raised(number: str):
    said = protocol.read(hello(resume=0)[:-2] + f"{number}}}")
    assert said is Mistake.INVALID or isinstance(said, Hello)


def test_a_member_that_does_not_exist_is_named_as_the_mistake_even_beside_others():
    for text in ('{"type":"ack","more":1}', hello(more=1), hello(more=1, resume="1"), deep(50)):
        assert protocol.read(text) is Mistake.UNKNOWN_FIELD


@pytest.mark.parametrize("value", ["Ack", "", "ack ", 1, None, True, ["ack"], {"ack": 1}])
def test_a_type_that_no_client_says_is_unknown(value: object):
    assert protocol.read(json.dumps({"type": value})) is Mistake.UNKNOWN_TYPE


@pytest.mark.parametrize("kind", FROM_GATEWAY)
def test_what_the_gateway_says_is_nothing_for_clients_to_say(kind: type[protocol.Message]):
    for example in asyncapi.EXAMPLES:
        if type(example) is kind:
            assert protocol.read(protocol.write(example)) is Mistake.UNKNOWN_TYPE


def test_a_message_without_a_type_is_of_an_unknown_one():
    assert protocol.read("{}") is Mistake.UNKNOWN_TYPE
    assert protocol.read('{"udid":"a-television-of-mine"}') is Mistake.UNKNOWN_TYPE


def test_a_binary_frame_is_no_message():
    assert protocol.read(None) is Mistake.BINARY


def test_a_message_may_be_as_long_as_the_limit_and_no_byte_longer():
    padded = '{"type":"ack"}'.ljust(FRAME_BYTES)
    assert protocol.read(padded) == Ack()
    assert protocol.read(f"{padded} ") is Mistake.TOO_LARGE


def test_a_message_is_measured_in_bytes_and_not_in_characters():
    text = '"' + "é" * (FRAME_BYTES // 2) + '"'
    assert len(text) < FRAME_BYTES < len(text.encode())
    assert protocol.read(text) is Mistake.TOO_LARGE


def test_what_is_none_is_not_written():
    assert protocol.write(Bye(code="finished")) == '{"type":"bye","code":"finished"}'
    assert protocol.write(Error(code="invalid")) == '{"type":"error","code":"invalid"}'
    assert json.loads(protocol.write(Bye(code="draining", retry_after_ms=0))) == {
        "type": "bye",
        "code": "draining",
        "retry_after_ms": 0,
    }


def test_credentials_are_written_as_an_object_or_as_the_jwe_they_are():
    for credentials in ({"login1": "ana", "packages": ["básico"]}, "e30.a.b.c.d"):
        approved = Approved(
            version=3,
            access_token="at",
            refresh_token="rt",
            expires_in=3600,
            scope="",
            credentials=credentials,
        )
        assert json.loads(protocol.write(approved))["credentials"] == credentials


def test_the_type_comes_first_in_every_message():
    kinds = set()
    for example in asyncapi.EXAMPLES:
        name, value = next(iter(json.loads(protocol.write(example)).items()))
        assert (name, value) == ("type", type(example).__name__.lower())
        kinds.add(type(example))
    assert kinds == {*FROM_CLIENT, *FROM_GATEWAY}
