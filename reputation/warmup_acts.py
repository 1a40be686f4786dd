"""What people decide about a warm-up: start, confirm, skip a day, complete, cancel.

Every act needs a reason, is audited with the user, and takes effect at once: the window in force goes on with the new
day's volume.
"""

from __future__ import annotations

from datetime import datetime

from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.db import transaction

from reputation.domain.breaker_policy import Kind
from reputation.domain.warmup import Schedule, local_date
from reputation.domain.warmup_policy import State, Step
from reputation.models import Warmup, WarmupTemplate
from reputation.overrides import LONGEST_REASON
from reputation.warmup_moves import Change, Plan, begin, move
from reputation.warmup_policies import warmup_book
from telemetry.domain import clean
from telemetry.domain.errors import ParseError
from telemetry.domain.vocab import UNKNOWN_IP


class WrongStateError(ValidationError):
    """The warm-up is in a state that does not allow this."""


def plan_of(template: WarmupTemplate, time_zone: str, full_volume: int | None = None) -> Plan:
    """A template's numbers to go by. Raises ValidationError where it needs a full volume."""
    try:
        return Plan(template.schedule(full_volume), time_zone, template.name)
    except ValueError as error:
        raise ValidationError({"full_volume": f"{str(error).capitalize()}."}) from None


def start(
    kind: Kind,
    sender: str,
    numbers: WarmupTemplate | Schedule,
    *,
    reason: str,
    user: User,
    now: datetime,
    day: int = 1,
    full_volume: int | None = None,
) -> Warmup:
    """Warm a sender up by these numbers, from that day of the schedule on; a proposal for it is taken up.

    Raises WrongStateError where it warms up already.
    """
    sender, reason = _sender(kind, sender), _reason(reason)
    zone = warmup_book().policy_of(kind, sender).time_zone
    plan = Plan(numbers, zone) if isinstance(numbers, Schedule) else plan_of(numbers, zone, full_volume)
    with transaction.atomic():
        row = Warmup.objects.select_for_update().filter(kind=kind, sender=sender, ended_at=None).first()
        if row is None:
            made = begin(kind, sender, _started(plan, day, reason, now), now=now, user=user)
            if made is not None:
                return made
            row = Warmup.objects.select_for_update().get(kind=kind, sender=sender, ended_at=None)
        if row.state == State.RUNNING:
            raise WrongStateError(f"{sender} warms up already: day {row.day} of {row.days}.")
        return _moved(row, _started(plan, day, reason, now), user, now)


def confirm(warmup: Warmup, *, reason: str, user: User, now: datetime) -> Warmup:
    """Start what was proposed, by the numbers that were proposed."""
    with transaction.atomic():
        row = _locked(warmup, State.PROPOSED)
        zone = warmup_book().policy_of("ip" if row.kind == "ip" else "domain", row.sender).time_zone
        plan = Plan(row.schedule, zone, row.template)
        return _moved(row, _started(plan, 1, _reason(reason), now), user, now)


def skip(warmup: Warmup, *, days: int, reason: str, user: User, now: datetime) -> Warmup:
    """Go so many days on, or back where the number is negative, within the schedule."""
    with transaction.atomic():
        row = _locked(warmup, State.RUNNING)
        day = _day_within(row.schedule, row.day + days, "days")
        if day == row.day:
            raise ValidationError({"days": "This changes nothing."})
        return _moved(row, Change(Step.SKIPPED, _reason(reason), State.RUNNING, day), user, now)


def complete(warmup: Warmup, *, reason: str, user: User, now: datetime) -> Warmup:
    """Call it warm: nothing limits it any longer."""
    with transaction.atomic():
        row = _locked(warmup, State.RUNNING)
        return _moved(row, Change(Step.COMPLETED, _reason(reason), State.COMPLETED, row.day), user, now)


def cancel(warmup: Warmup, *, reason: str, user: User, now: datetime) -> Warmup:
    """End it, be it running or only proposed: nothing limits the sender any longer."""
    with transaction.atomic():
        row = _locked(warmup, State.PROPOSED, State.RUNNING)
        return _moved(row, Change(Step.CANCELLED, _reason(reason), State.CANCELLED, row.day), user, now)


def _started(plan: Plan, day: int, reason: str, now: datetime) -> Change:
    today = local_date(now, plan.time_zone)
    return Change(Step.STARTED, reason, State.RUNNING, _day_within(plan.schedule, day, "day"), today, plan=plan)


def _day_within(schedule: Schedule, day: int, field: str) -> int:
    if not 1 <= day <= schedule.days:
        raise ValidationError({field: f"The schedule has days 1 to {schedule.days}."})
    return day


def _locked(warmup: Warmup, *states: State) -> Warmup:
    row = Warmup.objects.select_for_update().get(pk=warmup.pk)
    if row.state not in states:
        raise WrongStateError(f"The warm-up of {row.sender} is {row.state}.")
    return row


def _moved(row: Warmup, change: Change, user: User, now: datetime) -> Warmup:
    if move(row, change, now=now, user=user) is None:
        # SQLite has no row locks: somebody else was faster.
        raise WrongStateError(f"The warm-up of {row.sender} changed meanwhile: look at it and try again.")
    return Warmup.objects.get(pk=row.pk)


def _sender(kind: Kind, sender: str) -> str:
    field = "sending_ip" if kind == "ip" else "sending_domain"
    try:
        name = clean.ip(sender, field) if kind == "ip" else clean.domain(sender, field)
    except ParseError as error:
        raise ValidationError({field: f"{sender[:100]!r} {error.message}."}) from None
    if name in (UNKNOWN_IP, ""):
        raise ValidationError({field: "Nobody in particular sends as that."})
    return name


def _reason(reason: str) -> str:
    text = clean.text(reason.strip(), longest=LONGEST_REASON)
    if not text:
        raise ValidationError({"reason": "Say why: the next person will want to know."})
    return text
