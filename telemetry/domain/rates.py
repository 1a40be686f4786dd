"""How fast a source may report: a token bucket that holds one minute's worth, in one number."""

from __future__ import annotations

WINDOW = 60.0
"""Seconds that the bucket takes to fill, hence how much may come at once: one minute's worth."""


def charge(empty_until: float, amount: int, per_minute: int, *, now: float) -> tuple[float, float]:
    """Take from the bucket: its new state, and 0; or its state as it was, and after how many seconds to come again.

    The state is the moment at which a full bucket would have been filled again (the generic cell rate algorithm, ITU-T
    I.371). An amount above a minute's worth is let through when the bucket is full and is paid off afterwards: such a
    batch would otherwise be refused for ever.
    """
    each = WINDOW / per_minute
    state = max(empty_until, now)
    wait = state + min(amount, per_minute) * each - WINDOW - now
    # Less than a hundredth of what one costs is the rounding of floating point.
    if wait > each / 100:
        return empty_until, wait
    return state + amount * each, 0.0
