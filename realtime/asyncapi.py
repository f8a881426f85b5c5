"""The AsyncAPI 3.0 document of the protocol, made from its classes.

`manage.py asyncapi` writes it to docs/asyncapi.json, and with `--check` compares the two.
"""

import inspect
import json
from typing import Any

from realtime import protocol, stream
from realtime.protocol import (
    FROM_CLIENT,
    FROM_GATEWAY,
    STATES,
    SUBPROTOCOL,
    Ack,
    Approved,
    Bye,
    Denied,
    End,
    Error,
    Expired,
    Fault,
    Hello,
    Message,
    Mistake,
    Pending,
    Ping,
    Pong,
    Renew,
    Revoked,
)

Json = dict[str, Any]

#: Stands for the host of `websocket_url`, which every installation chooses itself.
HOST = "tv.example.com"
#: What a stream of events tells: it hears nothing, so it asks for nothing.
STREAMED: tuple[type[Message], ...] = (*STATES, Error, Bye)
#: What `error` says beside the client's own mistakes: why an act or a delivery was refused.
REFUSALS = (
    Fault("access_denied", "The pairing is not this device's, or its subscriber is locked."),
    Fault("already_approved", "A code that has been approved is not renewed."),
    Fault("contended", "Others changed the pairing at the same moment; nothing was changed."),
    Fault("credentials_sealed", "The credentials cannot be opened now; the operator has to act."),
    Fault("database_unavailable", "The database cannot be reached."),
    Fault("expired", "The pairing has expired, or was renewed for as long as it may be."),
    Fault("invalid_device_code", "The device_code is not one of this device."),
    Fault("limits_unavailable", "Limits cannot be checked at the moment."),
    Fault("not_delivered", "There is no delivery to acknowledge."),
    Fault("overloaded", "There is no room at the moment."),
    Fault("rate_limited", "The device has asked for it too often."),
)
#: Every code of `error`.
FAULTS: tuple[Fault, ...] = tuple(sorted((*Mistake, *REFUSALS), key=lambda each: each.code))
_CODES: dict[type[Message], tuple[Fault, ...] | tuple[End, ...]] = {
    Error: FAULTS,
    Bye: tuple(sorted(End, key=lambda end: (end.close, end.code))),
}
_UDID = "living-room-tv-0001"
EXAMPLES: tuple[Message, ...] = (
    Hello(udid=_UDID, device_code=f"dc_1_{'A' * 43}_{'A' * 22}"),
    Hello(udid=_UDID, device_code=f"dc_1_{'A' * 43}_{'A' * 22}", resume=1),
    Ack(),
    Renew(),
    Pong(),
    Pending(version=1, expires_in=600, interval=5, user_code="WDJB-MJHT"),
    Approved(
        version=3,
        access_token="at_example",  # noqa: S106
        refresh_token="rt_example",  # noqa: S106
        expires_in=3600,
        scope="",
        credentials={"subscriber_code": "S000002", "sn": "C000002", "login1": "ana"},
    ),
    Denied(version=2),
    Expired(version=1),
    Revoked(version=4),
    Ping(),
    Error(code=Mistake.UNKNOWN_FIELD.code),
    Error(code="rate_limited", retry_after_ms=60_000),
    Bye(code=End.DRAINING.code, retry_after_ms=2400),
    Bye(code=End.FINISHED.code),
)


def render() -> str:
    """The document as it is stored."""
    return json.dumps(document(), indent=2, ensure_ascii=False) + "\n"


def document() -> Json:
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Stabilizer: telling a device at once",
            "version": SUBPROTOCOL.rpartition(".v")[2],
            "description": "How a device that waits for its pairing hears what becomes of it. "
            "docs/protocol.md explains the order of things, time-outs and limits.",
            "license": {"name": "MIT"},
        },
        "defaultContentType": "application/json",
        "servers": {
            "sockets": _server("wss", "The host of `websocket_url`, as `POST /api/v1/pairings/`"),
            "streams": _server("https", "The host of `websocket_url`, as `POST /api/v1/pairings/`"),
        },
        "channels": {"pairings": _sockets(), "events": _streams()},
        "operations": _operations(),
        "components": {
            "messages": {_name(kind): _message(kind) for kind in (*FROM_CLIENT, *FROM_GATEWAY)},
            "securitySchemes": {
                "device_code": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "The device_code, as it was given at creation.",
                }
            },
        },
    }


def _server(scheme: str, description: str) -> Json:
    return {"host": HOST, "protocol": scheme, "description": f"{description} answered."}


def _sockets() -> Json:
    header = {"type": "string", "const": SUBPROTOCOL}
    headers = {"type": "object", "properties": {"Sec-WebSocket-Protocol": header}}
    return {
        "address": "/ws/pairings/",
        "title": "WebSocket",
        "description": f"Subprotocol `{SUBPROTOCOL}`; each message is one text frame of at most "
        f"{protocol.FRAME_BYTES:,} bytes. The client says `hello` within {protocol.GREET_S:.0f} s.",
        "servers": [{"$ref": "#/servers/sockets"}],
        "messages": _references(*FROM_CLIENT, *FROM_GATEWAY),
        "bindings": {"ws": {"method": "GET", "headers": headers, "bindingVersion": "0.1.0"}},
        "x-close-codes": _close_codes(),
        "x-subprotocol": SUBPROTOCOL,
    }


def _streams() -> Json:
    return {
        "address": f"{stream.PREFIX}{{udid}}/",
        "title": "Server-sent events",
        "description": "The same messages as `text/event-stream`: `event` is the `type`, `data` "
        "the JSON, `id` the `version`, `retry` the `retry_after_ms` of a `bye`. What the device "
        "has to say goes to `renew/` and `ack/` of the HTTP API.",
        "servers": [{"$ref": "#/servers/streams"}],
        "parameters": {"udid": {"description": "as it was given at creation", "examples": [_UDID]}},
        "messages": _references(*STREAMED),
    }


def _operations() -> Json:
    """From the point of view of the gateway: it receives what a client says."""
    resumes = {"Last-Event-ID": {"type": "integer", "description": "as `resume` of `hello`"}}
    return {
        "hear": _operation("receive", "pairings", "What a device says.", FROM_CLIENT),
        "tell": _operation("send", "pairings", "What a device is told.", FROM_GATEWAY),
        "stream": {
            **_operation("send", "events", "What a device is told by events.", STREAMED),
            "security": [{"$ref": "#/components/securitySchemes/device_code"}],
            "bindings": {"http": {"method": "GET", "bindingVersion": "0.3.0"}},
            "x-request-headers": {"type": "object", "properties": resumes},
        },
    }


def _operation(action: str, channel: str, summary: str, kinds: tuple[type[Message], ...]) -> Json:
    place = f"#/channels/{channel}"
    return {
        "action": action,
        "channel": {"$ref": place},
        "summary": summary,
        "messages": [{"$ref": f"{place}/messages/{_name(kind)}"} for kind in kinds],
    }


def _references(*kinds: type[Message]) -> Json:
    return {_name(kind): {"$ref": f"#/components/messages/{_name(kind)}"} for kind in kinds}


def _message(kind: type[Message]) -> Json:
    words = inspect.getdoc(kind) or ""
    return {
        "name": _name(kind),
        "title": kind.__name__,
        "summary": " ".join(words.split()),
        "payload": _payload(kind),
        "examples": [
            {"payload": json.loads(protocol.write(example))}
            for example in EXAMPLES
            if type(example) is kind
        ],
    }


def _payload(kind: type[Message]) -> Json:
    schema = kind.model_json_schema()
    properties = {name: _member(member) for name, member in schema["properties"].items()}
    if kind in _CODES:
        codes = _CODES[kind]
        meanings = [f"`{each.code}`: {each.meaning}" for each in codes]
        properties["code"]["enum"] = [each.code for each in codes]
        properties["code"]["description"] = "\n".join(meanings)
    payload: Json = {
        "type": "object",
        "properties": properties,
        "required": ["type", *schema.get("required", ())],
    }
    if kind in FROM_CLIENT:
        # Devices are older than what they hear: they are to ignore what they do not know.
        payload["additionalProperties"] = False
    return payload


def _member(schema: Json) -> Json:
    """A member without the noise: what is None is not sent, and `type` is always said."""
    member = {name: value for name, value in schema.items() if name not in ("title", "default")}
    kinds = [each for each in member.get("anyOf", ()) if each != {"type": "null"}]
    if len(kinds) == 1:
        del member["anyOf"]
        member = kinds[0] | member
    if "const" not in schema and schema.get("default") is not None:
        member["default"] = schema["default"]
    return member


def _close_codes() -> list[Json]:
    return [
        {
            "close": end.close,
            "code": end.code,
            "comes_back": end.comes_back,
            "meaning": end.meaning,
        }
        for end in _CODES[Bye]
        if isinstance(end, End)
    ]


def _name(kind: type[Message]) -> str:
    return str(kind.model_fields["type"].default)
