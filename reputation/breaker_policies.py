"""Breaker policies as the breakers read them, and the one way to change them."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.db import transaction
from django.forms.models import model_to_dict

from reputation.domain import breaker_policy as domain
from reputation.domain.policy import MajorProviders
from reputation.models import BreakerPolicy, BreakerPolicyRevision, MajorProviderDomain, Pool, SendingIP
from telemetry import mailbox_providers

NUMBERS = tuple(field.name for field in BreakerPolicy._meta.fields if field.name not in ("id", "pool", "revision"))


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
    unknown = sorted(set(values) - set(NUMBERS))
    if unknown:
        raise ValidationError(dict.fromkeys(unknown, "There is no such number."))
    with transaction.atomic():
        locked = BreakerPolicy.objects.select_for_update().get(pk=row.pk)
        before = _values(locked)
        for name, value in values.items():
            setattr(locked, name, value)
        locked.full_clean()
        try:
            as_domain(locked)
        except ValueError as error:
            raise ValidationError(f"{str(error).capitalize()}.") from None
        if _values(locked) == before and locked.revision > 0:
            return locked
        locked.revision += 1
        locked.save()
        _keep_revision(locked, user, reason)
    return locked


def ensure_defaults() -> None:
    """Give the default pool a breaker policy where it has none; runs after every migration."""
    pool = Pool.objects.filter(is_default=True, breaker_policy=None).first()
    if pool is not None:
        _keep_revision(BreakerPolicy.objects.create(pool=pool), None, "the defaults of the product")


def _values(row: BreakerPolicy) -> dict[str, str]:
    # 0.1 and the stored 0.100000 are the same number.
    values = model_to_dict(row, fields=NUMBERS)
    return {
        name: f"{value.normalize():f}" if isinstance(value, Decimal) else str(value) for name, value in values.items()
    }


def _keep_revision(row: BreakerPolicy, user: User | None, reason: str) -> None:
    BreakerPolicyRevision.objects.create(
        policy=row, revision=row.revision, values=_values(row), reason=reason, changed_by=user
    )
