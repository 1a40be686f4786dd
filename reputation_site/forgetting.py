"""Forget a person: take one address out of everything that is stored, whichever table comes to hold it.

Counters hold no addresses. Digests of recipients (receipts, message states) cannot be read back and go by retention.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from typing import Any

from django.apps import apps
from django.db import models
from django.db.models import Q

from telemetry.secrets import digest

MARK = "[forgotten]"
_OURS = ("telemetry", "reputation", "admin")
_AT_ONCE = 500


def forget(address: str, *, say: Callable[[str, int], None], dry_run: bool = False) -> int:
    """Take the address out of every text; how many rows held it. `say` is told of each table when it is done.

    Where the whole value is the address, or its digest as GS_RECIPIENTS_OF_… may keep it, it becomes empty; inside a
    longer text "[forgotten]" stands in its place. May be killed and run again.
    """
    total = 0
    for model in _tables():
        found = sum(_mend(row, model, address, dry_run) for row in _rows(model, address))
        say(str(model._meta.verbose_name_plural), found)
        total += found
    return total


def pattern(address: str) -> re.Pattern[str]:
    """The address as a whole, in any case: not as the end or the beginning of a longer one."""
    return re.compile(rf"(?<![\w.+-]){re.escape(address)}(?![\w-]|\.\w)", re.IGNORECASE)


def _tables() -> Iterator[type[models.Model]]:
    for label in _OURS:
        yield from apps.get_app_config(label).get_models()


def _texts(model: type[models.Model]) -> list[models.Field[Any, Any]]:
    kinds = (models.CharField, models.TextField, models.JSONField)
    return [field for field in model._meta.concrete_fields if isinstance(field, kinds) and not field.primary_key]


def _rows(model: type[models.Model], address: str) -> Iterator[models.Model]:
    wanted = Q()
    for field in _texts(model):
        for form in _forms(address):
            wanted |= Q(**{f"{field.name}__icontains": form})
        if field.name == "recipient":
            wanted |= Q(recipient=_kept_digest(address))
    if wanted:
        yield from model._default_manager.filter(wanted).order_by().iterator(chunk_size=_AT_ONCE)


def _mend(row: models.Model, model: type[models.Model], address: str, dry_run: bool) -> bool:
    changed: dict[str, Any] = {}
    for field in _texts(model):
        before = getattr(row, field.attname)
        after = _without(before, address, may_be_empty=field.blank)
        if after != before:
            changed[field.attname] = after
    if changed and not dry_run:
        model._default_manager.filter(pk=row.pk).update(**changed)
    return bool(changed)


def _without(value: Any, address: str, *, may_be_empty: bool = False) -> Any:
    if isinstance(value, str):
        if may_be_empty and value.lower() in (address.lower(), _kept_digest(address)):
            return ""
        for form in _forms(address):
            value = pattern(form).sub(MARK, value)
        return value
    if isinstance(value, list):
        return [_without(entry, address) for entry in value]
    if isinstance(value, dict):
        return {_without(key, address): _without(entry, address) for key, entry in value.items()}
    return value


def _forms(address: str) -> set[str]:
    """How the address may be written: in JSON, letters outside ASCII stand as escapes."""
    return {address, json.dumps(address)[1:-1]}


def _kept_digest(address: str) -> str:
    return digest("recipient", address.lower())
