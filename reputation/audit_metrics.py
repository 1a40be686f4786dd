"""Prometheus metrics of the audits; every label is one of a few words of our own."""

from __future__ import annotations

from collections.abc import Iterator

from django.db import Error as DatabaseError
from prometheus_client import REGISTRY, Counter, Histogram
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

AUDITS = Counter("audits", "Audits by what was audited and why.", ["kind", "why"])
FINDINGS = Counter("audit_findings", "Findings of audits, by check and result.", ["check", "result"])
AUDIT_SECONDS = Histogram(
    "audit_seconds",
    "Duration of a run of audits, by why it ran.",
    ["why"],
    buckets=(0.1, 0.5, 1, 2, 5, 10, 30, 60, 120),
)
OUTCOMES = ("sound", "problems", "never")


class AuditCollector(Collector):
    """How many senders were sound in their last audit, had problems, or were never audited."""

    def describe(self) -> list[Metric]:
        """Nothing: registering must not ask the database."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Count the targets; nothing when the database is away, so that /metrics itself still answers."""
        from reputation.audits import counts

        gauge = GaugeMetricFamily("audit_targets", "Senders by how their last audit ended.", labels=["kind", "outcome"])
        try:
            found = counts()
        except DatabaseError:
            return
        for kind in ("ip", "domain"):
            for outcome in OUTCOMES:
                gauge.add_metric([kind, outcome], found.get((kind, outcome), 0))
        yield gauge


_registered: list[AuditCollector] = []


def register() -> None:
    """Offer the gauge, once per process."""
    if not _registered:
        _registered.append(AuditCollector())
        REGISTRY.register(_registered[0])
