"""Sums over all senders and over long stretches: what people look at when they compare a whole fleet."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from django.db.models import Sum

from telemetry.counters import rolled_up_to
from telemetry.domain.cells import DAY, ceil_to, first_key, floor_day
from telemetry.domain.window import Outcomes
from telemetry.models import RefusalHour, RefusalMinute, TrafficDay, TrafficHour, TrafficMinute
from telemetry.queries import outcomes_in, pieces


def outcomes_over(dimensions: Sequence[str], *, start: datetime, end: datetime) -> dict[tuple[str, ...], Outcomes]:
    """As `outcomes_by`, for stretches of many days: whole days are read from the day counters.

    Minutes are kept 48 hours and hours 90 days, so a long stretch should begin on a whole hour.
    """
    return outcomes_in(_stretches(start, end), dimensions, None)


def _stretches(start: datetime, end: datetime) -> list[tuple[Any, datetime, datetime]]:
    finer = {"minutes": TrafficMinute, "hours": TrafficHour}
    first_day, last_day = ceil_to(start, DAY), min(floor_day(end), floor_day(rolled_up_to()))
    if last_day <= first_day:
        return pieces(start, end, **finer)
    before = pieces(start, first_day, **finer) if start < first_day else []
    after = pieces(last_day, end, **finer) if last_day < end else []
    return [*before, (TrafficDay, first_day, last_day), *after]


def refusals_at(
    provider: str, dimensions: Sequence[str], *, start: datetime, end: datetime
) -> Counter[tuple[str, ...]]:
    """Refused attempts of all senders at one mailbox provider in [start, end) by the given dimensions."""
    found: Counter[tuple[str, ...]] = Counter()
    for table, begin, finish in pieces(start, end, minutes=RefusalMinute, hours=RefusalHour):
        rows = table.objects.filter(id__gte=first_key(begin), id__lt=first_key(finish), provider=provider).order_by()
        for row in rows.values_list(*dimensions).annotate(Sum("count")):
            found[tuple(row[:-1])] += int(row[-1])
    return found
