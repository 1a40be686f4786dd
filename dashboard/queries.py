"""What the pages read beyond the floors' own queries; each function costs a fixed number of queries."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import cast

from django.db.models import Count, F

from reputation.models import AuditEntry, IpStanding, Override, SenderScore
from telemetry.counters import last_minutes
from telemetry.domain.cells import HOUR, floor_hour
from telemetry.domain.vocab import VolumeReporting
from telemetry.domain.window import Outcomes
from telemetry.models import RejectedEvent, SendingEvent
from telemetry.queries import outcomes_by, refusals_by, volume_reporting

DAY = timedelta(hours=24)
# Past this many rejected events the exact number helps nobody, and counting them would cost.
REJECTED_COUNTED = 1000
# The classification of events that a page's button made.
TEST_MARK = "test event"


@dataclass(frozen=True, slots=True)
class HourOfTraffic:
    """What happened in one hour; `sent` is None where a source reported failures only."""

    start: datetime
    outcomes: Outcomes
    sent: int | None


@dataclass(frozen=True, slots=True)
class RefusalSum:
    """Refused attempts that share a mailbox provider, a code and a cause."""

    provider: str
    code: str
    cause: str
    count: int


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
    return list(AuditEntry.objects.filter(at__gte=since).order_by("-at", "-id")[:limit])


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


def hours_of_ip(ip: str, *, now: datetime) -> list[HourOfTraffic]:
    """The traffic of one sending IP in the last 24 clock hours (UTC), the running one included."""
    first, end = _clock_hours(now)
    # The bucket is named again beside the key's range, so that the index by IP and time can serve.
    only = {"sending_ip": ip, "bucket__gte": first, "bucket__lt": end}
    found = outcomes_by(("bucket", "source_id"), start=first, end=end, only=only)
    sums = cast("dict[tuple[datetime, int], Outcomes]", found)
    complete = _complete_sources(sums)
    outcomes: dict[datetime, Outcomes] = defaultdict(Outcomes)
    incomplete: set[datetime] = set()
    for (bucket, source), values in sums.items():
        hour = floor_hour(bucket)
        outcomes[hour] += values
        if source not in complete and values.sent:
            incomplete.add(hour)
    return [
        HourOfTraffic(hour, outcomes[hour], None if hour in incomplete else outcomes[hour].sent)
        for hour in (first + index * HOUR for index in range(24))
    ]


def _clock_hours(now: datetime) -> tuple[datetime, datetime]:
    return floor_hour(now) - 23 * HOUR, last_minutes(now, DAY)[1]


def _complete_sources(sums: dict[tuple[datetime, int], Outcomes]) -> set[int]:
    """The sources whose events of this IP are its whole traffic, by the rule of `VolumeReporting`."""
    reporting = volume_reporting()
    delivering = {source for (_, source), values in sums.items() if values.delivered}
    return {
        source
        for _, source in sums
        if reporting.get(source, VolumeReporting.AUTO).is_whole_traffic(delivered=source in delivering)
    }


def refusals_by_provider(ip: str, *, now: datetime) -> list[RefusalSum]:
    """Refused attempts of one IP over the last 24 hours by provider, code and cause, most frequent first."""
    start, end = last_minutes(now, DAY)
    sums = refusals_by(("provider", "code", "cause"), ip, start=start, end=end)
    ordered = sorted(sums.items(), key=lambda item: (-item[1], item[0]))
    return [RefusalSum(provider, code, cause, count) for (provider, code, cause), count in ordered if count > 0]
