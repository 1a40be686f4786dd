"""The day partitions of the raw events on PostgreSQL: made ahead, dropped when their time is over.

Ingest never waits for this: a day that has no partition goes to the DEFAULT, and locks that stand in ingest's way are
waited for very shortly and tried for again later.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial
from typing import TypeVar

import psycopg
from django.db import OperationalError, transaction

from telemetry import sql
from telemetry.domain.cells import floor_day

log = logging.getLogger(__name__)
T = TypeVar("T")

DAY = timedelta(days=1)
# A week: that long may nobody look after the house before events go to the DEFAULT.
DAYS_AHEAD = 7
# So many rows move out of the DEFAULT in one transaction, in which ingest into it waits; what lies there in greater
# numbers stays, is found all the same, and goes in batches when its time is over.
MOST_MOVED = 10_000
MOST_DAYS_MOVED = 10
# Ingest waits behind whoever waits for a lock: hence a short while, and again later.
PATIENCE_MS = 40
TRIES = 50
PAUSE_SECONDS = 0.2


class _BusyError(Exception):
    """The lock was not to be had: somebody reads or writes what should change, all the time (a dump, say)."""


def create_ahead(*, now: datetime, days: int = DAYS_AHEAD) -> int:
    """Make the partitions of today and of the next days, and of days whose rows lie in the DEFAULT; how many were made.

    May run twice at once. Does nothing on SQLite. What cannot be locked is left for the next run.
    """
    if not sql.are_partitioned():
        return 0
    today = floor_day(now)
    wanted = [today + number * DAY for number in range(days + 1)]
    stray = [day for day in sql.rest_days(MOST_DAYS_MOVED) if day < today]
    made = 0
    try:
        known = sql.parts()
        for day in [*wanted, *stray]:
            if not _covered(day, known):
                made += _patiently(partial(_create, day))
    except _BusyError as error:
        log.warning("no partitions made ahead: %s", error)
    return made


def missing(*, now: datetime) -> bool:
    """Whether tomorrow has no partition yet. False where there are none at all."""
    return sql.are_partitioned() and not _covered(floor_day(now) + DAY, sql.parts())


def drop_old(*, now: datetime, passing: timedelta, failing: timedelta) -> dict[str, int]:
    """Drop the parts of days that ended longer ago than their kind is kept; rows that went, by kind.

    A row is thus kept up to a day longer than its time. May be stopped anywhere. What cannot be locked is left for the
    next run. Does nothing on SQLite.
    """
    removed = {"passing": 0, "failing": 0}
    keep = {"passing": passing, "failing": failing}
    try:
        for part in sql.parts() if sql.are_partitioned() else []:
            for kind, rows in _drop_due(part, {kind for kind in keep if part.end <= now - keep[kind]}).items():
                removed[kind] += rows
    except _BusyError as error:
        log.warning("old events stay for now: %s", error)
    return removed


def mixed() -> list[str]:
    """The tables from which rows must be deleted one by one, because they hold more than one day and kind."""
    if not sql.are_partitioned():
        return [sql.EVENTS]
    return [sql.REST, *(part.name for part in sql.parts() if not part.whole_day)]


def _create(day: datetime) -> bool:
    if _covered(day, sql.parts()):
        return False
    made = sql.create_day(day, MOST_MOVED)
    if not made:
        log.warning("events of a day stay in the default partition: too many to move", extra={"day": f"{day:%F}"})
    return made


def _covered(day: datetime, parts: list[sql.Part]) -> bool:
    return any(part.end == day + DAY if part.whole_day else day < part.end for part in parts)


def _drop_due(part: sql.Part, due: set[str]) -> dict[str, int]:
    """Drop what is due of a part; rows that went, by kind."""
    if due == {"passing", "failing"}:
        tables = {kind: part.leaf(kind) for kind in part.leaves} if part.whole_day else {"failing": part.name}
        rows = {kind: sql.rows_in(table) for kind, table in tables.items()}
        _patiently(partial(sql.drop, part.name))
        return rows
    if not part.whole_day:
        return {}
    return {kind: _remove_leaf(part.leaf(kind), stays=kind == "failing") for kind in due & part.leaves}


def _remove_leaf(table: str, *, stays: bool) -> int:
    """Remove one part of a day. The DEFAULT stays, emptied, so that the day takes whatever a wrong clock may date."""
    rows = sql.rows_in(table)
    if rows or not stays:
        _patiently(partial(sql.empty if stays else sql.drop, table))
    return rows


def _patiently(work: Callable[[], T]) -> T:
    for _ in range(TRIES):
        try:
            with transaction.atomic():
                sql.take_turn(PATIENCE_MS)
                return work()
        except OperationalError as error:
            if not isinstance(error.__cause__, psycopg.errors.LockNotAvailable):
                raise
            time.sleep(PAUSE_SECONDS)
    raise _BusyError(f"no lock within {TRIES} tries of {PATIENCE_MS} ms")
