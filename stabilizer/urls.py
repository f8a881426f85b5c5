"""Every path of the service, except the probes, which are answered before Django."""

from django.contrib import admin
from django.urls import include, path, re_path
from drf_spectacular.views import SpectacularAPIView, SpectacularSwaggerView

from accounts.handlers import unknown_path
from stabilizer import explaining

admin.site.site_header = admin.site.site_title = "Stabilizer"

urlpatterns = [
    path("", include("pairing.urls")),
    path("", include("accounts.urls")),
    path("", include("realtime.urls")),
    path("admin/explain/", admin.site.admin_view(explaining.page), name="explain"),
    path("admin/", admin.site.urls),
    path("ops/", include("stabilizer.ops.urls")),
    path("i18n/", include("django.conf.urls.i18n")),
    path("api/schema/", SpectacularAPIView.as_view(), name="schema"),
    path("api/docs/", SpectacularSwaggerView.as_view(url_name="schema"), name="docs"),
    re_path(r"^(?:api|oauth|\.well-known)/", unknown_path),
]

handler400 = "accounts.handlers.bad_request"
handler403 = "accounts.handlers.permission_denied"
handler404 = "accounts.handlers.page_not_found"
handler500 = "accounts.handlers.server_error"
