"""The admin of this floor: standing and what people do about it, policies, the audit log, the self-test."""

from reputation.admin import (
    audit,
    audits,
    breakers,
    kumomta,
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
    "audit",
    "audits",
    "breakers",
    "kumomta",
    "permits",
    "policies",
    "pools",
    "scores",
    "sending",
    "standing",
    "warmup_policies",
    "warmups",
]
