"""What people decide about the members of pools: a sending IP's place and weight, a domain's pool; always audited."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.db import transaction

from reputation.models import AuditEntry, Pool, PoolDomain, SendingIP

NUMBERS = ("pool", "label", "weight", "is_backup", "transport")


def change_sending_ip(row: SendingIP, values: dict[str, Any], *, user: User, reason: str = "") -> SendingIP:
    """Set the given values (`pool` is a Pool or None) with an audit row of what changed. Raises ValidationError."""
    unknown = sorted(set(values) - set(NUMBERS))
    if unknown:
        raise ValidationError(dict.fromkeys(unknown, "There is no such value."))
    with transaction.atomic():
        # The pool is read apart: PostgreSQL locks no outer join.
        locked = SendingIP.objects.select_for_update().get(pk=row.pk)
        before = _words(locked)
        for name, value in values.items():
            setattr(locked, name, value)
        locked.full_clean()
        after = _words(locked)
        changed = {name: [before[name], after[name]] for name in NUMBERS if before[name] != after[name]}
        if not changed:
            return locked
        locked.save(update_fields=NUMBERS)
        AuditEntry.objects.create(
            sending_ip=locked.ip,
            action="sending_ip_changed",
            reason=_sentence(changed, reason),
            triggered_by=str(user),
            user=user,
            metadata={"changed": changed},
        )
    return locked


def set_domain_pool(domain: str, pool: Pool, *, user: User, reason: str = "") -> tuple[PoolDomain, bool]:
    """Let a sending domain (in its canonical form) leave by this pool; the row, and whether it is a new one."""
    with transaction.atomic():
        row = PoolDomain.objects.select_for_update().filter(pk=domain).first()
        previous = "" if row is None else row.pool.name
        is_new = row is None
        if row is None:
            row = PoolDomain(domain=domain)
        row.pool = pool
        row.full_clean(validate_unique=is_new)
        row.save()
        if previous != pool.name:
            _audit_domain(domain, previous, pool.name, user, reason)
    return row, is_new


def unset_domain_pool(row: PoolDomain, *, user: User, reason: str = "") -> None:
    """Let a sending domain leave by the default pool again."""
    with transaction.atomic():
        domain, previous = row.domain, row.pool.name
        if PoolDomain.objects.filter(pk=domain).delete()[0]:
            _audit_domain(domain, previous, "", user, reason)


def _audit_domain(domain: str, previous: str, new: str, user: User, reason: str) -> None:
    changed = {"pool": [previous or "the default", new or "the default"]}
    AuditEntry.objects.create(
        subject=domain,
        action="pool_of_domain_changed",
        reason=_sentence(changed, reason),
        triggered_by=str(user),
        user=user,
        metadata={"changed": changed},
    )


def _words(row: SendingIP) -> dict[str, Any]:
    values = {name: getattr(row, name) for name in NUMBERS}
    return values | {"pool": row.pool.name if row.pool else "the default"}


def _sentence(changed: dict[str, list[Any]], reason: str) -> str:
    told = "; ".join(f"{name.replace('_', ' ')}: {_shown(old)} → {_shown(new)}" for name, (old, new) in changed.items())
    return f"{told}. {reason}".strip() if reason else told


def _shown(value: Any) -> str:
    return (
        {True: "yes", False: "no", "": "none"}.get(value, str(value)) if isinstance(value, bool | str) else str(value)
    )
