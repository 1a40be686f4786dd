"""URLs of this floor's API, below /api/."""

from django.urls import path

from telemetry.api import webhooks

urlpatterns = [
    path("webhooks/stalwart/delivery-failure", webhooks.DeliveryFailureWebhook.as_view(), name="delivery-failure"),
    path("events", webhooks.EventsEndpoint.as_view(), name="events"),
    path("volumes", webhooks.VolumesEndpoint.as_view(), name="volumes"),
]
