"""Bodies taken literally: one reading of every byte, no coercion, no unknown fields."""

import json
import math
import re
from collections.abc import Mapping
from typing import Any, BinaryIO, NoReturn
from urllib.parse import parse_qsl

from django.conf import settings
from rest_framework import serializers
from rest_framework.exceptions import APIException, ParseError
from rest_framework.parsers import BaseParser
from rest_framework.renderers import JSONRenderer

from accounts.answers import problem_for_exception, problem_response

__all__ = [
    "BodyTooLarge",
    "SafeJSONRenderer",
    "StrictFormParser",
    "StrictJSONParser",
    "StrictSerializer",
    "problem_for_exception",
    "problem_response",
]

BODY_BYTES = 65_536
DEEPEST = 32
FORM_FIELDS = 50
#: A string (closed or not) or a bracket: brackets inside strings do not nest.
_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*+"?|[\[\]{}]', re.DOTALL)
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")


class BodyTooLarge(APIException):
    """The body has more bytes than any call of the API needs."""

    status_code = 413
    default_code = "too_large"
    default_detail = f"A body has at most {BODY_BYTES} bytes."


class StrictJSONParser(BaseParser):
    """One JSON object of at most 64 KB in UTF-8, nested at most 32 deep, each name once.

    NaN, infinities, NUL characters and lone surrogates are refused: databases and other readers
    understand them differently, or not at all.
    """

    media_type = "application/json"

    def parse(
        self, stream: Any, media_type: str | None = None, parser_context: Any = None
    ) -> dict[str, Any]:
        return loads(_read(stream, parser_context))


class StrictFormParser(BaseParser):
    """URL-encoded forms in which a repeated parameter is an error (RFC 6749, 3.2)."""

    media_type = "application/x-www-form-urlencoded"

    def parse(
        self, stream: Any, media_type: str | None = None, parser_context: Any = None
    ) -> dict[str, str]:
        text = _text(_read(stream, parser_context))
        try:
            pairs = parse_qsl(
                text, keep_blank_values=True, errors="strict", max_num_fields=FORM_FIELDS
            )
        except ValueError as error:
            raise ParseError("The form cannot be read.") from error
        fields = _object(pairs)
        _check_text(fields)
        return fields


def loads(body: bytes) -> dict[str, Any]:
    """The object that `body` is. Raises `ParseError` for anything else."""
    text = _text(body)
    _check_depth(text)
    try:
        value = json.loads(
            text, object_pairs_hook=_object, parse_constant=_no_constant, parse_float=_finite
        )
    except ValueError as error:
        raise ParseError("The body is not JSON.") from error
    if not isinstance(value, dict):
        raise ParseError("The body must be a JSON object.")
    _check_text(value)
    return value


def _read(stream: BinaryIO, parser_context: Any) -> bytes:
    limit = min(BODY_BYTES, settings.DATA_UPLOAD_MAX_MEMORY_SIZE or BODY_BYTES)
    body = stream.read(limit + 1)
    if len(body) > limit:
        raise BodyTooLarge
    return body


def _text(body: bytes) -> str:
    try:
        return body.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ParseError("The body is not UTF-8.") from error


def _check_depth(text: str) -> None:
    depth = 0
    for token in _TOKEN.finditer(text):
        if token[0] in "[{":
            depth += 1
            if depth > DEEPEST:
                raise ParseError(f"The body nests deeper than {DEEPEST}.")
        elif token[0] in "]}":
            depth -= 1


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise ParseError("A name occurs twice.")
    return fields


def _no_constant(name: str) -> NoReturn:
    raise ParseError("NaN and Infinity are not JSON.")


def _finite(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise ParseError("A number is too large.")
    return number


def _check_text(value: Any) -> None:
    if isinstance(value, str):
        if _UNSTORABLE.search(value):
            raise ParseError("A text has a NUL or half a surrogate pair.")
    elif isinstance(value, dict):
        for name, item in value.items():
            _check_text(name)
            _check_text(item)
    elif isinstance(value, list):
        for item in value:
            _check_text(item)


class StrictSerializer(serializers.Serializer[Any]):
    """A serializer that knows every field it is given, and takes a value only in its JSON type.

    Django REST framework alone ignores unknown fields, makes text of numbers and truth of text.
    """

    def to_internal_value(self, data: Any) -> Any:
        if isinstance(data, Mapping):
            wrong = self._unknown(data) or self._mistyped(data)
            if wrong:
                raise serializers.ValidationError(wrong)
        return super().to_internal_value(data)

    def _unknown(self, data: Mapping[str, Any]) -> dict[str, Any]:
        writable = {name for name, field in self.fields.items() if not field.read_only}
        return {
            name: serializers.ErrorDetail("There is no such field.", code="unknown_field")
            for name in data
            if name not in writable
        }

    def _mistyped(self, data: Mapping[str, Any]) -> dict[str, Any]:
        return {
            name: serializers.ErrorDetail(f"Must be {wanted}.", code="wrong_type")
            for name, value in data.items()
            if (wanted := _wanted(self.fields[name], value))
        }


#: The JSON type of a field, most special first; text is what all others are written as.
_TYPES: tuple[
    tuple[type[serializers.Field[Any, Any, Any, Any]], type | tuple[type, ...], str], ...
] = (
    (serializers.BooleanField, bool, "true or false"),
    (serializers.IntegerField, int, "a whole number"),
    (serializers.FloatField, (int, float), "a number"),
    (serializers.ListField, list, "a list"),
    (serializers.DictField, dict, "an object"),
    (serializers.BaseSerializer, dict, "an object"),
)


def _wanted(field: serializers.Field[Any, Any, Any, Any], value: Any) -> str:
    """What `value` should have been, or an empty text when its type is right."""
    if value is None or isinstance(field, serializers.JSONField):
        return ""
    for kind, types, words in _TYPES:
        if isinstance(field, kind):
            right = isinstance(value, types) and (types is bool or not isinstance(value, bool))
            return _wanted_inside(field, value) if right else words
    return "" if isinstance(value, str) else "a text"


def _wanted_inside(field: serializers.Field[Any, Any, Any, Any], value: Any) -> str:
    if isinstance(field, serializers.ListField):
        inside = [_wanted(field.child, item) for item in value]
        return next((f"a list; each item {words}" for words in inside if words), "")
    return ""


class SafeJSONRenderer(JSONRenderer):
    """JSON in which nothing can be taken for markup, should a browser ever show it as a page."""

    def render(
        self, data: Any, accepted_media_type: str | None = None, renderer_context: Any = None
    ) -> bytes:
        text: bytes = super().render(data, accepted_media_type, renderer_context)
        return text.replace(b"<", b"\\u003c").replace(b">", b"\\u003e").replace(b"&", b"\\u0026")
