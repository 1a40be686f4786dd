"""How a warm-up moves: by a conditional update, with its event and its audit row in the same transaction."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import partial
from typing import Any

from django.contrib.auth.models import User
from django.db import transaction
from django.dispatch import Signal

from reputation import warmup_metrics
from reputation.domain.breaker_policy import Kind
from reputation.domain.warmup import DayFacts, Schedule, day_window
from reputation.domain.warmup_policy import State, Step
from reputation.models import AuditEntry, Warmup, WarmupEvent
from reputation.models.audit import AUTOMATED

log = logging.getLogger(__name__)

# Sent with `event` after the commit of each transition. A prompt and no more: the rows of WarmupEvent are what lasts.
warmup_moved = Signal()
# How long after its midnight a day is judged: what servers report a little late still counts for it.
SETTLE = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class Plan:
    """The numbers that a warm-up goes by, copied when it is proposed or started."""

    schedule: Schedule
    time_zone: str
    template: str = ""
    """The name of the template; empty: numbers of its own."""


@dataclass(frozen=True, slots=True)
class Change:
    """One transition: what it becomes and why; None leaves a value as it is."""

    step: Step
    why: str
    state: State
    day: int
    on_date: date | None = None
    facts: DayFacts | None = None
    """Of the day that was judged."""
    plan: Plan | None = None
    policy_revision: int | None = None


def begin(
    kind: Kind, sender: str, change: Change, *, now: datetime, found: str = "", user: User | None = None
) -> Warmup | None:
    """A new warm-up with its first event; None where the sender has one that has not ended."""
    with transaction.atomic():
        Warmup.objects.bulk_create(
            [Warmup(kind=kind, sender=sender, found=found, created_at=now)], ignore_conflicts=True
        )
        row = Warmup.objects.get(kind=kind, sender=sender, ended_at=None)
        if row.version:
            return None
        return Warmup.objects.get(pk=row.pk) if move(row, change, now=now, user=user) else None


def move(row: Warmup, change: Change, *, now: datetime, user: User | None = None) -> WarmupEvent | None:
    """Make a transition if the warm-up is still what was read, with its event and its audit row; None if it is not."""
    who, is_new = (str(user) if user else AUTOMATED), not row.version
    with transaction.atomic():
        if not Warmup.objects.filter(pk=row.pk, version=row.version).update(**_columns(row, change, now)):
            return None
        event = WarmupEvent.objects.create(
            warmup_id=row.pk,
            at=now,
            step=change.step,
            from_state="" if is_new else row.state,
            to_state=change.state,
            from_day=row.day,
            to_day=change.day,
            on_date=row.on_date if change.facts else None,
            used=change.facts.used if change.facts else None,
            planned=row.limit if change.facts else None,
            standing=(change.facts.standing or "") if change.facts else "",
            automated=user is None,
            triggered_by=who,
            user=user,
            policy_revision=change.policy_revision,
            notes=change.why,
        )
        # A day that is held changes nothing: its event is enough.
        if change.step is not Step.HELD:
            _audit(row, event, now, user)
        transaction.on_commit(partial(_tell, row, event))
    return event


def _columns(row: Warmup, change: Change, now: datetime) -> dict[str, Any]:
    columns: dict[str, Any] = {
        "state": change.state,
        "day": change.day,
        "reason": change.why,
        "version": row.version + 1,
        "ended_at": now if change.state.has_ended else None,
    }
    zone = row.time_zone
    if change.plan is not None:
        zone, schedule = change.plan.time_zone, change.plan.schedule
        columns |= {
            "template": change.plan.template,
            "unit": schedule.unit,
            "amounts": list(schedule.amounts),
            "provider_amounts": {name: list(amounts) for name, amounts in schedule.providers.items()},
            "time_zone": zone,
        }
    if change.on_date is not None:
        columns |= {"on_date": change.on_date, "judged_at": day_window(change.on_date, zone).ends + SETTLE}
    if change.step is Step.STARTED:
        columns |= {"started_at": now, "last_used_on": change.on_date}
    elif change.facts is not None and change.facts.used:
        columns["last_used_on"] = row.on_date
    return columns


def _audit(row: Warmup, event: WarmupEvent, now: datetime, user: User | None) -> None:
    """The audit row. Its status columns stay empty: they are of an IP's standing."""
    AuditEntry.objects.create(
        at=now,
        sending_ip=row.sender if row.kind == "ip" else None,
        subject=row.sender,
        action=f"warmup_{event.step}",
        reason=f"{row.sender}: {event.notes}",
        triggered_by=event.triggered_by,
        user=user,
        metadata={
            "from": event.from_state,
            "to": event.to_state,
            "from_day": event.from_day,
            "to_day": event.to_day,
            "used": event.used,
            "planned": event.planned,
            "standing": event.standing,
            "warmup_event": event.pk,
        },
    )


def _tell(row: Warmup, event: WarmupEvent) -> None:
    warmup_metrics.TRANSITIONS.labels(kind=row.kind, step=event.step).inc()
    log.info("warm-up moved", extra={"sender": row.sender, "step": event.step, "day": event.to_day})
    warmup_moved.send_robust(sender=Warmup, event=event)
