"""What opens a breaker: a complaint rate, a bounce rate, or a provider that refuses several times in a row."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from fractions import Fraction
from functools import lru_cache
from statistics import NormalDist
from typing import Final

from reputation.domain.breaker_policy import BreakerPolicy, Evidence, Facts, Trigger
from reputation.domain.policy import percent
from reputation.domain.score import wilson
from telemetry.domain.causes import Category, Scope
from telemetry.domain.window import Outcomes

# The receiver's opinion of the sender, never of the recipient (unknown user, full mailbox) or of the pace (greylisting,
# rate limits).
BLOCKING_CAUSES: Final = (Category.REPUTATION, Category.BLOCKLIST, Category.POLICY)
_SECURITY_CODE: Final = re.compile(r"\b[45]\.7\.\d{1,3}\b")
_BLOCK_TEXT: Final = re.compile(r"\bblock|black-?list|\bbann?ed\b|reputation|\bspam|\babus", re.IGNORECASE)


def is_blocking(category: str, scope: Scope, enhanced_code: str, reply: str) -> bool:
    """Whether a refusal can be part of a provider's block, by its stored cause, the rule's scope, code and text.

    Reputation and blocklists always; policy only with a code X.7.Z (RFC 3463 section 3.8) or a text that says so, and
    not where the rule knows that one recipient's own settings refused.
    """
    if category in (Category.REPUTATION, Category.BLOCKLIST):
        return True
    if category != Category.POLICY or scope is Scope.RECIPIENT:
        return False
    return bool(_SECURITY_CODE.search(enhanced_code) or _SECURITY_CODE.search(reply) or _BLOCK_TEXT.search(reply))


def in_a_row(refusals: Sequence[datetime], last_delivered_at: datetime | None) -> tuple[datetime, ...]:
    """The refusals after the last delivery, newest first. One at the very moment of the delivery does not count."""
    return tuple(sorted((at for at in refusals if last_delivered_at is None or at > last_delivered_at), reverse=True))


def crossed(facts: Facts, policy: BreakerPolicy, *, minimum: int) -> Evidence | None:
    """The first trigger that holds: the provider's block, complaints, bounces; None below the minima.

    A rate must lie above its threshold with its whole confidence interval, and have at least `minimum` messages in its
    denominator.
    """
    return _block(facts, policy) or _complaints(facts, policy, minimum) or _bounces(facts, policy, minimum)


def may_cross(outcomes: Outcomes, policy: BreakerPolicy) -> bool:
    """Whether a rate can be above its threshold at all: cheap, because nearly every sender is asked and says no."""
    bounces = outcomes.bounced > policy.bounce_rate_above * (outcomes.delivered + outcomes.bounced)
    return bounces or outcomes.complained >= policy.complaints_from


def _block(facts: Facts, policy: BreakerPolicy) -> Evidence | None:
    count = len(facts.refusals)
    if count < policy.block_refusals:
        return None
    why = (
        f"{count} policy or reputation refusals in a row with no delivery between, the last at "
        f"{facts.refusals[0]:%H:%M:%S} UTC; {policy.block_refusals} are a block."
    )
    times = ", ".join(at.isoformat() for at in facts.refusals)
    threshold = Fraction(policy.block_refusals)
    return Evidence(Trigger.PROVIDER_BLOCK, Fraction(count), threshold, count, None, why, (("refused_at", times),))


def _complaints(facts: Facts, policy: BreakerPolicy, minimum: int) -> Evidence | None:
    if facts.complained < policy.complaints_from:
        return None
    counted = "delivered messages brought a complaint"
    return _rate(
        Trigger.COMPLAINT_RATE, facts.complained, facts.delivered, policy.complaint_rate_above, counted, policy, minimum
    )


def _bounces(facts: Facts, policy: BreakerPolicy, minimum: int) -> Evidence | None:
    counted = "delivered and bounced messages bounced"
    return _rate(Trigger.BOUNCE_RATE, facts.bounced, facts.final, policy.bounce_rate_above, counted, policy, minimum)


def _rate(
    trigger: Trigger, count: int, volume: int, above: Decimal, counted: str, policy: BreakerPolicy, minimum: int
) -> Evidence | None:
    threshold = Fraction(above)
    if volume < max(minimum, 1) or Fraction(count, volume) <= threshold:
        return None
    bound, _ = wilson(min(count, volume), volume, _z(policy.confidence))
    if bound <= threshold:
        return None
    value = Fraction(count, volume)
    why = (
        f"{count} of {volume} {counted} ({percent(value)}); more than {percent(threshold)} opens the breaker, and the "
        f"rate is at least {percent(Fraction(bound))} at {percent(policy.confidence)} confidence."
    )
    return Evidence(trigger, value, threshold, volume, bound, why, (("count", count),))


@lru_cache
def _z(confidence: Decimal) -> float:
    """The quantile of the normal distribution for a two-sided interval."""
    return NormalDist().inv_cdf(0.5 + float(confidence) / 2)
