"""The comparison of servers' counters with what arrived, as people and the API read it.

What is younger than five minutes is left out: the server may still be sending it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from datetime import datetime
from itertools import groupby

from django.db.models import Max, Min, Sum

from telemetry.completeness import added, line_of
from telemetry.domain.cells import DAY, floor_day, floor_hour
from telemetry.domain.completeness import SETTLED_AFTER, Line
from telemetry.models import CompletenessReading

DAYS_SHOWN = 30
_SUMS = ("server_delivered", "server_refused", "server_bounced", "arrived_delivered", "arrived_failed")


def by_hour(source_id: int, *, now: datetime) -> list[Line]:
    """The last 24 clock hours of a source with a reading, newest first."""
    return _grouped(source_id, floor_hour(now) - 23 * DAY / 24, floor_hour, now)


def by_day(source_id: int, *, now: datetime) -> list[Line]:
    """The last 30 days (UTC) of a source with a reading, newest first."""
    return _grouped(source_id, floor_day(now) - (DAYS_SHOWN - 1) * DAY, floor_day, now)


def last_day(source_ids: Collection[int], *, now: datetime) -> dict[int, Line]:
    """The last 24 hours of each source that has a reading in them, in one query."""
    rows = CompletenessReading.objects.filter(
        source_id__in=list(source_ids), start__gte=now - DAY, end__lte=now - SETTLED_AFTER
    )
    sums = rows.values_list("source_id").annotate(Min("start"), Max("end"), *(Sum(name) for name in _SUMS))
    # A boolean has no maximum on PostgreSQL.
    restarted = set(rows.filter(restarted=True).order_by().values_list("source_id", flat=True).distinct())
    return {
        source_id: Line(start, end, **dict(zip(_SUMS, map(int, values), strict=True)), restarted=source_id in restarted)
        for source_id, start, end, *values in sums.order_by()
    }


def _grouped(source_id: int, since: datetime, floor: Callable[[datetime], datetime], now: datetime) -> list[Line]:
    rows = CompletenessReading.objects.filter(
        source_id=source_id, start__gte=since, end__lte=now - SETTLED_AFTER
    ).order_by("-start")
    return [added(line_of(row) for row in group) for _, group in groupby(rows, key=lambda row: floor(row.start))]
