"""Alerts open, count up, get worse and end: each change by a conditional update, with its event beside it.

The event is history and outbox in one: the deliveries that rules want of it are made in the same transaction.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.db.models import Count, Max

from reputation import alert_metrics
from reputation.alert_rules import Rules
from reputation.domain.alerting import TOLD, Held, News, Severity, Signal, State, Step, decide, without_addresses
from reputation.models import Alert, AlertEvent
from reputation.models.alerting import LONGEST_SENTENCE
from reputation.models.audit import AUTOMATED

log = logging.getLogger(__name__)

LONGEST_NOTE = 500
_AT_ONCE = 200
_NEWS = {Step.OPEN: News.OPENED, Step.WORSEN: News.WORSENED, Step.RECOVER: News.RECOVERED}


class OvertakenError(Exception):
    """Somebody else changed the alert meanwhile."""


@dataclass(frozen=True, slots=True)
class Told:
    """A change to write down."""

    news: News
    by: str
    sentence: str = ""
    note: str = ""


def take(signals: Iterable[Signal], *, now: datetime) -> int:
    """Take signals into account; how many events were written. A signal that was taken before changes nothing."""
    rules = Rules()
    written = 0
    in_order = sorted(signals, key=lambda signal: signal.at)
    for start in range(0, len(in_order), _AT_ONCE):
        some = in_order[start : start + _AT_ONCE]
        held = {key: _held(alert) for key, alert in latest({signal.key for signal in some}).items()}
        # Most of what is read was read before; that is found out without a lock.
        news = [signal for signal in some if decide(held.get(signal.key), signal) is not Step.IGNORE]
        written += sum(_take(signal, rules, now) for signal in news)
    return written


def latest(keys: Collection[str]) -> dict[str, Alert]:
    """The newest alert of each key that has one."""
    newest = Alert.objects.filter(key__in=keys).order_by().values("key").annotate(newest=Max("pk")).values("newest")
    return {alert.key: alert for alert in Alert.objects.filter(pk__in=newest)}


def acknowledge(alert: Alert, *, user: User, note: str = "", now: datetime) -> None:
    """Say that somebody looks after it: nothing is escalated. Raises ValidationError where it is not open."""
    if alert.state != State.OPEN:
        raise ValidationError(f"This alert is {alert.state}: only one that is open can be acknowledged.")
    values = {"state": State.ACKNOWLEDGED, "acknowledged_at": now, "acknowledged_by": user.get_username()}
    _act(alert, values, Told(News.ACKNOWLEDGED, user.get_username(), note=note), now)


def resolve(alert: Alert, *, user: User, note: str = "", now: datetime) -> None:
    """Say that it is over. A condition that goes on opens anew only after it has ended. Raises ValidationError."""
    if alert.state == State.RESOLVED:
        raise ValidationError("This alert is resolved already.")
    values = {"state": State.RESOLVED, "resolved_at": now, "resolved_by": user.get_username(), "lasts": True}
    _act(alert, values, Told(News.RESOLVED, user.get_username(), note=note), now)


def counts() -> dict[tuple[str, str], int]:
    """How many alerts stand (open or acknowledged), by kind and severity."""
    rows = Alert.objects.exclude(state=State.RESOLVED).order_by().values_list("kind", "severity")
    return {(kind, severity): count for kind, severity, count in rows.annotate(Count("pk"))}


def _act(alert: Alert, values: dict[str, Any], told: Told, now: datetime) -> None:
    note = without_addresses(told.note.strip())[:LONGEST_NOTE]
    try:
        with transaction.atomic():
            _change(alert, values, Told(told.news, told.by, note=note), Rules(), now)
    except OvertakenError:
        raise ValidationError("Somebody else changed this alert meanwhile: look again.") from None


def _take(signal: Signal, rules: Rules, now: datetime) -> int:
    try:
        with transaction.atomic():
            return _step(signal, rules, now)
    except (OvertakenError, IntegrityError):
        # Another worker was faster. What it wrote is read again at the next tick.
        log.info("an alert was changed by somebody else", extra={"kind": signal.kind})
        return 0


def _step(signal: Signal, rules: Rules, now: datetime) -> int:
    alert = Alert.objects.filter(key=signal.key).order_by("-id").first()
    step = decide(_held(alert), signal)
    if step is Step.IGNORE:
        return 0
    if step is Step.OPEN:
        _open(signal, rules, now)
        return 1
    assert alert is not None
    sentence = _sentence(signal)
    values: dict[str, Any] = {"signal_at": signal.at}
    if step is Step.FORGET:
        values["lasts"] = False
    elif step is Step.RECOVER:
        values |= {"state": State.RESOLVED, "resolved_at": now, "resolved_by": AUTOMATED, "last_at": signal.at}
    else:
        values |= {"last_at": signal.at, "sentence": sentence, "evidence": _clean(dict(signal.evidence))}
        if step is not Step.KEEP:
            values["count"] = alert.count + 1
    if step is Step.WORSEN:
        values |= {"severity": signal.severity, "state": State.OPEN, "acknowledged_at": None, "acknowledged_by": ""}
    news = _NEWS.get(step)
    _change(alert, values, Told(news, AUTOMATED, sentence) if news else None, rules, now)
    return 1 if news else 0


def _held(alert: Alert | None) -> Held | None:
    if alert is None:
        return None
    return Held(State(alert.state), Severity(alert.severity), alert.signal_at, alert.lasts)


def _open(signal: Signal, rules: Rules, now: datetime) -> None:
    # A condition that a person had called resolved and that has become worse is a new alert.
    Alert.objects.filter(key=signal.key, lasts=True).update(lasts=False)
    alert = Alert.objects.create(
        kind=signal.kind,
        subject=without_addresses(signal.subject),
        subject_kind=signal.subject_kind,
        key=signal.key,
        severity=signal.severity,
        sentence=_sentence(signal),
        evidence=_clean(dict(signal.evidence)),
        link=signal.link,
        opened_at=signal.at,
        last_at=signal.at,
        signal_at=signal.at,
    )
    _write(alert, Told(News.OPENED, AUTOMATED, alert.sentence), rules, now)


def _change(alert: Alert, values: dict[str, Any], told: Told | None, rules: Rules, now: datetime) -> None:
    """Write the values if the alert is still what was read, and its event. Raises OvertakenError."""
    read = alert.version
    values = {**values, "version": read + 1}
    if not Alert.objects.filter(pk=alert.pk, version=read).update(**values):
        raise OvertakenError
    for name, value in values.items():
        setattr(alert, name, value)
    if told is not None:
        _write(alert, told, rules, now)


def _write(alert: Alert, told: Told, rules: Rules, now: datetime) -> None:
    event = AlertEvent.objects.create(
        alert=alert,
        at=now,
        news=told.news,
        severity=alert.severity,
        sentence=told.sentence,
        triggered_by=told.by,
        note=told.note,
    )
    if told.news in TOLD:
        rules.send(event, alert, now=now)
    alert_metrics.CHANGES.labels(kind=alert.kind, news=told.news).inc()


def escalate(alert: Alert, rules: Rules, *, now: datetime) -> None:
    """Tell the second set of channels. Raises OvertakenError where somebody has acknowledged it meanwhile."""
    with transaction.atomic():
        _change(alert, {}, Told(News.ESCALATED, AUTOMATED, alert.sentence), rules, now)


def _sentence(signal: Signal) -> str:
    return without_addresses(signal.sentence)[:LONGEST_SENTENCE]


def _clean(value: Any) -> Any:
    """The same with every mail address taken out."""
    if isinstance(value, str):
        return without_addresses(value)
    if isinstance(value, dict):
        return {without_addresses(str(name)): _clean(entry) for name, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_clean(entry) for entry in value]
    return value
