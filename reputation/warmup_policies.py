"""Warm-up policies as the warm-ups read them, and the one way to change them."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from django.contrib.auth.models import User

from reputation.domain import warmup_policy as domain
from reputation.domain.breaker_policy import Kind
from reputation.models import Pool, SendingIP, WarmupPolicy, WarmupTemplate
from reputation.models.warmup import DEFAULT_TEMPLATE
from reputation.revisions import as_text, change, numbers_of
from reputation.warmup_templates import ensure_templates

_PLACES = Decimal("0.000001")
NUMBERS = numbers_of(WarmupPolicy)


@dataclass(frozen=True, slots=True)
class WarmupBook:
    """The policies in force, read once at a run's start."""

    default: domain.WarmupPolicy
    by_ip: dict[str, domain.WarmupPolicy]
    """Of the sending IPs whose pool has one of its own."""

    def policy_of(self, kind: Kind, sender: str) -> domain.WarmupPolicy:
        """An IP goes by its pool's policy; a sending domain, which is in no pool, by the default pool's."""
        return self.by_ip.get(sender, self.default) if kind == "ip" else self.default


def warmup_book() -> WarmupBook:
    """Read the policies as they are now. Without a row the product's defaults hold."""
    default = domain.WarmupPolicy()
    by_pool: dict[int, domain.WarmupPolicy] = {}
    for row in WarmupPolicy.objects.select_related("pool", "ip_template", "domain_template"):
        by_pool[row.pool_id] = as_domain(row)
        if row.pool.is_default:
            default = by_pool[row.pool_id]
    members = SendingIP.objects.filter(pool__in=by_pool, pool__is_default=False).values_list("ip", "pool_id")
    return WarmupBook(default, {ip: by_pool[pool] for ip, pool in members if pool is not None})


def as_domain(row: WarmupPolicy) -> domain.WarmupPolicy:
    """A stored policy as the pure value. Raises ValueError for numbers that cannot be meant."""
    values = {name: getattr(row, name) for name in NUMBERS}
    values |= {"on_detection": domain.OnDetection(row.on_detection)}
    values |= {"ip_template": row.ip_template.name, "domain_template": row.domain_template.name}
    return domain.WarmupPolicy(**values, revision=row.revision)


def change_warmup_policy(row: WarmupPolicy, values: dict[str, Any], *, user: User | None, reason: str) -> WarmupPolicy:
    """Set the given numbers and keep what they were: who, when and why. Raises ValidationError naming the field."""
    return change(row, values, stored=_stored, check=as_domain, user=user, reason=reason)


def new_policy(pool: Pool) -> WarmupPolicy:
    """A policy with the product's defaults, as revision 0: the first change makes it the first revision."""
    template = WarmupTemplate.objects.get(name=DEFAULT_TEMPLATE)
    return WarmupPolicy.objects.create(pool=pool, revision=0, ip_template=template, domain_template=template)


def ensure_defaults() -> None:
    """Add shipped templates, and give the default pool a policy where it has none; runs after every migration."""
    ensure_templates()
    pool = Pool.objects.filter(is_default=True, warmup_policy=None).first()
    if pool is not None:
        change_warmup_policy(new_policy(pool), {}, user=None, reason="the defaults of the product")


def _stored(row: WarmupPolicy) -> dict[str, str]:
    # A template's name says more than its id.
    return as_text(row) | {"ip_template": str(row.ip_template), "domain_template": str(row.domain_template)}
