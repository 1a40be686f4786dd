"""What it means: policies, standing, scores, overrides, the audit log."""

from reputation.models.alerting import Alert, AlertChannel, AlertDelivery, AlertEvent, AlertRule
from reputation.models.audit import AuditEntry, Override
from reputation.models.audit_report import AuditReport, AuditTarget
from reputation.models.blocklist import Blocklist, BlocklistCanary, Listing, ListingEvent, Watermark
from reputation.models.breaker import Breaker, BreakerEvent, BreakerPolicy, BreakerPolicyRevision
from reputation.models.judgement import Judgement
from reputation.models.kumomta import KumoAct, KumoServer
from reputation.models.policy import CodeTier, MajorProviderDomain, Policy, PolicyRevision, Pool, SendingIP, TierMinimum
from reputation.models.sending import (
    Budget,
    PermitMinute,
    PoolDomain,
    ProviderLimit,
    SendingPolicy,
    SendingPolicyRevision,
)
from reputation.models.standing import IpStanding, IpStandingHistory, SenderScore, SenderScoreHistory
from reputation.models.warmup import Warmup, WarmupEvent, WarmupPolicy, WarmupPolicyRevision, WarmupTemplate

__all__ = [
    "Alert",
    "AlertChannel",
    "AlertDelivery",
    "AlertEvent",
    "AlertRule",
    "AuditEntry",
    "AuditReport",
    "AuditTarget",
    "Blocklist",
    "BlocklistCanary",
    "Breaker",
    "BreakerEvent",
    "BreakerPolicy",
    "BreakerPolicyRevision",
    "Budget",
    "CodeTier",
    "IpStanding",
    "IpStandingHistory",
    "Judgement",
    "KumoAct",
    "KumoServer",
    "Listing",
    "ListingEvent",
    "MajorProviderDomain",
    "Override",
    "PermitMinute",
    "Policy",
    "PolicyRevision",
    "Pool",
    "PoolDomain",
    "ProviderLimit",
    "SenderScore",
    "SenderScoreHistory",
    "SendingIP",
    "SendingPolicy",
    "SendingPolicyRevision",
    "TierMinimum",
    "Warmup",
    "WarmupEvent",
    "WarmupPolicy",
    "WarmupPolicyRevision",
    "WarmupTemplate",
    "Watermark",
]
