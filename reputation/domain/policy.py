"""The words and the numbers of the IP standing rule. Product specification section 2; every number is a default.

`decision.py` applies them. All of this is data that an operator may edit per pool, so nothing here is read as a global.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal
from enum import StrEnum
from fractions import Fraction
from types import MappingProxyType
from typing import Literal


class Status(StrEnum):
    """The standing of a sending IP."""

    HEALTHY = "healthy"
    WARNING = "warning"
    QUARANTINE = "quarantine"
    BLACKLISTED = "blacklisted"

    @property
    def severity(self) -> int:
        """0 for healthy to 3 for blacklisted: what "worse" means when statuses are compared or sorted."""
        return tuple(Status).index(self)


class IssueType(StrEnum):
    """What is mainly wrong, in the order in which the first match is taken."""

    NONE = ""
    """Nothing was refused."""
    CONTENT = "content_spam_detected"
    REPUTATION = "ip_reputation_damage"
    AUTHENTICATION = "authentication_failure"
    INFRASTRUCTURE = "infrastructure_misconfiguration"
    POLICY = "policy_violation"
    HYGIENE = "list_hygiene_issue"
    RATE_LIMITING = "rate_limiting"
    MIXED = "mixed_issues"


class Tier(StrEnum):
    """Groups of enhanced codes that weigh alike."""

    PRIMARY = "primary"
    AUTHENTICATION = "authentication"
    INFRASTRUCTURE = "infrastructure"
    POLICY = "policy"
    HYGIENE = "hygiene"
    """Known codes that say something of the list, not of the sender; never reached, never counted as evidence."""


@dataclass(frozen=True, slots=True)
class Policy:
    """The thresholds of one pool. Ratios are refused over sent messages, 0 to 1, and compare exactly.

    "above" means strictly more, "from" means at least. Raises ValueError for numbers that cannot be meant.
    """

    window: timedelta = timedelta(minutes=15)
    minimum_volume: int = 50
    """Messages sent below which a window says nothing."""

    blacklisted_ratio_above: Decimal = Decimal("0.05")
    blacklisted_domains_from: int = 3
    blacklisted_majors_from: int = 2
    quarantine_a_ratio_above: Decimal = Decimal("0.03")
    quarantine_a_majors_from: int = 1
    quarantine_b_ratio_above: Decimal = Decimal("0.05")
    quarantine_b_domains_from: int = 2
    warning_ratio_from: Decimal = Decimal("0.02")
    warning_temporary_above: int = 10
    """Temporary refusals, which warn once at least one permanent refusal stands beside them."""
    warning_refused_from: int = 5
    """Refusals with 5.7.1."""

    count_major_by: Literal["domain", "provider"] = "domain"
    """Whether hotmail.com and live.com are two major providers or one."""
    revision: int | None = None
    """Which version of the stored policy this is; None for the built-in defaults."""

    def __post_init__(self) -> None:
        if self.window <= timedelta(0):
            raise ValueError("the window must be longer than nothing")
        for name in (
            "blacklisted_ratio_above",
            "quarantine_a_ratio_above",
            "quarantine_b_ratio_above",
            "warning_ratio_from",
        ):
            ratio: Decimal = getattr(self, name)
            if not (ratio.is_finite() and 0 <= ratio <= 1):
                raise ValueError(f"{name} must lie between 0 and 1")
        for name in (
            "minimum_volume",
            "blacklisted_domains_from",
            "blacklisted_majors_from",
            "quarantine_a_majors_from",
            "quarantine_b_domains_from",
            "warning_temporary_above",
            "warning_refused_from",
        ):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must not be negative")
        if self.count_major_by not in ("domain", "provider"):
            raise ValueError("count_major_by must be domain or provider")


_DEFAULT_TIERS = MappingProxyType(
    {
        "5.7.1": Tier.PRIMARY,
        "5.7.606": Tier.PRIMARY,
        "5.7.512": Tier.PRIMARY,
        "5.7.23": Tier.AUTHENTICATION,
        "5.7.26": Tier.AUTHENTICATION,
        "5.7.25": Tier.INFRASTRUCTURE,
        "5.7.27": Tier.INFRASTRUCTURE,
        "5.7.7": Tier.INFRASTRUCTURE,
        "5.1.8": Tier.INFRASTRUCTURE,
        "4.7.0": Tier.POLICY,
        "4.7.1": Tier.POLICY,
        "5.7.510": Tier.POLICY,
        "5.1.1": Tier.HYGIENE,
        "4.2.2": Tier.HYGIENE,
        "5.4.1": Tier.HYGIENE,
    }
)
_DEFAULT_MINIMA = MappingProxyType({Tier.PRIMARY: 2, Tier.AUTHENTICATION: 3, Tier.INFRASTRUCTURE: 3, Tier.POLICY: 5})


@dataclass(frozen=True, slots=True)
class CodeTiers:
    """Which tier an enhanced code is in, and how many refusals with one code reach that tier."""

    tier_of: Mapping[str, Tier] = field(default_factory=lambda: _DEFAULT_TIERS)
    minimum: Mapping[Tier, int] = field(default_factory=lambda: _DEFAULT_MINIMA)

    def reached(self, code: str, count: int) -> Tier | None:
        """The tier that this many refusals with this code reach; None below its minimum or without a minimum."""
        tier = self.tier_of.get(code)
        minimum = self.minimum.get(tier) if tier is not None and tier is not Tier.HYGIENE else None
        return tier if minimum is not None and count >= minimum else None

    def total(self, tier: Tier, counts: Mapping[str, int]) -> int:
        """Refusals with any code of this tier."""
        return sum(count for code, count in counts.items() if self.tier_of.get(code) == tier)


_DEFAULT_MAJORS = MappingProxyType(
    {
        "gmail.com": "google",
        "googlemail.com": "google",
        "outlook.com": "microsoft",
        "hotmail.com": "microsoft",
        "live.com": "microsoft",
        "yahoo.com": "yahoo",
        "ymail.com": "yahoo",
        "aol.com": "yahoo",
        "icloud.com": "apple",
        "me.com": "apple",
        "protonmail.com": "proton",
        "mail.com": "mail_com",
    }
)


@dataclass(frozen=True, slots=True)
class MajorProviders:
    """The recipient domains whose refusals weigh most, and who runs each."""

    provider_of: Mapping[str, str] = field(default_factory=lambda: _DEFAULT_MAJORS)
    family_of: Mapping[str, str] = field(default_factory=dict)
    """The company behind a mailbox provider's id where they differ: microsoft_365 is microsoft's."""

    def name(self, recipient_domain: str, provider: str, by: Literal["domain", "provider"]) -> str | None:
        """Under which name a refusal counts as a major provider's; None when it is nobody major's.

        By domain only the listed domains count. By provider a hosted domain counts too, where its mailbox provider (by
        MX host) is one of the listed ones.
        """
        listed = self.provider_of.get(recipient_domain)
        if by == "domain":
            return recipient_domain if listed is not None else None
        if listed is not None:
            return listed
        family = self.family_of.get(provider, provider)
        return family if family in self.provider_of.values() else None


def percent(ratio: Fraction | Decimal, places: int = 2) -> str:
    """A ratio (0 to 1) for a sentence on screen: "3.75 %", "5 %"; rounded half to even at that many places."""
    number = f"{float(Fraction(ratio) * 100):.{places}f}"
    return (number.rstrip("0").rstrip(".") if "." in number else number) + " %"
