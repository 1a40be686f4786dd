"""How long things are kept, and the nightly clean-up in bounded batches."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from django.utils import timezone

from telemetry import sql
from telemetry.domain.cells import first_key, floor_day, floor_hour, floor_minute
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
    Kept("history", "Reputation history, actions, audit log", 730 * DAY),
)
# A batch is one short transaction: ingest waits for it on SQLite, and a stop loses no more than one.
BATCH = 2_000
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
    RollupMark.objects.get_or_create(pk=1, defaults={"rolled_up_to": datetime(1970, 1, 1, tzinfo=UTC)})
    for entry in DEFAULTS:
        RetentionPolicy.objects.get_or_create(
            what=entry.what, defaults={"title": entry.title, "keep": entry.keep, "at_least": entry.at_least}
        )


def clean_up(*, now: datetime, batch: int = BATCH) -> dict[str, int]:
    """Delete what is past its time, batch by batch; how many rows went, by kind. May be stopped at any point."""
    forget_cached()
    removed: dict[str, int] = {}
    for what, steps in _plan(now).items():
        count = sum(_drain(table, condition, parameters, batch) for table, condition, parameters in steps)
        removed[what] = count
        RetentionPolicy.objects.filter(pk=what).update(last_run_at=timezone.now(), last_removed=count)
    return removed


def _plan(now: datetime) -> dict[str, list[tuple[str, str, list[Any]]]]:
    """What to delete: by kind, the tables with a condition and its parameters."""
    rolled_up_to = RollupMark.objects.values_list("rolled_up_to", flat=True).get(pk=1)
    # Minutes that are not in the hours yet stay, however old: deleting them would lose their counts.
    minutes = min(floor_minute(now - keeps("counters_minute")), rolled_up_to)

    def counters(level: str, before: datetime) -> list[tuple[str, str, list[Any]]]:
        return [(f"telemetry_{kind}{level}", "id < %s", [first_key(before)]) for kind in ("traffic", "refusal")]

    def older(table: str, column: str, what: str, also: str = "") -> tuple[str, str, list[Any]]:
        return (f"telemetry_{table}", f"{also}{column} < %s", [now - keeps(what)])

    return {
        "events_passing": [
            older("sendingevent", "occurred_at", "events_passing", "type IN ('delivery', 'defer') AND ")
        ],
        "events_failing": [
            older("sendingevent", "occurred_at", "events_failing", "type IN ('bounce', 'complaint') AND ")
        ],
        "receipts": [older("receipt", "received_at", "receipts"), older("messagestate", "updated_at", "receipts")],
        "rejected": [
            older("rejectedevent", "received_at", "rejected"),
            older("unknownreport", "received_at", "rejected"),
        ],
        "volumes": [older("volumereport", '"end"', "volumes")],
        "counters_minute": counters("minute", minutes),
        "counters_hour": counters("hour", floor_hour(now - keeps("counters_hour"))),
        "counters_day": counters("day", floor_day(now - keeps("counters_day"))),
    }


def _drain(table: str, condition: str, parameters: list[Any], batch: int) -> int:
    total = 0
    while removed := sql.delete_some(table, condition, parameters, batch):
        total += removed
        if removed < batch:
            break
    return total
