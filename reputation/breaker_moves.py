"""How a breaker moves: by a conditional update, with its event and its audit row in the same transaction."""

from __future__ import annotations

import logging
from datetime import datetime
from functools import partial
from typing import Any

from django.contrib.auth.models import User
from django.db import transaction
from django.dispatch import Signal

from reputation import breaker_metrics
from reputation.domain.breaker import Circuit, Decision, Hold
from reputation.domain.breaker_policy import Scope, State, Trigger
from reputation.models import AuditEntry, Breaker, BreakerEvent
from reputation.models.audit import AUTOMATED

log = logging.getLogger(__name__)

# Sent with `event` after the commit of each transition. A prompt and no more: the rows of BreakerEvent are what lasts.
transition_made = Signal()
LONGEST_SUBJECT = 255
_ACTIONS = {State.OPEN: "breaker_opened", State.HALF_OPEN: "breaker_half_open", State.CLOSED: "breaker_closed"}


def new_row(scope: Scope, now: datetime) -> Breaker:
    """The row of a scope that never left "closed"; of two made at once the first stays."""
    key = {"kind": scope.kind, "sender": scope.sender, "provider": scope.provider}
    Breaker.objects.bulk_create([Breaker(**key, since=now)], ignore_conflicts=True)
    row = Breaker.objects.get(**key)
    # There was none when the decision was made: if somebody else has moved it since, this decision is void.
    row.version = 0
    return row


def circuit_of(row: Breaker) -> Circuit:
    """A stored breaker as the pure value that `decide` takes."""
    return Circuit(
        state=State(row.state),
        # A row that was only made and never moved is as if it were not there.
        since=row.since if row.version else None,
        step=row.step,
        pauses=row.pauses,
        reopen_at=row.reopen_at,
        cause=Trigger(row.trigger) if row.trigger else None,
        hold=Hold(row.held_until, State(row.held_resumes)) if row.held else None,
    )


def move(
    row: Breaker,
    decision: Decision,
    *,
    now: datetime,
    policy_revision: int | None = None,
    user: User | None = None,
    notes: str = "",
) -> BreakerEvent | None:
    """Make a transition if the breaker is still what was read, with its event and its audit row; None if it is not."""
    after, scope = decision.after, row.scope
    closes = after.state is State.CLOSED
    paused_at = row.paused_at if row.paused_at is not None or closes else now
    who = str(user) if user else AUTOMATED
    with transaction.atomic():
        changed = Breaker.objects.filter(pk=row.pk, version=row.version).update(
            state=after.state,
            since=after.since or now,
            step=after.step,
            pauses=after.pauses,
            paused_at=None if closes else paused_at,
            reopen_at=after.reopen_at,
            trigger=after.cause or "",
            reason=notes or decision.why,
            held=after.hold is not None,
            held_until=after.hold.until if after.hold else None,
            held_resumes=after.hold.resumes if after.hold else "",
            held_by=who if after.hold else "",
            version=row.version + 1,
        )
        if not changed:
            return None
        evidence = decision.evidence
        event = BreakerEvent.objects.create(
            breaker_id=row.pk,
            at=now,
            from_state=row.state,
            to_state=after.state,
            step=after.step,
            trigger=decision.trigger,
            value=float(evidence.value) if evidence else None,
            threshold=float(evidence.threshold) if evidence else None,
            volume=evidence.volume if evidence else None,
            bound=evidence.bound if evidence else None,
            evidence=dict(evidence.details) if evidence else {},
            paused_at=paused_at,
            resumed_at=now if closes and row.state != State.CLOSED else None,
            reopen_at=after.reopen_at,
            automated=user is None,
            triggered_by=who,
            user=user,
            policy_revision=policy_revision,
            notes=notes or decision.why,
        )
        AuditEntry.objects.create(
            at=now,
            sending_ip=scope.sender if scope.kind == "ip" else None,
            subject=str(scope)[:LONGEST_SUBJECT],
            action=_ACTIONS[after.state],
            reason=f"{scope}: {notes or decision.why}",
            triggered_by=who,
            user=user,
            metadata=_details(scope, row, event),
        )
        transaction.on_commit(partial(_tell, scope, event))
    return event


def _details(scope: Scope, row: Breaker, event: BreakerEvent) -> dict[str, Any]:
    """What the audit row keeps beside the sentence. Its status columns stay empty: they are of an IP's standing."""
    return {
        "scope": scope.word,
        "provider": scope.provider,
        "from": row.state,
        "to": event.to_state,
        "step": event.step,
        "trigger": event.trigger,
        "value": event.value,
        "threshold": event.threshold,
        "volume": event.volume,
        "bound": event.bound,
        "reopen_at": event.reopen_at.isoformat() if event.reopen_at else None,
        "breaker_event": event.pk,
    }


def _tell(scope: Scope, event: BreakerEvent) -> None:
    breaker_metrics.TRANSITIONS.labels(scope=scope.word, trigger=event.trigger, to=event.to_state).inc()
    log.warning("breaker moved", extra={"scope": str(scope), "to": event.to_state, "trigger": event.trigger})
    transition_made.send_robust(sender=Breaker, event=event)
