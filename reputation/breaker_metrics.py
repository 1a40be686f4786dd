"""Prometheus metrics of the breakers; the gauge is read from the database at scrape time."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import Counter
from prometheus_client.core import GaugeMetricFamily, Metric

from telemetry.metric_state import offer

TRANSITIONS = Counter(
    "breaker_transitions",
    "Transitions of circuit breakers by kind of scope, trigger and new state.",
    ["scope", "trigger", "to"],
)
SCOPES = ("ip", "domain", "ip_provider", "domain_provider")


def holding() -> Iterator[Metric]:
    """How many breakers hold mail back, by kind of scope and state; a bounded number of series whatever is paused."""
    from reputation.breakers import counts

    gauge = GaugeMetricFamily("breakers", "Circuit breakers that hold mail back.", labels=["scope", "state"])
    found = counts()
    for scope in SCOPES:
        for state in ("open", "half_open"):
            gauge.add_metric([scope, state], found.get((scope, state), 0))
    yield gauge


def register() -> None:
    """Offer the gauge."""
    offer(holding)
