"""The view that all calls of the API are made of."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, cast

from django.http import HttpRequest, HttpResponseBase
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

#: What programs send that take whatever there is, or just what there is.
ANYTHING = ("", "*/*", "application/json")


class PartingView(APIView):
    """Django REST framework's view, whose request, view and response let go of each other.

    Only the garbage collector would find such circles, with all that hangs on them. So the body
    can be read until the view is done, and not for the first time after that.
    """

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Response:
        response = cast(Response, super().dispatch(request, *args, **kwargs))
        self.request.parser_context = {}
        vars(self).pop("head", None)  # its own method, where the view has `get`
        return response

    def finalize_response(
        self, request: Request, response: Response, *args: Any, **kwargs: Any
    ) -> Response:
        answer = super().finalize_response(request, response, *args, **kwargs)
        if isinstance(answer, Response):
            answer.add_post_render_callback(_forget_the_view)
        return answer


class ApiView(PartingView):
    """The same without the work whose outcome is known beforehand.

    One version, no throttles (the gate's affair), and JSON for whoever takes anything. Parsers,
    renderers and authenticators keep nothing of a request, so one of each serves all.
    """

    format_kwarg = None

    def initialize_request(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Request:
        kind = type(self)
        return Request(
            request,
            parsers=_made(kind.parser_classes),
            authenticators=_made(kind.authentication_classes),
            negotiator=self.get_content_negotiator(),
            parser_context=self.get_parser_context(request),
        )

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        told = request.META
        if told.get("HTTP_ACCEPT", "") in ANYTHING and not told.get("QUERY_STRING"):
            (renderer, *_) = _made(self.renderer_classes)
            request.accepted_renderer = renderer
            request.accepted_media_type = renderer.media_type
        else:
            accepted = self.perform_content_negotiation(request)
            request.accepted_renderer, request.accepted_media_type = accepted
        self.perform_authentication(request)
        self.check_permissions(request)

    def finalize_response(
        self, request: Request, response: HttpResponseBase, *args: Any, **kwargs: Any
    ) -> Response:
        if isinstance(response, Response):
            return super().finalize_response(request, response, *args, **kwargs)
        return cast(Response, response)  # it is complete: nothing is left to render


def _forget_the_view(response: Response) -> None:
    vars(response)["renderer_context"] = {}


def _made(kinds: Sequence[type[Any]]) -> tuple[Any, ...]:
    return _made_once(tuple(kinds))


@lru_cache(maxsize=64)
def _made_once(kinds: tuple[type[Any], ...]) -> tuple[Any, ...]:
    return tuple(kind() for kind in kinds)
