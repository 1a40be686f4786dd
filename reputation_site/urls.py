"""Where every URL of the site begins."""

from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.templatetags.static import static
from django.urls import include, path
from drf_spectacular.views import SpectacularAPIView, SpectacularSwaggerView

from telemetry.errors import no_such_endpoint


def live(request: HttpRequest) -> HttpResponse:
    """The process answers; nothing else is asked."""
    return HttpResponse("ok\n", content_type="text/plain")


urlpatterns = [
    path("healthz", live, name="live"),
    # Browsers ask for it by themselves where no page names an icon.
    path("favicon.ico", lambda request: redirect(static("dashboard/icon.svg")), name="favicon"),
    path("admin/", admin.site.urls),
    path("api/schema", SpectacularAPIView.as_view(), name="schema"),
    path("api/docs", SpectacularSwaggerView.as_view(url_name="schema"), name="api-docs"),
    path("api/", include("telemetry.urls")),
    path("api/", include("reputation.urls")),
    path("api/<path:rest>", no_such_endpoint),
    path("", include("django_prometheus.urls")),
    path("", include("dashboard.urls")),
]
