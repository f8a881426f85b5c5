"""The dashboard's paths, below /ops/."""

from django.urls import path

from stabilizer.ops import views

urlpatterns = [
    path("", views.page, name="ops"),
    path("stream/", views.stream, name="ops-stream"),
    path("day/", views.day, name="ops-day"),
    path("flags/<str:name>/", views.flag, name="ops-flag"),
]
