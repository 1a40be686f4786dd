"""What people say of automatic changes: right, or a false alarm. Whoever may act on IPs may say so, and take it back.

The share of false alarms is of those that were judged, never of all: what nobody looked at proves nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import Count, Q

from reputation.models import AuditEntry, BreakerEvent, Judgement
from reputation.models.audit import AUTOMATED
from reputation.models.judgement import VERDICTS
from reputation.overrides import LONGEST_REASON
from telemetry.domain import clean

# What takes mail away from somebody. A breaker that closes or a day on in a warm-up alarms nobody.
ACTIONS = ("status_change", "breaker_opened", "warmup_stepped_back")
PERMISSION = "reputation.change_ipstanding"
COUNTED = timedelta(days=30)
_WORDS = dict(VERDICTS)
_TITLES = {
    "status_change": "status change",
    "breaker_opened": "opening of the breaker",
    "warmup_stepped_back": "step back in the warm-up",
}


@dataclass(frozen=True, slots=True)
class FalseAlarms:
    """How the automatic changes of one kind were judged."""

    action: str
    judged: int
    false_alarms: int

    @property
    def rate(self) -> float | None:
        """False alarms / judged; None where nothing was judged."""
        return self.false_alarms / self.judged if self.judged else None


def may_be_judged(entry: AuditEntry) -> bool:
    """Whether the row is an automatic change that can have been wrong."""
    return entry.action in ACTIONS and entry.user_id is None and entry.triggered_by == AUTOMATED


def judge(entry: AuditEntry, verdict: str | None, *, user: User, now: datetime, note: str = "") -> Judgement | None:
    """Say whether a change was right; None takes back what was said. Raises ValidationError.

    Saying the same again changes nothing and is no further row in the audit log.
    """
    if not may_be_judged(entry):
        raise ValidationError({"verdict": "Only automatic changes of status, breakers and warm-ups can be judged."})
    if verdict is not None and verdict not in _WORDS:
        raise ValidationError({"verdict": f"Say one of {', '.join(_WORDS)}."})
    note = clean.text(note.strip(), longest=LONGEST_REASON)
    with transaction.atomic():
        # The lock comes first, so that of two people the second finds what the first said.
        AuditEntry.objects.select_for_update().get(pk=entry.pk)
        before = Judgement.objects.filter(entry=entry).first()
        if (before.verdict, before.note) == (verdict, note) if before else verdict is None:
            return before
        if before is not None:
            before.delete()
        made = None
        if verdict is not None:
            made = Judgement.objects.create(
                entry=entry,
                at=entry.at,
                action=entry.action,
                policy_revision=_revision(entry),
                verdict=verdict,
                note=note,
                judged_at=now,
                judged_by=str(user),
                user=user,
            )
        _audit(entry, before, verdict, note, user, now)
    return made


def false_alarms(*, now: datetime) -> list[FalseAlarms]:
    """How the changes of the last 30 days were judged, by kind of action; kinds that nobody judged have zeros."""
    found = _counted("action", now)
    return [FalseAlarms(action, *found.get(action, (0, 0))) for action in ACTIONS]


def by_revision(*, now: datetime) -> list[tuple[int | None, FalseAlarms]]:
    """The same of changes of status, by the revision of the policy that decided; the latest first."""
    found = _counted("policy_revision", now, action="status_change")
    latest_first = sorted(found, key=lambda revision: -1 if revision is None else revision, reverse=True)
    return [(revision, FalseAlarms("status_change", *found[revision])) for revision in latest_first]


def _counted(by: str, now: datetime, **only: str) -> dict[Any, tuple[int, int]]:
    """(judged, false alarms) of the changes of the last 30 days."""
    rows = Judgement.objects.filter(at__gte=now - COUNTED, at__lte=now, **only).order_by().values_list(by)
    counted = rows.annotate(judged=Count("pk"), wrong=Count("pk", filter=Q(verdict="false_alarm")))
    return {key: (judged, wrong) for key, judged, wrong in counted}


def _revision(entry: AuditEntry) -> int | None:
    """Of the policy that the change was decided by, where the change says or its event does."""
    told = entry.metadata.get("policy_revision")
    if told is None and (event := entry.metadata.get("breaker_event")) is not None:
        told = BreakerEvent.objects.filter(pk=event).values_list("policy_revision", flat=True).first()
    return told if isinstance(told, int) and told >= 0 else None


def _audit(
    entry: AuditEntry, before: Judgement | None, verdict: str | None, note: str, user: User, now: datetime
) -> None:
    what = f"The {_TITLES[entry.action]} of {entry.at:%Y-%m-%d %H:%M} UTC"
    said = f"{what}: {_WORDS[verdict]}" if verdict else f"{what}: no longer judged"
    AuditEntry.objects.create(
        at=now,
        sending_ip=entry.sending_ip,
        subject=entry.subject,
        action="judged",
        reason=f"{said}: {note}" if note else said,
        triggered_by=str(user),
        user=user,
        metadata={"audit_entry": entry.pk, "verdict": verdict, "former_verdict": before.verdict if before else None},
    )
