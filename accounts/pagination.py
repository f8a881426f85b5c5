"""Pages of a list by the key that orders it: no COUNT(*), no OFFSET, nothing skipped or doubled."""

from typing import Any

from django.core.exceptions import ValidationError as ModelValidationError
from django.db.models import Model, QuerySet
from rest_framework.exceptions import ValidationError
from rest_framework.pagination import BasePagination
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.utils.urls import replace_query_param

from accounts.degraded import mark
from ratelimit import flags

DEFAULT_SIZE = 50
LARGEST_SIZE = 200
#: No page is larger under pressure.
TRIMMED_SIZE = 20
LONGEST_KEY = 64


class CodePagination(BasePagination):
    """``?limit=50&after=KEY`` answers ``{"results": [...], "next": URL or null}``.

    The view's `page_key` names the unique field that orders the list within a tenant; it is `code`
    where the view does not say. Under pressure a page may be smaller than `limit`; `next` leads on.
    """

    def paginate_queryset(self, queryset: Any, request: Request, view: Any = None) -> list[Any]:
        self.request = request
        self.key = getattr(view, "page_key", "code")
        wanted = _limit(request.query_params.get("limit"))
        is_trimmed = flags.asked(flags.LISTS_TRIMMED, request)
        self.limit = min(wanted, TRIMMED_SIZE) if is_trimmed else wanted
        after = request.query_params.get("after")
        if after is not None:
            queryset = queryset.filter(**{f"{self.key}__gt": _checked(queryset, self.key, after)})
        rows: list[Any] = list(queryset.order_by(self.key)[: self.limit + 1])
        self.more = len(rows) > self.limit
        self.page = rows[: self.limit]
        self.is_cut = self.more and self.limit < wanted
        return self.page

    def get_paginated_response(self, data: Any) -> Response:
        answer = Response({"results": data, "next": self._next()})
        if self.is_cut:
            mark(answer, flags.LISTS_TRIMMED)
        return answer

    def get_paginated_response_schema(self, schema: dict[str, Any]) -> dict[str, Any]:
        link = {"type": "string", "format": "uri", "nullable": True}
        return {
            "type": "object",
            "required": ["results", "next"],
            "properties": {"results": schema, "next": link},
        }

    def get_schema_operation_parameters(self, view: Any) -> list[dict[str, Any]]:
        limit = {"type": "integer", "minimum": 1, "maximum": LARGEST_SIZE, "default": DEFAULT_SIZE}
        return [
            {"name": "limit", "in": "query", "schema": limit},
            {"name": "after", "in": "query", "schema": {"type": "string"}},
        ]

    def _next(self) -> str | None:
        if not self.more:
            return None
        last = str(getattr(self.page[-1], self.key))
        url = self.request.build_absolute_uri()
        return str(replace_query_param(url, "after", last))


def _limit(text: str | None) -> int:
    if text is None:
        return DEFAULT_SIZE
    if text.isascii() and text.isdigit() and len(text) < 5 and 1 <= int(text) <= LARGEST_SIZE:
        return int(text)
    raise ValidationError({"limit": f"A whole number from 1 to {LARGEST_SIZE}."})


def _checked(queryset: QuerySet[Model], key: str, text: str) -> Any:
    field = queryset.model._meta.get_field(key)
    try:
        if len(text) > LONGEST_KEY or "\x00" in text:
            raise ValueError(text)
        return field.to_python(text)  # type: ignore[union-attr]
    except (ValueError, ModelValidationError) as error:
        raise ValidationError({"after": "Not a key of this list."}) from error
