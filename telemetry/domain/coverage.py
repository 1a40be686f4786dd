"""Which stretch of time reported volumes cover without a gap. A window is known only there; nothing is guessed."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

# A report of an hour still judges an IP; one of a day says nothing about the last quarter of an hour.
LONGEST_COVER = timedelta(hours=2)


class Report(NamedTuple):
    """`sent` attempts ended in [start, end)."""

    start: datetime
    end: datetime
    sent: int


def covered_stretch(reports: Sequence[Report], *, window: timedelta, now: datetime) -> Report | None:
    """The latest gapless stretch of whole reports that is at least as long as the window, with what was sent in it.

    None when reports have a gap inside that stretch, when the latest one ended longer than a window ago, or when the
    stretch is too long to stand for a window.
    """
    found: Report | None = None
    for report in sorted(reports, key=lambda report: report.end, reverse=True):
        if found is None:
            if now - report.end > window:
                return None
            found = report
        elif report.end == found.start:
            found = Report(report.start, found.end, found.sent + report.sent)
        else:
            return None
        if found.end - found.start > LONGEST_COVER:
            return None
        if found.end - found.start >= window:
            return found
    return None
