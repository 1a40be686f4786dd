"""The one way in which every kind of policy changes: under its lock, checked, and kept with who, when and why."""

from __future__ import annotations

from collections.abc import Callable, Collection
from decimal import Decimal
from typing import Any, TypeVar

from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.db import transaction
from django.forms.models import model_to_dict

from reputation.models import BreakerPolicy, Policy, SendingPolicy, WarmupPolicy

P = TypeVar("P", Policy, BreakerPolicy, SendingPolicy, WarmupPolicy)


def numbers_of(model: type[P]) -> tuple[str, ...]:
    """What of a policy can be changed."""
    return tuple(field.name for field in model._meta.fields if field.name not in ("id", "pool", "revision"))


def change(
    row: P,
    values: dict[str, Any],
    *,
    stored: Callable[[P], dict[str, Any]],
    check: Callable[[P], object],
    user: User | None,
    reason: str,
) -> P:
    """Set the given values and keep what they were. Raises ValidationError naming the field.

    `check` sees the policy as it would be, and raises ValidationError or ValueError; what it writes beside the row is
    undone with it. `stored` is what a revision keeps, and by which two versions are the same: then nothing changes,
    unless the policy is at revision 0, so that a new one begins its history.
    """
    known = numbers_of(type(row))
    _refuse_unknown(values, known)
    with transaction.atomic():
        locked = type(row)._default_manager.select_for_update().get(pk=row.pk)
        before = stored(locked)
        for name, value in values.items():
            setattr(locked, name, value)
        locked.full_clean()
        try:
            check(locked)
        except ValueError as error:
            raise ValidationError(f"{str(error).capitalize()}.") from None
        if stored(locked) == before and locked.revision > 0:
            return locked
        locked.revision += 1
        locked.save()
        keep(locked, stored(locked), user, reason)
    return locked


def keep(row: P, values: dict[str, Any], user: User | None, reason: str) -> None:
    """Write a policy's version into its history."""
    row.revisions.create(revision=row.revision, values=values, reason=reason, changed_by=user)


def as_text(row: P) -> dict[str, str]:
    """Every number as text; 0.1 and the stored 0.100000 are the same number."""
    values = model_to_dict(row, fields=numbers_of(type(row)))
    return {
        name: f"{value.normalize():f}" if isinstance(value, Decimal) else str(value) for name, value in values.items()
    }


def _refuse_unknown(values: dict[str, Any], known: Collection[str]) -> None:
    unknown = sorted(set(values) - set(known))
    if unknown:
        raise ValidationError(dict.fromkeys(unknown, "There is no such value."))
