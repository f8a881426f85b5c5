"""The caller's own account, and the door for people."""

from collections.abc import Iterable
from typing import Any

from django.contrib import admin
from django.contrib.admin.forms import AdminPasswordChangeForm
from django.contrib.auth import login
from django.contrib.auth.forms import AuthenticationForm
from django.contrib.auth.views import LoginView as DjangoLoginView
from django.contrib.auth.views import LogoutView as DjangoLogoutView
from django.contrib.auth.views import PasswordChangeView as DjangoPasswordChangeView
from django.db import transaction
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse_lazy
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

import audit
from accounts import principal, snapshot
from accounts.api import ApiView
from accounts.keyring import mac
from accounts.models import User


class QuotaSerializer(serializers.Serializer[Any]):
    name = serializers.CharField()
    quantity = serializers.IntegerField(help_text="requests per window")
    window_s = serializers.IntegerField()
    remaining = serializers.IntegerField(allow_null=True, help_text="null where nobody counts")
    reset_s = serializers.IntegerField(allow_null=True, help_text="until one more is there")


class MeSerializer(serializers.Serializer[Any]):
    kind = serializers.ChoiceField(["key", "token", "person"])
    tenant = serializers.CharField()
    plan = serializers.CharField()
    scopes = serializers.ListField(child=serializers.CharField())
    subscriber_code = serializers.CharField(allow_null=True)
    expires_at = serializers.DateTimeField(allow_null=True)
    quotas = QuotaSerializer(many=True)


class MeView(ApiView):
    """Who the caller is to us. No query for keys and tokens."""

    @extend_schema(responses=MeSerializer, tags=["accounts"])
    def get(self, request: Request) -> Response:
        """The caller's tenant, plan, scopes, and what is left of its quotas."""
        caller = principal.of(request)
        admitted = principal.admission(request._request)
        return Response(
            {
                "kind": caller.kind,
                "tenant": caller.tenant,
                "plan": caller.plan.name,
                "scopes": sorted(caller.scopes),
                "subscriber_code": caller.subscriber_code,
                "expires_at": caller.expires_at,
                "quotas": _counted(admitted.quotas) if admitted else _planned(caller.plan),
            }
        )


def _counted(quotas: Iterable[Any]) -> list[dict[str, Any]]:
    return [
        {
            "name": quota.limit.name,
            "quantity": quota.limit.quantity,
            "window_s": quota.limit.window_s,
            "remaining": quota.remaining,
            "reset_s": quota.reset_s,
        }
        for quota in quotas
    ]


def _planned(plan: snapshot.PlanEntry) -> list[dict[str, Any]]:
    return [
        {
            "name": name,
            "quantity": quantity,
            "window_s": window_s,
            "remaining": None,
            "reset_s": None,
        }
        for name, quantity, window_s in plan.quotas()
    ]


#: Django takes a form from PUT as well; the gate's limits are those of POST.
FORM_METHODS = ["get", "head", "options", "post"]


class LoginView(DjangoLoginView):
    """The login page of everybody. A wrong password answers 401, which the gate counts."""

    template_name = "accounts/login.html"
    http_method_names = FORM_METHODS

    def form_valid(self, form: AuthenticationForm) -> HttpResponse:
        user = form.get_user()
        assert isinstance(user, User)
        with transaction.atomic():
            login(self.request, user)
            _record_login(user)
        return HttpResponseRedirect(self.get_success_url())

    def form_invalid(self, form: AuthenticationForm) -> HttpResponse:
        audit.record("login.failed", "refused", **_tried(form.data.get("username", "")))
        response = super().form_invalid(form)
        response.status_code = 401
        return response


def _tried(name: str) -> dict[str, Any]:
    """Whom a failed login was for. A name of nobody may be a password: it is only told apart."""
    known = User.objects.filter(username=name).values_list("username", "tenant__slug").first()
    if known is None:
        return {"subject": f"login:#{mac('login name', name.encode()).hex()[:16]}"}
    username, tenant = known
    return {"subject": f"login:{username}", "tenant": tenant or ""}


def _record_login(user: User) -> None:
    if user.is_staff:
        audit.record_with_change("login.staff", **_by(user))
    else:
        audit.record("login.succeeded", **_by(user))


def _by(user: User) -> dict[str, Any]:
    """Somebody who does something to his own account, as the trail says it."""
    tenant = snapshot.current().tenants.get(user.tenant_id or 0)
    person = f"person:{user.pk}"
    return {"subject": person, "actor": person, "tenant": tenant.slug if tenant else ""}


class LogoutView(DjangoLogoutView):
    """POST only, so that no picture on a foreign page logs anybody out."""

    def post(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        if isinstance(request.user, User):
            audit.record("logout", **_by(request.user))
        response: HttpResponse = super().post(request, *args, **kwargs)
        return response


class PasswordChangeView(DjangoPasswordChangeView):
    """The page of the admin on which staff set their own password; recorded with it."""

    form_class = AdminPasswordChangeForm
    success_url = reverse_lazy("admin:password_change_done")
    http_method_names = FORM_METHODS

    def get_context_data(self, **context: Any) -> dict[str, Any]:
        site = admin.site.each_context(self.request)
        return super().get_context_data(**site, **context)

    def form_valid(self, form: Any) -> HttpResponse:
        user = form.user
        with transaction.atomic():
            detail = {"what": "changed", "name": user.username, "fields": ["password"]}
            audit.record_with_change("person.changed", **_by(user), detail=detail)
            return super().form_valid(form)
