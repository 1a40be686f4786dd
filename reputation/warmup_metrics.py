"""Prometheus metrics of the warm-ups; the gauge is read from the database at scrape time."""

from __future__ import annotations

from collections.abc import Iterator

from django.db import Error as DatabaseError
from prometheus_client import REGISTRY, Counter
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

TRANSITIONS = Counter("warmup_transitions", "Transitions of warm-ups by kind of sender and step.", ["kind", "step"])


class WarmupCollector(Collector):
    """How many warm-ups are proposed and running, by kind of sender: four series whatever warms up."""

    def describe(self) -> list[Metric]:
        """Nothing: registering must not ask the database."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Count the warm-ups; nothing when the database is away, so that /metrics itself still answers."""
        from reputation.warmups import counts

        gauge = GaugeMetricFamily("warmups", "Warm-ups that have not ended.", labels=["kind", "state"])
        try:
            found = counts()
        except DatabaseError:
            return
        for kind in ("ip", "domain"):
            for state in ("proposed", "running"):
                gauge.add_metric([kind, state], found.get((kind, state), 0))
        yield gauge


_registered: list[WarmupCollector] = []


def register() -> None:
    """Offer the gauge, once per process."""
    if not _registered:
        _registered.append(WarmupCollector())
        REGISTRY.register(_registered[0])
