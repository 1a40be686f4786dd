"""Prometheus metrics of this floor. Gauges are read from the database at scrape time: every process says the same."""

from __future__ import annotations

from collections.abc import Iterator

from django.db import Error as DatabaseError
from prometheus_client import REGISTRY, Counter, Histogram
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

STATUS_CHANGES = Counter("ip_status_changes", "Automatic status changes of sending IPs.", ["previous", "new"])
RUNS = Counter("aggregation_runs", "Scoring runs, by what they scored and how they ended.", ["what", "outcome"])
RUN_SECONDS = Histogram(
    "aggregation_run_seconds",
    "Duration of scoring runs.",
    ["what"],
    buckets=(0.01, 0.05, 0.1, 0.25, 0.5, 1, 2, 5, 15, 60),
)
# One time series per IP: the fleet is bounded, and a scrape must stay small all the same.
MOST_IPS = 2_000


class StandingCollector(Collector):
    """Status (0 healthy to 3 blacklisted) and rejection ratio of each sending IP, worst first up to a bound."""

    def describe(self) -> list[Metric]:
        """Nothing: registering must not ask the database."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Read the current standings; nothing when the database is away, so that /metrics itself still answers."""
        from reputation.models import IpStanding

        status = GaugeMetricFamily(
            "ip_reputation_status", "0 healthy, 1 warning, 2 quarantine, 3 blacklisted.", labels=["ip"]
        )
        ratio = GaugeMetricFamily("ip_rejection_ratio", "Rejected / sent in the last window, 0 to 1.", labels=["ip"])
        try:
            rows = list(
                IpStanding.objects.order_by("-severity", "sending_ip").values_list(
                    "sending_ip", "severity", "rejection_ratio"
                )[:MOST_IPS]
            )
        except DatabaseError:
            return
        for ip, severity, value in rows:
            status.add_metric([ip], severity)
            if value is not None:
                ratio.add_metric([ip], value)
        yield from (status, ratio)


_registered: list[StandingCollector] = []


def register() -> None:
    """Offer the gauges, once per process."""
    if not _registered:
        _registered.append(StandingCollector())
        REGISTRY.register(_registered[0])
