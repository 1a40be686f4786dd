"""The words of the circuit breakers: states, triggers, scopes, the numbers they go by, and what is judged.

Product specification section 4. The machine is in `breaker`, what opens one in `breaker_triggers`.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from fractions import Fraction
from typing import Literal

# A doubling more often than this is past any cap, and Python's numbers need not show it.
_MOST_DOUBLINGS = 30


class State(StrEnum):
    """Whether mail of a scope flows: all of it, none, or a share."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


class Trigger(StrEnum):
    """What moves a breaker."""

    COMPLAINT_RATE = "complaint_rate"
    BOUNCE_RATE = "bounce_rate"
    PROVIDER_BLOCK = "provider_block"
    PAUSE_OVER = "pause_over"
    STEP_PASSED = "step_passed"
    MANUAL = "manual"
    MANUAL_OVER = "manual_over"
    """A person's word has expired."""
    SWITCHED_OFF = "switched_off"
    """The policy has its breakers disabled."""


Kind = Literal["ip", "domain"]


@dataclass(frozen=True, slots=True, order=True)
class Scope:
    """What a breaker breaks: a sender's mail, to everybody or to one mailbox provider."""

    kind: Kind
    sender: str
    provider: str = ""
    """The mailbox provider's id; empty: all of them."""

    @property
    def word(self) -> str:
        """The kind of scope: ip, domain, ip_provider or domain_provider."""
        return f"{self.kind}_provider" if self.provider else self.kind

    def __str__(self) -> str:
        return f"{self.sender} at {self.provider}" if self.provider else self.sender


@dataclass(frozen=True, slots=True)
class BreakerPolicy:
    """The numbers that a breaker goes by; each is an operator's to change. Ratios are 0 to 1; "above" is strictly more.

    Raises ValueError for numbers that cannot be meant.
    """

    enabled: bool = True
    window: timedelta = timedelta(hours=24)
    minimum_volume: int = 100
    complaint_rate_above: Decimal = Decimal("0.001")
    complaints_from: int = 3
    """Needed beside the confidence bound: Wilson's lower bound of 1 in 100 is already above 0.1 %."""
    bounce_rate_above: Decimal = Decimal("0.1")
    confidence: Decimal = Decimal("0.95")
    """Of the two-sided Wilson interval whose lower end must lie above the threshold."""
    block_refusals: int = 3
    block_within: timedelta = timedelta(hours=6)
    first_pause: timedelta = timedelta(hours=1)
    longest_pause: timedelta = timedelta(hours=8)
    healthy_after: timedelta = timedelta(hours=24)
    step_1_share: Decimal = Decimal("0.05")
    step_2_share: Decimal = Decimal("0.25")
    step_3_share: Decimal = Decimal("0.5")
    step_minimum: int = 50
    block_step_minimum: int = 10
    revision: int | None = None
    """Which version of the stored policy this is; None for the built-in defaults."""

    def __post_init__(self) -> None:
        if not self.step_1_share <= self.step_2_share <= self.step_3_share <= 1 or self.step_1_share <= 0:
            raise ValueError("the shares of the steps must rise from above 0 to at most 1")
        if not timedelta(0) < self.first_pause <= self.longest_pause:
            raise ValueError("the first pause must be longer than nothing and not longer than the longest")
        if not Decimal("0.5") <= self.confidence < 1:
            raise ValueError("the confidence must lie between 0.5 and 1")
        if min(self.minimum_volume, self.complaints_from, self.block_refusals, self.steps_from) < 1:
            raise ValueError("minimum numbers must be at least 1")

    @property
    def shares(self) -> tuple[Decimal, ...]:
        """Of the normal limit, by step."""
        return (self.step_1_share, self.step_2_share, self.step_3_share)

    @property
    def steps_from(self) -> int:
        """The smaller of the two minima of a step."""
        return min(self.step_minimum, self.block_step_minimum)

    def pause(self, number: int) -> timedelta:
        """How long the pause of that number (from 1) lasts: doubled each time up to the longest."""
        return min(self.first_pause * (1 << min(number - 1, _MOST_DOUBLINGS)), self.longest_pause)


@dataclass(frozen=True, slots=True)
class Facts:
    """What happened in a scope since `judged_from`, of sources known to report their whole traffic."""

    delivered: int = 0
    bounced: int = 0
    complained: int = 0
    refusals: tuple[datetime, ...] = ()
    """Policy and reputation refusals since `judged_from` with no delivery after any of them, newest first."""

    @property
    def final(self) -> int:
        """Messages whose fate is known."""
        return self.delivered + self.bounced


@dataclass(frozen=True, slots=True)
class Evidence:
    """Why a breaker opens: a rate with its lower confidence bound, or refusals in a row (without a bound)."""

    trigger: Trigger
    value: Fraction
    threshold: Fraction
    volume: int
    bound: float | None
    why: str
    details: tuple[tuple[str, str | int], ...] = ()
