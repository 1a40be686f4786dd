"""Prometheus metrics of the warm-ups; the gauge is read from the database at scrape time."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import Counter
from prometheus_client.core import Metric

from telemetry.metric_state import gauge_of, offer

TRANSITIONS = Counter("warmup_transitions", "Transitions of warm-ups by kind of sender and step.", ["kind", "step"])


def under_way() -> Iterator[Metric]:
    """How many warm-ups are proposed and running, by kind of sender: four series whatever warms up."""
    from reputation.warmups import counts

    labels = {"kind": ("ip", "domain"), "state": ("proposed", "running")}
    yield gauge_of("warmups", "Warm-ups that have not ended.", labels, counts())


def register() -> None:
    """Offer the gauge."""
    offer(under_way)
