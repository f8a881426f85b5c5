"""One endpoint of every kind of field, standing for all that take a JSON object."""

from typing import Any

from django.db import InterfaceError, OperationalError
from django.http import HttpRequest, HttpResponse
from django.urls import path
from rest_framework import serializers
from rest_framework.parsers import BaseParser
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

import audit
from accounts.permissions import needs
from accounts.strict import StrictFormParser, StrictSerializer
from stabilizer import urls


class Place(StrictSerializer):
    city = serializers.CharField(max_length=50)


class ThingSerializer(StrictSerializer):
    name = serializers.CharField(max_length=100)
    kind = serializers.ChoiceField(["tv", "box"], required=False)
    size = serializers.IntegerField(required=False, max_value=100)
    ratio = serializers.FloatField(required=False)
    smart = serializers.BooleanField(required=False)
    tags = serializers.ListField(child=serializers.CharField(), required=False)
    place = Place(required=False)
    shape = serializers.JSONField(required=False)
    number = serializers.CharField(read_only=True)


class Things(APIView):
    authentication_classes: list[Any] = []
    permission_classes: list[Any] = []

    def post(self, request: Request) -> Response:
        serializer = ThingSerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        return Response(serializer.validated_data)


class FormThings(Things):
    parser_classes: list[type[BaseParser]] = [StrictFormParser]


FAULTS: dict[str, Exception] = {
    "database": OperationalError(2006, "server has gone away"),
    "interface": InterfaceError(0, ""),
    "audit": audit.AuditUnavailable("full"),
    "bug": ZeroDivisionError("secret detail"),
}


class Failing(Things):
    def post(self, request: Request) -> Response:
        raise FAULTS[dict(request.data)["fault"]]


class Guarded(APIView):
    permission_classes = [needs("devices:read", write="devices:write")]

    def get(self, request: Request) -> Response:
        return Response({"caller": str(request.auth)})

    post = get


def page(request: HttpRequest) -> HttpResponse:
    if request.GET["fault"] == "session":
        request.session["seen"] = True
        return HttpResponse("seen")
    raise FAULTS[request.GET["fault"]]


urlpatterns = [
    path("page/", page),
    path("api/things/", Things.as_view()),
    path("api/form/", FormThings.as_view()),
    path("api/failing/", Failing.as_view()),
    path("api/guarded/", Guarded.as_view()),
    *urls.urlpatterns,
]
handler400, handler403 = urls.handler400, urls.handler403
handler404, handler500 = urls.handler404, urls.handler500
