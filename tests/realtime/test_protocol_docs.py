"""docs/asyncapi.json is what the classes say, and docs/protocol.md leaves nothing of them out."""

import inspect
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

import stabilizer.asgi  # noqa: F401  (registers the gate's codes)
from pairing import attempts, creation, delivery, lifetimes, polling
from ratelimit.connections import Caps
from ratelimit.problem import CODES
from realtime import asyncapi, gateway, outbox, protocol, socket
from realtime.acts import Acts
from realtime.gateway import Gateway
from realtime.protocol import FROM_CLIENT, FROM_GATEWAY, End, Message
from stabilizer.gate import policy
from stabilizer.server import WS_BYTES
from stabilizer.wire import HANDSHAKE_S

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "protocol.md").read_text(encoding="utf-8")
KINDS = (*FROM_CLIENT, *FROM_GATEWAY)
WORDS = {"string": "text", "integer": "integer", "object": "object"}


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    return json.loads((DOCS / "asyncapi.json").read_text(encoding="utf-8"))


def name_of(kind: type[Message]) -> str:
    return kind.__name__.lower()


def section(title: str) -> str:
    return PAGE.split(f"\n## {title}\n")[1].split("\n## ")[0]


def row(part: str, *cells: str) -> list[str]:
    """The one row of a section that begins with these cells."""
    lines = [line for line in section(part).splitlines() if line.startswith("| ")]
    rows = [[cell.strip() for cell in line.strip("|").split(" |")] for line in lines]
    found = [each for each in rows if tuple(each[: len(cells)]) == cells]
    assert len(found) == 1, (cells, found)
    return found[0]


# docs/asyncapi.json


def test_the_document_is_what_the_code_makes():
    call_command("asyncapi", "--check")


def test_a_document_that_differs_or_is_missing_is_told_and_not_written(tmp_path: Path):
    path = tmp_path / "asyncapi.json"
    for before in (None, asyncapi.render() + "\n"):
        if before is not None:
            path.write_text(before, encoding="utf-8")
        with pytest.raises(CommandError, match=r"manage\.py asyncapi") as refused:
            call_command("asyncapi", "--check", "--output", str(path))
        assert refused.value.returncode == 1
        assert (path.read_text(encoding="utf-8") if path.exists() else None) == before


def test_the_command_writes_what_it_finds_right_afterwards(tmp_path: Path):
    path = tmp_path / "asyncapi.json"
    call_command("asyncapi", "--output", str(path))
    call_command("asyncapi", "--check", "--output", str(path))
    assert path.read_bytes() == (DOCS / "asyncapi.json").read_bytes()


def references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        if "$ref" in node:
            yield node["$ref"]
        node = list(node.values())
    if isinstance(node, list):
        for each in node:
            yield from references(each)


def resolve(document: dict[str, Any], reference: str) -> Any:
    node: Any = document
    for step in reference.removeprefix("#/").split("/"):
        node = node[step]
    return resolve(document, node["$ref"]) if "$ref" in node else node


def test_every_reference_resolves(document: dict[str, Any]):
    found = list(references(document))
    assert found
    for reference in found:
        assert reference.startswith("#/"), reference
        assert resolve(document, reference), reference


def test_the_document_has_the_parts_that_asyncapi_asks_for(document: dict[str, Any]):
    assert document["asyncapi"] == "3.0.0"
    assert {"title", "version"} <= set(document["info"])
    assert all({"host", "protocol"} <= set(each) for each in document["servers"].values())
    addresses = {each["address"] for each in document["channels"].values()}
    assert addresses == {"/ws/pairings/", "/sse/pairings/{udid}/"}
    for channel in document["channels"].values():
        assert set(re.findall(r"{(\w+)}", channel["address"])) == set(channel.get("parameters", ()))


def test_an_operation_has_messages_of_its_own_channel(document: dict[str, Any]):
    for operation in document["operations"].values():
        channel = operation["channel"]["$ref"]
        for message in operation["messages"]:
            assert message["$ref"].startswith(f"{channel}/messages/")


@pytest.mark.parametrize(
    ("operation", "action", "kinds"),
    [
        ("hear", "receive", FROM_CLIENT),
        ("tell", "send", FROM_GATEWAY),
        ("stream", "send", asyncapi.STREAMED),
    ],
)
def test_the_gateway_receives_what_clients_say_and_sends_the_rest(
    document: dict[str, Any], operation: str, action: str, kinds: tuple[type[Message], ...]
):
    told = document["operations"][operation]
    names = [each["$ref"].rpartition("/")[2] for each in told["messages"]]
    assert (told["action"], names) == (action, [name_of(kind) for kind in kinds])


@pytest.mark.parametrize("kind", KINDS)
def test_every_message_is_in_the_document_with_its_members(
    document: dict[str, Any], kind: type[Message]
):
    message = document["components"]["messages"][name_of(kind)]
    payload = message["payload"]
    assert message["title"] == kind.__name__
    assert message["summary"].endswith(".")
    assert list(payload["properties"]) == list(kind.model_fields)
    assert payload["properties"]["type"] == {"const": name_of(kind), "type": "string"}
    needed = {name for name, field in kind.model_fields.items() if field.is_required()}
    assert set(payload["required"]) == {"type", *needed}
    assert all(
        member.get("description")
        for name, member in payload["properties"].items()
        if name != "type"
    )


def test_the_document_has_no_message_that_nobody_says(document: dict[str, Any]):
    assert set(document["components"]["messages"]) == {name_of(kind) for kind in KINDS}


@pytest.mark.parametrize("kind", KINDS)
def test_the_examples_of_a_message_are_messages(document: dict[str, Any], kind: type[Message]):
    message = document["components"]["messages"][name_of(kind)]
    assert message["examples"]
    for example in message["examples"]:
        assert kind.model_validate(example["payload"])
        codes = message["payload"]["properties"].get("code", {}).get("enum")
        assert codes is None or example["payload"]["code"] in codes


def test_every_end_is_in_the_document_with_its_close_code(document: dict[str, Any]):
    told = {
        (each["code"], each["close"], each["comes_back"])
        for each in document["channels"]["pairings"]["x-close-codes"]
    }
    assert told == {(end.code, end.close, end.comes_back) for end in End}
    code = document["components"]["messages"]["bye"]["payload"]["properties"]["code"]
    assert sorted(code["enum"]) == sorted(end.code for end in End)
    assert all(f"`{end.code}`: {end.meaning}" in code["description"] for end in End)


def test_every_error_is_in_the_document(document: dict[str, Any]):
    code = document["components"]["messages"]["error"]["payload"]["properties"]["code"]
    assert code["enum"] == [fault.code for fault in asyncapi.FAULTS]
    assert all(f"`{each.code}`: {each.meaning}" in code["description"] for each in asyncapi.FAULTS)
    assert len(set(code["enum"])) == len(code["enum"])


def test_what_an_act_is_refused_with_is_what_the_code_says():
    acts = (
        attempts.attempt,
        creation.renew,
        creation._renew_once,
        delivery.acknowledge,
        delivery._acknowledge_once,
        delivery.collect,
        delivery._collect_once,
        Acts._admitted,
        Acts._done,
        Gateway._hand_over,
    )
    text = "".join(re.sub(r'""".*?"""', "", inspect.getsource(act), flags=re.S) for act in acts)
    said = {word for word in re.findall(r'"([a-z_]+)"', text) if word in CODES}
    collected = set(delivery._REFUSALS.values()) - gateway.CHANGED_MEANWHILE
    assert said | collected == {each.code for each in asyncapi.REFUSALS}


# docs/protocol.md


def types_of(schema: dict[str, Any]) -> str:
    kinds = [each["type"] for each in schema.get("anyOf", [schema])]
    return " or ".join(WORDS[kind] for kind in kinds)


@pytest.mark.parametrize("kind", KINDS)
def test_the_page_names_every_message_and_every_member_with_its_type(
    document: dict[str, Any], kind: type[Message]
):
    part = "What the device says" if kind in FROM_CLIENT else "What the gateway says"
    name = name_of(kind)
    payload = document["components"]["messages"][name]["payload"]
    members = {each: schema for each, schema in payload["properties"].items() if each != "type"}
    if not members:
        assert row(part, f"`{name}`", "", "")[3]
    for member, schema in members.items():
        optional = "" if member in payload["required"] else ", may be absent"
        assert row(part, f"`{name}`", f"`{member}`")[2] == types_of(schema) + optional


def test_the_page_names_no_message_and_no_member_that_does_not_exist():
    tables = section("What the device says") + section("What the gateway says")
    named = set(re.findall(r"^\| `(\w+)` \| (?:`(\w+)`)?", tables, re.MULTILINE))
    there = {
        (name_of(kind), member)
        for kind in KINDS
        for member in [each for each in kind.model_fields if each != "type"] or [""]
    }
    assert named == there


@pytest.mark.parametrize("end", End)
def test_the_page_has_every_end_with_its_close_code_and_whether_to_come_back(end: End):
    *_, comes_back = row("bye", f"`{end.code}`", str(end.close))
    assert comes_back.startswith("after `retry_after_ms`" if end.comes_back else "no")


def test_the_page_has_no_other_end():
    named = re.findall(r"^\| `(\w+)` \| (\d{4}) \|", section("bye"), re.MULTILINE)
    assert sorted(named) == sorted((end.code, str(end.close)) for end in End)


def test_close_codes_tell_by_their_number_whether_to_come_back():
    assert "Codes from 4000 to 4499 say: come back. Codes from 4500 to 4999 say: do not" in PAGE
    assert all(4000 <= end.close <= 4999 for end in End)
    assert all(end.comes_back == (end.close <= 4499) for end in End)


def test_the_page_has_every_code_of_an_error_and_no_other():
    named = re.findall(r"^\| `(\w+)` \|", section("error"), re.MULTILINE)
    assert named == [
        *sorted(each.code for each in protocol.Mistake),
        *sorted(each.code for each in asyncapi.REFUSALS),
    ]


def seconds(number: float) -> str:
    return f"{number:.0f} s"


def kilobytes(number: int) -> str:
    return f"{number // 1024} KB"


def rate(policy_name: str) -> str:
    """The limit of a policy that counts by device_code, as the page writes it."""
    (rule,) = policy.table.policies[policy_name].rules
    return f"{rule.limit.quantity} in {rule.limit.window_s} s"


FIRST_PING = f"{protocol.PING_S * 0.2:.0f} to {seconds(protocol.PING_S)}"
PROMISES = [
    ("from the connection to its whole request", [seconds(HANDSHAKE_S)]),
    ("from the handshake to `hello`", [seconds(protocol.GREET_S)]),
    ("silence until a `ping`", [f"{seconds(protocol.PING_S)};", FIRST_PING]),
    ("from a `ping` to the `pong`", [seconds(protocol.PONG_S)]),
    ("length of a message", [f"{protocol.FRAME_BYTES:,} bytes", f"above {kilobytes(WS_BYTES)}"]),
    (
        "messages of a client",
        [f"{protocol.MESSAGES} in {seconds(protocol.MESSAGES_S)}", "one `too_many_messages`"],
    ),
    (
        "what waits for a client that does not read",
        [
            f"{outbox.MESSAGES} messages or {kilobytes(outbox.CHARACTERS)}",
            f"one for {seconds(outbox.SEND_S)}",
        ],
    ),
    ("connections of a device", [f"{Caps().client}"]),
    ("connections of a network that have not said hello", [f"{Caps().network};"]),
    ("connections of all", [f"{Caps().fleet:,}"]),
    ("`renew`", [rate("pairing.renew"), f"within {lifetimes.RENEWABLE_S // 3600} h"]),
    ("`ack`", [rate("pairing.ack")]),
    ("deliveries of credentials", [rate("pairing.credentials")]),
    ("life of a code", [seconds(lifetimes.CODE_S)]),
    ("from the approval to the delivery", [seconds(lifetimes.COLLECT_S)]),
    ("from the delivery to the `ack`", [seconds(lifetimes.REDELIVERY_S)]),
]


@pytest.mark.parametrize(("what", "numbers"), PROMISES, ids=lambda each: str(each)[:40])
def test_the_page_promises_the_numbers_of_the_code(what: str, numbers: list[str]):
    promised = " | ".join(row("Time-outs and limits", what)[1:])
    for number in numbers:
        assert re.search(rf"(?<![\d,]){re.escape(number)}", promised), (number, promised)


def test_every_row_of_the_limits_is_checked():
    part = section("Time-outs and limits")
    rows = re.findall(r"^\| (.+?) \|", part, re.MULTILINE)[1:]
    assert [each for each in rows if not each.startswith("---")] == [what for what, _ in PROMISES]


@pytest.mark.parametrize(
    ("part", "number"),
    [
        ("The order of things", f"within {seconds(protocol.GREET_S)}"),
        ("The order of things", f"kept for {seconds(lifetimes.REDELIVERY_S)}"),
        ("bye", f"within {seconds(protocol.GREET_S)} |"),
        ("bye", f"within {seconds(protocol.PONG_S)} |"),
        ("bye", f"has {Caps().client} connections"),
        ("bye", f"| {Caps().network} connections"),
        ("bye", f"more than {protocol.MESSAGES} messages in {seconds(protocol.MESSAGES_S)}"),
        ("bye", f"a frame above\n{kilobytes(WS_BYTES)}"),
        ("error", f"at most {protocol.FRAME_BYTES:,} bytes"),
        ("error", f"more than {protocol.MESSAGES} messages in {seconds(protocol.MESSAGES_S)}"),
        ("Server-sent events", f"every {seconds(protocol.PING_S)}, the first after {FIRST_PING}"),
        ("Polling", f"{polling.STEP_S} s more from then on, up to {polling.WIDEST_S} s"),
    ],
)
def test_the_words_of_the_page_promise_the_same(part: str, number: str):
    assert number in section(part)


def test_one_warning_comes_before_too_many_messages_end_it():
    assert socket.WARNINGS == 1


def test_the_page_names_the_subprotocol_in_its_first_screen():
    assert f"-s {protocol.SUBPROTOCOL} " in PAGE[:1000]
    assert f"`{protocol.SUBPROTOCOL}`" in section("The order of things")


def test_what_the_page_shows_are_messages():
    shown = re.findall(r"^(?:([<>]) |data: )(\{.*\})$", PAGE, re.MULTILINE)
    assert len(shown) > 8
    for direction, text in shown:
        message = json.loads(text.replace("{…}", "{}"))
        kinds = FROM_CLIENT if direction == ">" else FROM_GATEWAY
        (kind,) = [each for each in kinds if name_of(each) == message["type"]]
        assert kind.model_validate(message)
        assert list(message) == [each for each in kind.model_fields if each in message]
