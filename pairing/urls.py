"""Paths of pairing: the JSON API, OAuth's endpoints, and the page where people type the code."""

from django.urls import path, register_converter
from django.urls.converters import StringConverter

from pairing import activate, oauth, operator_views, views


class UdidConverter(StringConverter):
    regex = r"[A-Za-z0-9._-]{16,64}"


class CodeConverter(StringConverter):
    regex = r"[A-Za-z0-9._:@+-]{1,64}"


register_converter(UdidConverter, "udid")
register_converter(CodeConverter, "code")

urlpatterns = [
    path("", activate.index, name="index"),
    path("activate/", activate.enter_code, name="activate"),
    path("activate/<str:ticket>/", activate.consent, name="consent"),
    path("api/v1/pairings/", views.CreateView.as_view(), name="create"),
    path("api/v1/pairings/associate/", views.AssociateView.as_view(), name="associate"),
    path("api/v1/pairings/deny/", views.DenyView.as_view(), name="deny"),
    path("api/v1/pairings/<udid:udid>/", views.StatusView.as_view(), name="status"),
    path("api/v1/pairings/<udid:udid>/renew/", views.RenewView.as_view(), name="renew"),
    path(
        "api/v1/pairings/<udid:udid>/credentials/",
        views.CredentialsView.as_view(),
        name="credentials",
    ),
    path("api/v1/pairings/<udid:udid>/ack/", views.AckView.as_view(), name="ack"),
    path("api/v1/devices/", operator_views.DevicesView.as_view(), name="devices"),
    path("api/v1/devices/<udid:udid>/", operator_views.DeviceRenameView.as_view(), name="device"),
    path(
        "api/v1/devices/<udid:udid>/revoke/",
        operator_views.DeviceRevokeView.as_view(),
        name="revoke",
    ),
    path("api/v1/subscribers/", operator_views.SubscribersView.as_view(), name="subscribers"),
    path(
        "api/v1/subscribers/<code:code>/",
        operator_views.SubscriberView.as_view(),
        name="subscriber",
    ),
    path(
        "api/v1/subscribers/<code:code>/devices/revoke/",
        operator_views.SubscriberRevokeView.as_view(),
        name="revoke-all",
    ),
    path(
        "oauth/device_authorization", oauth.DeviceAuthorizationView.as_view(), name="oauth-device"
    ),
    path("oauth/token", oauth.TokenView.as_view(), name="oauth-token"),
    path("oauth/revoke", oauth.RevocationView.as_view(), name="oauth-revoke"),
    path(
        ".well-known/oauth-authorization-server",
        oauth.MetadataView.as_view(),
        name="oauth-metadata",
    ),
]
