"""The paths that servers of `make bench` answer."""

from django.urls import path

from bench import views

urlpatterns = [
    path("empty", views.empty),
    path("query", views.query),
    path("work", views.work),
    path("drf/plain", views.Unthrottled.as_view()),
    path("drf/limited", views.Throttled.as_view()),
    path("ratelimit/limited", views.ratelimited),
    path("smart/limited", views.smart),
]
handler403 = views.refused
