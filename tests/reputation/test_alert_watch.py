"""What is worth an alert, read from what the other parts have written."""

from __future__ import annotations

import shutil
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from reputation import breaker_acts
from reputation.alert_watch import LOOK_BACK, tick
from reputation.domain.breaker_policy import Scope
from reputation.models import (
    Alert,
    AuditEntry,
    AuditReport,
    Blocklist,
    ListingEvent,
    SenderScore,
    SenderScoreHistory,
)
from telemetry.domain.cells import cell_key
from telemetry.models import ChangedSender, CompletenessReading, RollupMark, Source, TrafficHour
from tests.conftest import NOON
from tests.reputation.alert_rig import BAD

pytestmark = pytest.mark.django_db
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)


@pytest.fixture(autouse=True)
def disk(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """A disk with room; how full this machine's is must not matter."""
    space = {"free": 50}
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=space["free"], total=100))
    return space


@pytest.fixture(autouse=True)
def _running(disk: Any) -> None:
    """A watermark of a minute ago, as in an installation that runs."""
    tick(now=NOON - MINUTE)


def standing() -> dict[str, str]:
    """The alerts that stand: key → severity."""
    return dict(Alert.objects.exclude(state="resolved").values_list("key", "severity"))


def status(at: Any, previous: str, new: str) -> None:
    AuditEntry.objects.create(
        at=at, sending_ip=BAD, action="status_change", previous=previous, new=new, reason="Too much.", triggered_by="x"
    )


def test_a_status_change_opens_and_its_return_ends_it() -> None:
    status(NOON, "healthy", "quarantine")
    assert tick(now=NOON) == 1
    assert standing() == {f"status:{BAD}": "critical"}
    assert Alert.objects.get().sentence == f"{BAD} went from healthy to quarantine. Too much."
    status(NOON + MINUTE, "quarantine", "healthy")
    for minute in (1, 2, 3):
        tick(now=NOON + minute * MINUTE)
    assert standing() == {}
    assert Alert.objects.get().count == 1


def test_a_row_that_was_committed_late_is_seen_all_the_same() -> None:
    tick(now=NOON)
    status(NOON - LOOK_BACK + 2 * MINUTE, "healthy", "warning")
    tick(now=NOON + MINUTE)
    assert standing() == {f"status:{BAD}": "warning"}


def test_what_was_before_the_first_run_is_no_news() -> None:
    status(NOON - HOUR, "healthy", "quarantine")
    tick(now=NOON)
    assert standing() == {}


def test_a_breaker_that_a_person_opened_only_informs(admin_user: Any) -> None:
    row = breaker_acts.open_by_hand(
        Scope("domain", "spam.example", "google"), user=admin_user, reason="a bought list", now=NOON
    )
    tick(now=NOON)
    assert standing() == {"breaker:domain:spam.example:google": "info"}
    breaker_acts.close_by_hand(row, user=admin_user, reason="cleaned", now=NOON + MINUTE)
    tick(now=NOON + MINUTE)
    assert standing() == {}


def test_a_listing_alarms_by_its_tier_and_an_allow_list_never() -> None:
    def listed(kind: str, tier: str, at: Any, before: str = "clean", after: str = "listed") -> None:
        blocklist, _ = Blocklist.objects.get_or_create(
            name=f"{kind}-{tier.lower()}", defaults={"kind": kind, "zone": f"{kind}{tier}.test"}
        )
        ListingEvent.objects.create(
            blocklist=blocklist, kind="ip", subject=BAD, at=at, from_state=before, to_state=after, tier=tier
        )

    for tier in "ABC":
        listed("ip", tier, NOON)
    listed("allow_ip", "A", NOON)
    tick(now=NOON)
    assert sorted(standing().values()) == ["critical", "info", "warning"]
    listed("ip", "A", NOON + MINUTE, "listed", "clean")
    tick(now=NOON + MINUTE)
    assert sorted(standing().values()) == ["info", "warning"]


def report(at: Any, *checks: str) -> None:
    AuditReport.objects.filter(is_latest=True).update(is_latest=False)
    findings = [
        {"check": check, "result": "problem", "about": "x", "says": "y", "seen": [], "why": "", "publish": []}
        for check in checks
    ]
    AuditReport.objects.create(
        kind="domain", subject="good.example", at=at, findings=findings, problems=len(findings), why="weekly"
    )


def test_an_audit_is_told_when_a_check_fails_that_did_not_before() -> None:
    report(NOON - 7 * DAY, "mta_sts")
    report(NOON, "mta_sts")
    tick(now=NOON)
    assert standing() == {}
    report(NOON + MINUTE, "mta_sts", "spf")
    tick(now=NOON + MINUTE)
    assert standing() == {"audit:domain:good.example": "critical"}
    report(NOON + 2 * MINUTE)
    tick(now=NOON + 2 * MINUTE)
    assert standing() == {}


def scored(value: int, confidence: str = "high", name: str = "good.example") -> None:
    SenderScore.objects.update_or_create(
        kind="domain",
        name=name,
        provider="",
        defaults={
            "score": value,
            "confidence": confidence,
            "window_start": NOON - DAY,
            "window_end": NOON,
            "computed_at": NOON,
        },
    )


def test_a_score_that_fell_is_told_until_it_is_back_where_it_was() -> None:
    SenderScoreHistory.objects.create(
        kind="domain", name="good.example", score=95, computed_at=NOON - DAY - 30 * MINUTE
    )
    scored(60, "low")
    tick(now=NOON)
    assert standing() == {}
    scored(60)
    tick(now=NOON + 2 * MINUTE)
    assert standing() == {"score:domain:good.example": "warning"}
    # A day later the score of 24 hours ago is the low one: it has not recovered for that.
    tick(now=NOON + 2 * DAY)
    assert standing() == {"score:domain:good.example": "warning"}
    scored(90)
    tick(now=NOON + 2 * DAY + 2 * MINUTE)
    assert standing() == {}


def test_a_low_score_that_was_low_yesterday_is_no_drop() -> None:
    SenderScoreHistory.objects.create(kind="domain", name="good.example", score=60, computed_at=NOON - DAY - HOUR)
    scored(55)
    tick(now=NOON)
    assert standing() == {}


def busy(source: Source, hour: Any, delivered: int) -> None:
    TrafficHour.objects.create(
        id=cell_key(hour, source.pk), bucket=hour, sending_ip=BAD, provider="google", source=source, delivered=delivered
    )


def test_a_source_is_silent_where_it_was_busy_at_that_time_of_the_week(source: Source) -> None:
    RollupMark.objects.update(rolled_up_to=NOON - HOUR)
    Source.objects.update(created_at=NOON - 30 * DAY, last_event_at=NOON - 30 * MINUTE)
    for days in (7, 14):
        busy(source, NOON - days * DAY - HOUR, 100)
    tick(now=NOON)
    assert standing() == {"silent:mta-1": "warning"}
    assert "reported nothing for 30 minutes" in Alert.objects.get().sentence
    tick(now=NOON + 30 * MINUTE)
    Source.objects.update(last_event_at=NOON + 31 * MINUTE)
    tick(now=NOON + 32 * MINUTE)
    assert standing() == {}


def test_a_source_that_rests_at_this_time_of_some_weeks_does_not_cry_wolf(source: Source) -> None:
    RollupMark.objects.update(rolled_up_to=NOON - HOUR)
    Source.objects.update(created_at=NOON - 30 * DAY, last_event_at=NOON - 30 * MINUTE)
    busy(source, NOON - 7 * DAY - HOUR, 10_000)
    tick(now=NOON)
    assert standing() == {}


def test_a_new_source_and_one_that_is_switched_off_are_not_silent(source: Source) -> None:
    RollupMark.objects.update(rolled_up_to=NOON - HOUR)
    Source.objects.update(created_at=NOON - DAY, last_event_at=NOON - 30 * MINUTE)
    busy(source, NOON - HOUR, 10_000)
    tick(now=NOON)
    assert standing() == {}


def test_missing_events_a_late_queue_and_their_end(source: Source) -> None:
    Source.objects.update(metrics_url="http://mta-1/metrics", last_event_at=NOON)
    reading = CompletenessReading.objects.create(
        source=source, start=NOON - HOUR, end=NOON - HOUR + MINUTE, server_delivered=1000, arrived_delivered=900
    )
    ChangedSender.objects.create(sending_ip=BAD, noted_at=NOON - 3 * MINUTE)
    tick(now=NOON)
    assert standing() == {"incomplete:mta-1": "warning", "queue:changed": "warning"}
    CompletenessReading.objects.filter(pk=reading.pk).update(arrived_delivered=995)
    ChangedSender.objects.all().delete()
    tick(now=NOON + 2 * MINUTE)
    assert standing() == {}


def test_a_full_disk_is_told_while_it_lasts(disk: dict[str, int]) -> None:
    disk["free"] = 4
    tick(now=NOON)
    tick(now=NOON + 2 * MINUTE)
    assert standing() == {"disk:data": "critical"}
    assert Alert.objects.get().count == 1
    disk["free"] = 30
    tick(now=NOON + 4 * MINUTE)
    assert standing() == {}


def test_more_trouble_costs_no_more_queries_to_read_again(django_assert_max_num_queries: Any) -> None:
    for number in range(1, 101):
        AuditEntry.objects.create(
            at=NOON,
            sending_ip=f"192.0.2.{number}",
            action="status_change",
            previous="healthy",
            new="warning",
            triggered_by="x",
        )
    assert tick(now=NOON) == 100
    with django_assert_max_num_queries(30):
        assert tick(now=NOON + 2 * MINUTE) == 0
