"""Alerts from what was found to what a channel received, over real servers on loopback."""

from __future__ import annotations

import hashlib
import hmac
import threading
from collections.abc import Iterator
from datetime import time, timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.db import connection

from reputation import alert_delivery, alerts
from reputation.alert_rules import ensure_defaults
from reputation.alert_watch import tick
from reputation.domain.alerting import MOST_ATTEMPTS, Kind, Severity, Signal, State
from reputation.models import Alert, AlertDelivery, AlertEvent, AlertRule, Pool, SendingIP
from tests.conftest import NOON
from tests.reputation.alert_rig import BAD, Web, channel, signal, web

pytestmark = pytest.mark.django_db
MINUTE = timedelta(minutes=1)
SECOND = timedelta(seconds=1)


@pytest.fixture
def hook(settings: Any) -> Iterator[Web]:
    settings.ALLOW_PRIVATE_URLS = True
    with web() as seen:
        yield seen


@pytest.fixture
def operator(django_user_model: type[User]) -> User:
    return django_user_model.objects.create_user("otto", is_staff=True)


def take(*signals: Signal, at: Any = NOON) -> int:
    return alerts.take(signals, now=at)


def told(hook: Web) -> list[tuple[str, ...]]:
    """What each message said, as (news, …)."""
    return [tuple(entry["news"] for entry in got.json["alerts"]) for got in hook.got]


def states() -> dict[str, str]:
    return dict(AlertDelivery.objects.order_by("id").values_list("news", "state"))


# --- the state machine -----------------------------------------------------------------------------------------------


def test_a_repeat_counts_up_and_the_same_signal_read_twice_changes_nothing() -> None:
    assert take(signal(NOON)) == 1
    assert take(signal(NOON), at=NOON + MINUTE) == 0
    assert take(signal(NOON + MINUTE), at=NOON + MINUTE) == 0
    alert = Alert.objects.get()
    assert (alert.state, alert.count, alert.opened_at, alert.last_at) == ("open", 2, NOON, NOON + MINUTE)
    assert AlertEvent.objects.count() == 1


def test_recovery_resolves_and_the_next_trouble_is_a_new_alert() -> None:
    take(signal(NOON))
    take(signal(NOON + MINUTE, over=True, sentence="It is well."))
    assert Alert.objects.get().state == State.RESOLVED
    assert take(signal(NOON), at=NOON + 2 * MINUTE) == 0, "old news do not open it again"
    take(signal(NOON + 3 * MINUTE))
    assert list(Alert.objects.order_by("id").values_list("state", flat=True)) == ["resolved", "open"]


def test_what_gets_worse_is_open_again_though_it_was_acknowledged(operator: User) -> None:
    take(signal(NOON))
    alerts.acknowledge(Alert.objects.get(), user=operator, note="looking", now=NOON)
    take(signal(NOON + MINUTE, severity=Severity.CRITICAL))
    alert = Alert.objects.get()
    assert (alert.state, alert.severity, alert.acknowledged_by) == ("open", "critical", "")
    assert list(AlertEvent.objects.order_by("id").values_list("news", flat=True)) == [
        *("opened", "acknowledged", "worsened")
    ]


def test_an_act_on_an_alert_that_somebody_changed_meanwhile_is_refused(operator: User) -> None:
    take(signal(NOON))
    seen = Alert.objects.get()
    alerts.resolve(Alert.objects.get(), user=operator, now=NOON)
    with pytest.raises(ValidationError, match="meanwhile"):
        alerts.acknowledge(seen, user=operator, now=NOON)
    with pytest.raises(ValidationError, match="resolved"):
        alerts.acknowledge(Alert.objects.get(), user=operator, now=NOON)
    assert AlertEvent.objects.filter(news="acknowledged").count() == 0


def test_a_condition_resolved_by_hand_comes_back_only_after_it_has_ended(operator: User) -> None:
    def disk(minute: int, **fields: Any) -> Signal:
        return signal(NOON + minute * MINUTE, kind=Kind.DISK, key="disk", is_condition=True, **fields)

    take(disk(0))
    alerts.resolve(Alert.objects.get(), user=operator, now=NOON)
    take(disk(1), disk(2))
    assert Alert.objects.count() == 1
    take(disk(3, over=True))
    take(disk(4))
    assert Alert.objects.filter(state="open").count() == 1


def test_notes_and_sentences_hold_no_mail_address(operator: User) -> None:
    take(signal(NOON, sentence="refused for victim@gmail.com", evidence={"text": ["to victim@gmail.com"]}))
    alerts.resolve(Alert.objects.get(), user=operator, note="told boss@example.com", now=NOON)
    kept = str(list(Alert.objects.values())) + str(list(AlertEvent.objects.values()))
    assert "refused for (address)" in kept
    assert "gmail.com" not in kept
    assert "boss" not in kept


# --- rules -----------------------------------------------------------------------------------------------------------


def test_shipped_rules_are_made_once_and_what_was_changed_stays() -> None:
    AlertRule.objects.filter(kind="disk").update(name="Disks", is_enabled=False)
    ensure_defaults()
    assert AlertRule.objects.count() == len(Kind)
    assert not AlertRule.objects.get(kind="disk").is_enabled


def test_rules_choose_by_severity_pool_and_pattern(hook: Web) -> None:
    AlertRule.objects.all().delete()
    pool = Pool.objects.create(name="bulk")
    SendingIP.objects.create(ip=BAD, pool=pool)
    names = {"pool": {"pool": pool}, "critical": {"least_severity": "critical"}, "net": {"subject": "198.51.100.*"}}
    for name, fields in names.items():
        AlertRule.objects.create(name=name, **fields).channels.add(channel(hook.url, name))

    def to(subject: str, **fields: Any) -> set[str]:
        take(signal(NOON, subject, **fields))
        return set(AlertDelivery.objects.filter(alert__subject=subject).values_list("channel__name", flat=True))

    assert to(BAD) == {"pool"}
    assert to("198.51.100.7", severity=Severity.CRITICAL) == {"critical", "net"}
    assert to("203.0.113.1", severity=Severity.INFO) == set()


def test_a_channel_named_by_two_rules_is_told_once(hook: Web) -> None:
    AlertRule.objects.create(name="everything")
    channel(hook.url)
    take(signal(NOON))
    alert_delivery.deliver(now=NOON)
    assert told(hook) == [("opened",)]


# --- delivery --------------------------------------------------------------------------------------------------------


def test_an_alert_and_its_end_reach_a_webhook_signed(hook: Web, settings: Any) -> None:
    settings.PUBLIC_URL = "https://gs.example"
    channel(hook.url, key="a signing key")
    take(signal(NOON))
    assert alert_delivery.deliver(now=NOON) == 1
    take(signal(NOON + MINUTE, over=True, sentence=f"{BAD} is healthy."), at=NOON + MINUTE)
    assert alert_delivery.deliver(now=NOON + MINUTE) == 1
    first, second = hook.got
    assert first.json["alerts"][0] == {
        "id": Alert.objects.get().pk,
        "kind": "status",
        "news": "opened",
        "severity": "warning",
        "subject": BAD,
        "sentence": f"{BAD} went from healthy to warning.",
        "url": f"https://gs.example/ips/{BAD}/",
        "opened_at": NOON.isoformat(),
    }
    assert (second.json["recovered"], second.json["alerts"][0]["sentence"]) == (True, f"{BAD} is healthy.")
    moment, mark = (part.partition("=")[2] for part in first.headers["X-Good-Standing-Signature"].split(","))
    expected = hmac.new(b"a signing key", f"{moment}.".encode() + first.body, hashlib.sha256).hexdigest()
    assert (moment, mark) == (str(int(NOON.timestamp())), expected)


def test_nothing_is_sent_twice(hook: Web) -> None:
    channel(hook.url)
    take(signal(NOON))
    for second in range(3):
        alert_delivery.deliver(now=NOON + second * MINUTE)
    assert told(hook) == [("opened",)]


def test_a_message_that_another_worker_holds_is_left_alone_until_its_claim_runs_out(hook: Web) -> None:
    channel(hook.url)
    take(signal(NOON))
    AlertDelivery.objects.update(claim="somebody", claimed_until=NOON + MINUTE, message="m-1", attempts=1)
    assert alert_delivery.deliver(now=NOON) == 0
    assert alert_delivery.deliver(now=NOON + MINUTE) == 1
    assert hook.got[0].headers["Idempotency-Key"] == "m-1", "the same message, so that the other side can tell"


def test_what_another_worker_has_claimed_since_it_was_read_is_not_sent(hook: Web) -> None:
    row = channel(hook.url)
    take(signal(NOON))
    delivery = AlertDelivery.objects.get()
    AlertDelivery.objects.update(claim="somebody", claimed_until=NOON + MINUTE)
    assert alert_delivery._send(row, [delivery.pk], NOON) is None
    assert hook.got == []


def test_many_of_a_kind_are_one_message_and_the_next_waits_a_minute(hook: Web) -> None:
    channel(hook.url)
    take(*(signal(NOON, f"192.0.2.{number}") for number in range(1, 41)))
    alert_delivery.deliver(now=NOON)
    assert [len(entry) for entry in told(hook)] == [40]
    for second in (10, 20):
        take(signal(NOON + second * SECOND, f"198.51.100.{second}"), at=NOON + second * SECOND)
        alert_delivery.deliver(now=NOON + second * SECOND)
    assert len(hook.got) == 1
    alert_delivery.deliver(now=NOON + MINUTE)
    assert told(hook)[1:] == [("opened", "opened")]


def test_a_failed_delivery_is_tried_again_later_as_the_same_message_and_then_given_up(hook: Web) -> None:
    channel(hook.url)
    take(signal(NOON))
    hook.status = 500
    alert_delivery.deliver(now=NOON)
    row = AlertDelivery.objects.get()
    assert (row.state, row.attempts, row.error, row.due_at) == ("waiting", 1, "http_500", NOON + 30 * SECOND)
    alert_delivery.deliver(now=NOON + 29 * SECOND)
    assert len(hook.got) == 1
    hook.statuses = [200]
    alert_delivery.deliver(now=NOON + 30 * SECOND)
    assert AlertDelivery.objects.get().state == "sent"
    assert len({got.headers["Idempotency-Key"] for got in hook.got}) == 1
    take(signal(NOON + timedelta(hours=1), "192.0.2.1"))
    for hour in range(2, MOST_ATTEMPTS + 3):
        alert_delivery.deliver(now=NOON + timedelta(hours=hour))
    last = AlertDelivery.objects.latest("id")
    assert (last.state, last.attempts) == ("failed", MOST_ATTEMPTS)


def test_the_end_of_it_is_never_told_before_its_beginning_nor_to_whom_it_was_never_told(hook: Web) -> None:
    channel(hook.url)
    take(signal(NOON))
    hook.status = 503
    alert_delivery.deliver(now=NOON)
    take(signal(NOON + 10 * SECOND, over=True), at=NOON + 10 * SECOND)
    hook.status = 200
    alert_delivery.deliver(now=NOON + 11 * SECOND)
    assert told(hook) == [("opened",)]
    alert_delivery.deliver(now=NOON + 40 * SECOND)
    alert_delivery.deliver(now=NOON + 41 * SECOND)
    assert told(hook)[1:] == [("opened",), ("recovered",)]
    take(signal(NOON + MINUTE, "192.0.2.1"))
    AlertDelivery.objects.filter(alert__subject="192.0.2.1").update(state="failed", attempts=MOST_ATTEMPTS)
    take(signal(NOON + 2 * MINUTE, "192.0.2.1", over=True))
    alert_delivery.deliver(now=NOON + 3 * MINUTE)
    assert states()["recovered"] == "dropped"


def test_quiet_hours_hold_back_what_is_not_critical_and_drop_what_is_over_by_then(hook: Web) -> None:
    channel(hook.url)
    AlertRule.objects.filter(kind="status").update(quiet_from=time(11), quiet_to=time(13))
    take(signal(NOON), signal(NOON, "192.0.2.1", severity=Severity.CRITICAL), signal(NOON, "192.0.2.2"))
    alert_delivery.deliver(now=NOON)
    assert [entry["subject"] for got in hook.got for entry in got.json["alerts"]] == ["192.0.2.1"]
    take(signal(NOON + MINUTE, over=True), at=NOON + MINUTE)
    alert_delivery.deliver(now=NOON + timedelta(hours=1))
    assert [entry["subject"] for got in hook.got for entry in got.json["alerts"]] == ["192.0.2.1", "192.0.2.2"]


def test_what_nobody_acknowledges_goes_to_the_second_channels_once(hook: Web, operator: User) -> None:
    channel(hook.url, "day")
    night = channel(hook.url, "night", is_default=False)
    rule = AlertRule.objects.get(kind="status")
    rule.escalate_after = 15
    rule.save()
    rule.escalation_channels.add(night)
    take(signal(NOON), signal(NOON, "192.0.2.1"))
    alerts.acknowledge(Alert.objects.get(subject=BAD), user=operator, now=NOON)
    tick(now=NOON + 14 * MINUTE)
    assert not AlertDelivery.objects.filter(channel=night).exists()
    tick(now=NOON + 15 * MINUTE)
    tick(now=NOON + 16 * MINUTE)
    rows = AlertDelivery.objects.filter(channel=night).values_list("alert__subject", "news")
    assert list(rows) == [("192.0.2.1", "escalated")]


def test_a_channel_that_is_off_gets_nothing(hook: Web) -> None:
    row = channel(hook.url)
    take(signal(NOON))
    row.is_enabled = False
    row.save()
    assert alert_delivery.deliver(now=NOON) == 0
    assert not alert_delivery.is_due(now=NOON)
    take(signal(NOON, "192.0.2.1"))
    assert AlertDelivery.objects.count() == 1


@pytest.mark.django_db(transaction=True)
def test_workers_at_the_same_moment_raise_and_tell_once(hook: Web) -> None:
    AlertRule.objects.all().delete()
    AlertRule.objects.create(name="all")
    channel(hook.url)
    together = threading.Barrier(4)

    def work() -> None:
        try:
            together.wait(10)
            for number in range(1, 6):
                take(signal(NOON, f"192.0.2.{number}"))
            alert_delivery.deliver(now=NOON)
        finally:
            connection.close()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    alert_delivery.deliver(now=NOON + MINUTE)
    subjects = [entry["subject"] for got in hook.got for entry in got.json["alerts"]]
    assert sorted(subjects) == [f"192.0.2.{number}" for number in range(1, 6)]
