"""What a server's own counters say between two readings, and how much of it arrived here.

Stalwart's counters (`/metrics/prometheus`) count from the start of its process, in 32 bits, without labels, and are
named only once they are above zero. So a name that is missing is a zero, and a smaller value than before means that the
process was started anew (or, after four thousand million, that the counter wrapped): the increase is then what it shows
now. That can be less than what really happened, never more.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

DELIVERED = "delivery_delivered"
# One for each recipient in the first two; one for each message or session in the others, whatever its recipients.
REFUSED = (
    "delivery_rcpt_to_rejected",
    "delivery_rcpt_to_failed",
    "delivery_message_rejected",
    "delivery_mail_from_rejected",
    "delivery_ehlo_rejected",
)
BOUNCED = "delivery_dsn_perm_fail"
COUNTERS = (DELIVERED, *REFUSED, BOUNCED)

# A server sends a batch of events again and again, and gives it up after five minutes; what is younger may still come.
SETTLED_AFTER = timedelta(minutes=5)
# Volume is told in whole minutes, so only a reading this shortly after a full minute may begin or end a stretch of it.
ON_TIME = timedelta(seconds=15)
# After a longer silence of the metrics page the next reading begins anew: minute counters are not kept for ever, and a
# comparison with those that are gone would show mail as lost that is not.
LONGEST_GAP = timedelta(hours=2)


@dataclass(frozen=True, slots=True)
class Increase:
    """What a server counted between two readings."""

    delivered: int = 0
    refused: int = 0
    """Refusals of any kind, temporary ones included; at least so many attempts failed."""
    bounced: int = 0
    """Recipients that were given up for good."""
    restarted: bool = False
    """The process was started anew in between, so there may have been more than this."""

    def ended(self, failed: int) -> int:
        """Attempts that ended, given how many failed by the events that came: the server counts some of them once a
        message and not once a recipient.
        """
        return self.delivered + max(self.refused, self.bounced, failed)


def increase(before: Mapping[str, int], after: Mapping[str, int]) -> Increase:
    """From one reading to the next."""
    gained, restarted = {}, False
    for name in COUNTERS:
        old, new = before.get(name, 0), after.get(name, 0)
        restarted = restarted or new < old
        gained[name] = new if new < old else new - old
    return Increase(gained[DELIVERED], sum(gained[name] for name in REFUSED), gained[BOUNCED], restarted)


def is_on_time(moment: datetime) -> bool:
    """Whether a reading at this moment may stand for the full minute before it."""
    return timedelta(seconds=moment.second, microseconds=moment.microsecond) <= ON_TIME


@dataclass(frozen=True, slots=True)
class Line:
    """What a server counted in [start, end) and what arrived of it."""

    start: datetime
    end: datetime
    server_delivered: int = 0
    server_refused: int = 0
    server_bounced: int = 0
    arrived_delivered: int = 0
    arrived_failed: int = 0
    restarted: bool = False

    @property
    def delivered_share(self) -> float | None:
        """Arrived deliveries / the server's, 0 to 1; None when it counted none.

        Never above 1: the two clocks are read a moment apart, and a restart hides some of what the server counted.
        """
        if not self.server_delivered:
            return None
        return min(1.0, self.arrived_delivered / self.server_delivered)

    @property
    def missing(self) -> int:
        """Deliveries that the server counted and that did not arrive."""
        return max(0, self.server_delivered - self.arrived_delivered)

    def __add__(self, other: Line) -> Line:
        return Line(
            min(self.start, other.start),
            max(self.end, other.end),
            self.server_delivered + other.server_delivered,
            self.server_refused + other.server_refused,
            self.server_bounced + other.server_bounced,
            self.arrived_delivered + other.arrived_delivered,
            self.arrived_failed + other.arrived_failed,
            self.restarted or other.restarted,
        )
