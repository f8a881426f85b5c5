"""The paths that servers of `make bench` answer."""

from django.urls import include, path

from bench import views

#: As critical, normal and sheddable as the product's own of these paths.
CALLS = ("work", "api/v1/pairings/<udid>/credentials/", "api/v1/me/", "api/v1/devices/")

urlpatterns = [
    path("empty", views.empty),
    path("query", views.query),
    path("brief", views.brief),
    *(path(call, views.work) for call in CALLS),
    path("drf/", include([path(call, views.ThrottledWork.as_view()) for call in CALLS])),
    path("smart/", include([path(call, views.smart_work) for call in CALLS])),
    path("drf/plain", views.Unthrottled.as_view()),
    path("drf/limited", views.Throttled.as_view()),
    path("ratelimit/limited", views.ratelimited),
    path("smart/limited", views.smart),
]
handler403 = views.refused
