"""Breaker policies as the breakers read them, and the one way to change them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.contrib.auth.models import User

from reputation.domain import breaker_policy as domain
from reputation.domain.policy import MajorProviders
from reputation.models import BreakerPolicy, MajorProviderDomain, Pool, SendingIP
from reputation.revisions import as_text, change, keep, numbers_of
from telemetry import mailbox_providers

NUMBERS = numbers_of(BreakerPolicy)


@dataclass(frozen=True, slots=True)
class BreakerBook:
    """The policies in force, read once at a run's start."""

    default: domain.BreakerPolicy
    by_ip: dict[str, domain.BreakerPolicy]
    """Of the sending IPs whose pool has one of its own."""

    def policy_of(self, kind: domain.Kind, sender: str) -> domain.BreakerPolicy:
        """An IP goes by its pool's policy; a sending domain, which is in no pool, by the default pool's."""
        return self.by_ip.get(sender, self.default) if kind == "ip" else self.default


def breaker_book() -> BreakerBook:
    """Read the policies as they are now. Without a row the product's defaults hold."""
    default = domain.BreakerPolicy()
    by_pool: dict[int, domain.BreakerPolicy] = {}
    for row in BreakerPolicy.objects.select_related("pool"):
        by_pool[row.pool_id] = as_domain(row)
        if row.pool.is_default:
            default = by_pool[row.pool_id]
    members = SendingIP.objects.filter(pool__in=by_pool).values_list("ip", "pool_id")
    return BreakerBook(default, {ip: by_pool[pool] for ip, pool in members if pool is not None})


def major_providers() -> MajorProviders:
    """Whose refusals in a row are a block."""
    return MajorProviders(
        dict(MajorProviderDomain.objects.values_list("domain", "provider")), mailbox_providers.families()
    )


def as_domain(row: BreakerPolicy) -> domain.BreakerPolicy:
    """A stored policy as the pure value that `decide` takes."""
    return domain.BreakerPolicy(**{name: getattr(row, name) for name in NUMBERS}, revision=row.revision)


def change_breaker_policy(
    row: BreakerPolicy, values: dict[str, Any], *, user: User | None, reason: str
) -> BreakerPolicy:
    """Set the given numbers and keep what they were: who, when and why. Raises ValidationError naming the field."""
    return change(row, values, stored=as_text, check=as_domain, user=user, reason=reason)


def ensure_defaults() -> None:
    """Give the default pool a breaker policy where it has none; runs after every migration."""
    pool = Pool.objects.filter(is_default=True, breaker_policy=None).first()
    if pool is not None:
        row = BreakerPolicy.objects.create(pool=pool)
        keep(row, as_text(row), None, "the defaults of the product")
