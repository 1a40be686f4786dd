"""Prometheus metrics of alerts; the gauge is read from the database at scrape time."""

from __future__ import annotations

from collections.abc import Iterator

from django.db import Error as DatabaseError
from prometheus_client import REGISTRY, Counter
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from reputation.domain.alerting import Kind, Severity

CHANGES = Counter("alert_changes", "What became of alerts, by kind.", ["kind", "news"])
DELIVERIES = Counter("alert_deliveries", "Attempts to tell a channel, by way and outcome.", ["scheme", "outcome"])


class AlertCollector(Collector):
    """How many alerts stand, by kind and severity; a bounded number of series."""

    def describe(self) -> list[Metric]:
        """Nothing: registering must not ask the database."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Count the alerts; nothing when the database is away, so that /metrics itself still answers."""
        from reputation.alerts import counts

        gauge = GaugeMetricFamily("alerts", "Alerts that are open or acknowledged.", labels=["kind", "severity"])
        try:
            found = counts()
        except DatabaseError:
            return
        for kind in Kind:
            for severity in Severity:
                gauge.add_metric([kind, severity], found.get((kind, severity), 0))
        yield gauge


_registered: list[AlertCollector] = []


def register() -> None:
    """Offer the gauge, once per process."""
    if not _registered:
        _registered.append(AlertCollector())
        REGISTRY.register(_registered[0])
