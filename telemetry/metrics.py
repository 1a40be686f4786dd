"""Prometheus metrics of this floor. Labels are words of our own and names of sources, never addresses or domains."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime

from django.db.models import Min
from django.utils import timezone
from prometheus_client import Counter, Gauge, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from telemetry.domain.vocab import EventType
from telemetry.metric_state import offer, offer_queue

WEBHOOK_EVENTS = Counter(
    "webhook_events", "Events taken in, by kind of source and what became of them.", ["kind", "outcome"]
)
SMTP_FAILURES = Counter("smtp_failures", "New failing events, by type.", ["type"])
INGEST_SECONDS = Histogram(
    "webhook_request_seconds",
    "Time to answer one request that carries events.",
    buckets=(0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10),
)
LANE_WAITING = Gauge("webhook_requests_waiting", "Requests that wait to be recorded.", multiprocess_mode="livesum")
LANE_REFUSED = Counter("webhook_requests_refused", "Requests told to try again, by why.", ["why"])
SOURCE_EVENTS = Counter("source_events", "Events recorded, by the source that reported them.", ["source"])
TASK_SECONDS = Histogram(
    "task_seconds",
    "Duration of periodic tasks in their turn.",
    ["task"],
    buckets=(0.01, 0.05, 0.1, 0.25, 0.5, 1, 2, 5, 15, 60, 300),
)
# Sources with a time series of their own; what others report is counted together.
MOST_SOURCES = 500
OTHER_SOURCES = "(others)"
_sources: set[str] = set()

SOURCE_REFUSED = Counter(
    "source_requests_refused", "Requests with a good source token that were refused: by address or by a limit.", ["why"]
)


def count_batch(source: str, kind: str, recorded: int, duplicates: int) -> None:
    """Count a committed batch."""
    if source not in _sources and len(_sources) < MOST_SOURCES:
        _sources.add(source)
    SOURCE_EVENTS.labels(source=source if source in _sources else OTHER_SOURCES).inc(recorded)
    WEBHOOK_EVENTS.labels(kind=kind, outcome="recorded").inc(recorded)
    WEBHOOK_EVENTS.labels(kind=kind, outcome="duplicate").inc(duplicates)


def count_rejected(kind: str, rejected: int) -> None:
    """Count events that could not be taken."""
    WEBHOOK_EVENTS.labels(kind=kind, outcome="rejected").inc(rejected)


def count_failures(failures: Mapping[EventType, int]) -> None:
    """Count new failing events by type."""
    for kind, number in failures.items():
        SMTP_FAILURES.labels(type=kind.value).inc(number)


def sources() -> Iterator[Metric]:
    """When each active source was last heard, and which share of its deliveries arrived."""
    from telemetry.completeness_lines import last_day
    from telemetry.models import Source

    rows = list(Source.objects.filter(is_active=True).order_by("name").values_list("pk", "name", "last_event_at"))
    rows = rows[:MOST_SOURCES]
    heard = GaugeMetricFamily(
        "source_last_event_timestamp_seconds",
        "When the last event of an active source came, in seconds since 1970.",
        labels=["source"],
    )
    arrived = GaugeMetricFamily(
        "source_arrived_ratio",
        "Deliveries that arrived / that the server itself counted in 24 hours, 0 to 1.",
        labels=["source"],
    )
    lines = last_day([pk for pk, _, _ in rows], now=timezone.now())
    for pk, name, last_event_at in rows:
        if last_event_at is not None:
            heard.add_metric([name], last_event_at.timestamp())
        if pk in lines and (share := lines[pk].delivered_share) is not None:
            arrived.add_metric([name], share)
    yield from (heard, arrived)


def tasks() -> Iterator[Metric]:
    """Runs and failures of each task that has turns, and when it last ended well."""
    from telemetry.models import Lease

    runs = CounterMetricFamily("task_runs", "Turns that periodic tasks began.", labels=["task"])
    failures = CounterMetricFamily("task_failures", "Turns of periodic tasks that failed.", labels=["task"])
    finished = GaugeMetricFamily(
        "task_last_success_timestamp_seconds",
        "When a periodic task last ended well, in seconds since 1970.",
        labels=["task"],
    )
    for row in Lease.objects.order_by("name"):
        runs.add_metric([row.name], row.runs)
        failures.add_metric([row.name], row.failures)
        if row.last_finished_at is not None:
            finished.add_metric([row.name], row.last_finished_at.timestamp())
    yield from (runs, failures, finished)


def _oldest_changed(now: datetime) -> datetime | None:
    from telemetry.models import ChangedSender

    oldest: datetime | None = ChangedSender.objects.aggregate(oldest=Min("noted_at"))["oldest"]
    return oldest


def _oldest_held(now: datetime) -> datetime | None:
    from telemetry.models import StalwartHeld

    due = StalwartHeld.objects.filter(due_at__lt=now)
    oldest: datetime | None = due.aggregate(oldest=Min("due_at"))["oldest"]
    return oldest


def _oldest_minute(now: datetime) -> datetime | None:
    from telemetry.counters import rolled_up_to
    from telemetry.domain.cells import first_key
    from telemetry.models import TrafficMinute

    mark = rolled_up_to()
    # A mark may be old where nothing came since.
    waiting = TrafficMinute.objects.filter(id__gte=first_key(mark), id__lt=first_key(now)).order_by("id")
    return waiting.values_list("bucket", flat=True).first()


def register() -> None:
    """Offer the gauges."""
    offer(sources)
    offer(tasks)
    offer_queue("changed senders", _oldest_changed)
    offer_queue("events of Stalwart", _oldest_held)
    offer_queue("counters", _oldest_minute)
