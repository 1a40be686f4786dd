"""The ASGI callable that the web server imports: reports of sources by the fast lane, everything else by Django."""

from __future__ import annotations

from django.conf import settings
from django.urls import reverse

from reputation_site.bridge import Bridge
from reputation_site.request_log import RequestLog
from reputation_site.wsgi import application as pages

# Requests that may wait for a thread, per thread.
WAITING_PER_THREAD = 16

# After Django is set up (by the import of wsgi).
from reputation.permit_lane import PermitLane  # noqa: E402
from telemetry.api.events import Events  # noqa: E402
from telemetry.api.kumomta import KumoMtaWebhook  # noqa: E402
from telemetry.api.webhooks import DeliveryFailureWebhook  # noqa: E402
from telemetry.lane.app import Lane, routes  # noqa: E402

_lane = Lane(
    Bridge(
        pages,
        threads=settings.WEB_THREADS,
        most_waiting=settings.WEB_THREADS * WAITING_PER_THREAD,
        most_bytes=settings.MAX_BODY_BYTES,
        # Whole messages come to the hook, and what it asks stands before them.
        cut={reverse("stalwart-hook")},
    ),
    routes(
        {
            reverse("delivery-failure"): DeliveryFailureWebhook,
            reverse("events"): Events,
            reverse("kumomta"): KumoMtaWebhook,
        }
    ),
)
_frequent = [reverse(name) for name in ("delivery-failure", "events", "kumomta", "stalwart", "permits")]
application = RequestLog(PermitLane(_lane, reverse("permits")), _frequent)
