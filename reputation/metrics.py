"""Prometheus metrics of this floor. Gauges are read from the database at scrape time: every process says the same."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from django.conf import settings
from django.db.models import Count, Min
from django.utils import timezone
from prometheus_client import Counter, Histogram
from prometheus_client.core import GaugeMetricFamily, Metric

from reputation.domain.policy import Status
from telemetry.metric_state import offer, offer_queue

STATUS_CHANGES = Counter("ip_status_changes", "Automatic status changes of sending IPs.", ["previous", "new"])
RUNS = Counter("aggregation_runs", "Scoring runs, by what they scored and how they ended.", ["what", "outcome"])
RUN_SECONDS = Histogram(
    "aggregation_run_seconds",
    "Duration of scoring runs.",
    ["what"],
    buckets=(0.01, 0.05, 0.1, 0.25, 0.5, 1, 2, 5, 15, 60),
)
# The latest revisions of policies whose changes were judged.
MOST_REVISIONS = 5


def standings() -> Iterator[Metric]:
    """Each sending IP's status (0 healthy to 3 blacklisted) and rejection ratio, worst first up to a bound."""
    from reputation.models import IpStanding

    status = GaugeMetricFamily(
        "ip_reputation_status", "0 healthy, 1 warning, 2 quarantine, 3 blacklisted.", labels=["ip"]
    )
    ratio = GaugeMetricFamily("ip_rejection_ratio", "Rejected / sent in the last window, 0 to 1.", labels=["ip"])
    rows = IpStanding.objects.order_by("-severity", "sending_ip").values_list(
        "sending_ip", "severity", "rejection_ratio"
    )
    for ip, severity, value in rows[: settings.METRICS_MOST_IPS]:
        status.add_metric([ip], severity)
        if value is not None:
            ratio.add_metric([ip], value)
    yield from (status, ratio)
    counted = dict(IpStanding.objects.order_by().values_list("status").annotate(Count("pk")))
    fleet = GaugeMetricFamily("sending_ips", "Sending IPs by status.", labels=["status"])
    for word in Status:
        fleet.add_metric([word.value], counted.get(word.value, 0))
    yield fleet


def scores() -> Iterator[Metric]:
    """The score of the worst sending IPs and domains with recent mail, and how many there are."""
    from reputation.models import SenderScore

    recent = SenderScore.objects.filter(provider="", has_recent_mail=True)
    gauge = GaugeMetricFamily(
        "sender_score", "Score of the worst senders over 24 hours, 0 to 100.", labels=["kind", "sender"]
    )
    for kind, most in (("ip", settings.METRICS_MOST_IPS), ("domain", settings.METRICS_MOST_DOMAINS)):
        rows = recent.filter(kind=kind, score__isnull=False).order_by("score", "name").values_list("name", "score")
        for name, score in rows[:most]:
            gauge.add_metric([kind, name], float(score or 0))
    yield gauge
    counted = dict(recent.order_by().values_list("kind").annotate(Count("pk")))
    senders = GaugeMetricFamily("active_senders", "Senders with mail in the last 24 hours.", labels=["kind"])
    for kind in ("ip", "domain"):
        senders.add_metric([kind], counted.get(kind, 0))
    yield senders


def verdicts() -> Iterator[Metric]:
    """What people said of automatic changes of the last 30 days."""
    from reputation.judgements import by_revision, false_alarms

    now = timezone.now()
    judged = GaugeMetricFamily(
        "judged_changes", "Automatic changes of the last 30 days that people judged.", labels=["action", "verdict"]
    )
    for row in false_alarms(now=now):
        judged.add_metric([row.action, "false_alarm"], row.false_alarms)
        judged.add_metric([row.action, "right"], row.judged - row.false_alarms)
    yield judged
    share = GaugeMetricFamily(
        "false_alarm_ratio",
        "False alarms / judged changes of status in the last 30 days, 0 to 1, by revision of the policy.",
        labels=["policy_revision"],
    )
    for revision, row in by_revision(now=now)[:MOST_REVISIONS]:
        if row.rate is not None:
            share.add_metric(["unknown" if revision is None else str(revision)], row.rate)
    yield share


def _oldest_alert(now: datetime) -> datetime | None:
    from reputation.models import AlertDelivery

    waiting = AlertDelivery.objects.filter(state=AlertDelivery.WAITING, due_at__lt=now)
    oldest: datetime | None = waiting.aggregate(oldest=Min("due_at"))["oldest"]
    return oldest


def _oldest_check(now: datetime) -> datetime | None:
    from reputation.blocklist_book import asked_lists
    from reputation.models import Listing

    due = Listing.objects.filter(blocklist__in=list(asked_lists()), due_at__lt=now)
    oldest: datetime | None = due.aggregate(oldest=Min("due_at"))["oldest"]
    return oldest


def _oldest_audit(now: datetime) -> datetime | None:
    from reputation.models import AuditTarget

    due = AuditTarget.objects.filter(due_at__lt=now)
    oldest: datetime | None = due.aggregate(oldest=Min("due_at"))["oldest"]
    return oldest


def register() -> None:
    """Offer the gauges."""
    for read in (standings, scores, verdicts):
        offer(read)
    offer_queue("alert deliveries", _oldest_alert)
    offer_queue("blocklist checks", _oldest_check)
    offer_queue("audits", _oldest_audit)
