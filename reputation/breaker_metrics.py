"""Prometheus metrics of the breakers; the gauge is read from the database at scrape time."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import Counter
from prometheus_client.core import Metric

from telemetry.metric_state import gauge_of, offer

TRANSITIONS = Counter(
    "breaker_transitions",
    "Transitions of circuit breakers by kind of scope, trigger and new state.",
    ["scope", "trigger", "to"],
)
SCOPES = ("ip", "domain", "ip_provider", "domain_provider")


def holding() -> Iterator[Metric]:
    """How many breakers hold mail back, by kind of scope and state; a bounded number of series whatever is paused."""
    from reputation.breakers import counts

    labels = {"scope": SCOPES, "state": ("open", "half_open")}
    yield gauge_of("breakers", "Circuit breakers that hold mail back.", labels, counts())


def register() -> None:
    """Offer the gauge."""
    offer(holding)
