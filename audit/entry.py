"""One event as text: what a spool, the outbox and a segment carry.

A JSON array in ASCII, in the order of `_FIELDS`. Whatever the caller or the client sends, `encode`
makes something of it that the trail can store: NUL and lone surrogates become visible escapes, what
is too long is cut, what JSON cannot say becomes its `repr`.
"""

import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any, NamedTuple

from audit import clock, context, identifier
from audit.context import RequestContext
from audit.registry import Action

JSON = None | bool | int | float | str | Sequence["JSON"] | Mapping[str, "JSON"]

FORMAT = 1
#: Longest text the trail keeps of each column, in characters.
LENGTHS = {
    "action": 64,
    "outcome": 64,
    "severity": 10,
    "subject": 200,
    "actor": 200,
    "tenant": 100,
    "request_id": 64,
    "decision_id": 64,
    "address": 64,
    "user_agent": 256,
}
DETAIL_CHARACTERS = 4096
#: MariaDB's JSON functions refuse text nested deeper than 32.
DETAIL_DEPTH = 16
DETAIL_ITEMS = 200

_FIELDS = (
    "format",
    "id",
    "at",
    "action",
    "severity",
    "outcome",
    "subject",
    "subject_version",
    "actor",
    "tenant",
    "request_id",
    "decision_id",
    "address",
    "user_agent",
    "detail",
)
#: What an entry says that is a column of its own; the rest is read from the entry.
COLUMNS = tuple(name for name in _FIELDS if name not in ("format", "user_agent", "detail"))
_UUID7 = re.compile(r"[0-9a-f]{12}7[0-9a-f]{3}[89ab][0-9a-f]{15}")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_encoder = json.JSONEncoder(separators=(",", ":"), allow_nan=False, check_circular=False)
_quote = json.encoder.encode_basestring_ascii
#: Cuts of the texts that a caller or a client gives, made once: every record needs them.
_CUT = {name: slice(longest) for name, longest in LENGTHS.items()}
_OUTCOME, _SUBJECT, _ACTOR = _CUT["outcome"], _CUT["subject"], _CUT["actor"]
_TENANT, _REQUEST, _DECISION = _CUT["tenant"], _CUT["request_id"], _CUT["decision_id"]
_ADDRESS, _AGENT = _CUT["address"], _CUT["user_agent"]
#: An entry that is shorter than this and has fewer brackets needs no second look.
_PLAIN_CHARACTERS = 4096
_PLAIN_BRACKETS = 16


def _json_writer() -> Callable[[Any], str]:
    """`JSONEncoder.encode` in a quarter of its time: it would make the encoder for every call."""
    make = getattr(json.encoder, "c_make_encoder", None)
    if make is None:
        return _encoder.encode
    chunks = make(None, _encoder.default, _quote, None, ":", ",", False, False, False)
    return lambda value: "".join(chunks(value, 0))


_encode = _json_writer()


class Draft(NamedTuple):
    """What a caller of `audit.record` says; time, ids and the client come from where it stands."""

    action: Action
    outcome: str
    subject: str = ""
    subject_version: int = 0
    actor: str = ""
    tenant: str = ""
    detail: Mapping[str, JSON] | None = None


class Unstorable(ValueError):
    """Raised by `decode`: this text can never become a row; the message says why."""


def encode(draft: Draft) -> tuple[str, str]:
    """The entry's id and its text; microseconds for what is plain, no failure for what is not."""
    now = clock.timestamp()
    entry_id = identifier.at(now)
    at_us = int(now * 1_000_000)
    request = context.current()
    try:
        text = _text(entry_id, at_us, draft, request)
        if _is_plain(text):
            return entry_id, text
    except (TypeError, ValueError, RecursionError):
        pass  # something in it is not what it should be, and is made readable
    return entry_id, _text(
        entry_id, at_us, _mended(draft), RequestContext(*map(_readable, request))
    )


def decode(text: str) -> dict[str, Any]:
    """What an entry says, its `id` as hexadecimal digits. Raises `Unstorable`."""
    try:
        row = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise Unstorable(f"not JSON: {error}") from error
    if not isinstance(row, list) or len(row) != len(_FIELDS) or row[0] != FORMAT:
        raise Unstorable(f"not an entry of format {FORMAT}")
    said = dict(zip(_FIELDS, row, strict=True))
    del said["format"]
    for name, longest in LENGTHS.items():
        value = said[name]
        if not isinstance(value, str) or len(value) > longest or not _is_unicode(value):
            raise Unstorable(f"{name}: {_fault(value, longest)}")
    said["id"] = _event_id(said["id"])
    said["at"] = _event_time(said["at"])
    said["subject_version"] = _version(said["subject_version"])
    said["detail"] = _detail(said["detail"])
    return said


def _text(entry_id: str, at_us: int, draft: Draft, request: RequestContext) -> str:
    # Put together by hand: a third of what json.dumps of the whole takes, on every record's path.
    return (
        f'[{FORMAT},"{entry_id}",{at_us},{_quote(draft.action.name)},"{draft.action.severity}",'
        f"{_quote(draft.outcome[_OUTCOME])},{_quote(draft.subject[_SUBJECT])},"
        f"{draft.subject_version:d},{_quote(draft.actor[_ACTOR])},{_quote(draft.tenant[_TENANT])},"
        f"{_quote(request.request_id[_REQUEST])},{_quote(request.decision_id[_DECISION])},"
        f"{_quote(request.address[_ADDRESS])},{_quote(request.user_agent[_AGENT])},"
        f"{_encode(draft.detail) if draft.detail else '{}'}]"
    )


def _is_plain(text: str) -> bool:
    return (
        len(text) < _PLAIN_CHARACTERS
        and "\\ud" not in text
        and "\\u0000" not in text
        and text.count("{") + text.count("[") < _PLAIN_BRACKETS
    )


def _mended(draft: Draft) -> Draft:
    version = draft.subject_version
    return Draft(
        replace(draft.action, name=_readable(draft.action.name)[_CUT["action"]]),
        _readable(draft.outcome),
        _readable(draft.subject),
        version if isinstance(version, int) and 0 <= version < 2**63 else 0,
        _readable(draft.actor),
        _readable(draft.tenant),
        _mended_detail(draft.detail),
    )


def _mended_detail(detail: Any) -> Any:
    mended = _storable(detail, DETAIL_DEPTH)
    text = _encode(mended)
    return mended if len(text) <= DETAIL_CHARACTERS else {"truncated": text[:DETAIL_CHARACTERS]}


def _storable(value: Any, depth: int) -> Any:
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int) and abs(value) < 2**63:
        return value
    if isinstance(value, float) and math.isfinite(value):
        return value
    if depth and isinstance(value, Mapping):
        items = islice(value.items(), DETAIL_ITEMS)
        return {_readable(name): _storable(member, depth - 1) for name, member in items}
    if depth and isinstance(value, list | tuple):
        return [_storable(member, depth - 1) for member in islice(value, DETAIL_ITEMS)]
    return _readable(value)


def _readable(value: Any) -> str:
    """`value` as text of at most `DETAIL_CHARACTERS` that every database stores."""
    try:
        text = value if isinstance(value, str) else repr(value)
    except Exception:
        text = f"<{type(value).__name__}>"
    text = text[:DETAIL_CHARACTERS].replace("\0", "\\x00")
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _fault(value: Any, longest: int) -> str:
    if not isinstance(value, str):
        return "not text"
    if len(value) > longest:
        return f"{len(value)} characters, at most {longest}"
    return "NUL or lone surrogate"


def _is_unicode(text: str) -> bool:
    if text.isascii():
        return "\0" not in text
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return "\0" not in text


def _event_id(value: Any) -> str:
    if not isinstance(value, str) or not _UUID7.fullmatch(value):
        raise Unstorable("id: not the 32 hexadecimal digits of a UUIDv7")
    return value


def _event_time(value: Any) -> datetime:
    try:
        return _EPOCH + timedelta(microseconds=value)
    except (TypeError, OverflowError) as error:
        raise Unstorable("at: not microseconds since 1970") from error


def _version(value: Any) -> int:
    if not isinstance(value, int) or not 0 <= value < 2**63:
        raise Unstorable("subject_version: not a count")
    return value


def _detail(value: Any) -> Any:
    if value and not _is_unicode(json.dumps(value, ensure_ascii=False)):
        raise Unstorable("detail: lone surrogate")
    return value or {}
