"""What people decide about an IP: quarantine it, release it, set a status. Their word beats the automation.

Every act needs a reason, is audited with the user, and takes effect in the same transaction.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta

from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.db import transaction

from reputation.domain.policy import Status
from reputation.models import AuditEntry, IpStanding, Override, SendingIP
from reputation.models.audit import AUTOMATED
from reputation.standing import blank_standing
from telemetry.domain import clean
from telemetry.domain.errors import ParseError
from telemetry.domain.vocab import UNKNOWN_IP

# A release that nobody limits ends by itself: an IP that the automation may never judge again gets burnt unnoticed.
RELEASE_FOR = timedelta(hours=24)
LONGEST_REASON = 2000


def quarantine(ip: str, *, reason: str, user: User, now: datetime, expires_at: datetime | None = None) -> IpStanding:
    """Set the IP to quarantine until it expires or is lifted; an IP never seen may be quarantined too."""
    return _place(ip, "quarantine", Status.QUARANTINE, reason, user, now, expires_at)


def override(
    ip: str, status: Status, *, reason: str, user: User, now: datetime, expires_at: datetime | None = None
) -> IpStanding:
    """Set the IP to any status until it expires or is lifted."""
    return _place(ip, "override", status, reason, user, now, expires_at)


def release(ip: str, *, reason: str, user: User, now: datetime, expires_at: datetime | None = None) -> IpStanding:
    """Let the IP send: healthy whatever the automation says, for 24 hours unless an expiry is given."""
    return _place(ip, "release", Status.HEALTHY, reason, user, now, expires_at or now + RELEASE_FOR)


def lift(ip: str, *, reason: str, user: User, now: datetime) -> IpStanding:
    """End the override in force and give the IP back to the automation. Raises ValidationError when there is none."""
    address, reason = _checked(ip, reason)
    with transaction.atomic():
        row = _locked(address, now)
        if not _end_current(address, str(user), now):
            raise ValidationError({"ip": "There is no override in force for this IP."})
        return _settle(row, Status(row.automatic_status), "lift", reason, user, now, {})


def expire(*, now: datetime) -> int:
    """End the overrides whose time is over; how many. Running twice at once ends each once."""
    ended = 0
    for due in Override.objects.filter(ended_at__isnull=True, expires_at__lte=now).order_by("expires_at"):
        with transaction.atomic():
            row = _locked(due.sending_ip, now)
            if Override.objects.filter(pk=due.pk, ended_at__isnull=True).update(ended_at=now, ended_by=AUTOMATED):
                ended += 1
                reason = f"the {due.kind} of {due.created_at:%Y-%m-%d %H:%M} UTC expired"
                _settle(row, Status(row.automatic_status), "expire", reason, None, now, {"override": due.pk})
    return ended


def _place(
    ip: str,
    kind: str,
    status: Status,
    reason: str,
    user: User,
    now: datetime,
    expires_at: datetime | None,
) -> IpStanding:
    address, reason = _checked(ip, reason)
    if expires_at is not None and expires_at <= now:
        raise ValidationError({"expires_at": "This moment has passed."})
    with transaction.atomic():
        row = _locked(address, now)
        _end_current(address, str(user), now)
        placed = Override.objects.create(
            sending_ip=address,
            kind=kind,
            status=status.value,
            reason=reason,
            created_at=now,
            created_by=user,
            expires_at=expires_at,
        )
        details = {"override": placed.pk, "expires_at": expires_at.isoformat() if expires_at else None}
        return _settle(row, status, kind, reason, user, now, details)


def _checked(ip: str, reason: str) -> tuple[str, str]:
    try:
        address = clean.ip(ip, "ip")
    except ParseError as error:
        raise ValidationError({"ip": f"{ip!r} {error.message}."}) from None
    if address == UNKNOWN_IP:
        raise ValidationError({"ip": "The unknown IP has no standing."})
    reason = clean.text(reason.strip(), longest=LONGEST_REASON)
    if not reason:
        raise ValidationError({"reason": "Say why: the next person will want to know."})
    return address, reason


def _locked(address: str, now: datetime) -> IpStanding:
    """The IP's current row, locked; made when the IP was never seen."""
    SendingIP.objects.get_or_create(pk=address, defaults={"first_seen_at": now})
    IpStanding.objects.bulk_create([blank_standing(address, now=now)], ignore_conflicts=True)
    return IpStanding.objects.select_for_update().get(pk=address)


def _end_current(address: str, who: str, now: datetime) -> bool:
    ended = Override.objects.filter(sending_ip=address, ended_at__isnull=True).update(ended_at=now, ended_by=who)
    return bool(ended)


def _settle(
    row: IpStanding,
    status: Status,
    action: str,
    reason: str,
    user: User | None,
    now: datetime,
    details: Mapping[str, object],
) -> IpStanding:
    previous = row.status
    row.status, row.severity = status.value, status.severity
    if previous != row.status:
        row.since = now
    row.save(update_fields=["status", "severity", "since"])
    AuditEntry.objects.create(
        at=now,
        sending_ip=row.sending_ip,
        action=action,
        previous=previous,
        new=row.status,
        reason=reason,
        triggered_by=str(user) if user else AUTOMATED,
        user=user,
        metadata={"automatic_status": row.automatic_status, **details},
    )
    return row
