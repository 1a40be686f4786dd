"""What it means: policies, standing, scores, overrides, the audit log."""

from reputation.models.audit import AuditEntry, Override
from reputation.models.breaker import Breaker, BreakerEvent, BreakerPolicy, BreakerPolicyRevision
from reputation.models.policy import CodeTier, MajorProviderDomain, Policy, PolicyRevision, Pool, SendingIP, TierMinimum
from reputation.models.standing import IpStanding, IpStandingHistory, SenderScore, SenderScoreHistory

__all__ = [
    "AuditEntry",
    "Breaker",
    "BreakerEvent",
    "BreakerPolicy",
    "BreakerPolicyRevision",
    "CodeTier",
    "IpStanding",
    "IpStandingHistory",
    "MajorProviderDomain",
    "Override",
    "Policy",
    "PolicyRevision",
    "Pool",
    "SenderScore",
    "SenderScoreHistory",
    "SendingIP",
    "TierMinimum",
]
