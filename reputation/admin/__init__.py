"""The admin of this floor: standing and what people do about it, policies, the audit log, the self-test."""

from reputation.admin import (
    alerts,
    audit,
    audits,
    blocklists,
    breakers,
    kumomta,
    listings,
    permits,
    policies,
    pools,
    scores,
    sending,
    standing,
    warmup_policies,
    warmups,
)

__all__ = [
    "alerts",
    "audit",
    "audits",
    "blocklists",
    "breakers",
    "kumomta",
    "listings",
    "permits",
    "policies",
    "pools",
    "scores",
    "sending",
    "standing",
    "warmup_policies",
    "warmups",
]
