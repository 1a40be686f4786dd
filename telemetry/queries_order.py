"""What came after what: a sender's last deliveries and last refusals at a mailbox provider.

Counters know how many and not in which order, so this is the one place where raw events are read to decide: a handful
of the newest failures of one sender, by the partial indexes over failures, a few hours back at most. What counters can
answer is asked of them first.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from django.db.models import Max, Q, QuerySet, Sum

from telemetry.domain.cells import MINUTE, first_key, floor_minute
from telemetry.domain.vocab import UNKNOWN_IP, EventType
from telemetry.models import RefusalMinute, SendingEvent, TrafficMinute

# The counters' column of each kind of sender, and the name that stands for nobody.
SENDER_COLUMN: Final = {"ip": "sending_ip", "domain": "sending_domain"}
NOBODY: Final = {"ip": UNKNOWN_IP, "domain": ""}
Pair = tuple[str, str]
"""(sender, mailbox provider)"""


@dataclass(frozen=True, slots=True)
class Refusal:
    """One refused attempt, as far as its cause can be told from it."""

    at: datetime
    source_id: int
    smtp_code: int | None
    enhanced_code: str
    reply: str
    cause: str


def failures_lately(ips: Collection[str], *, since: datetime) -> list[tuple[str, str, str, int, int]]:
    """What failed of the sending IPs since that moment: (IP, domain, provider, bounced, complained), deferrals too."""
    rows = _minutes(TrafficMinute, "ip", ips, since).filter(Q(bounced__gt=0) | Q(deferred__gt=0) | Q(complained__gt=0))
    columns = ("sending_ip", "sending_domain", "provider")
    return list(rows.values_list(*columns).annotate(Sum("bounced"), Sum("complained")).order_by())


def domains_touched(ips: Collection[str], domains: Collection[str], *, since: datetime) -> set[str]:
    """Those of the sending domains that had traffic by one of the IPs since that moment."""
    rows = _minutes(TrafficMinute, "ip", ips, since).filter(sending_domain__in=list(domains))
    return set(rows.values_list("sending_domain", flat=True).order_by().distinct())


def refusals_by_minute(
    kind: str, names: Collection[str] | None, *, causes: Collection[str], since: datetime
) -> dict[Pair, dict[datetime, int]]:
    """Refusals with one of the causes since that moment, by sender and provider and by minute."""
    rows = _minutes(RefusalMinute, kind, names, since).filter(cause__in=list(causes), count__gt=0)
    found: dict[Pair, dict[datetime, int]] = defaultdict(dict)
    columns = (SENDER_COLUMN[kind], "provider", "bucket")
    for name, provider, bucket, count in rows.values_list(*columns).annotate(Sum("count")).order_by():
        found[name, provider][bucket] = int(count)
    return dict(found)


def last_deliveries(kind: str, names: Collection[str] | None, *, since: datetime) -> dict[Pair, datetime]:
    """When each sender's last delivery to each provider was, if it was since that moment.

    Cells that were counted before there was a time of the last delivery say "at the minute's end".
    """
    rows = _minutes(TrafficMinute, kind, names, since).filter(delivered__gt=0)
    latest = (
        rows.values_list(SENDER_COLUMN[kind], "provider")
        .annotate(timed=Max("last_delivered_at"), untimed=Max("bucket", filter=Q(last_delivered_at=None)))
        .order_by()
    )
    return {
        (name, provider): max(moment for moment in (at, minute and minute + MINUTE) if moment is not None)
        for name, provider, at, minute in latest
    }


def latest_refusals(kind: str, pair: Pair, *, causes: Collection[str], since: datetime, limit: int) -> list[Refusal]:
    """The newest raw refusals of one sender at one provider with one of the causes, newest first."""
    name, provider = pair
    rows = SendingEvent.objects.filter(
        **{SENDER_COLUMN[kind]: name}, provider=provider, occurred_at__gte=since, cause__in=list(causes)
    ).exclude(type=EventType.DELIVERY)
    columns = ("occurred_at", "source_id", "smtp_code", "enhanced_code", "reply", "cause")
    return [Refusal(*row) for row in rows.order_by("-occurred_at").values_list(*columns)[:limit]]


def _minutes(table: Any, kind: str, names: Collection[str] | None, since: datetime) -> QuerySet[Any]:
    """Rows of a minute table from the minute of that moment on, of known senders."""
    column, start = SENDER_COLUMN[kind], floor_minute(since)
    # The bucket beside the key's range: the one serves the index by IP, the other a scan of a few minutes.
    rows = table.objects.filter(id__gte=first_key(start), bucket__gte=start)
    if names is None:
        return rows.exclude(**{column: NOBODY[kind]})  # type: ignore[no-any-return]
    return rows.filter(**{f"{column}__in": [name for name in names if name != NOBODY[kind]]})  # type: ignore[no-any-return]
