"""How far warm-ups are, for people: a sentence about today, and what was planned and used on each day."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime

from reputation.domain.permit import Rule
from reputation.domain.warmup import DayPlan, Unit
from reputation.domain.warmup_policy import State
from reputation.models import Budget, Warmup, WarmupEvent
from reputation.warmup_policies import warmup_book
from reputation.warmups import kind_of, plans_of


@dataclass(frozen=True, slots=True)
class DayLine:
    """One day of the schedule: what was planned, and how its last turn went."""

    day: int
    planned: int
    is_current: bool
    on_date: date | None = None
    """None: not judged yet."""
    used: int | None = None
    standing: str = ""
    outcome: str = ""


def day_lines(row: Warmup) -> list[DayLine]:
    """The schedule, each day with its latest judgement."""
    return day_lines_of([row])[row.pk]


def day_lines_of(rows: Sequence[Warmup]) -> dict[int, list[DayLine]]:
    """The same of several warm-ups, by their ids; one query whatever their number."""
    judged: dict[int, dict[int, WarmupEvent]] = {row.pk: {} for row in rows}
    for event in WarmupEvent.objects.filter(warmup__in=judged, used__isnull=False).order_by("id"):
        judged[event.warmup_id][event.from_day] = event
    return {row.pk: _day_lines(row, judged[row.pk]) for row in rows}


def _day_lines(row: Warmup, judged: Mapping[int, WarmupEvent]) -> list[DayLine]:
    runs = row.state == State.RUNNING
    lines = []
    for day, planned in enumerate(row.amounts, start=1):
        is_current, last = runs and day == row.day, judged.get(day)
        if last is None:
            lines.append(DayLine(day, planned, is_current))
        else:
            outcome = last.get_step_display()
            lines.append(DayLine(day, planned, is_current, last.on_date, last.used, last.standing, outcome))
    return lines


@dataclass(frozen=True, slots=True)
class Today:
    """The window in force of a warm-up that runs."""

    plan: DayPlan
    used: int
    """Recipients so far: by the events or by what was permitted, whichever is more."""


def today(rows: Sequence[Warmup], *, now: datetime) -> dict[int, Today]:
    """The window in force of those that run, by the warm-up's id; a few queries whatever their number."""
    running = [row for row in rows if row.state == State.RUNNING]
    plans = {(plan.kind, plan.sender): plan for plan in plans_of(running, warmup_book(), now=now)} if running else {}
    permitted = _permitted(plans.values())
    found: dict[int, Today] = {}
    for row in running:
        plan = plans.get((kind_of(row), row.sender))
        if plan is not None:
            spent = permitted.get((plan.kind, plan.sender, plan.starts), 0)
            found[row.pk] = Today(plan, max(plan.counted, spent))
    return found


def _permitted(plans: Iterable[DayPlan]) -> Counter[tuple[str, str, datetime]]:
    found: Counter[tuple[str, str, datetime]] = Counter()
    names, starts = {plan.sender for plan in plans}, {plan.starts for plan in plans}
    if names:
        rows = Budget.objects.filter(rule=Rule.WARM_UP, provider="", sender__in=names, starts_at__in=starts).order_by()
        for kind, sender, at, spent in rows.values_list("kind", "sender", "starts_at", "spent"):
            found[kind, sender, at] += spent
    return found


def in_words(row: Warmup, current: Today | None) -> str:
    """ "Day 4 of 14: 312 of 1,000 used"; what else it is where it does not run."""
    if row.state != State.RUNNING:
        return f"{row.get_state_display()}, {row.days} days" if row.state == State.PROPOSED else row.get_state_display()
    where = f"Day {row.day} of {row.days}"
    if current is None:
        return f"{where}; its policy is switched off"
    return f"{where}: {current.used:,} of {current.plan.limit:,} used{' this hour' if row.unit == Unit.HOUR else ''}"
