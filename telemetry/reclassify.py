"""Stored refusals follow a changed rule set: their cause, and the counters that were counted by it.

Goes through the stored refusals in bounded batches, each one short transaction that also moves the mark; so it may be
stopped anywhere and goes on where it was. A row whose cause is right already is left alone, so doing it twice changes
nothing. A refusal moves from one cell to another by two additions, under the locks and in the order that ingest uses.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db import transaction

from telemetry import causes, sql
from telemetry.counters import horizons
from telemetry.domain.cells import cell_key
from telemetry.domain.event import Event
from telemetry.domain.fold import Classified, Fold, Horizons, RefusalCell
from telemetry.domain.vocab import EventType
from telemetry.models import RefusalDay, RefusalHour, RefusalMinute, RuleSet, SendingEvent

BATCH = 500
# For this long after a change another process may still classify by the old rules and have a batch in flight: a pass
# that began earlier is not the last one. Above `causes.BELIEVED` by the longest batch we know of.
SETTLED = timedelta(seconds=30)
REFUSED = (EventType.BOUNCE.value, EventType.DEFER.value)
_TABLES: dict[str, Any] = {"minute": RefusalMinute, "hour": RefusalHour, "day": RefusalDay}
Moves = dict[tuple[RefusalCell, RefusalCell], int]


@dataclass(frozen=True, slots=True)
class Progress:
    """What was done, and whether anything remains."""

    checked: int
    changed: int
    complete: bool
    """True when every stored refusal has the cause that the rules in force give it, for good."""


def is_due(*, now: datetime) -> bool:
    """Whether stored refusals lag behind the rules, and every process knows these by now."""
    state = RuleSet.objects.filter(pk=1).first()
    return state is not None and state.applied_version != state.version and now >= state.changed_at + SETTLED


def reclassify(
    *,
    now: datetime,
    batch: int = BATCH,
    most_batches: int | None = None,
    told: Callable[[Progress], None] = lambda progress: None,
) -> Progress:
    """Go on with the pass through the stored refusals, or begin one; `told` hears of each batch.

    May run beside ingest, roll-up and clean-up, and beside itself: batches wait for each other.
    """
    checked = changed = batches = 0
    while most_batches is None or batches < most_batches:
        causes.forget_cached()
        step = _step(now, batch)
        checked, changed, batches = checked + step.checked, changed + step.changed, batches + 1
        if not step.checked:
            return Progress(checked, changed, step.complete)
        told(Progress(checked, changed, complete=False))
    return Progress(checked, changed, complete=False)


@transaction.atomic
def _step(now: datetime, batch: int) -> Progress:
    state = RuleSet.objects.select_for_update().get(pk=1)
    if state.running_version != state.version or state.started_at is None:
        state.running_version, state.started_at, state.position, state.changed_rows = state.version, now, 0, 0
    rows = list(SendingEvent.objects.filter(pk__gt=state.position, type__in=REFUSED).order_by("pk")[:batch])
    complete = False
    changed = 0
    if rows:
        changed = _apply(rows, now)
        state.position = rows[-1].pk
        state.changed_rows += changed
    else:
        complete = state.started_at >= state.changed_at + SETTLED
        state.started_at = None
        if complete:
            state.applied_version = state.running_version
    state.save(update_fields=["running_version", "started_at", "position", "changed_rows", "applied_version"])
    return Progress(len(rows), changed, complete)


def _apply(rows: Sequence[SendingEvent], now: datetime) -> int:
    wanted = {row.pk: _cause(row) for row in rows}
    stale = [row.pk for row in rows if row.cause != wanted[row.pk]]
    if not stale:
        return 0
    # Held until commit, so that the clean-up does not delete a row between its update and its counters.
    held = list(SendingEvent.objects.select_for_update().filter(pk__in=stale).order_by("pk"))
    by_cause: dict[str, list[SendingEvent]] = defaultdict(list)
    for row in held:
        by_cause[wanted[row.pk]].append(row)
    borders = horizons(now)
    moves: dict[str, Moves] = {level: Counter() for level in _TABLES}
    for cause, members in by_cause.items():
        SendingEvent.objects.filter(pk__in=[row.pk for row in members]).update(cause=cause)
        for level, cells in _cells(members, borders):
            for cell, count in cells.items():
                moves[level][cell, cell._replace(cause=cause)] += count
    for level in _TABLES:
        _move(level, moves[level])
    sql.note_changed({row.sending_ip for row in held}, now)
    return len(held)


def _cause(row: SendingEvent) -> str:
    return causes.classify(row.provider, row.smtp_code, row.enhanced_code, row.reply).category.value


def _cells(rows: Iterable[SendingEvent], borders: Horizons) -> list[tuple[str, dict[RefusalCell, int]]]:
    """The cells that these rows are counted in at present, by level."""
    fold = Fold()
    fold.add((Classified(_event(row), row.provider, row.cause) for row in rows), 0, borders)
    return [("minute", fold.minute.refusals), ("hour", fold.hour.refusals), ("day", fold.day.refusals)]


def _event(row: SendingEvent) -> Event:
    return Event(
        type=EventType(row.type),
        occurred_at=row.occurred_at,
        sending_ip=row.sending_ip,
        sending_domain=row.sending_domain,
        recipient_domain=row.recipient_domain,
        smtp_code=row.smtp_code,
        enhanced_code=row.enhanced_code,
    )


def _move(level: str, moves: Moves) -> None:
    """Take from one cell what the other gets, but never more than is there: its counter may be past its retention."""
    if not moves:
        return
    keys = {cell: cell_key(*cell) for pair in moves for cell in pair}
    table = _TABLES[level]
    # Adding nothing makes the missing cells and locks all of them in the order that ingest takes them in.
    sql.add_refusals(level, [(key, *cell, 0) for cell, key in keys.items()])
    left: dict[Any, int] = dict(table.objects.filter(pk__in=keys.values()).values_list("pk", "count"))
    changes: dict[RefusalCell, int] = defaultdict(int)
    for (old, new), count in moves.items():
        moved = min(count, left[keys[old]])
        left[keys[old]] -= moved
        changes[old] -= moved
        changes[new] += moved
    sql.add_refusals(level, [(keys[cell], *cell, count) for cell, count in changes.items() if count])
    table.objects.filter(pk__in=keys.values(), count=0).delete()
