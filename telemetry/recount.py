"""Counts anew from what is stored, tells where counters differ, and sets them right.

Counters are exact by construction; this is how to know, after a crash that nobody foresaw, a restored backup or a hand
in the database. Checking waits for nobody and nobody waits for it. A repair adds what is missing, by the statements of
ingest and under the lock that the roll-up takes. Both sides only ever change by equal amounts: what was missing in one
snapshot is still what is missing when it is added, however much was counted meanwhile.
"""

from __future__ import annotations

import logging
import secrets
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from django.db import transaction

from telemetry import sql
from telemetry.counters import rolled_up_to
from telemetry.domain.cells import cell_key, floor_day, floor_hour, floor_minute
from telemetry.domain.fold import RefusalCell, TrafficCell
from telemetry.domain.recount import EVER, FAR, LEVELS, Difference, Kept, Tally, stretches
from telemetry.models import (
    Lease,
    RefusalDay,
    RefusalHour,
    RefusalMinute,
    RollupMark,
    TrafficDay,
    TrafficHour,
    TrafficMinute,
)
from telemetry.retention import forget_cached, keeps
from telemetry.sql import recount as statements

log = logging.getLogger(__name__)

KINDS = ("traffic", "refusals")
# So many differences are kept in memory and told one by one; of more only the number.
MOST_TOLD = 1_000
# A repairing round takes so many differences at once, and corrects so many cells in one transaction: while that runs,
# batches wait.
MOST_IN_A_ROUND = 50_000
CORRECTED_AT_ONCE = 500
# What differs after so many rounds changes faster than it is repaired, or cannot be.
MOST_ROUNDS = 20
TURN = "repair counters"
_TABLES: dict[tuple[str, str], Any] = {
    ("traffic", "minute"): TrafficMinute,
    ("traffic", "hour"): TrafficHour,
    ("traffic", "day"): TrafficDay,
    ("refusals", "minute"): RefusalMinute,
    ("refusals", "hour"): RefusalHour,
    ("refusals", "day"): RefusalDay,
}


class AnotherRepairError(Exception):
    """Somebody began a repair after this one; it has seen what this one did, and goes on alone."""


@dataclass(slots=True)
class Report:
    """What was compared, and what differed."""

    tallies: list[Tally] = field(default_factory=list)
    differences: list[Difference] = field(default_factory=list)
    """The first of them; `differing` is their number."""

    @property
    def differing(self) -> int:
        """How many cells do not say what was counted anew."""
        return sum(tally.differing for tally in self.tallies)


def verify(
    *,
    now: datetime,
    since: datetime = EVER,
    until: datetime = FAR,
    levels: Sequence[str] = LEVELS,
    most: int = MOST_TOLD,
) -> Report:
    """Compare the counters of [since, until) cell by cell with what is stored, as far as that is kept.

    May run beside everything else; each level is compared within one snapshot. Reads every stored event of the stretch
    once per level and table: give a stretch where that is too much.
    """
    report = Report()
    for level in levels:
        for kind in KINDS:
            _compare(report, kind, level, now=now, since=since, until=until, most=most)
    return report


def repair(
    *, now: datetime, since: datetime = EVER, until: datetime = FAR, levels: Sequence[str] = LEVELS
) -> tuple[int, Report]:
    """Set right what differs; how many cells were corrected, and a comparison made afterwards.

    May be stopped at any point and run again, beside ingest and roll-up. Raises AnotherRepairError when a later repair
    began.
    """
    me = secrets.token_hex(8)
    Lease.objects.update_or_create(pk=TURN, defaults={"holder": me, "held_until": now})
    corrected = 0
    # Finest first: hours are then added up from minutes that are right.
    for level in [level for level in LEVELS if level in levels]:
        for kind in KINDS:
            for _ in range(MOST_ROUNDS):
                report = Report()
                mark = _compare(report, kind, level, now=now, since=since, until=until, most=MOST_IN_A_ROUND)
                if not report.differences:
                    break
                for start in range(0, len(report.differences), CORRECTED_AT_ONCE):
                    some = report.differences[start : start + CORRECTED_AT_ONCE]
                    corrected += _correct(kind, level, some, mark, me)
    return corrected, verify(now=now, since=since, until=until, levels=levels)


def _kept(kind: str) -> Kept:
    forget_cached()
    events = min(keeps("events_passing"), keeps("events_failing"))
    return Kept(
        events=events,
        # Refusals know nothing of superseded attempts.
        states=keeps("receipts") if kind == "traffic" else events,
        minute=keeps("counters_minute"),
        hour=keeps("counters_hour"),
        day=keeps("counters_day"),
    )


def _compare(
    report: Report, kind: str, level: str, *, now: datetime, since: datetime, until: datetime, most: int
) -> datetime:
    """Add to the report what one snapshot shows; returns the roll-up's mark in it."""
    with statements.snapshot():
        mark = rolled_up_to()
        for stretch in stretches([level], since=since, until=until, now=now, mark=mark, kept=_kept(kind)):
            tally = Tally(stretch, kind)
            report.tallies.append(tally)
            for difference in _differences(tally):
                tally.differing += 1
                if len(report.differences) < most:
                    report.differences.append(difference)
    return mark


def _differences(tally: Tally) -> Iterator[Difference]:
    traffic = tally.kind == "traffic"
    dimensions, measures = (5, 5) if traffic else (7, 1)
    for is_sum, *row in statements.compare(tally.kind, tally.stretch):
        names, numbers = row[:dimensions], row[dimensions:]
        expected, (doubtful, expected_last) = tuple(numbers[:measures]), numbers[measures : measures + 2]
        found, found_last = tuple(numbers[measures + 2 : -1]), numbers[-1]
        if is_sum:
            tally.add_sums(doubtful, expected, found)
            continue
        cell = TrafficCell(*names) if traffic else RefusalCell(*names)
        yield Difference(tally.stretch.level, cell, expected, found, doubtful, expected_last, found_last)


@transaction.atomic
def _correct(kind: str, level: str, differences: Sequence[Difference], mark: datetime, me: str) -> int:
    """Add what is missing to these cells; what is left of them without any count goes away."""
    if not Lease.objects.select_for_update().filter(pk=TURN, holder=me).exists():
        raise AnotherRepairError
    # As the roll-up: batches that count are waited for, and wait.
    sql.lock_for_rollup()
    rolled = RollupMark.objects.get(pk=1).rolled_up_to
    rows: dict[str, dict[Any, list[int]]] = defaultdict(dict)
    for difference in differences:
        for into, cell in _cells(difference, level, mark, rolled):
            amounts = rows[into].setdefault(cell, [0] * len(difference.missing))
            for position, amount in enumerate(difference.missing):
                amounts[position] += amount
        log.warning("counter corrected", extra=_told(kind, difference))
    for into, missing in rows.items():
        _add(kind, into, missing)
    if kind == "traffic" and level == "minute":
        _set_last_delivered(differences)
    for into, missing in rows.items():
        table = _TABLES[kind, into]
        measures = sql.TRAFFIC_MEASURES if kind == "traffic" else ("count",)
        keys = [cell_key(*cell) for cell in missing]
        table.objects.filter(pk__in=keys, **dict.fromkeys(measures, 0)).delete()
    return len(differences)


def _cells(
    difference: Difference, level: str, mark: datetime, rolled: datetime
) -> Iterator[tuple[str, TrafficCell | RefusalCell]]:
    """The cells to correct: a minute that was rolled up since it was compared has gone wrong into its hour and day."""
    cell = difference.cell
    yield level, cell
    if level == "minute" and mark <= cell.bucket < rolled:
        yield "hour", cell._replace(bucket=floor_hour(cell.bucket))
        yield "day", cell._replace(bucket=floor_day(cell.bucket))


def _add(kind: str, level: str, missing: dict[Any, list[int]]) -> None:
    if kind == "refusals":
        sql.add_refusals(level, [(cell_key(*cell), *cell, *amounts) for cell, amounts in missing.items()])
        return
    last = (None,) if level == "minute" else ()
    sql.add_traffic(level, [(cell_key(*cell), *cell, *amounts, *last) for cell, amounts in missing.items()])


def _set_last_delivered(differences: Sequence[Difference]) -> None:
    for difference in differences:
        if difference.expected_last != difference.found_last:
            # A later delivery may have been counted since: that one stays.
            TrafficMinute.objects.filter(pk=cell_key(*difference.cell), last_delivered_at=difference.found_last).update(
                last_delivered_at=difference.expected_last
            )


def _told(kind: str, difference: Difference) -> dict[str, Any]:
    """The cell and both numbers for the log; recipient domains are no addresses."""
    told: dict[str, Any] = {"table": kind, "level": difference.level}
    told |= {name: str(value) for name, value in difference.cell._asdict().items()}
    return told | {"expected": list(difference.expected), "found": list(difference.found)}


def whole_minutes(since: datetime | None, until: datetime | None) -> tuple[datetime, datetime]:
    """The stretch of whole minutes; None is open."""
    return (
        floor_minute(since) if since is not None else EVER,
        floor_minute(until) if until is not None else FAR,
    )
