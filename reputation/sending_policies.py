"""Sending policies and pools as the permits read them, and the one way to change a policy."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.models import User
from django.core.exceptions import ValidationError

from reputation.domain import sending_policy as domain
from reputation.domain.sending_policy import DEFAULT_CAPS, ProviderCap
from reputation.models import Pool, ProviderLimit, SendingPolicy
from reputation.revisions import as_text, change, numbers_of

NUMBERS = numbers_of(SendingPolicy)
CAPS = "provider_limits"


def as_domain(row: SendingPolicy) -> domain.SendingPolicy:
    """A stored policy as the pure value that permits are decided by; its provider limits should be prefetched."""
    values = {name: getattr(row, name) for name in NUMBERS}
    values["mode"], values["on_failure"] = domain.Mode(row.mode), domain.OnFailure(row.on_failure)
    caps = {cap.provider: ProviderCap(cap.per_hour, cap.per_day) for cap in row.provider_limits.all()}
    return domain.SendingPolicy(**values, provider_caps=caps, revision=row.revision)


def policies() -> dict[str, domain.SendingPolicy]:
    """All policies by their pool's name."""
    rows = SendingPolicy.objects.select_related("pool").prefetch_related("provider_limits")
    return {row.pool.name: as_domain(row) for row in rows}


def change_sending_policy(
    row: SendingPolicy, values: dict[str, Any], *, user: User | None, reason: str
) -> SendingPolicy:
    """Set the given values and keep what they were: who, when and why. Raises ValidationError naming the field.

    `provider_limits`, where given, is the whole new list: {"provider", "per_hour", "per_day"} each.
    """
    caps = values.pop(CAPS, None) if CAPS in values else None

    def check(locked: SendingPolicy) -> None:
        if caps is not None:
            _replace_caps(locked, caps)

    return change(row, values, stored=_stored, check=check, user=user, reason=reason)


def _replace_caps(row: SendingPolicy, caps: list[dict[str, Any]]) -> None:
    named = [str(cap.get("provider", "")) for cap in caps]
    if len(set(named)) != len(named):
        raise ValidationError({CAPS: "Each mailbox provider may stand there once."})
    # Row by row and not anew: a form that somebody has open names them by their ids.
    present = {limit.provider: limit for limit in row.provider_limits.all()}
    for cap in caps:
        name = cap.get("provider", "")
        limit = present.pop(name, None) or ProviderLimit(policy=row, provider=name)
        limit.per_hour, limit.per_day = cap.get("per_hour"), cap.get("per_day")
        try:
            limit.full_clean()
        except ValidationError as error:
            raise ValidationError({CAPS: error.messages}) from None
        limit.save()
    row.provider_limits.filter(provider__in=present).delete()


def ensure_defaults() -> None:
    """Give the default pool a sending policy where it has none; runs after every migration."""
    pool = Pool.objects.filter(is_default=True, sending_policy=None).first()
    if pool is not None:
        change_sending_policy(new_policy(pool), {}, user=None, reason="the defaults of the product")


def new_policy(pool: Pool) -> SendingPolicy:
    """A policy of the product's defaults for this pool, provider limits included (and switched off).

    It is revision 0: the first change, even one that changes nothing, makes it the first revision.
    """
    row = SendingPolicy.objects.create(pool=pool, revision=0)
    ProviderLimit.objects.bulk_create(
        ProviderLimit(policy=row, provider=provider, per_hour=cap.per_hour, per_day=cap.per_day)
        for provider, cap in DEFAULT_CAPS.items()
    )
    return row


def _stored(row: SendingPolicy) -> dict[str, Any]:
    caps = {cap.provider or "other": [cap.per_hour, cap.per_day] for cap in row.provider_limits.order_by("provider")}
    return as_text(row) | {CAPS: caps}
