"""When a list's word is believed: two looks that say the same, one after the other; an error is no look at all.

The state machine of one (list, IP or domain): unknown → clean ⇄ listed. What was never believed to be anything is
believed to be clean at once, because nothing changes by it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

from reputation.domain.dnsbl import Reading, Result

CONFIRMATIONS = 2
# An answer is kept as long as its TTL says, within these bounds: below, a button pressed twice would be two looks at
# one cached answer; above, a delisting would be missed for a day.
LEAST_KEPT = timedelta(minutes=1)
MOST_KEPT = timedelta(hours=4)
# A change that waits for its confirmation is looked at again this soon, but never while the answer is cached.
CONFIRM_AFTER = timedelta(minutes=5)
# After an error the pair is asked again this soon, twice as long each time up to the list's own rhythm.
FIRST_RETRY = timedelta(minutes=5)


class State(StrEnum):
    """What is believed."""

    UNKNOWN = "unknown"
    CLEAN = "clean"
    LISTED = "listed"


@dataclass(frozen=True, slots=True)
class Belief:
    """What is believed, and what was seen that is not believed yet."""

    state: State = State.UNKNOWN
    pending: State | None = None
    seen: int = 0
    """How often in a row the pending state was seen."""


def judge(belief: Belief, reading: Reading) -> tuple[Belief, bool]:
    """(the belief after this look, whether that is a change to tell of)."""
    if reading.result is Result.ERROR:
        return belief, False
    saw = State.LISTED if reading.result is Result.LISTED else State.CLEAN
    if saw is belief.state:
        return Belief(belief.state), False
    if belief.state is State.UNKNOWN and saw is State.CLEAN:
        return Belief(State.CLEAN), False
    seen = belief.seen + 1 if belief.pending is saw else 1
    if seen < CONFIRMATIONS:
        return replace(belief, pending=saw, seen=seen), False
    return Belief(saw), True


def kept_until(reading: Reading, ttl: int, now: datetime) -> datetime:
    """Until when the answer stands without asking anew: its TTL within bounds; an error stands for the least time."""
    if reading.result is Result.ERROR:
        return now + LEAST_KEPT
    return now + min(max(timedelta(seconds=ttl), LEAST_KEPT), MOST_KEPT)


def next_look(
    belief: Belief, reading: Reading, *, kept: datetime, failures: int, every: timedelta, now: datetime
) -> datetime:
    """When this pair is to be asked again; `failures` counts the errors in a row, this one included."""
    if reading.result is Result.ERROR:
        return max(kept, now + min(FIRST_RETRY * (1 << min(failures - 1, 10)), every))
    if belief.pending is not None:
        return max(kept, now + min(CONFIRM_AFTER, every))
    return max(kept, now + every)
