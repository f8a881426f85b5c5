"""The protocol `stabilizer.pairing.v1`: all that a device and the gateway say to each other.

Each message is one JSON object whose `type` is the name of its class here in lower case. WebSocket
frames, server-sent events and the documents in docs are made from these classes.
"""

from enum import Enum
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from pairing.serializers import UDID

SUBPROTOCOL = "stabilizer.pairing.v1"
#: A client's frame; one that is longer by far ends the connection, with 1009.
FRAME_BYTES = 4096
GREET_S = 5.0
PING_S = 25.0
PONG_S = 10.0
#: A client's messages in `MESSAGES_S` seconds.
MESSAGES = 10
MESSAGES_S = 10.0


class Message(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    type: str


# What a client says.


class Hello(Message):
    """The first message: which device this is. A device that reconnects names what it knows."""

    type: Literal["hello"] = "hello"
    udid: Annotated[
        str,
        Field(
            pattern=UDID.replace(r"\A", "^").replace(r"\Z", "$"),
            description="as it was given at creation",
        ),
    ]
    device_code: Annotated[str, Field(max_length=128, description="as it was given at creation")]
    resume: Annotated[
        int,
        Field(ge=0, lt=1 << 31, description="version of the last state message it has acted on"),
    ] = 0


class Ack(Message):
    """The credentials are stored safely: the service forgets them, and says bye."""

    type: Literal["ack"] = "ack"


class Renew(Message):
    """Give me a new code in place of the one that is about to die. Answered by `pending`."""

    type: Literal["renew"] = "renew"


class Pong(Message):
    """Answers a `ping`."""

    type: Literal["pong"] = "pong"


# What the gateway says.


class Versioned(Message):
    """How a pairing stands.

    A `pending` or `approved` whose version is not above the last one's says nothing new. What ends
    a pairing counts whatever its version: time changes none.
    """

    version: Annotated[int, Field(description="grows with every change of the pairing")]


class Pending(Versioned):
    """Nobody has approved the pairing yet."""

    type: Literal["pending"] = "pending"
    expires_in: Annotated[int, Field(description="seconds until the code dies")]
    interval: Annotated[int, Field(description="seconds between two polls, for who has to poll")]
    user_code: Annotated[str, Field(description="the code to show")]


class Approved(Versioned):
    """The credentials. Repeated for 120 s, to this device only, until it says `ack`."""

    type: Literal["approved"] = "approved"
    access_token: Annotated[str, Field(description="for `Authorization: Bearer`")]
    refresh_token: Annotated[str, Field(description="for one exchange at `/oauth/token`")]
    expires_in: Annotated[int, Field(description="seconds until the access token expires")]
    scope: Annotated[str, Field(description="what the access token may do; may be empty")]
    credentials: Annotated[
        dict[str, Any] | str, Field(description="an object; a JWE if the device gave a public key")
    ]


class Denied(Versioned):
    """Somebody refused the pairing. It is over."""

    type: Literal["denied"] = "denied"


class Expired(Versioned):
    """Nobody approved the pairing in time, or nobody collected it. It is over."""

    type: Literal["expired"] = "expired"


class Revoked(Versioned):
    """The approval was withdrawn. It is over."""

    type: Literal["revoked"] = "revoked"


class Ping(Message):
    """Is somebody there? Answered by `pong` within 10 s."""

    type: Literal["ping"] = "ping"


class Error(Message):
    """What the client said was not done. The connection stays open."""

    type: Literal["error"] = "error"
    code: Annotated[str, Field(description="what was wrong")]
    retry_after_ms: Annotated[int | None, Field(description="when it may be tried again")] = None


class Bye(Message):
    """The last message before the gateway closes the connection."""

    type: Literal["bye"] = "bye"
    code: Annotated[str, Field(description="why")]
    retry_after_ms: Annotated[
        int | None, Field(description="come back after so long, not sooner; absent: do not")
    ] = None


FROM_CLIENT: tuple[type[Message], ...] = (Hello, Ack, Renew, Pong)
STATES: tuple[type[Versioned], ...] = (Pending, Approved, Denied, Expired, Revoked)
FROM_GATEWAY: tuple[type[Message], ...] = (*STATES, Ping, Error, Bye)


class Ending(NamedTuple):
    """Why the gateway closes: `code` stands in `bye`, `close` in the WebSocket's close frame.

    Close codes from 4000 tell the client to come back, those from 4500 not to.
    """

    code: str
    close: int
    meaning: str

    @property
    def comes_back(self) -> bool:
        return self.close < 4500


class End(Ending, Enum):
    LATE_HELLO = "late_hello", 4401, "No hello came within 5 s."
    SLOW_READER = "slow_reader", 4408, "The client does not read what it is sent."
    NO_PONG = "no_pong", 4408, "A ping was not answered within 10 s."
    TOO_MANY_CONNECTIONS = (
        "too_many_connections",
        4429,
        "The device has five connections already.",
    )
    TOO_MANY_STRANGERS = (
        "too_many_strangers",
        4429,
        "Too many connections of this network have not said hello yet.",
    )
    AT_CAPACITY = "at_capacity", 4429, "The gateway has as many connections as it can hold."
    TOO_MANY_MESSAGES = (
        "too_many_messages",
        4429,
        "The client sent more than ten messages in 10 s, and went on after the error said so.",
    )
    DRAINING = "draining", 4430, "This process ends; another one takes over."
    UNAUTHORIZED = "unauthorized", 4501, "The device_code is not one of this device."
    FINISHED = "finished", 4510, "The pairing is over; there is nothing to wait for."


class Fault(NamedTuple):
    """Why a client's message was not acted on; `code` stands in `error`."""

    code: str
    meaning: str


class Mistake(Fault, Enum):
    MALFORMED = "malformed", "The message is not JSON."
    INVALID = "invalid", "A member is missing, or has a wrong type or form."
    UNKNOWN_FIELD = "unknown_field", "A member is not part of the protocol."
    UNKNOWN_TYPE = "unknown_type", "There is no message of this type."
    BINARY = "binary", "Messages are text frames."
    TOO_LARGE = "too_large", "A message has at most 4,096 bytes."
    HELLO_FIRST = "hello_first", "The first message must be a hello."
    HELLO_TWICE = "hello_twice", "The device has said hello already."
    TOO_MANY_MESSAGES = "too_many_messages", "More than ten messages in 10 s; the next one ends it."


Said = Hello | Ack | Renew | Pong
_SAID: TypeAdapter[Said] = TypeAdapter(Annotated[Said, Field(discriminator="type")])
_MISTAKES = {
    "json_invalid": Mistake.MALFORMED,
    "extra_forbidden": Mistake.UNKNOWN_FIELD,
    "union_tag_invalid": Mistake.UNKNOWN_TYPE,
    "union_tag_not_found": Mistake.UNKNOWN_TYPE,
}


def read(text: str | None) -> Said | Mistake:
    """What a client's frame says; None stands for a binary frame. Never raises."""
    if text is None:
        return Mistake.BINARY
    if len(text) > FRAME_BYTES or len(text.encode()) > FRAME_BYTES:
        return Mistake.TOO_LARGE
    try:
        return _SAID.validate_json(text)
    except ValidationError as error:
        kinds = [each["type"] for each in error.errors(include_url=False, include_context=False)]
        return next((_MISTAKES[kind] for kind in kinds if kind in _MISTAKES), Mistake.INVALID)


def write(message: Message) -> str:
    """The message as it is sent."""
    return message.model_dump_json(exclude_none=True)
