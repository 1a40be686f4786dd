"""Warm-up templates: shipped in a file, kept in a table beside those that operators make themselves."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import ProtectedError

from reputation.models import AuditEntry, WarmupTemplate

DATA = Path(__file__).parent / "data" / "warmup_templates.toml"
FIELDS = ("name", "description", "source", "unit", "amounts", "provider_amounts", "provider_shares")


def ensure_templates() -> None:
    """Add shipped templates that the table lacks; runs after every migration."""
    present = set(WarmupTemplate.objects.values_list("name", flat=True))
    entries = tomllib.loads(DATA.read_text(encoding="utf-8"))["template"]
    rows = [WarmupTemplate(**_filled(entry), builtin=True) for entry in entries if entry["name"] not in present]
    WarmupTemplate.objects.bulk_create(rows, ignore_conflicts=True)


def save_template(template: WarmupTemplate, values: dict[str, Any], *, user: User) -> WarmupTemplate:
    """Make or change a template of an operator's own. What runs keeps its numbers. Raises ValidationError."""
    _refuse_builtin(template)
    for name, value in values.items():
        setattr(template, name, value)
    template.full_clean()
    action = "warmup_template_made" if template.pk is None else "warmup_template_changed"
    with transaction.atomic():
        template.save()
        _audit(template, action, user)
    return template


def delete_template(template: WarmupTemplate, *, user: User) -> None:
    """Delete a template of an operator's own, unless a policy goes by it. Raises ValidationError."""
    _refuse_builtin(template)
    with transaction.atomic():
        _audit(template, "warmup_template_deleted", user)
        try:
            template.delete()
        except ProtectedError:
            raise ValidationError("A warm-up policy goes by this template.") from None


def _filled(entry: dict[str, Any]) -> dict[str, Any]:
    shares = {name: by_day(steps) for name, steps in entry.get("provider_shares", {}).items()}
    return {**{name: entry[name] for name in FIELDS if name in entry}, "provider_shares": shares}


def by_day(steps: Sequence[tuple[int, float]]) -> list[float]:
    """One number for each day from [day, number] pairs: a number holds until the next pair."""
    days = dict(steps)
    found: list[float] = []
    for day in range(1, max(days) + 1):
        found.append(days[day] if day in days else found[-1])
    return found


def _refuse_builtin(template: WarmupTemplate) -> None:
    if template.builtin:
        raise ValidationError("A built-in template stays as it is published: make one of your own.")


def _audit(template: WarmupTemplate, action: str, user: User) -> None:
    numbers = {name: getattr(template, name) for name in FIELDS}
    AuditEntry.objects.create(
        subject=template.name,
        action=action,
        reason=f"Warm-up template {template.name}: {template.days} days",
        triggered_by=str(user),
        user=user,
        metadata=numbers,
    )
