"""A warm-up: its schedule, its days in the operator's time zone, and what happens at midnight. Section 4.

A day is judged once, after it has ended: `judge` takes what was used and how the sender stood, and says which day of
the schedule comes next. Time zone rules are those of the IANA database (zoneinfo): a local day lasts 23 or 25 hours
where the clocks change, and its volume is the same.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from enum import StrEnum
from functools import lru_cache
from zoneinfo import ZoneInfo, available_timezones

from reputation.domain.breaker_policy import Kind
from reputation.domain.policy import Status, percent
from reputation.domain.warmup_policy import Step, WarmupPolicy

HOUR = timedelta(hours=1)
LONGEST_DAYS = 366
MOST_RECIPIENTS = 10**12


class Unit(StrEnum):
    """What an amount is for: the whole local day, or each hour of it."""

    DAY = "day"
    HOUR = "hour"


@dataclass(frozen=True, slots=True)
class Schedule:
    """How many recipients on which day. Raises ValueError for numbers that cannot be meant."""

    amounts: tuple[int, ...]
    unit: Unit = Unit.DAY
    providers: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    """By mailbox provider id: its part of each day's amount, where it is capped."""

    def __post_init__(self) -> None:
        if not 1 <= len(self.amounts) <= LONGEST_DAYS:
            raise ValueError(f"a schedule has 1 to {LONGEST_DAYS} days")
        for amounts in (self.amounts, *self.providers.values()):
            if len(amounts) != len(self.amounts):
                raise ValueError("each mailbox provider needs a number for each day")
            if any(not 1 <= amount <= MOST_RECIPIENTS for amount in amounts):
                raise ValueError("amounts are at least 1")
            if list(amounts) != sorted(amounts):
                raise ValueError("amounts do not fall from day to day")

    @property
    def days(self) -> int:
        """How many days it has."""
        return len(self.amounts)

    def limit(self, day: int) -> int:
        """Recipients on that day (from 1), or in each of its hours."""
        return self.amounts[day - 1]

    def provider_limits(self, day: int) -> dict[str, int]:
        """The same by mailbox provider, where it is capped."""
        return {provider: amounts[day - 1] for provider, amounts in self.providers.items()}


def from_shares(shares: Mapping[str, Sequence[float]], full_volume: int, unit: Unit = Unit.DAY) -> Schedule:
    """The schedule of a template that is published in percent of the full volume by mailbox provider.

    Each named provider gets its share; all together get the largest of them, so who is not named is treated as the most
    patient one. Raises ValueError for shares or a volume that cannot be meant.
    """
    if not shares or full_volume < 1:
        raise ValueError("a template in percent needs shares and a full volume of at least 1")
    if any(not 0 < share <= _FULL for row in shares.values() for share in row):
        raise ValueError("shares lie above 0 and at most at 100 %")
    if len({len(row) for row in shares.values()}) != 1:
        raise ValueError("each mailbox provider needs a number for each day")
    providers = {
        name: tuple(math.ceil(Decimal(str(share)) * full_volume / _FULL) for share in row)
        for name, row in shares.items()
    }
    return Schedule(tuple(max(day) for day in zip(*providers.values(), strict=True)), unit, providers)


_FULL = 100


@dataclass(frozen=True, slots=True)
class Window:
    """A stretch of time in aware UTC; `ends` is not part of it."""

    starts: datetime
    ends: datetime


@lru_cache(maxsize=1)
def _names() -> frozenset[str]:
    return frozenset(available_timezones())


def is_time_zone(name: str) -> bool:
    """Whether the IANA database knows this name."""
    return name in _names()


def local_date(moment: datetime, zone: str) -> date:
    """The date on the operator's wall at that moment."""
    return moment.astimezone(ZoneInfo(zone)).date()


def day_window(on: date, zone: str) -> Window:
    """The local day: from its midnight to the next. Where the clocks skip midnight it begins when they do."""
    midnights = (datetime.combine(day, time(), ZoneInfo(zone)) for day in (on, on + timedelta(days=1)))
    starts, ends = (midnight.astimezone(UTC) for midnight in midnights)
    return Window(starts, ends)


def hour_windows(day: Window) -> list[Window]:
    """The hours of a local day, counted from its midnight: 23 to 25; a last half hour is one of its own."""
    count = math.ceil((day.ends - day.starts) / HOUR)
    return [Window(day.starts + n * HOUR, min(day.starts + (n + 1) * HOUR, day.ends)) for n in range(count)]


def window_at(moment: datetime, zone: str, unit: Unit) -> Window:
    """The window in force: the local day, or the hour of it."""
    day = day_window(local_date(moment, zone), zone)
    if unit is Unit.DAY:
        return day
    starts = day.starts + (moment - day.starts) // HOUR * HOUR
    return Window(starts, min(starts + HOUR, day.ends))


@dataclass(frozen=True, slots=True)
class DayPlan:
    """What a sender that warms up may send in the window now in force."""

    kind: Kind
    sender: str
    day: int
    """Of the schedule, from 1."""
    limit: int
    """Recipients in the window."""
    provider_limits: Mapping[str, int]
    """By mailbox provider id, only where capped."""
    starts: datetime
    """UTC: the local day, or the hour of it where the schedule is by the hour."""
    ends: datetime
    counted: int
    """Recipients that the events report in the window so far, however the attempts ended."""
    provider_counted: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Course:
    """Where a running warm-up is."""

    day: int
    on_date: date
    """The local date that the day belongs to."""
    last_used_on: date
    """The last local date on which anything was sent; at the start its own."""


@dataclass(frozen=True, slots=True)
class DayFacts:
    """What is known of a local day that has ended."""

    used: int = 0
    """Recipients: counted from events or permitted, whichever is more. By the hour: of the busiest hour."""
    standing: Status | None = Status.HEALTHY
    """The worst of the day, breakers included; None: it sent and nobody judged it."""
    because: str = ""
    """What made the standing, where it is not healthy."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What follows from a day: the step, the day of the schedule that comes next, and why."""

    step: Step
    day: int
    why: str


def judge(course: Course, schedule: Schedule, facts: DayFacts, policy: WarmupPolicy) -> Verdict:
    """The midnight rule. Quarantine steps back, a warning or too little mail holds, else it goes on or is complete."""
    day, planned = course.day, schedule.limit(course.day)
    what = "in the busiest hour of" if schedule.unit is Unit.HOUR else "used on"
    told = f"{facts.used:,} of {planned:,} {what} {course.on_date}"
    if facts.standing is not None and facts.standing.severity >= Status.QUARANTINE.severity:
        why = f"It stood as {facts.standing.value} on {course.on_date}: {facts.because}"
        return Verdict(Step.STEPPED_BACK, day - 1, why) if day > 1 else Verdict(Step.HELD, day, why)
    if not facts.used:
        idle = (course.on_date - course.last_used_on).days
        if idle >= policy.rewarm_after.days and day > 1:
            return Verdict(Step.RESTARTED, 1, f"Nothing was sent for {idle} days.")
        return Verdict(Step.HELD, day, f"Nothing was sent on {course.on_date}.")
    if facts.standing is None:
        return Verdict(Step.HELD, day, f"{told}, and nobody judged that mail.")
    if facts.standing is not Status.HEALTHY:
        return Verdict(Step.HELD, day, f"It stood as {facts.standing.value} on {course.on_date}: {facts.because}")
    if facts.used < policy.advance_share * planned:
        return Verdict(Step.HELD, day, f"{told}, less than {percent(policy.advance_share)}.")
    if day == schedule.days:
        return Verdict(Step.COMPLETED, day, f"{told}, the last day, and healthy.")
    return Verdict(Step.ADVANCED, day + 1, f"{told}, and healthy.")


def next_date(on: date, zone: str) -> date:
    """The local date after that one; not always the next of the calendar (Samoa had no 30 December 2011)."""
    return max(local_date(day_window(on, zone).ends, zone), on + timedelta(days=1))
