"""Warm-ups: what each sender may send today, and the judgement of each day after its midnight.

The window in force follows from the clock alone; the day of the schedule changes only when a day was judged. So when no
worker runs at midnight, the new window goes on with the day (and the volume) that was decided last: nobody gets more
because nobody looked. Once a worker runs, each missed day is judged by what the counters and the history say of it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from datetime import datetime

from django.db.models import Count

from reputation.domain.breaker_policy import Kind
from reputation.domain.warmup import Course, DayFacts, DayPlan, Unit, Window, day_window, judge, next_date, window_at
from reputation.domain.warmup_policy import State, Step
from reputation.models import Warmup
from reputation.warmup_facts import SenderAt, day_facts, recipients
from reputation.warmup_moves import Change, move
from reputation.warmup_policies import WarmupBook, warmup_book

_PLANNED = ("kind", "sender", "state", "day", "unit", "amounts", "provider_amounts", "time_zone")


def plans(*, now: datetime) -> list[DayPlan]:
    """What the running warm-ups allow in the window now in force; a few queries however many there are."""
    rows = list(Warmup.objects.filter(state=State.RUNNING).only(*_PLANNED).order_by("kind", "sender"))
    return plans_of(rows, warmup_book(), now=now) if rows else []


def plans_of(rows: Iterable[Warmup], book: WarmupBook, *, now: datetime) -> list[DayPlan]:
    """The same for these warm-ups; those of a policy that is switched off have none."""
    windows: dict[tuple[Kind, Window], list[Warmup]] = defaultdict(list)
    for row in rows:
        if book.policy_of(kind_of(row), row.sender).enabled:
            windows[kind_of(row), window_at(now, row.time_zone, Unit(row.unit))].append(row)
    found: list[DayPlan] = []
    for (kind, window), members in windows.items():
        counts = recipients(kind, [row.sender for row in members], window)
        totals: dict[str, int] = defaultdict(int)
        for (sender, _), count in counts.items():
            totals[sender] += count
        found += [_plan(row, window, totals[row.sender], counts) for row in members]
    return found


def tick(*, now: datetime) -> int:
    """Judge the local days that have ended, each once, the oldest first; how many transitions were made."""
    moved = 0
    while (step := _tick_once(now)) is not None:
        moved += step
    return moved


def counts() -> dict[tuple[str, str], int]:
    """How many warm-ups have not ended, by kind of sender and state."""
    rows = Warmup.objects.filter(ended_at=None).order_by().values_list("kind", "state").annotate(Count("pk"))
    return {(kind, state): count for kind, state, count in rows}


def kind_of(row: Warmup) -> Kind:
    """The kind of sender as the deciders know it."""
    return "ip" if row.kind == "ip" else "domain"


def _plan(row: Warmup, window: Window, counted: int, counts: dict[SenderAt, int]) -> DayPlan:
    schedule = row.schedule
    limits = schedule.provider_limits(row.day)
    return DayPlan(
        kind=kind_of(row),
        sender=row.sender,
        day=row.day,
        limit=schedule.limit(row.day),
        provider_limits=limits,
        starts=window.starts,
        ends=window.ends,
        counted=counted,
        provider_counted={provider: counts.get((row.sender, provider), 0) for provider in limits},
    )


def _tick_once(now: datetime) -> int | None:
    """Judge one day of each warm-up that is behind; None where none is."""
    due = Warmup.objects.filter(state=State.RUNNING, judged_at__lte=now).order_by("pk")
    rows = list(due)
    if not rows:
        return None
    book = warmup_book()
    groups: dict[tuple[Kind, Window], list[Warmup]] = defaultdict(list)
    for row in rows:
        assert row.on_date is not None
        if book.policy_of(kind_of(row), row.sender).enabled:
            groups[kind_of(row), day_window(row.on_date, row.time_zone)].append(row)
    if not groups:
        return None
    moved = 0
    for (kind, day), members in groups.items():
        facts = day_facts(kind, members, day)
        for row in members:
            moved += _judge(row, book, facts[row.sender], now)
    return moved


def _judge(row: Warmup, book: WarmupBook, facts: DayFacts, now: datetime) -> bool:
    policy = book.policy_of(kind_of(row), row.sender)
    assert row.on_date is not None
    course = Course(row.day, row.on_date, row.last_used_on or row.on_date)
    verdict = judge(course, row.schedule, facts, policy)
    is_over = verdict.step is Step.COMPLETED
    change = Change(
        step=verdict.step,
        why=verdict.why,
        state=State.COMPLETED if is_over else State.RUNNING,
        day=verdict.day,
        on_date=None if is_over else next_date(row.on_date, row.time_zone),
        facts=facts,
        policy_revision=policy.revision,
    )
    return move(row, change, now=now) is not None
