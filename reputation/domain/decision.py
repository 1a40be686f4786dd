"""The standing of one sending IP from one window of counters. Product specification section 2.

Thresholds compare as fractions: 18 of 600 is not more than 3 %. `decide` looks at this window only; overrides by people
and what to do about a change are somebody else's.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction

from reputation.domain.advice import recommend
from reputation.domain.policy import CodeTiers, IssueType, MajorProviders, Policy, Status, Tier, percent
from telemetry.domain.window import IpWindow, RefusalCount

__all__ = ["Decision", "IssueType", "Rule", "Status", "TierEvidence", "decide"]

REFUSED = "5.7.1"
# The tiers that can quarantine. Policy codes are often temporary and warn only.
_QUARANTINE_TIERS = frozenset({Tier.PRIMARY, Tier.AUTHENTICATION, Tier.INFRASTRUCTURE})
# A sentence names this many domains and counts the rest.
_NAMED = 5


class Rule(StrEnum):
    """Which rule decided; a short id that is stored and counted by."""

    NO_MAIL = "no_mail"
    MINIMUM_VOLUME = "minimum_volume"
    BLACKLISTED = "blacklisted"
    QUARANTINE_A = "quarantine_a"
    QUARANTINE_B = "quarantine_b"
    WARNING_RATIO = "warning_ratio"
    WARNING_TEMPORARY = "warning_temporary"
    WARNING_REFUSED = "warning_refused"
    HEALTHY = "healthy"
    UNKNOWN_VOLUME_TIER = "unknown_volume_tier"
    UNKNOWN_VOLUME_TEMPORARY = "unknown_volume_temporary"
    UNKNOWN_VOLUME_REFUSED = "unknown_volume_refused"
    UNKNOWN_VOLUME_HEALTHY = "unknown_volume_healthy"


@dataclass(frozen=True, slots=True)
class TierEvidence:
    """One code whose count reached its tier."""

    tier: Tier
    code: str
    count: int
    minimum: int

    def __str__(self) -> str:
        return f"{self.code} ×{self.count} reached the {self.tier} tier ({self.minimum})"


@dataclass(frozen=True, slots=True)
class Decision:
    """A status, the numbers it rests on, the rule that gave it, and what to do next."""

    status: Status
    rule: Rule
    why: str
    issue_type: IssueType
    total_sent: int | None
    """Messages; None where the volume is unknown or was reported smaller than what was refused."""
    total_rejected: int
    """Messages refused for good, and those deferred whose deferral still stands."""
    ratio: Fraction | None
    """total_rejected over total_sent, exact, 0 to 1; None where the volume is unknown or 0."""
    unique_recipient_domains: int
    """Recipient domains that refused at least once."""
    counts_by_code: Mapping[str, int]
    """Refused attempts by raw code, most frequent first; "" for refusals without a code."""
    major_providers: tuple[str, ...]
    tiers_reached: tuple[Tier, ...]
    evidence: tuple[TierEvidence, ...]
    temporary: int
    """Refused attempts with a 4.x.x (or 4xx) code."""
    permanent: int
    """Refused attempts with a 5.x.x (or 5xx) code."""
    recommendations: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Facts:
    """What the rules look at, counted once."""

    sent: int | None
    rejected: int
    counts: Mapping[str, int]
    domains: tuple[str, ...]
    majors: tuple[str, ...]
    evidence: tuple[TierEvidence, ...]
    temporary: int
    standing_temporary: int
    """Temporary refusals without the attempts whose message had a later attempt or outcome."""
    permanent: int
    reported_sent: int | None

    @property
    def ratio(self) -> Fraction | None:
        return Fraction(self.rejected, self.sent) if self.sent else None

    @property
    def tiers(self) -> tuple[Tier, ...]:
        return tuple(dict.fromkeys(item.tier for item in self.evidence))


def decide(window: IpWindow, policy: Policy, tiers: CodeTiers, majors: MajorProviders) -> Decision:
    """The status that this window gives under this policy.

    Known volume: below the minimum volume always healthy, then the worst rule that holds. Unknown volume: warning at
    most, by tiers and counts alone. A reported volume smaller than what was refused cannot be right and counts as
    unknown. Source of the rules: product specification section 2.
    """
    facts = _facts(window, policy, tiers, majors)
    status, rule, why = _judge_unknown(facts, policy) if facts.sent is None else _judge_known(facts, facts.sent, policy)
    issue_type = _issue_type(facts.counts, facts.temporary, tiers)
    return Decision(
        status=status,
        rule=rule,
        why=why,
        issue_type=issue_type,
        total_sent=facts.sent,
        total_rejected=facts.rejected,
        ratio=facts.ratio,
        unique_recipient_domains=len(facts.domains),
        counts_by_code=facts.counts,
        major_providers=facts.majors,
        tiers_reached=facts.tiers,
        evidence=facts.evidence,
        temporary=facts.temporary,
        permanent=facts.permanent,
        recommendations=recommend(
            status=status,
            issue_type=issue_type,
            refusals=window.refusals,
            majors=facts.majors,
            temporary=facts.temporary,
            volume_known=facts.sent is not None,
        ),
    )


def _facts(window: IpWindow, policy: Policy, tiers: CodeTiers, majors: MajorProviders) -> _Facts:
    refusals = [refusal for refusal in window.refusals if refusal.count > 0]
    counts = _sum_by(refusals, lambda refusal: refusal.code)
    by_domain = _sum_by(refusals, lambda refusal: refusal.recipient_domain)
    names = (majors.name(item.recipient_domain, item.provider, policy.count_major_by) for item in refusals)
    evidence = [
        TierEvidence(tier, code, count, tiers.minimum[tier])
        for code, count in counts.items()
        if (tier := tiers.reached(code, count)) is not None
    ]
    order = list(Tier)
    rejected = window.total_rejected
    temporary = sum(count for code, count in counts.items() if code.startswith("4"))
    return _Facts(
        sent=window.total_sent if window.total_sent is None or window.total_sent >= rejected else None,
        rejected=rejected,
        counts=counts,
        # A report without a recipient (a feedback loop hides it) proves no further domain.
        domains=tuple(domain for domain in by_domain if domain),
        majors=tuple(sorted({name for name in names if name is not None})),
        evidence=tuple(sorted(evidence, key=lambda item: (order.index(item.tier), -item.count, item.code))),
        temporary=temporary,
        # Plain greylisting, where every message gets through at its second attempt, is no reason to warn.
        standing_temporary=max(0, temporary - window.outcomes.superseded),
        permanent=sum(count for code, count in counts.items() if code.startswith("5")),
        reported_sent=window.total_sent,
    )


def _judge_known(facts: _Facts, sent: int, policy: Policy) -> tuple[Status, Rule, str]:
    if sent == 0:
        return Status.HEALTHY, Rule.NO_MAIL, "No mail was sent in the window."
    if sent < policy.minimum_volume:
        why = f"{facts.rejected} of {sent} sent were refused, but {sent} is under the minimum volume of"
        return Status.HEALTHY, Rule.MINIMUM_VOLUME, f"{why} {policy.minimum_volume}."

    ratio = Fraction(facts.rejected, sent)
    share = f"{percent(ratio)} of {sent} sent were refused ({facts.rejected})"
    if (
        ratio > Fraction(policy.blacklisted_ratio_above)
        and len(facts.domains) >= policy.blacklisted_domains_from
        and len(facts.majors) >= policy.blacklisted_majors_from
        and facts.evidence
    ):
        where = f"{_at(facts.majors)} among {len(facts.domains)} domains"
        return Status.BLACKLISTED, Rule.BLACKLISTED, f"{share}{where}; {_joined(facts.evidence)}."

    grave = [item for item in facts.evidence if item.tier in _QUARANTINE_TIERS]
    if (
        ratio > Fraction(policy.quarantine_a_ratio_above)
        and len(facts.majors) >= policy.quarantine_a_majors_from
        and grave
    ):
        return Status.QUARANTINE, Rule.QUARANTINE_A, f"{share}{_at(facts.majors)}; {_joined(grave)}."
    if ratio > Fraction(policy.quarantine_b_ratio_above) and len(facts.domains) >= policy.quarantine_b_domains_from:
        limit = percent(policy.quarantine_b_ratio_above)
        return Status.QUARANTINE, Rule.QUARANTINE_B, f"{share}{_at(facts.domains)}, more than {limit}."

    limit = percent(policy.warning_ratio_from)
    if ratio >= Fraction(policy.warning_ratio_from):
        return Status.WARNING, Rule.WARNING_RATIO, f"{share}{_at(facts.domains)}; a warning starts at {limit}."
    if _many_temporary(facts, policy):
        return Status.WARNING, Rule.WARNING_TEMPORARY, f"{_temporary_text(facts, policy)}; {share}."
    if _many_refused(facts, policy):
        return Status.WARNING, Rule.WARNING_REFUSED, f"{_refused_text(facts, policy)}; {share}."
    return Status.HEALTHY, Rule.HEALTHY, f"{share}, under the {limit} of a warning."


def _judge_unknown(facts: _Facts, policy: Policy) -> tuple[Status, Rule, str]:
    prefix = f"Volume unknown, {facts.rejected} refused"
    if facts.reported_sent is not None:
        prefix = f"Volume unknown ({facts.reported_sent} reported as sent, but {facts.rejected} refused)"
    if facts.evidence:
        return Status.WARNING, Rule.UNKNOWN_VOLUME_TIER, f"{prefix}{_at(facts.domains)}; {_joined(facts.evidence)}."
    if _many_temporary(facts, policy):
        return Status.WARNING, Rule.UNKNOWN_VOLUME_TEMPORARY, f"{prefix}; {_temporary_text(facts, policy)}."
    if _many_refused(facts, policy):
        return Status.WARNING, Rule.UNKNOWN_VOLUME_REFUSED, f"{prefix}; {_refused_text(facts, policy)}."
    return Status.HEALTHY, Rule.UNKNOWN_VOLUME_HEALTHY, f"{prefix}; no code tier and no count rule was reached."


def _many_temporary(facts: _Facts, policy: Policy) -> bool:
    return facts.standing_temporary > policy.warning_temporary_above and facts.permanent >= 1


def _many_refused(facts: _Facts, policy: Policy) -> bool:
    return facts.counts.get(REFUSED, 0) >= policy.warning_refused_from


def _issue_type(counts: Mapping[str, int], temporary: int, tiers: CodeTiers) -> IssueType:
    """The first kind of trouble that matches; its limits are fixed by the specification and not part of a policy.

    Counts are attempts, and so is the total that "temporary > half" compares with.
    """

    def of(code: str) -> int:
        return counts.get(code, 0)

    refused = sum(counts.values())
    if refused == 0:
        return IssueType.NONE
    ladder = (
        (IssueType.CONTENT, of("5.7.512") > 2 or of("5.7.606") > 2),
        (IssueType.REPUTATION, of(REFUSED) > 5),
        (IssueType.AUTHENTICATION, tiers.total(Tier.AUTHENTICATION, counts) > 5),
        (IssueType.INFRASTRUCTURE, tiers.total(Tier.INFRASTRUCTURE, counts) > 5),
        (IssueType.POLICY, of("5.7.510") > 10 or of("4.7.1") > 10),
        (IssueType.HYGIENE, of("5.1.1") > 10),
        (IssueType.RATE_LIMITING, temporary * 2 > refused),
    )
    return next((issue for issue, matches in ladder if matches), IssueType.MIXED)


def _sum_by(refusals: Sequence[RefusalCount], key: Callable[[RefusalCount], str]) -> dict[str, int]:
    """Counts by that key, most frequent first, ties by name."""
    sums: Counter[str] = Counter()
    for refusal in refusals:
        sums[key(refusal)] += refusal.count
    return dict(sorted(sums.items(), key=lambda item: (-item[1], item[0])))


def _temporary_text(facts: _Facts, policy: Policy) -> str:
    limit = policy.warning_temporary_above
    return f"{facts.standing_temporary} temporary refusals (more than {limit}) beside {facts.permanent} permanent"


def _refused_text(facts: _Facts, policy: Policy) -> str:
    return f"{REFUSED} ×{facts.counts.get(REFUSED, 0)} ({policy.warning_refused_from} or more)"


def _at(names: Sequence[str]) -> str:
    """ ", at gmail.com, outlook.com and 3 more"; nothing for no names."""
    if not names:
        return ""
    shown = list(names[:_NAMED])
    if len(names) > _NAMED:
        shown.append(f"{len(names) - _NAMED} more")
    return ", at " + (" and ".join([", ".join(shown[:-1]), shown[-1]]) if len(shown) > 1 else shown[0])


def _joined(evidence: Sequence[TierEvidence]) -> str:
    shown = [str(item) for item in evidence[:_NAMED]]
    if len(evidence) > _NAMED:
        shown.append(f"{len(evidence) - _NAMED} more codes reached theirs")
    return ", ".join(shown)
