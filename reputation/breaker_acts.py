"""What people decide about a breaker: open it, close it. Their word beats the automation until it expires.

Every act needs a reason, is audited with the user, and takes effect in the same transaction.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.db import transaction

from reputation.breaker_moves import circuit_of, move
from reputation.domain.breaker import Circuit, Decision, hold_closed, hold_open
from reputation.domain.breaker_policy import Scope, State, Trigger
from reputation.models import Breaker
from reputation.overrides import LONGEST_REASON
from telemetry.domain import clean
from telemetry.domain.errors import ParseError
from telemetry.domain.vocab import UNKNOWN_IP

# A breaker that nobody lets the automation open again gets a sender burnt unnoticed; as long as a release of an IP.
CLOSED_FOR = timedelta(hours=24)
LONGEST_PROVIDER = 60


def open_by_hand(
    scope: Scope, *, reason: str, user: User, now: datetime, expires_at: datetime | None = None
) -> Breaker:
    """Let nothing of the scope through until it expires or a person closes it, be it one that never sent."""
    scope, reason = _checked(scope, reason, expires_at, now)
    with transaction.atomic():
        row = _locked(scope, now)
        return _place(row, hold_open(circuit_of(row), expires_at, now=now), reason, user, now)


def close_by_hand(
    breaker: Breaker, *, reason: str, user: User, now: datetime, expires_at: datetime | None = None
) -> Breaker:
    """Let everything through whatever the numbers say, for 24 hours unless an expiry is given."""
    scope, reason = _checked(breaker.scope, reason, expires_at, now)
    with transaction.atomic():
        row = _locked(scope, now)
        return _place(row, hold_closed(circuit_of(row), expires_at or now + CLOSED_FOR, now=now), reason, user, now)


def _place(row: Breaker, after: Circuit, reason: str, user: User, now: datetime) -> Breaker:
    opened = after.state is State.OPEN
    why = f"{'Opened' if opened else 'Closed'} by {user}: {reason}"
    move(row, Decision(after, Trigger.MANUAL, why), now=now, user=user, notes=reason)
    return Breaker.objects.get(pk=row.pk)


def _locked(scope: Scope, now: datetime) -> Breaker:
    key = {"kind": scope.kind, "sender": scope.sender, "provider": scope.provider}
    Breaker.objects.bulk_create([Breaker(**key, since=now)], ignore_conflicts=True)
    return Breaker.objects.select_for_update().get(**key)


def _checked(scope: Scope, reason: str, expires_at: datetime | None, now: datetime) -> tuple[Scope, str]:
    field = "sending_ip" if scope.kind == "ip" else "sending_domain"
    try:
        sender = clean.ip(scope.sender, field) if scope.kind == "ip" else clean.domain(scope.sender, field)
    except ParseError as error:
        raise ValidationError({field: f"{scope.sender[:100]!r} {error.message}."}) from None
    if sender in (UNKNOWN_IP, ""):
        raise ValidationError({field: "Nobody in particular sends as that."})
    provider = clean.text(scope.provider.strip().lower(), longest=LONGEST_PROVIDER)
    reason = clean.text(reason.strip(), longest=LONGEST_REASON)
    if not reason:
        raise ValidationError({"reason": "Say why: the next person will want to know."})
    if expires_at is not None and expires_at <= now:
        raise ValidationError({"expires_at": "This moment has passed."})
    return Scope(scope.kind, sender, provider), reason
