"""What the deciders read: sums of counters over a stretch of time, as frozen values without a database behind them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class RefusalCount:
    """How many attempts were refused with one code at one recipient domain.

    `code` as in `Event.code`: the enhanced code, else the three digits, else an empty string.
    """

    code: str
    recipient_domain: str
    provider: str
    cause: str
    count: int


@dataclass(frozen=True, slots=True)
class Outcomes:
    """Sums of a stretch of traffic counters, in attempts.

    `superseded` are the deferral attempts among `deferred` that no longer stand, because the same message had a later
    attempt or a final outcome.
    """

    delivered: int = 0
    bounced: int = 0
    deferred: int = 0
    superseded: int = 0
    complained: int = 0

    @property
    def sent(self) -> int:
        """Messages sent: delivered, bounced, and the deferrals that still stand (once each where the source tells)."""
        return self.delivered + self.rejected

    @property
    def rejected(self) -> int:
        """Messages refused: bounced, and the deferrals that still stand."""
        return self.bounced + self.deferred - self.superseded

    def __add__(self, other: Outcomes) -> Outcomes:
        return Outcomes(
            delivered=self.delivered + other.delivered,
            bounced=self.bounced + other.bounced,
            deferred=self.deferred + other.deferred,
            superseded=self.superseded + other.superseded,
            complained=self.complained + other.complained,
        )


@dataclass(frozen=True, slots=True)
class IpWindow:
    """Everything the standing of one sending IP is decided from; `start` inclusive, `end` exclusive, aware UTC."""

    ip: str
    start: datetime
    end: datetime
    outcomes: Outcomes
    total_sent: int | None
    """Messages sent, from the events themselves or from reported volume; None where the volume is unknown."""
    refusals: tuple[RefusalCount, ...]

    @property
    def total_rejected(self) -> int:
        """Messages refused in the window."""
        return self.outcomes.rejected
