"""Policies as the deciders read them, and the one way to change them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.contrib.auth.models import User
from django.core.exceptions import ValidationError

from reputation.domain import policy as domain
from reputation.models import CodeTier, MajorProviderDomain, Policy, Pool, SendingIP, TierMinimum
from reputation.revisions import as_text, change, keep, numbers_of
from telemetry import mailbox_providers

NUMBERS = numbers_of(Policy)


@dataclass(frozen=True, slots=True)
class Rulebook:
    """Everything a run decides by, read once at its start."""

    policies: dict[int | None, domain.Policy]
    """By pool id; None is the policy of IPs without a pool."""
    pool_of: dict[str, int]
    tiers: domain.CodeTiers
    majors: domain.MajorProviders

    def policy_for(self, ip: str) -> domain.Policy:
        """The policy that this sending IP is judged by."""
        return self.policies.get(self.pool_of.get(ip), self.policies[None])

    @property
    def windows(self) -> set[timedelta]:
        """The window lengths in use."""
        return {policy.window for policy in self.policies.values()}


def rulebook() -> Rulebook:
    """Read the policies, tiers and major providers as they are now."""
    policies: dict[int | None, domain.Policy] = {None: domain.Policy()}
    for row in Policy.objects.select_related("pool"):
        policies[row.pool_id] = as_domain(row)
        if row.pool.is_default:
            policies[None] = policies[row.pool_id]
    return Rulebook(
        policies=policies,
        pool_of=dict(SendingIP.objects.exclude(pool=None).values_list("ip", "pool_id")),
        tiers=domain.CodeTiers(
            tier_of={code: domain.Tier(tier) for code, tier in CodeTier.objects.values_list("code", "tier")},
            minimum={domain.Tier(tier): least for tier, least in TierMinimum.objects.values_list("tier", "minimum")},
        ),
        majors=domain.MajorProviders(
            dict(MajorProviderDomain.objects.values_list("domain", "provider")), mailbox_providers.families()
        ),
    )


def as_domain(row: Policy) -> domain.Policy:
    """A stored policy as the pure value that `decide` takes."""
    return domain.Policy(**{name: getattr(row, name) for name in NUMBERS}, revision=row.revision)


def change_policy(row: Policy, values: dict[str, Any], *, user: User | None, reason: str) -> Policy:
    """Set the given thresholds and keep what they were: who, when and why. Raises ValidationError naming the field."""
    return change(row, values, stored=as_text, check=_check, user=user, reason=reason)


def _check(row: Policy) -> None:
    if row.window % timedelta(minutes=1):
        raise ValidationError({"window": "Use whole minutes."})


def ensure_defaults() -> None:
    """Make the default pool, tiers and major providers where there are none yet; runs after every migration."""
    if not Pool.objects.exists():
        pool = Pool.objects.create(name="default", description="IPs that are in no other pool.", is_default=True)
        row = Policy.objects.create(pool=pool)
        keep(row, as_text(row), None, "the defaults of the product")
    tiers, majors = domain.CodeTiers(), domain.MajorProviders()
    if not CodeTier.objects.exists():
        CodeTier.objects.bulk_create(CodeTier(code=code, tier=tier.value) for code, tier in tiers.tier_of.items())
    if not TierMinimum.objects.exists():
        TierMinimum.objects.bulk_create(
            TierMinimum(tier=tier.value, minimum=least) for tier, least in tiers.minimum.items()
        )
    if not MajorProviderDomain.objects.exists():
        MajorProviderDomain.objects.bulk_create(
            MajorProviderDomain(domain=name, provider=provider) for name, provider in majors.provider_of.items()
        )
