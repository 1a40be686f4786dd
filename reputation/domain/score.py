"""The score of a sending domain or IP from one window of outcomes. Product specification section 3.

Rates compare as fractions with the thresholds: 2 bounces of 100 are not more than 2 %. Deferrals enter no rate, because
a deferral is an attempt whose message may still arrive.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction
from functools import cache
from typing import NamedTuple

from reputation.domain.policy import percent
from telemetry.domain.window import Outcomes

# 97.5th percentile of the normal distribution: two-sided intervals at 95 %.
Z_95 = 1.96


class _Step(NamedTuple):
    """A threshold and the points of a rate above it. A run judges tens of thousands: nothing is worked out twice."""

    above: Fraction
    points: int
    number: float

    @classmethod
    def of(cls, above: Fraction, points: int) -> _Step:
        """The step with its threshold as a float too."""
        return cls(above, points, float(above))

    def is_below(self, rate: Rate) -> bool:
        """Whether the rate lies above the threshold, exactly."""
        return rate.numerator * self.above.denominator > self.above.numerator * rate.denominator


# Points for a rate above the threshold; the first that holds counts.
_BOUNCE_ABOVE = tuple(_Step.of(Fraction(n, 100), points) for n, points in ((10, 30), (5, 15), (2, 5)))
_COMPLAINT_ABOVE = tuple(_Step.of(Fraction(n, 10_000), points) for n, points in ((10, 40), (5, 20), (1, 10)))
# Points for a delivery rate above the threshold; a rate above none of them costs _DELIVERY_WORST.
_DELIVERY_ABOVE = tuple(_Step.of(Fraction(n, 100), points) for n, points in ((95, 0), (90, 5), (80, 15)))
_DELIVERY_WORST = 25

# Below this many final outcomes the score is never called sure, however clear-cut: three bounces out of three are one
# dead domain as easily as ruin. The standing of an IP is not judged below the same number (section 2).
_SURE_FROM = 50
# Points that delivery and bounce together gain at one step of the ladder, by bounce rate: 2 % 5, 5 % 15, 10 % 25,
# 20 % 10. An interval whose ends lie further apart than the dearest step leaves more open than any one threshold.
_ONE_STEP = 25
# ... and no further apart than the cheapest step leaves nothing open that anyone would act on.
_SMALL_STEP = 5
# Complaint thresholds are so low that 0 complaints in fewer than about 3,840 deliveries cannot be told from 0.1 %.
# Such a score may still be fair ("medium") but not sure. A spread of all 40 points means that nothing is known.
_COMPLAINT_UNKNOWN = 40


class Confidence(StrEnum):
    """How far the score may be believed, given how little or much was seen."""

    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"


@dataclass(frozen=True, slots=True)
class Rate:
    """A share with both its numbers, the name of what it is a share of, and its 95 % Wilson interval (0 to 1)."""

    numerator: int
    denominator: int
    denominator_name: str
    lower: float
    upper: float

    @property
    def value(self) -> Fraction | None:
        """Exact; None when the denominator is 0. Complaints of earlier mail can lift a complaint rate above 1."""
        return Fraction(self.numerator, self.denominator) if self.denominator else None

    @classmethod
    def of(cls, numerator: int, denominator: int, denominator_name: str) -> Rate:
        """The rate with its interval; an empty denominator gives the interval that knows nothing, 0 to 1."""
        lower, upper = wilson(min(numerator, denominator), denominator)
        return cls(numerator, denominator, denominator_name, lower, upper)


@dataclass(frozen=True, slots=True)
class Penalty:
    """Points taken off, and the rate and threshold that took them."""

    reason: str
    points: int
    """Points off the score, positive."""
    rate: Fraction
    threshold: Fraction


@dataclass(frozen=True, slots=True)
class Score:
    """0 (worst) to 100, the rates it was made of, and what took points off."""

    value: int
    delivery: Rate
    bounce: Rate
    complaint: Rate
    penalties: tuple[Penalty, ...]
    confidence: Confidence


def score(outcomes: Outcomes) -> Score | None:
    """The score of a window whose volume is known; None when no message met its fate in it.

    None means "no recent mail": nothing, or only deferrals, or only complaints. The caller keeps the former score.
    Complaints without a delivery in the window give no complaint rate: they speak of earlier mail (or of a source that
    reports complaints alone), so any ratio would be an invention, and a paused sender would be punished for its past.
    They stay visible in `complaint.numerator`. Where a source reports failures only, do not call this: its rates would
    have no true denominator.
    """
    final = outcomes.delivered + outcomes.bounced
    if final == 0:
        return None
    delivery = Rate.of(outcomes.delivered, final, "delivered + bounced")
    bounce = Rate.of(outcomes.bounced, final, "delivered + bounced")
    complaint = Rate.of(outcomes.complained, outcomes.delivered, "delivered")
    penalties = tuple(
        penalty
        for penalty in (
            _above("bounce rate", bounce, _BOUNCE_ABOVE),
            _above("complaint rate", complaint, _COMPLAINT_ABOVE),
            _delivery_penalty(delivery),
        )
        if penalty is not None
    )
    value = max(0, min(100, 100 - sum(penalty.points for penalty in penalties)))
    return Score(value, delivery, bounce, complaint, penalties, _confidence(bounce, complaint))


def wilson(successes: int, trials: int, z: float = Z_95) -> tuple[float, float]:
    """The Wilson score interval of a proportion (E. B. Wilson, 1927), both ends 0 to 1; (0, 1) without a trial.

    Chosen over the normal interval because it stays honest at few trials and at 0 or all successes. Raises ValueError
    unless 0 <= successes <= trials.
    """
    if not 0 <= successes <= trials:
        raise ValueError("successes must lie between 0 and trials")
    if trials == 0:
        return 0.0, 1.0
    share = successes / trials
    shrink = 1 + z * z / trials
    centre = (share + z * z / (2 * trials)) / shrink
    half = z * math.sqrt(share * (1 - share) / trials + z * z / (4 * trials * trials)) / shrink
    # At 0 and at all successes the end is exact in theory; in floats it would miss by an ulp.
    lower = 0.0 if successes == 0 else max(0.0, centre - half)
    upper = 1.0 if successes == trials else min(1.0, centre + half)
    return lower, upper


def _above(name: str, rate: Rate, ladder: tuple[_Step, ...]) -> Penalty | None:
    value = rate.value
    if value is None:
        return None
    for step in ladder:
        if step.is_below(rate):
            return Penalty(f"{name} above {_words(step.above)}", step.points, value, step.above)
    return None


def _delivery_penalty(rate: Rate) -> Penalty | None:
    value = rate.value
    if value is None:
        return None
    missed = Fraction(1)
    for step in _DELIVERY_ABOVE:
        if step.is_below(rate):
            return _missed(value, missed, step.points) if step.points else None
        missed = step.above
    return _missed(value, missed, _DELIVERY_WORST)


def _missed(rate: Fraction, threshold: Fraction, points: int) -> Penalty:
    return Penalty(f"delivery rate not above {_words(threshold)}", points, rate, threshold)


@cache
def _words(threshold: Fraction) -> str:
    return percent(threshold)


def _confidence(bounce: Rate, complaint: Rate) -> Confidence:
    """By how many points the score would differ if the true rates lay at the other end of their intervals.

    The delivery rate is the rest of the bounce rate and moves with it.
    """
    if bounce.denominator < _SURE_FROM:
        return Confidence.LOW
    spread = _outcome_points(bounce.upper) - _outcome_points(bounce.lower)
    if spread > _ONE_STEP:
        return Confidence.LOW
    complaint_spread = _points(complaint.upper, _COMPLAINT_ABOVE) - _points(complaint.lower, _COMPLAINT_ABOVE)
    if spread > _SMALL_STEP or complaint_spread >= _COMPLAINT_UNKNOWN:
        return Confidence.MEDIUM
    return Confidence.HIGH


def _outcome_points(bounce_rate: float) -> int:
    delivery = next((step.points for step in _DELIVERY_ABOVE if 1 - bounce_rate > step.number), _DELIVERY_WORST)
    return _points(bounce_rate, _BOUNCE_ABOVE) + delivery


def _points(rate: float, ladder: tuple[_Step, ...]) -> int:
    return next((step.points for step in ladder if rate > step.number), 0)
