"""What people look at: standings with what belongs beside them, the fleet, the changes of a day."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db.models import Count, F, Max, Q, QuerySet

from reputation.domain.policy import Status
from reputation.models import AuditEntry, IpStanding, Override, Pool, SenderScore, SendingIP

# Both databases alike: they disagree on where an empty ratio sorts.
WORST_FIRST = ("-severity", F("rejection_ratio").desc(nulls_last=True), "-total_rejected", "sending_ip")
LATELY = timedelta(hours=24)


@dataclass(frozen=True, slots=True)
class Fleet:
    """All sending IPs at a glance."""

    computed_at: datetime | None
    """When the latest standing was computed; None before the first."""
    counts: dict[str, int]
    """Sending IPs by status, every status named."""
    changes: list[AuditEntry]


def fleet(*, now: datetime, most_changes: int) -> Fleet:
    """Counts by status, and the status changes of the last 24 hours, newest first."""
    counted = dict(IpStanding.objects.order_by().values_list("status").annotate(Count("pk")))
    rows = AuditEntry.objects.filter(at__gte=now - LATELY).select_related("judgement")
    changes = rows.exclude(sending_ip=None).exclude(previous=F("new"))
    return Fleet(
        computed_at=IpStanding.objects.aggregate(latest=Max("computed_at"))["latest"],
        counts={status.value: counted.get(status.value, 0) for status in Status},
        changes=list(changes.order_by("-at", "-id")[:most_changes]),
    )


def in_pool(rows: QuerySet[IpStanding], pool: Pool) -> QuerySet[IpStanding]:
    """Standings of the IPs that this pool's policy judges: the default pool's are all that are in no other."""
    if pool.is_default:
        return rows.exclude(sending_ip__in=SendingIP.objects.exclude(Q(pool=None) | Q(pool=pool)).values("ip"))
    return rows.filter(sending_ip__in=SendingIP.objects.filter(pool=pool).values("ip"))


def matching(rows: QuerySet[IpStanding], text: str) -> QuerySet[IpStanding]:
    """Standings whose IP or label holds this text."""
    labelled = SendingIP.objects.filter(label__icontains=text).values("ip")
    return rows.filter(Q(sending_ip__icontains=text) | Q(sending_ip__in=labelled))


def with_surroundings(rows: Collection[IpStanding]) -> list[IpStanding]:
    """The rows, each with `place` (the SendingIP or None), `override` (in force, or None) and `score` (or None).

    Three queries whatever the number of rows.
    """
    ips = [row.sending_ip for row in rows]
    places = SendingIP.objects.select_related("pool").in_bulk(ips)
    overrides = {
        row.sending_ip: row
        for row in Override.objects.filter(sending_ip__in=ips, ended_at=None).select_related("created_by")
    }
    scores = {row.name: row for row in SenderScore.objects.filter(kind="ip", provider="", name__in=ips)}
    for row in rows:
        row.place = places.get(row.sending_ip)  # type: ignore[attr-defined]
        row.override = overrides.get(row.sending_ip)  # type: ignore[attr-defined]
        row.score = scores.get(row.sending_ip)  # type: ignore[attr-defined]
    return list(rows)


def provider_scores(kind: str, name: str) -> list[SenderScore]:
    """The scores of a sender by mailbox provider, busiest first."""
    rows = SenderScore.objects.filter(kind=kind, name=name).exclude(provider="")
    return sorted(rows, key=lambda row: (-(row.delivered + row.bounced), row.provider))
