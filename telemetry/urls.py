"""URLs of this floor's API, below /api/."""

from django.urls import path

from telemetry.api import (
    access,
    completeness,
    esp,
    events,
    kumomta,
    rejected,
    reports,
    retention,
    sources,
    stalwart,
    webhooks,
)

urlpatterns = [
    path("webhooks/stalwart/delivery-failure", webhooks.DeliveryFailureWebhook.as_view(), name="delivery-failure"),
    path("webhooks/stalwart", stalwart.StalwartWebhook.as_view(), name="stalwart"),
    path("webhooks/kumomta", kumomta.KumoMtaWebhook.as_view(), name="kumomta"),
    path("webhooks/esp/<str:source>/<slug:esp>", esp.EspWebhook.as_view(), name="esp"),
    path("events", events.Events.as_view(), name="events"),
    path("volumes", events.Volumes.as_view(), name="volumes"),
    path("reports/message", reports.ReportMessage.as_view(), name="report-message"),
    path("rejected-events", rejected.RejectedEvents.as_view(), name="rejected-events"),
    path("rejected-events/<int:pk>", rejected.RejectedEventById.as_view(), name="rejected-event"),
    path("rejected-events/<int:pk>/replay", rejected.ReplayRejectedEvent.as_view(), name="replay-rejected-event"),
    path("sources", sources.Sources.as_view(), name="sources"),
    path("sources/<int:pk>", sources.SourceById.as_view(), name="source"),
    path("sources/<int:pk>/completeness", completeness.SourceCompleteness.as_view(), name="source-completeness"),
    path("sources/<int:pk>/tokens", sources.SourceTokens.as_view(), name="source-tokens"),
    path("sources/<int:pk>/tokens/<slug:prefix>/revoke", sources.RevokeToken.as_view(), name="revoke-source-token"),
    path("sources/<int:pk>/tokens/<slug:prefix>/rotate", sources.RotateToken.as_view(), name="rotate-source-token"),
    path("access", access.AccessLog.as_view(), name="access-log"),
    path("retention", retention.Retention.as_view(), name="retention"),
    path("retention/<slug:what>", retention.RetentionOf.as_view(), name="retention-of"),
]
