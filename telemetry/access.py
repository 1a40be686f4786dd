"""The access log: one row for what happens at the doors. Read by admins only, kept as the retention policy says."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from django.contrib.auth import get_user_model
from django.db import DatabaseError, transaction
from django.http import HttpRequest

from telemetry.client_address import address_of
from telemetry.domain import clean
from telemetry.domain.access import AccessKind
from telemetry.models.access import AccessRecord
from telemetry.models.sources import Source

log = logging.getLogger(__name__)

_LONGEST_NAME = 150
_LONGEST_DETAIL = 300
_LONGEST_PREFIX = 16
_ONCE_A = timedelta(days=1)
# Tokens and addresses that this process remembers to have written down today.
_MOST_REMEMBERED = 10_000
_written: dict[tuple[AccessKind, str, str, str], date] = {}


@dataclass(frozen=True, slots=True)
class Actor:
    """Who did something: a user's name and from where; both empty for a command on the machine itself."""

    name: str = ""
    address: str = ""


ON_THE_MACHINE = Actor()


def actor_of(request: HttpRequest) -> Actor:
    """Who acts by this request."""
    return Actor(request.user.get_username() if request.user.is_authenticated else "", address_of(request))


def record(kind: AccessKind, *, who: str, address: str, now: datetime, token: str = "", detail: str = "") -> None:
    """Write one row. `who` is a name, `token` a prefix, `address` an IP or empty for a command on the machine.

    Whoever calls sees to it that no password, secret or recipient is in it; see `known_user` for typed names.
    """
    AccessRecord.objects.create(
        at=now,
        kind=kind.value,
        who=clean.text(who, longest=_LONGEST_NAME),
        token=token[:_LONGEST_PREFIX],
        address=address or None,
        detail=clean.text(detail, longest=_LONGEST_DETAIL),
    )


def note_source(kind: AccessKind, source: Source, by: Actor, fields: Iterable[str], *, now: datetime) -> None:
    """Write down that a source was added, changed or deleted, with the names of the fields and never their values."""
    named = ", ".join(sorted(map(str, fields)))
    detail = f"{source.name}: {named}" if named else source.name
    record(kind, who=by.name, address=by.address, now=now, detail=detail)


def record_once_a_day(
    kind: AccessKind, *, who: str, address: str, now: datetime, token: str = "", detail: str = ""
) -> None:
    """Write one row, unless the same was written within a day: what happens at every request would flood the log.

    A database that does not answer is logged and no error: whoever calls is answering somebody.
    """
    key = (kind, who, token, address)
    if is_written(kind, who=who, address=address, now=now, token=token):
        return
    try:
        # A savepoint of its own: a failure must not spoil the transaction of whoever calls.
        with transaction.atomic():
            known = AccessRecord.objects.filter(
                token=token, kind=kind.value, at__gt=now - _ONCE_A, who=who[:_LONGEST_NAME], address=address or None
            )
            if not known.exists():
                record(kind, who=who, address=address, now=now, token=token, detail=detail)
    except DatabaseError:
        log.warning("the access log could not be written", exc_info=True)
        return
    if len(_written) >= _MOST_REMEMBERED:
        _written.clear()
    _written[key] = now.date()


def is_written(kind: AccessKind, *, who: str, address: str, now: datetime, token: str = "") -> bool:
    """Whether this process knows that today's row is there; asked at every request, so it asks nobody."""
    return _written.get((kind, who, token, address)) == now.date()


def forget_written() -> None:
    """Forget what was written; for tests."""
    _written.clear()


def known_user(typed: str) -> str:
    """The name as it may be written down after a failed login: that of a user, else nothing.

    People type their password into the field of the name; what is nobody's name is therefore not kept.
    """
    users = get_user_model()._default_manager.filter(username=typed[:_LONGEST_NAME])
    return typed if len(typed) <= _LONGEST_NAME and "\x00" not in typed and users.exists() else ""
