"""When an alert opens, counts up, gets worse and ends; what is worth one; when people are told."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, time, timedelta
from typing import Any

import pytest

from reputation.domain import alert_signals as signals
from reputation.domain.alerting import (
    MOST_ATTEMPTS,
    Held,
    Item,
    Kind,
    Match,
    Message,
    News,
    QuietHours,
    Severity,
    Signal,
    State,
    Step,
    SubjectKind,
    decide,
    next_attempt,
    not_before,
    when_due,
    without_addresses,
)
from tests.conftest import NOON

MINUTE = timedelta(minutes=1)
BAD = "192.0.2.66"
NEWS = Signal(
    kind=Kind.STATUS,
    subject=BAD,
    subject_kind=SubjectKind.IP,
    key=f"status:{BAD}",
    sentence="It is bad.",
    at=NOON,
)
CONDITION = replace(NEWS, is_condition=True)
OPEN = Held(State.OPEN, Severity.WARNING, NOON - 5 * MINUTE)
ACKNOWLEDGED = replace(OPEN, state=State.ACKNOWLEDGED)
RESOLVED = replace(OPEN, state=State.RESOLVED)
BY_HAND = replace(RESOLVED, lasts=True)


@pytest.mark.parametrize(
    ("latest", "signal", "step"),
    [
        (None, NEWS, Step.OPEN),
        (None, replace(NEWS, over=True), Step.IGNORE),
        (RESOLVED, NEWS, Step.OPEN),
        (OPEN, NEWS, Step.COUNT),
        (ACKNOWLEDGED, NEWS, Step.COUNT),
        (OPEN, replace(NEWS, severity=Severity.CRITICAL), Step.WORSEN),
        (OPEN, replace(NEWS, severity=Severity.INFO), Step.COUNT),
        (OPEN, replace(NEWS, over=True), Step.RECOVER),
        (ACKNOWLEDGED, replace(NEWS, over=True), Step.RECOVER),
        (RESOLVED, replace(NEWS, over=True), Step.IGNORE),
        # Read a second time, or overtaken by what was read before it.
        (replace(OPEN, signal_at=NOON), NEWS, Step.IGNORE),
        (replace(RESOLVED, signal_at=NOON), NEWS, Step.IGNORE),
        (replace(OPEN, signal_at=NOON + MINUTE), replace(NEWS, over=True), Step.IGNORE),
        # A condition is looked at again and again: it neither counts nor comes back from a person's "resolved".
        (OPEN, CONDITION, Step.KEEP),
        (replace(OPEN, signal_at=NOON - timedelta(seconds=15)), CONDITION, Step.IGNORE),
        (BY_HAND, CONDITION, Step.IGNORE),
        (BY_HAND, replace(CONDITION, severity=Severity.CRITICAL), Step.OPEN),
        (BY_HAND, replace(CONDITION, over=True), Step.FORGET),
        (BY_HAND, NEWS, Step.OPEN),
    ],
)
def test_what_a_signal_does(latest: Held | None, signal: Signal, step: Step) -> None:
    assert decide(latest, signal) is step


def test_a_status_that_gets_worse_is_critical_and_healthy_ends_it() -> None:
    def severity(new: str) -> tuple[Severity, bool]:
        signal = signals.status_changed(BAD, "healthy", new, "why", at=NOON, evidence={})
        return signal.severity, signal.over

    assert severity("warning") == (Severity.WARNING, False)
    assert severity("quarantine") == severity("blacklisted") == (Severity.CRITICAL, False)
    assert severity("healthy")[1]


def score(now: int, before: int, confidence: str = "high") -> Signal | None:
    return signals.score_moved(
        "domain", "good.example", score=now, before=before, confidence=confidence, delivered=90, bounced=9, at=NOON
    )


def test_a_score_must_fall_by_more_than_twenty_and_be_believable() -> None:
    assert score(80, 100) is None
    fallen = score(79, 100)
    assert fallen is not None
    assert (fallen.over, fallen.severity) == (False, Severity.WARNING)
    assert score(79, 100, "low") is None
    low = score(50, 100)
    assert low is not None
    assert low.severity is Severity.CRITICAL
    back = score(90, 100)
    assert back is not None
    assert back.over


def test_a_source_is_silent_only_where_it_is_usually_busy_at_that_time() -> None:
    def silent(minutes: int, *usual: float) -> bool:
        return not signals.source_silence("mta-1", NOON - minutes * MINUTE, usual, now=NOON).over

    assert silent(20, 25.0, 300.0)
    assert not silent(20, 3.0, 300.0), "it was as quiet two weeks ago"
    assert not silent(10, 2000.0), "ten minutes are a pause"
    assert not silent(600), "nothing is known of it"


def test_what_is_usual_is_taken_from_hours_in_proportion() -> None:
    hours = {NOON: 600, NOON + timedelta(hours=1): 60}
    assert signals.expected_events(hours, NOON + 30 * MINUTE, NOON + 90 * MINUTE) == pytest.approx(330)


def test_completeness_needs_volume_and_less_than_99_percent() -> None:
    def found(counted: int, arrived: int) -> bool | None:
        signal = signals.completeness("mta-1", counted=counted, arrived=arrived, now=NOON)
        return signal if signal is None else not signal.over

    assert found(199, 0) is None
    assert found(1000, 989) is True
    assert found(1000, 990) is False


def test_disk_and_queue() -> None:
    def disk(free: int) -> str:
        signal = signals.disk_space(free, 100, now=NOON)
        return "" if signal is None else "over" if signal.over else signal.severity

    assert [disk(free) for free in (4, 9, 11, 12)] == ["critical", "warning", "", "over"]

    def queue(age: timedelta) -> str:
        signal = signals.queue_age(NOON - age, now=NOON)
        return "over" if signal.over else signal.severity

    assert [queue(age * MINUTE) for age in (1, 2, 10)] == ["over", "warning", "critical"]
    assert signals.queue_age(None, now=NOON).over


def test_an_audit_is_news_only_where_a_check_fails_that_did_not() -> None:
    def audit(problems: list[str], before: list[str], unchecked: int = 0) -> Signal | None:
        return signals.audited(
            "domain", "good.example", problems=problems, points=20, unchecked=unchecked, before=before, at=NOON
        )

    assert audit(["SPF"], ["SPF"]) is None
    new = audit(["SPF", "DKIM"], ["SPF"])
    assert new is not None
    assert "SPF, DKIM" in new.sentence
    over = audit([], ["SPF"])
    assert over is not None
    assert over.over
    assert audit([], ["SPF"], unchecked=1) is None, "a resolver that is away must not look like good records"


def test_no_mail_address_leaves_in_an_alert() -> None:
    told = "asked by <victim@gmail.com>, see a.b+c@mail.example: 550 (x@y.example)"
    assert without_addresses(told) == "asked by <(address)>, see (address): 550 ((address))"


@pytest.mark.parametrize(
    ("fields", "takes"),
    [
        ({}, True),
        ({"kind": "status"}, True),
        ({"kind": "disk"}, False),
        ({"least": Severity.CRITICAL}, False),
        ({"subject": "192.0.2.*"}, True),
        ({"subject": "*.example"}, False),
        ({"pool_ips": frozenset({BAD})}, True),
        ({"pool_ips": frozenset()}, False),
    ],
)
def test_whom_a_rule_is_for(fields: dict[str, Any], takes: bool) -> None:
    assert Match(**fields).takes("status", Severity.WARNING, BAD) is takes


def test_quiet_hours_are_by_the_operators_clock_and_critical_passes() -> None:
    nights = QuietHours(time(22), time(7), "Europe/Berlin")
    evening, morning = datetime(2026, 11, 20, 21, 30, tzinfo=UTC), datetime(2026, 11, 21, 6, 0, tzinfo=UTC)
    assert nights.until(evening) == nights.until(datetime(2026, 11, 21, 3, tzinfo=UTC)) == morning
    assert nights.until(NOON) is nights.until(morning) is None
    assert when_due(evening, Severity.WARNING, nights) == morning
    assert when_due(evening, Severity.CRITICAL, nights) == evening
    assert when_due(evening, Severity.WARNING, None) == evening
    # The night on which the clocks go back is an hour longer.
    assert nights.until(datetime(2026, 10, 24, 21, 0, tzinfo=UTC)) == datetime(2026, 10, 25, 6, 0, tzinfo=UTC)
    lunch = QuietHours(time(12), time(13), "UTC")
    assert lunch.until(NOON + 30 * MINUTE) == NOON + 60 * MINUTE
    assert lunch.until(NOON + 60 * MINUTE) is None


def test_attempts_wait_longer_each_time_and_come_to_an_end() -> None:
    waits = [next_attempt(attempts, NOON) for attempts in range(1, MOST_ATTEMPTS + 1)]
    assert waits[0] == NOON + timedelta(seconds=30)
    assert waits[1] == NOON + timedelta(minutes=1)
    assert waits[-2] == NOON + timedelta(hours=1)
    assert waits[-1] is None


def test_messages_of_a_kind_are_a_minute_apart() -> None:
    assert not_before(None, NOON) == NOON
    assert not_before(NOON - timedelta(seconds=20), NOON) == NOON + timedelta(seconds=40)
    assert not_before(NOON - timedelta(hours=1), NOON) == NOON


def test_a_message_names_one_alert_or_counts_many() -> None:
    item = Item(
        id=1,
        kind=Kind.STATUS,
        news=News.OPENED,
        severity=Severity.WARNING,
        subject=BAD,
        sentence="It is bad.",
        url="https://gs.example/ips/192.0.2.66/",
        opened_at=NOON,
    )
    one = Message("m", (item,))
    assert one.title == f"[warning] {BAD}: status of a sending IP"
    assert one.text == "It is bad.\nhttps://gs.example/ips/192.0.2.66/"
    many = Message("m", (item,) * 24 + (replace(item, severity=Severity.CRITICAL),))
    assert many.title == "[critical] 25 × status of a sending IP"
    assert many.text.endswith("And 5 more.")
    assert Message("m", (replace(item, news=News.RECOVERED),)).title.startswith("[recovered]")
