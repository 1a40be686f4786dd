"""How far back a page looks, and how finely."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from telemetry.domain.cells import DAY, HOUR, MINUTE
from telemetry.queries_over_time import Level

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Range:
    """So many equal steps that end now; the last one is the running one."""

    id: str
    """As it stands in addresses."""
    title: str
    level: Level
    step: timedelta
    count: int
    per: str
    """What one step is called."""
    clock: str
    """How a step's beginning is written (strftime)."""

    def begin(self, now: datetime) -> datetime:
        """Where the first step begins, at a whole step of UTC."""
        return now - (now - _EPOCH) % self.step - (self.count - 1) * self.step

    def starts(self, now: datetime) -> list[datetime]:
        """Where each step begins."""
        first = self.begin(now)
        return [first + index * self.step for index in range(self.count)]


RANGES = (
    Range("1h", "1 hour", Level.MINUTE, MINUTE, 60, "minute", "%H:%M"),
    Range("6h", "6 hours", Level.MINUTE, 5 * MINUTE, 72, "5 minutes", "%H:%M"),
    Range("24h", "24 hours", Level.HOUR, HOUR, 24, "hour", "%H:%M"),
    Range("7d", "7 days", Level.HOUR, 3 * HOUR, 56, "3 hours", "%-d %b %H:%M"),
    Range("30d", "30 days", Level.DAY, DAY, 30, "day", "%-d %b"),
    Range("90d", "90 days", Level.DAY, DAY, 90, "day", "%-d %b"),
)
BY_ID = {entry.id: entry for entry in RANGES}
DEFAULT = BY_ID["24h"]
