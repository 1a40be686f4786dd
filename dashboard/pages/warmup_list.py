"""All warm-ups with their days, and one of them with everything that ever happened to it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Final

from dashboard.fleet_queries import last_steps
from dashboard.pages.warmups import WarmupLine
from dashboard.templatetags.standing import number, share
from dashboard.words import plain
from reputation.domain.warmup import Unit
from reputation.domain.warmup_policy import State, Step
from reputation.models import Warmup, WarmupEvent
from reputation.warmup_policies import WarmupBook, warmup_book
from reputation.warmup_progress import DayLine, Today, day_lines_of, today
from reputation.warmups import kind_of

STATES: Final = {state.value: state.value for state in State}
KINDS: Final = {"ip": "sending IPs", "domain": "sending domains"}
# Steps of the automation that are no progress: their reason is what an operator wants to know.
_NO_PROGRESS: Final = {
    Step.HELD: "Held on this day",
    Step.STEPPED_BACK: "Stepped back a day",
    Step.RESTARTED: "Begun anew",
}
CSV_HEADER = (
    "id",
    "kind",
    "sender",
    "state",
    "day",
    "days",
    "recipients_per",
    "limit_now",
    "used_now",
    "template",
    "time_zone",
    "created_at",
    "started_at",
    "ended_at",
    "reason",
)


@dataclass(frozen=True, slots=True)
class DayBar:
    """A day that was reached: what was planned and what was used; `used` is None where it was passed over."""

    day: int
    planned: int
    used: int | None
    is_current: bool
    on_date: date | None
    standing: str
    outcome: str


@dataclass(frozen=True, slots=True)
class WarmupEntry:
    """One warm-up in the list."""

    line: WarmupLine
    template: str
    time_zone: str
    started_at: datetime | None
    ended_at: datetime | None
    setback: str
    """Why the last day judged was none of progress, as a heading of the reason; empty where it was."""
    next_step: str
    """What its next midnight may bring; empty where it does not run."""
    judged_at: datetime | None
    who: str
    """Who moved it last."""
    reached: tuple[DayBar, ...]
    days: tuple[DayBar, ...]

    @property
    def to_come(self) -> int:
        """How many days of the schedule follow the one it is at."""
        return self.line.days - self.line.day


@dataclass(frozen=True, slots=True)
class StepLine:
    """One transition."""

    at: datetime
    what: str
    from_day: int
    to_day: int
    on_date: date | None
    used: int | None
    planned: int | None
    standing: str
    by: str
    notes: str

    @classmethod
    def of(cls, row: WarmupEvent) -> StepLine:
        """The transition as it is shown."""
        return cls(
            at=row.at,
            what=plain(row.step),
            from_day=row.from_day,
            to_day=row.to_day,
            on_date=row.on_date,
            used=row.used,
            planned=row.planned,
            standing=row.standing,
            by=row.triggered_by,
            notes=row.notes,
        )


def entries(rows: Sequence[Warmup], *, now: datetime) -> tuple[WarmupEntry, ...]:
    """The warm-ups as they are shown; a fixed number of queries, whatever their number."""
    if not rows:
        return ()
    current, days, steps, book = today(rows, now=now), day_lines_of(rows), last_steps(rows), warmup_book()
    return tuple(_entry(row, current.get(row.pk), days[row.pk], steps.get(row.pk), book) for row in rows)


def csv_rows(rows: Sequence[Warmup], *, now: datetime) -> Iterator[tuple[Any, ...]]:
    """The list as lines of a CSV file."""
    current = today(rows, now=now)
    for row in rows:
        window = current.get(row.pk)
        numbers = (window.plan.limit, window.used) if window else (None, None)
        times = (row.created_at, row.started_at, row.ended_at)
        sender = (row.pk, row.kind, row.sender, row.state, row.day, row.days, row.unit)
        yield (*sender, *numbers, row.template, row.time_zone, *times, row.reason)


def step_lines(rows: Iterable[WarmupEvent]) -> tuple[StepLine, ...]:
    """The timeline of one warm-up."""
    return tuple(StepLine.of(row) for row in rows)


def _entry(
    row: Warmup, current: Today | None, days: Sequence[DayLine], last: WarmupEvent | None, book: WarmupBook
) -> WarmupEntry:
    bars = tuple(_bar(line, current) for line in days)
    return WarmupEntry(
        line=WarmupLine.of(row, current),
        template=row.template,
        time_zone=row.time_zone,
        started_at=row.started_at,
        ended_at=row.ended_at,
        setback=_NO_PROGRESS.get(Step(last.step), "") if last else "",
        next_step=_next_step(row, book) if current else "",
        judged_at=row.judged_at if current else None,
        who=last.triggered_by if last else "",
        reached=tuple(bar for bar in bars if bar.used is not None),
        days=bars,
    )


def _bar(line: DayLine, current: Today | None) -> DayBar:
    """Of the running day what was used so far, else what its last judgement found."""
    runs = line.is_current and current is not None
    used = current.used if runs and current else line.used
    return DayBar(line.day, line.planned, used, line.is_current, line.on_date, line.standing, line.outcome)


def _next_step(row: Warmup, book: WarmupBook) -> str:
    """The midnight rule for this day, in numbers."""
    policy = book.policy_of(kind_of(row), row.sender)
    needed = math.ceil(policy.advance_share * row.limit)
    hour = " in one hour" if row.unit == Unit.HOUR else ""
    asked = f"if at least {number(needed)}{hour} ({share(float(policy.advance_share))}) were used and it stands healthy"
    if row.day == row.days:
        return f"It is complete {asked}."
    return f"On to day {row.day + 1} with {number(row.amounts[row.day])} {asked}."
