"""The access log: one row for what happens at the doors. Read by admins only, kept as the retention policy says."""

from __future__ import annotations

from datetime import datetime

from django.contrib.auth import get_user_model

from telemetry.domain import clean
from telemetry.domain.access import AccessKind
from telemetry.models.access import AccessRecord

_LONGEST_NAME = 150
_LONGEST_DETAIL = 300


def record(kind: AccessKind, *, who: str, address: str, now: datetime, token: str = "", detail: str = "") -> None:
    """Write one row. `who` is a name, `token` a prefix, `address` an IP or empty for a command on the machine.

    Whoever calls sees to it that no password, secret or recipient is in it; see `known_user` for typed names.
    """
    AccessRecord.objects.create(
        at=now,
        kind=kind.value,
        who=clean.text(who, longest=_LONGEST_NAME),
        token=token[:16],
        address=address or None,
        detail=clean.text(detail, longest=_LONGEST_DETAIL),
    )


def known_user(typed: str) -> str:
    """The name as it may be written down after a failed login: that of a user, else nothing.

    People type their password into the field of the name; what is nobody's name is therefore not kept.
    """
    users = get_user_model()._default_manager.filter(username=typed[:_LONGEST_NAME])
    return typed if len(typed) <= _LONGEST_NAME and "\x00" not in typed and users.exists() else ""
