"""How long things are kept, and the nightly clean-up in bounded batches."""

from __future__ import annotations

import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from django.utils import timezone

from telemetry import partitions, sql
from telemetry.domain.cells import day_number, first_key, floor_day, floor_hour, floor_minute
from telemetry.domain.vocab import EventType
from telemetry.models.counters import RollupMark
from telemetry.models.housekeeping import RetentionPolicy

DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Kept:
    """One row of the policy table as it is first made: product.md, "Retention"."""

    what: str
    title: str
    keep: timedelta
    at_least: timedelta = timedelta(0)


DEFAULTS = (
    Kept("events_passing", "Raw events: deliveries and deferrals", 30 * DAY),
    Kept("events_failing", "Raw events: bounces and complaints", 90 * DAY),
    # The longest retry we know of is a durable log hook that gives up after seven days.
    Kept("receipts", "Dedup receipts and states of deferred messages", 7 * DAY, 7 * DAY),
    Kept("rejected", "Rejected events, mails that are no report", 30 * DAY),
    Kept("counters_minute", "Counters by minute", timedelta(hours=48), timedelta(hours=26)),
    Kept("counters_hour", "Counters by hour", 90 * DAY, 2 * DAY),
    Kept("counters_day", "Counters by day", 730 * DAY),
    Kept("volumes", "Reported volumes", 90 * DAY, DAY),
    Kept("access", "Access log: logins, tokens, who was kept out", 400 * DAY),
    Kept("history", "Reputation history, actions, audit log", 730 * DAY),
)
# A batch is one short transaction: ingest waits for it on SQLite, and a stop loses no more than one.
# SQLite: so short that ingest hardly notices (bench/cleanup.py); PostgreSQL: so that a commit is worth its while.
BATCH = 200
BATCH_ON_POSTGRES = 2_000
# The clean-up rests this many times as long as a batch took: on SQLite for the one lock that all writers share, on
# PostgreSQL for processors and disk.
PAUSE_RATIO_ON_SQLITE, PAUSE_RATIO_ON_POSTGRES = 4.0, 1.0
MOST_PAUSE_SECONDS = 0.5
# On PostgreSQL a batch looks at this many blocks at most (1 MB).
BLOCKS = 128
_FIRST = datetime(1970, 1, 1, tzinfo=UTC)
_NO_KEY = uuid.UUID(int=0)
# How long a value read from the policy table is believed, in seconds.
_BELIEVED = 60.0
_cache: dict[str, tuple[float, timedelta]] = {}


def keeps(what: str) -> timedelta:
    """How long this kind of data is kept; read from the policy table at most once a minute per process."""
    now = time.monotonic()
    cached = _cache.get(what)
    if cached is not None and now - cached[0] < _BELIEVED:
        return cached[1]
    found = RetentionPolicy.objects.filter(pk=what).values_list("keep", flat=True).first()
    keep = found if found is not None else next(entry.keep for entry in DEFAULTS if entry.what == what)
    _cache[what] = (now, keep)
    return keep


def forget_cached() -> None:
    """Read the policy table anew; called when a row is saved."""
    _cache.clear()


def ensure_policies() -> None:
    """Make the rows that are missing, leaving what an operator set; runs after every migration."""
    RollupMark.objects.get_or_create(pk=1, defaults={"rolled_up_to": _FIRST})
    for entry in DEFAULTS:
        RetentionPolicy.objects.get_or_create(
            what=entry.what, defaults={"title": entry.title, "keep": entry.keep, "at_least": entry.at_least}
        )


def clean_up(*, now: datetime, batch: int | None = None) -> dict[str, int]:
    """Delete what is past its time, batch by batch; how many rows went, by kind. May be stopped at any point.

    On PostgreSQL raw events go by whole days, which are dropped.
    """
    forget_cached()
    batch = batch or (BATCH_ON_POSTGRES if sql.on_postgres() else BATCH)
    dropped = partitions.drop_old(now=now, passing=keeps("events_passing"), failing=keeps("events_failing"))
    removed = {"events_passing": dropped["passing"], "events_failing": dropped["failing"]}
    for what, sweeps in _plan(now).items():
        removed[what] = removed.get(what, 0) + sum(_sweep(sweep, batch) for sweep in sweeps)
        RetentionPolicy.objects.filter(pk=what).update(last_run_at=timezone.now(), last_removed=removed[what])
    return removed


@dataclass(frozen=True, slots=True)
class _Sweep:
    """Rows of a table that are to go."""

    table: str
    condition: str
    parameters: Sequence[Any]
    by: str = ""
    """A column with an index, in whose order to go through the table."""
    start: Any = None
    """Where to begin in that order."""
    blocks: bool = False
    """Whether, on PostgreSQL, to go through the table block by block instead."""


def _plan(now: datetime) -> dict[str, list[_Sweep]]:
    """What to delete, by kind."""
    rolled_up_to = RollupMark.objects.values_list("rolled_up_to", flat=True).get(pk=1)
    # Minutes that are not in the hours yet stay, however old: deleting them would lose their counts.
    minutes = min(floor_minute(now - keeps("counters_minute")), rolled_up_to)

    def counters(level: str, before: datetime) -> list[_Sweep]:
        return [
            _Sweep(f"telemetry_{kind}{level}", "id < %s", [first_key(before)], by="id", start=first_key(_FIRST))
            for kind in ("traffic", "refusal")
        ]

    def events(what: str, *kinds: EventType) -> list[_Sweep]:
        condition = f"type IN ({', '.join(repr(kind.value) for kind in kinds)}) AND received_at < %s"
        return [
            _Sweep(table, condition, [now - keeps(what)], by="received_at", start=_FIRST, blocks=True)
            for table in partitions.mixed()
        ]

    def older(table: str, column: str, what: str) -> _Sweep:
        return _Sweep(f"telemetry_{table}", f"{column} < %s", [now - keeps(what)])

    return {
        "events_passing": events("events_passing", EventType.DELIVERY, EventType.DEFER),
        "events_failing": events("events_failing", EventType.BOUNCE, EventType.COMPLAINT),
        "receipts": [
            _Sweep(
                "telemetry_receipt", "received_on < %s", [day_number(now - keeps("receipts"))], "key", _NO_KEY, True
            ),
            _Sweep("telemetry_messagestate", "updated_at < %s", [now - keeps("receipts")], "updated_at", _FIRST, True),
        ],
        "rejected": [
            older("rejectedevent", "received_at", "rejected"),
            older("unknownreport", "received_at", "rejected"),
        ],
        "access": [_Sweep("telemetry_accessrecord", "at < %s", [now - keeps("access")], "at", _FIRST)],
        "volumes": [older("volumereport", '"end"', "volumes")],
        "counters_minute": counters("minute", minutes),
        "counters_hour": counters("hour", floor_hour(now - keeps("counters_hour"))),
        "counters_day": counters("day", floor_day(now - keeps("counters_day"))),
    }


def _sweep(sweep: _Sweep, batch: int) -> int:
    """Delete the rows of a sweep in batches, each a short transaction, and let others in between."""
    if sweep.blocks and sql.on_postgres():
        return _sweep_blocks(sweep, batch)
    total, position, more = 0, sweep.start, True
    while more:
        began = time.monotonic()
        if sweep.by:
            removed, position = sql.delete_in_order(
                sweep.table, sweep.by, position, sweep.condition, sweep.parameters, batch
            )
        else:
            removed = sql.delete_some(sweep.table, sweep.condition, sweep.parameters, batch)
        total, more = total + removed, removed >= batch
        if more:
            _let_others_in(began)
    return total


def _sweep_blocks(sweep: _Sweep, batch: int) -> int:
    total, blocks = 0, sql.block_count(sweep.table)
    for first in range(0, blocks, BLOCKS):
        more = True
        while more:
            began = time.monotonic()
            removed = sql.delete_blocks(sweep.table, first, first + BLOCKS, sweep.condition, sweep.parameters, batch)
            total, more = total + removed, removed >= batch
            if removed:
                _let_others_in(began)
    return total


def _let_others_in(began: float) -> None:
    """Rest after a batch. On SQLite whoever waits for the lock looks again in steps: leave gaps that are found."""
    ratio = PAUSE_RATIO_ON_POSTGRES if sql.on_postgres() else PAUSE_RATIO_ON_SQLITE
    time.sleep(min((time.monotonic() - began) * ratio, MOST_PAUSE_SECONDS))
