"""Prometheus metrics of alerts; the gauge is read from the database at scrape time."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import Counter
from prometheus_client.core import Metric

from reputation.domain.alerting import Kind, Severity
from telemetry.metric_state import gauge_of, offer

CHANGES = Counter("alert_changes", "What became of alerts, by kind.", ["kind", "news"])
DELIVERIES = Counter("alert_deliveries", "Attempts to tell a channel, by way and outcome.", ["scheme", "outcome"])


def standing_alerts() -> Iterator[Metric]:
    """How many alerts stand, by kind and severity; a bounded number of series."""
    from reputation.alerts import counts

    labels = {"kind": Kind, "severity": Severity}
    yield gauge_of("alerts", "Alerts that are open or acknowledged.", labels, counts())


def register() -> None:
    """Offer the gauge."""
    offer(standing_alerts)
