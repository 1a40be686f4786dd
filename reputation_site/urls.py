"""Where every URL of the site begins."""

from csp.decorators import csp_update
from django.contrib import admin
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import redirect
from django.templatetags.static import static
from django.urls import include, path
from django.utils import timezone
from drf_spectacular.views import SpectacularAPIView, SpectacularSwaggerSplitView

from reputation_site.doors.views import login
from reputation_site.frame import colours
from reputation_site.headers import API_DOCS_ALSO
from reputation_site.readiness import troubles
from reputation_site.web_metrics import metrics
from telemetry.errors import no_such_endpoint

docs = SpectacularSwaggerSplitView.as_view(url_name="schema")


def live(request: HttpRequest) -> HttpResponse:
    """The process answers; nothing else is asked."""
    return HttpResponse("ok\n", content_type="text/plain")


def ready(request: HttpRequest) -> JsonResponse:
    """Whether traffic should come here: 200 with what runs late, 503 where requests cannot be served."""
    found = troubles(now=timezone.now())
    word = "not ready" if any(trouble.stops for trouble in found) else "degraded" if found else "ready"
    answer = {"status": word, "reasons": [{"what": trouble.what, "says": trouble.says} for trouble in found]}
    return JsonResponse(answer, status=503 if word == "not ready" else 200, headers={"Cache-Control": "no-store"})


handler400 = "telemetry.errors.bad_request"
handler500 = "telemetry.errors.server_error"

urlpatterns = [
    path("healthz", live, name="live"),
    path("readyz", ready, name="ready"),
    # Browsers ask for it by themselves where no page names an icon.
    path("favicon.ico", lambda request: redirect(static("dashboard/icon.svg")), name="favicon"),
    path("frame-colours.css", colours, name="frame-colours"),
    path("admin/login/", login),
    path("admin/", admin.site.urls),
    path("", include("reputation_site.doors.urls")),
    path("api/schema", SpectacularAPIView.as_view(), name="schema"),
    path(
        "api/docs", csp_update(API_DOCS_ALSO)(SpectacularSwaggerSplitView.as_view(url_name="schema")), name="api-docs"
    ),
    path("api/", include("telemetry.urls")),
    path("api/", include("reputation.urls")),
    path("api/<path:rest>", no_such_endpoint),
    path("metrics", metrics, name="metrics"),
    path("", include("dashboard.urls")),
]
