"""What a recount can know: which stretch of each counter level can be checked against what, and how a cell differs.

Nothing is kept for ever, so a counter can be counted anew only where everything that was counted in it is still there.
Where raw events are gone already, hours are checked against minutes and days against hours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from telemetry.domain.cells import DAY, HOUR, MINUTE, ceil_to
from telemetry.domain.fold import DEFERRED, SUPERSEDED, RefusalCell, TrafficCell

LEVELS: Final = ("minute", "hour", "day")
STEP: Final = {"minute": MINUTE, "hour": HOUR, "day": DAY}
FINER: Final = {"hour": "minute", "day": "hour"}
RAW: Final = "raw"
# What lies this near to the end of its retention is not looked at: the clean-up may be deleting it, and the clocks of
# two machines differ a little.
MARGIN: Final = timedelta(minutes=10)
# Later than any bucket; dates ahead are cut to the receive time, but a clock that was wrong may have been far ahead.
FAR: Final = datetime(2500, 1, 1, tzinfo=UTC)
EVER: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Kept:
    """How long each kind of data is kept; of raw events the kind that goes first."""

    events: timedelta
    states: timedelta
    """States of deferred messages, which tell the deferral that stands."""
    minute: timedelta
    hour: timedelta
    day: timedelta


@dataclass(frozen=True, slots=True)
class Stretch:
    """Buckets of one level, from `start` up to but without `end`, and what they are compared with."""

    level: str
    basis: str
    """`raw`, or the finer level whose counters are added up."""
    start: datetime
    end: datetime
    counted_to: datetime
    """Only what lies before this is in these buckets: the roll-up's mark for hours and days."""
    superseded: bool
    """Whether it can be known here which deferral attempts no longer stand."""


def stretches(
    levels: Sequence[str], *, since: datetime, until: datetime, now: datetime, mark: datetime, kept: Kept
) -> list[Stretch]:
    """What can be checked of [since, until): per level, the finest basis that is whole. Buckets are whole ones."""
    raw_from = now - kept.events + MARGIN
    states_from = now - kept.states + MARGIN
    # Minutes after the mark are never deleted, however old.
    minutes_from = min(now - kept.minute + MARGIN, mark)
    hours_from = now - kept.hour + MARGIN
    found: list[Stretch] = []
    for level in levels:
        step = STEP[level]
        level_from = {"minute": minutes_from, "hour": hours_from, "day": now - kept.day + MARGIN}[level]
        start = ceil_to(max(since, level_from, EVER), step)
        counted_to = until if level == "minute" else min(until, mark)
        # The bucket that the mark stands in is whole as far as the mark; one that the caller cut through is not.
        whole = level == "minute" or until >= mark
        end = ceil_to(until, step) if whole else until - (until - EVER) % step
        by_raw = min(max(start, ceil_to(max(raw_from, EVER), step)), end)
        with_states = min(max(by_raw, ceil_to(max(states_from, EVER), step)), end)
        if level != "minute":
            finer_from = {"hour": minutes_from, "day": hours_from}[level]
            by_finer = max(start, ceil_to(max(finer_from, EVER), step))
            found.append(Stretch(level, FINER[level], by_finer, by_raw, min(counted_to, by_raw), superseded=True))
        found.append(Stretch(level, RAW, by_raw, with_states, min(counted_to, with_states), superseded=False))
        found.append(Stretch(level, RAW, with_states, end, min(counted_to, end), superseded=True))
    return [entry for entry in found if entry.start < entry.end]


@dataclass(frozen=True, slots=True)
class Difference:
    """One counter cell that does not say what was counted anew."""

    level: str
    cell: TrafficCell | RefusalCell
    expected: tuple[int, ...]
    """Traffic: the five measures in the order of `telemetry.domain.fold`; refusals: the one count."""
    found: tuple[int, ...]
    doubtful: int = 0
    """Up to so many more attempts than expected may be superseded: raw rows without a recipient do not tell."""
    expected_last: datetime | None = None
    found_last: datetime | None = None

    @property
    def missing(self) -> tuple[int, ...]:
        """What has to be added to each measure, negative where too much was counted."""
        amounts = [expected - found for expected, found in zip(self.expected, self.found, strict=True)]
        if isinstance(self.cell, TrafficCell) and amounts[SUPERSEDED] < 0:
            amounts[SUPERSEDED] = min(0, amounts[SUPERSEDED] + self.doubtful)
        return tuple(amounts)


@dataclass(slots=True)
class Tally:
    """What was compared in one stretch, in sums."""

    stretch: Stretch
    kind: str
    """`traffic` or `refusals`."""
    cells: int = 0
    differing: int = 0
    expected: int = 0
    """Events counted anew: attempts and complaints of traffic, refusals of refusals."""
    found: int = 0

    def add_sums(self, cells: int, expected: Sequence[int], found: Sequence[int]) -> None:
        """Take over the sums of a stretch; superseded attempts are no events of their own."""
        self.cells += cells
        self.expected += _events(expected)
        self.found += _events(found)


def _events(measures: Sequence[int]) -> int:
    return sum(measures) - (measures[SUPERSEDED] if len(measures) > DEFERRED else 0)
