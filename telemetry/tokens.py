"""Bearer tokens: made once, shown once, stored as a prefix to look up and a keyed digest to compare.

A token reads ``gs_<prefix>_<secret>``. The prefix is public and unique; the secret has 256 bits. Rotation makes a new
token while the old one goes on for a while, so that no event is lost between the two.
"""

from __future__ import annotations

import re
import secrets
from datetime import datetime, timedelta
from typing import TypeVar

from django.contrib.auth.models import User
from django.db import transaction
from django.db.models import Q
from django.utils import timezone

from telemetry import access
from telemetry.access import ON_THE_MACHINE, Actor
from telemetry.domain.access import AccessKind
from telemetry.domain.scopes import Scope
from telemetry.models import ApiToken, Source, SourceToken
from telemetry.models.sources import StoredToken
from telemetry.secrets import digest, matches

PURPOSE = "bearer-token"
# How long the old token goes on after a rotation, unless said otherwise.
ROTATION_OVERLAP = timedelta(hours=24)
# "Last used" is written at most this often; a busy source would otherwise write its token's row at every request.
TOUCH_EVERY = timedelta(minutes=1)
_FORM = re.compile(r"gs_([a-z0-9]{12})_([A-Za-z0-9_-]{43})")
_PREFIX_LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789"

Token = TypeVar("Token", bound=StoredToken)


def issue_token(
    source: Source, label: str = "", *, expires_at: datetime | None = None, by: Actor = ON_THE_MACHINE
) -> str:
    """Make a token for a source and return it in clear; nobody can read it again."""
    return _issue(SourceToken(source=source, label=label, expires_at=expires_at), by)


def issue_api_token(
    user: User,
    label: str = "",
    *,
    scope: Scope = Scope.ADMIN,
    expires_at: datetime | None = None,
    by: Actor = ON_THE_MACHINE,
) -> str:
    """Make a token that acts as this user in the API, as far as its scope goes, and return it in clear, this once."""
    return _issue(ApiToken(user=user, label=label, scope=scope, expires_at=expires_at), by)


def rotate_token(
    token: StoredToken, *, now: datetime, overlap: timedelta = ROTATION_OVERLAP, by: Actor = ON_THE_MACHINE
) -> str:
    """Make a token's successor and return it in clear; the old one ends after the overlap, or earlier if it would."""
    with transaction.atomic():
        if isinstance(token, SourceToken):
            clear = issue_token(token.source, token.label, by=by)
        elif isinstance(token, ApiToken):
            clear = issue_api_token(token.user, token.label, scope=Scope(token.scope), by=by)
        else:
            raise TypeError(f"{type(token).__name__} cannot be rotated")
        token.expires_at = min(now + overlap, token.expires_at) if token.expires_at else now + overlap
        token.save(update_fields=["expires_at"])
        until = f"{token.expires_at:%Y-%m-%d %H:%M} UTC"
        _write_down(
            AccessKind.TOKEN_ROTATED, token, by, now, f"The old one ends at {until}; the new one is {_shown(clear)}."
        )
    return clear


def revoke_token(token: StoredToken, *, now: datetime, by: Actor = ON_THE_MACHINE) -> None:
    """End a token at once; a second time changes nothing."""
    with transaction.atomic():
        live = type(token)._default_manager.filter(pk=token.pk, revoked_at__isnull=True)
        if live.update(revoked_at=now):
            _write_down(AccessKind.TOKEN_REVOKED, token, by, now)
    token.refresh_from_db()


def find_source_token(clear: str, *, now: datetime) -> SourceToken | None:
    """The usable source token that this text is, or None; the same time whether the prefix or the secret is wrong."""
    return _find(SourceToken, clear, now, "source")


def find_api_token(clear: str, *, now: datetime) -> ApiToken | None:
    """The usable API token that this text is, or None."""
    return _find(ApiToken, clear, now, "user")


def _issue(token: StoredToken, by: Actor) -> str:
    secret = secrets.token_urlsafe(32)
    token.prefix = "".join(secrets.choice(_PREFIX_LETTERS) for _ in range(12))
    token.digest = digest(PURPOSE, secret)
    with transaction.atomic():
        token.save(force_insert=True)
        _write_down(AccessKind.TOKEN_ISSUED, token, by, timezone.now())
    return f"gs_{token.prefix}_{secret}"


def _write_down(kind: AccessKind, token: StoredToken, by: Actor, now: datetime, more: str = "") -> None:
    whose = f"Of the source {token.source}." if isinstance(token, SourceToken) else ""
    if isinstance(token, ApiToken):
        whose = f"Of the user {token.user}, scope {token.scope}."
    detail = " ".join(part for part in (whose, more) if part)
    access.record(kind, who=by.name, address=by.address, now=now, token=token.prefix, detail=detail)


def _shown(clear: str) -> str:
    return "_".join(clear.split("_")[:2]) + "_…"


def _find(model: type[Token], clear: str, now: datetime, owner: str) -> Token | None:
    form = _FORM.fullmatch(clear)
    if form is None:
        return None
    prefix, secret = form.groups()
    token = model._default_manager.select_related(owner).filter(prefix=prefix).first()
    # An unknown prefix is compared all the same, so that timing does not tell which prefixes exist.
    if not matches(PURPOSE, secret, token.digest if token else "0" * 64) or token is None or not token.is_usable:
        return None
    if token.last_used_at is None or token.last_used_at < now - TOUCH_EVERY:
        model._default_manager.filter(pk=token.pk).filter(
            Q(last_used_at__isnull=True) | Q(last_used_at__lt=now - TOUCH_EVERY)
        ).update(last_used_at=now)
    return token
