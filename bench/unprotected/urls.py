"""The paths that the devices of a stampede ask."""

from django.urls import path

from bench.unprotected import views

urlpatterns = [
    path("api/v1/pairings/", views.CreateView.as_view()),
    path("api/v1/pairings/associate/", views.AssociateView.as_view()),
    path("api/v1/pairings/<str:udid>/", views.StatusView.as_view()),
    path("api/v1/pairings/<str:udid>/credentials/", views.CredentialsView.as_view()),
    path("api/v1/pairings/<str:udid>/ack/", views.AckView.as_view()),
    path("api/v1/devices/<str:udid>/revoke/", views.RevokeView.as_view()),
]
