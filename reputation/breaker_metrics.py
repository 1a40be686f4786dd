"""Prometheus metrics of the breakers; the gauge is read from the database at scrape time."""

from __future__ import annotations

from collections.abc import Iterator

from django.db import Error as DatabaseError
from prometheus_client import REGISTRY, Counter
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

TRANSITIONS = Counter(
    "breaker_transitions",
    "Transitions of circuit breakers by kind of scope, trigger and new state.",
    ["scope", "trigger", "to"],
)
SCOPES = ("ip", "domain", "ip_provider", "domain_provider")


class BreakerCollector(Collector):
    """How many breakers hold mail back, by kind of scope and state; a bounded number of series whatever is paused."""

    def describe(self) -> list[Metric]:
        """Nothing: registering must not ask the database."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Count the breakers; nothing when the database is away, so that /metrics itself still answers."""
        from reputation.breakers import counts

        gauge = GaugeMetricFamily("breakers", "Circuit breakers that hold mail back.", labels=["scope", "state"])
        try:
            found = counts()
        except DatabaseError:
            return
        for scope in SCOPES:
            for state in ("open", "half_open"):
                gauge.add_metric([scope, state], found.get((scope, state), 0))
        yield gauge


_registered: list[BreakerCollector] = []


def register() -> None:
    """Offer the gauge, once per process."""
    if not _registered:
        _registered.append(BreakerCollector())
        REGISTRY.register(_registered[0])
