"""How the three levels of counters relate, and the roll-up that keeps them so.

Minutes are the truth while they are kept. The hour and day tables hold everything before the mark, and only that; the
roll-up moves the mark forward by adding the minutes it passes. An event that arrives for a minute before the mark goes
into minute, hour and day at once. All of it is addition under one lock order, so it stays exact whatever is late,
repeated or killed, and reading needs no guess: hours before the mark, minutes after it.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from django.db import transaction

from telemetry import sql
from telemetry.domain.cells import MINUTE, cell_key, first_key, floor_day, floor_hour, floor_minute
from telemetry.domain.fold import Horizons
from telemetry.models import RefusalMinute, RollupMark, TrafficMinute
from telemetry.retention import keeps

# Most events are here within two minutes; the few that come later are counted into all levels one by one.
ROLLUP_DELAY = timedelta(minutes=2)
# One transaction moves the mark by at most this much, so that ingest never waits long for the lock.
ROLLUP_STEP = timedelta(minutes=15)


def horizons(now: datetime) -> Horizons:
    """Where a bucket counts at this moment; the roll-up's mark stays where it is until the transaction ends."""
    return Horizons(
        rolled_up_to=sql.mark_for_counting(),
        minutes_from=now - keeps("counters_minute"),
        hours_from=floor_hour(now - keeps("counters_hour")),
        days_from=floor_day(now - keeps("counters_day")),
    )


def rolled_up_to() -> datetime:
    """The mark: hour and day tables are complete before it."""
    return RollupMark.objects.values_list("rolled_up_to", flat=True).get(pk=1)


def roll_up(*, now: datetime) -> int:
    """Move the mark to two minutes ago, in steps of their own transactions; how many minute rows were added up.

    May run twice at once or be killed anywhere: a step and its mark are one transaction.
    """
    target = floor_minute(now - ROLLUP_DELAY)
    rows = 0
    while (step := _roll_up_step(target)) is not None:
        rows += step
    return rows


def _roll_up_step(target: datetime) -> int | None:
    with transaction.atomic():
        sql.lock_for_rollup()
        mark = RollupMark.objects.select_for_update().get(pk=1)
        start = mark.rolled_up_to
        if start >= target:
            return None
        first = _first_minute(start, target)
        end = target if first is None else min(target, max(first, start) + ROLLUP_STEP)
        rows = _add_minutes(start, end)
        mark.rolled_up_to = end
        mark.save(update_fields=["rolled_up_to"])
        return rows


def _first_minute(start: datetime, end: datetime) -> datetime | None:
    found = [
        table.objects.filter(id__gte=first_key(start), id__lt=first_key(end))
        .order_by("id")
        .values_list("bucket")
        .first()
        for table in (TrafficMinute, RefusalMinute)
    ]
    return min((row[0] for row in found if row is not None), default=None)


def _add_minutes(start: datetime, end: datetime) -> int:
    rows = 0
    between = {"id__gte": first_key(start), "id__lt": first_key(end)}
    for table, columns, add in (
        (TrafficMinute, list(sql.TRAFFIC_COLUMNS), sql.add_traffic),
        (RefusalMinute, list(sql.REFUSAL_COLUMNS), sql.add_refusals),
    ):
        measures = 5 if table is TrafficMinute else 1
        for level, floor in (("hour", floor_hour), ("day", floor_day)):
            sums: dict[tuple[object, ...], list[int]] = {}
            for row in table.objects.filter(**between).values_list(*columns[1:]).order_by().iterator(chunk_size=5000):
                dimensions = (floor(row[0]), *row[1:-measures])
                total = sums.setdefault(dimensions, [0] * measures)
                for position, value in enumerate(row[-measures:]):
                    total[position] += value
                rows += level == "hour"
            if sums:
                add(level, [(cell_key(*cell), *cell, *total) for cell, total in sums.items()])
    return rows


def last_minutes(now: datetime, length: timedelta) -> tuple[datetime, datetime]:
    """The stretch of whole minute buckets of that length whose last one is the running minute."""
    end = floor_minute(now) + MINUTE
    return end - length, end
