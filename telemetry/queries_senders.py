"""Who sends by whom, and what their mail was refused for: sums of counters of one sender."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from datetime import datetime
from typing import Any, Final

from django.db.models import QuerySet, Sum

from telemetry.domain.cells import first_key
from telemetry.domain.vocab import UNKNOWN_IP
from telemetry.models import RefusalHour, RefusalMinute, TrafficHour, TrafficMinute
from telemetry.queries import pieces

_COLUMN: Final = {"ip": "sending_ip", "domain": "sending_domain"}
_OTHER: Final = {"ip": "sending_domain", "domain": "sending_ip"}
_NOBODY: Final = ("", UNKNOWN_IP)


def partners(kind: str, name: str, *, start: datetime, end: datetime, limit: int) -> list[str]:
    """The IPs by which a sending domain sends in [start, end), or the domains that send by an IP, the busiest first."""
    found: Counter[str] = Counter()
    for rows in _rows(TrafficMinute, TrafficHour, kind, name, start, end):
        sums = rows.values_list(_OTHER[kind]).annotate(Sum("delivered"), Sum("bounced"), Sum("deferred"))
        for other, *attempts in sums.order_by():
            found[other] += sum(int(count) for count in attempts)
    return [other for other, count in found.most_common() if count > 0 and other not in _NOBODY][:limit]


def refused_by_cause(kind: str, name: str, *, start: datetime, end: datetime) -> dict[str, int]:
    """Refused attempts of one sender in [start, end), by cause."""
    found: Counter[str] = Counter()
    for rows in _rows(RefusalMinute, RefusalHour, kind, name, start, end):
        for cause, count in rows.values_list("cause").annotate(Sum("count")).order_by():
            found[cause] += int(count)
    return {cause: count for cause, count in found.items() if count > 0}


def has_traffic(kind: str, name: str, *, start: datetime, end: datetime) -> bool:
    """Whether a sender sent anything in [start, end)."""
    return any(rows.exists() for rows in _rows(TrafficMinute, TrafficHour, kind, name, start, end))


def senders_refused(kind: str, *, causes: Collection[str], start: datetime, least: int) -> list[str]:
    """The senders with at least so many refusals for one of the causes since that moment, the most refused first."""
    rows = RefusalMinute.objects.filter(id__gte=first_key(start), cause__in=list(causes))
    column = _COLUMN[kind]
    sums = rows.exclude(**{column: UNKNOWN_IP if kind == "ip" else ""}).values_list(column).annotate(total=Sum("count"))
    return [name for name, _ in sums.filter(total__gte=least).order_by("-total", column)]


def _rows(minutes: Any, hours: Any, kind: str, name: str, start: datetime, end: datetime) -> list[QuerySet[Any]]:
    """Rows of one sender in whichever tables hold that time, the latest first."""
    found = []
    for table, begin, finish in reversed(pieces(start, end, minutes=minutes, hours=hours)):
        # The key's range beside the bucket: the one serves the minutes, which have no index by domain.
        within = {"id__gte": first_key(begin), "id__lt": first_key(finish)}
        rows = table.objects.filter(**within, **{_COLUMN[kind]: name}, bucket__gte=begin, bucket__lt=finish)
        found.append(rows)
    return found
