"""Who warms up and how far, on the pages of IPs and domains and on the overview."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from dashboard.words import StatusWord, plain
from reputation.domain.warmup import Unit
from reputation.domain.warmup_policy import State
from reputation.models import Warmup
from reputation.warmup_progress import DayLine, Today, day_lines, today

ON_OVERVIEW_SHOWN = 8
# A shape beside the word; no colour of a status: to warm up is neither good nor bad.
_WORDS = {
    State.PROPOSED: StatusWord("unknown", "proposed", "○"),
    State.RUNNING: StatusWord("unknown", "running", "◐"),
    State.COMPLETED: StatusWord("healthy", "completed", "●"),
    State.CANCELLED: StatusWord("unknown", "cancelled", "○"),
}


@dataclass(frozen=True, slots=True)
class WarmupLine:
    """One warm-up: how far it is, what was used of its window, and why it is as it is."""

    id: int
    sender: str
    is_ip: bool
    state: StatusWord
    is_running: bool
    is_proposed: bool
    day: int
    days: int
    first: int
    """Recipients of the first day."""
    limit: int | None
    """None while its policy is switched off, or where it does not run."""
    used: int
    by_hour: bool
    ends: datetime | None
    """When the window in force ends."""
    since: datetime
    found: str
    reason: str

    @classmethod
    def of(cls, row: Warmup, current: Today | None) -> WarmupLine:
        """The warm-up as it is shown."""
        state = State(row.state)
        return cls(
            id=row.pk,
            sender=row.sender,
            is_ip=row.kind == "ip",
            state=_WORDS[state],
            is_running=state is State.RUNNING,
            is_proposed=state is State.PROPOSED,
            day=row.day,
            days=row.days,
            first=row.amounts[0],
            limit=current.plan.limit if current else None,
            used=current.used if current else 0,
            by_hour=row.unit == Unit.HOUR,
            ends=current.plan.ends if current else None,
            since=row.ended_at or row.started_at or row.created_at,
            found=plain(row.found),
            reason=row.reason,
        )


@dataclass(frozen=True, slots=True)
class WarmupNow:
    """The last warm-up of one sender."""

    lines: tuple[WarmupLine, ...]
    """One, as the list of the overview shows it."""
    by_day: tuple[DayLine, ...]
    """Planned and used, of one that was started."""


def warmup_of(kind: str, sender: str, *, now: datetime) -> WarmupNow | None:
    """The warm-up that has not ended, else the last one; None where there never was one."""
    row = Warmup.objects.filter(kind=kind, sender=sender).order_by("-id").first()
    if row is None:
        return None
    return WarmupNow(_lines([row], now), tuple(day_lines(row)) if row.started_at else ())


def warmups_now(*, now: datetime) -> tuple[WarmupLine, ...]:
    """Those that run and then those that wait to be confirmed; one more than shown says that there are more."""
    rows = Warmup.objects.filter(ended_at=None).order_by("-state", "-created_at", "-id")
    return _lines(list(rows[: ON_OVERVIEW_SHOWN + 1]), now)


def _lines(rows: Sequence[Warmup], now: datetime) -> tuple[WarmupLine, ...]:
    current = today(rows, now=now)
    return tuple(WarmupLine.of(row, current.get(row.pk)) for row in rows)
