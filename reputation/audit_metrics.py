"""Prometheus metrics of the audits; every label is one of a few words of our own."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import Counter, Histogram
from prometheus_client.core import Metric

from telemetry.metric_state import gauge_of, offer

AUDITS = Counter("audits", "Audits by what was audited and why.", ["kind", "why"])
FINDINGS = Counter("audit_findings", "Findings of audits, by check and result.", ["check", "result"])
AUDIT_SECONDS = Histogram(
    "audit_seconds",
    "Duration of a run of audits, by why it ran.",
    ["why"],
    buckets=(0.1, 0.5, 1, 2, 5, 10, 30, 60, 120),
)
OUTCOMES = ("sound", "problems", "never")


def targets() -> Iterator[Metric]:
    """How many senders were sound in their last audit, had problems, or were never audited."""
    from reputation.audits import counts

    labels = {"kind": ("ip", "domain"), "outcome": OUTCOMES}
    yield gauge_of("audit_targets", "Senders by how their last audit ended.", labels, counts())


def register() -> None:
    """Offer the gauge."""
    offer(targets)
