"""Which scope an operation of the API needs: known from its method and the permission its view names."""

from __future__ import annotations

from collections.abc import Collection
from functools import cache
from typing import Any

from django.conf import settings
from django.utils.module_loading import import_string
from rest_framework.permissions import SAFE_METHODS

from telemetry.domain.scopes import Scope


def scope_needed(method: str, view: Any) -> Scope:
    """What a token needs for this method of this view: reading is read, what operators do is operate, all else admin.

    A view that names no permission counts as admin, so that one which forgets to is not open to narrow tokens.
    """
    if method in SAFE_METHODS:
        return Scope.READ
    return Scope.OPERATE if getattr(view, "write_permission", "") in _operators_acts() else Scope.ADMIN


@cache
def _operators_acts() -> Collection[str]:
    """The permissions to act on senders; the floor that makes the groups names them."""
    acts: Collection[str] = import_string(settings.OPERATOR_ACTS)
    return frozenset(acts)
