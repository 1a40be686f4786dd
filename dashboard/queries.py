"""What the pages read beyond the floors' own queries; each function costs a fixed number of queries."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime, timedelta
from typing import cast

from django.db.models import Count, F

from reputation.models import AuditEntry, Breaker, IpStanding, Override, SenderScore
from telemetry.counters import last_minutes
from telemetry.domain.cells import HOUR, floor_hour
from telemetry.domain.window import Outcomes
from telemetry.models import RejectedEvent, SendingEvent
from telemetry.queries import outcomes_by

DAY = timedelta(hours=24)
# Past this many rejected events the exact number helps nobody, and counting them would cost.
REJECTED_COUNTED = 1000
# The classification of events that a page's button made.
TEST_MARK = "test event"


def counts_by_status() -> dict[str, int]:
    """How many sending IPs have each status."""
    return dict(IpStanding.objects.order_by().values_list("status").annotate(Count("pk")))


def worst_ips(limit: int) -> list[IpStanding]:
    """Current standings, the worst first, on both databases alike (they disagree on where an empty ratio sorts)."""
    order = ("-severity", F("rejection_ratio").desc(nulls_last=True), "-total_rejected", "sending_ip")
    return list(IpStanding.objects.order_by(*order)[:limit])


def overrides_in_force(ips: Collection[str], *, now: datetime) -> dict[str, Override]:
    """The override in force of each of the IPs that has one."""
    rows = Override.objects.filter(sending_ip__in=list(ips), ended_at__isnull=True).select_related("created_by")
    return {row.sending_ip: row for row in rows if row.expires_at is None or row.expires_at > now}


def changes(*, since: datetime, limit: int) -> list[AuditEntry]:
    """Audit rows from that moment on, newest first."""
    rows = AuditEntry.objects.filter(at__gte=since).select_related("judgement")
    return list(rows.order_by("-at", "-id")[:limit])


def changes_of(kind: str, name: str, *, limit: int | None = None) -> list[AuditEntry]:
    """What was done to an IP, or about a domain and its breakers, newest first."""
    rows = AuditEntry.objects.select_related("judgement").order_by("-at", "-id")
    if kind == "ip":
        return list(rows.filter(sending_ip=name)[:limit])
    scopes = {str(row.scope) for row in Breaker.objects.filter(kind=kind, sender=name)}
    return list(rows.filter(sending_ip=None, subject__in=sorted({name, *scopes}))[:limit])


def scores_of(kind: str, name: str) -> list[SenderScore]:
    """The overall score of a sender first, then those by mailbox provider, busiest first."""
    rows = SenderScore.objects.filter(kind=kind, name=name)
    return sorted(rows, key=lambda row: (row.provider != "", -(row.delivered + row.bounced), row.provider))


def has_events() -> bool:
    """Whether anything but test events was ever reported and is still kept."""
    return SendingEvent.objects.exclude(classification=TEST_MARK).order_by().exists()


def rejected_waiting() -> int:
    """Rejected events that nobody has replayed, counted up to `REJECTED_COUNTED` + 1."""
    waiting = RejectedEvent.objects.filter(replayed_at__isnull=True).order_by()
    return waiting[: REJECTED_COUNTED + 1].count()


def hours_of_all(*, now: datetime) -> dict[datetime, Outcomes]:
    """All traffic of the last 24 clock hours (UTC), the running one included, by hour."""
    first, end = _clock_hours(now)
    hours = {first + index * HOUR: Outcomes() for index in range(24)}
    sums = cast("dict[tuple[datetime], Outcomes]", outcomes_by(("bucket",), start=first, end=end))
    for (bucket,), values in sums.items():
        hours[floor_hour(bucket)] += values
    return hours


def _clock_hours(now: datetime) -> tuple[datetime, datetime]:
    return floor_hour(now) - 23 * HOUR, last_minutes(now, DAY)[1]
