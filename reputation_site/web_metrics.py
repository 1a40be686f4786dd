"""/metrics, who may read it, and what is counted of requests."""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Iterator
from ipaddress import ip_address
from typing import Any

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django_prometheus.middleware import PrometheusAfterMiddleware
from prometheus_client import CONTENT_TYPE_LATEST
from prometheus_client.core import GaugeMetricFamily, Metric

from reputation_site.readiness import WORDS, troubles
from telemetry.authentication import bearer_of
from telemetry.metric_state import PAGE, offer, offer_always

# What a proxy adds. With one of them a request came from further away than its address says.
_FORWARDED = ("HTTP_FORWARDED", "HTTP_X_FORWARDED_FOR", "HTTP_X_FORWARDED_PROTO", "HTTP_X_REAL_IP", "HTTP_VIA")


class After(PrometheusAfterMiddleware):  # type: ignore[misc] # comes without types
    """Counts requests by view and method. A method of the client's own making is one word, not a series for each."""

    def label_metric(
        self, metric: Any, request: HttpRequest, response: HttpResponse | None = None, **labels: str
    ) -> Any:
        """The series of these labels."""
        if "method" in labels:
            labels["method"] = self._method(request)
        return super().label_metric(metric, request, response, **labels)


def metrics(request: HttpRequest) -> HttpResponse:
    """Everything that is counted, for Prometheus."""
    if not may_read(request):
        refused = HttpResponse(
            "Metrics are for Prometheus: send the bearer token of GS_METRICS_TOKEN, or ask from this machine or "
            "from GS_METRICS_NETWORKS without a proxy in between.\n",
            content_type="text/plain",
            status=401 if settings.METRICS_TOKEN else 403,
        )
        if settings.METRICS_TOKEN:
            refused["WWW-Authenticate"] = "Bearer"
        return refused
    page = HttpResponse(PAGE.text(held=settings.METRICS_HELD), content_type=CONTENT_TYPE_LATEST)
    page["Cache-Control"] = "no-store"
    return page


def may_read(request: HttpRequest) -> bool:
    """Whether whoever asks may read the metrics: by token where there is one, else by where it asks from."""
    user = getattr(request, "user", None)
    if settings.METRICS_TOKEN:
        given = bearer_of(request.headers.get("Authorization", "")) or ""
        if secrets.compare_digest(given.encode(), settings.METRICS_TOKEN.encode()):
            return True
    elif _is_near(request):
        return True
    return bool(user and user.is_active and user.is_staff)


def _is_near(request: HttpRequest) -> bool:
    if any(name in request.META for name in _FORWARDED):
        return False
    try:
        address = ip_address(request.META.get("REMOTE_ADDR", ""))
    except ValueError:
        return False
    address = getattr(address, "ipv4_mapped", None) or address
    return address.is_loopback or any(address in network for network in settings.METRICS_NETWORKS)


def _troubles() -> Iterator[Metric]:
    gauge = GaugeMetricFamily("trouble", "What /readyz finds wrong: 1, else 0.", labels=["what"])
    found = {trouble.what for trouble in troubles(now=timezone.now())}
    for word in WORDS:
        gauge.add_metric([word], int(word in found))
    yield gauge


def _disk() -> Iterator[Metric]:
    folder = settings.DATA_DIR
    usage = shutil.disk_usage(folder if folder.exists() else folder.parent)
    yield GaugeMetricFamily("data_disk_free_bytes", "Free room on the disk with the data folder.", usage.free)
    yield GaugeMetricFamily("data_disk_size_bytes", "Size of the disk with the data folder.", usage.total)


def register() -> None:
    """Offer the gauges."""
    offer(_troubles)
    offer_always(_disk)
