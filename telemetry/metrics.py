"""Prometheus counters of this floor. Labels are words of our own, never addresses or domains: they stay few."""

from __future__ import annotations

from collections.abc import Mapping

from prometheus_client import Counter, Gauge, Histogram

from telemetry.domain.vocab import EventType

WEBHOOK_EVENTS = Counter(
    "webhook_events", "Events taken in, by kind of source and what became of them.", ["kind", "outcome"]
)
SMTP_FAILURES = Counter("smtp_failures", "New failing events, by type.", ["type"])
INGEST_SECONDS = Histogram(
    "webhook_request_seconds",
    "Time to answer one request that carries events.",
    buckets=(0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10),
)
LANE_WAITING = Gauge("webhook_requests_waiting", "Requests that wait to be recorded by this process.")
LANE_REFUSED = Counter("webhook_requests_refused", "Requests told to try again, by why.", ["why"])

SOURCE_REFUSED = Counter(
    "source_requests_refused", "Requests with a good source token that were refused: by address or by a limit.", ["why"]
)


def count_batch(kind: str, recorded: int, duplicates: int) -> None:
    """Count a committed batch."""
    WEBHOOK_EVENTS.labels(kind=kind, outcome="recorded").inc(recorded)
    WEBHOOK_EVENTS.labels(kind=kind, outcome="duplicate").inc(duplicates)


def count_rejected(kind: str, rejected: int) -> None:
    """Count events that could not be taken."""
    WEBHOOK_EVENTS.labels(kind=kind, outcome="rejected").inc(rejected)


def count_failures(failures: Mapping[EventType, int]) -> None:
    """Count new failing events by type."""
    for kind, number in failures.items():
        SMTP_FAILURES.labels(type=kind.value).inc(number)
