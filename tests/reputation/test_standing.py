"""Standing as it is stored: changes, history, volume, overrides."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.exceptions import ValidationError

from reputation import overrides
from reputation.domain.policy import Status
from reputation.models import AuditEntry, IpStanding, IpStandingHistory, Policy, PolicyRevision, SenderScore
from reputation.policies import change_policy
from reputation.scores import score_senders
from reputation.standing import score_ips
from telemetry.domain.event import Event
from telemetry.domain.vocab import EventType, VolumeReporting
from telemetry.ingest import record_batch
from telemetry.models import Source
from telemetry.volumes import Volume, report
from tests.conftest import NOON

pytestmark = pytest.mark.django_db
Make = Callable[..., Event]
IP = "192.0.2.10"


@pytest.fixture
def operator(django_user_model: type[User]) -> User:
    return django_user_model.objects.create_superuser("olga", "olga@example.com", "correct horse battery")


def refusals(make: Make, number: int, domain: str = "gmail.com", **fields: Any) -> list[Event]:
    defaults = {"type": EventType.BOUNCE, "smtp_code": 550, "enhanced_code": "5.7.1"}
    return [
        make(event_id=f"r{domain}{index}", recipient_domain=domain, **(defaults | fields)) for index in range(number)
    ]


def deliveries(make: Make, number: int, **fields: Any) -> list[Event]:
    return [make(event_id=f"d{index}", **fields) for index in range(number)]


def test_a_refused_ip_reaches_quarantine_with_one_audit_row(source: Source, make_event: Make) -> None:
    record_batch(source, deliveries(make_event, 380) + refusals(make_event, 20), now=NOON)
    for _ in range(2):
        score_ips(now=NOON)
    row = IpStanding.objects.get()
    assert (row.status, row.total_sent, row.total_rejected, row.rejection_ratio) == ("quarantine", 400, 20, 0.05)
    assert row.major_providers == ["gmail.com"]
    assert "5 %" in row.why
    entry = AuditEntry.objects.get()
    assert (entry.previous, entry.new, entry.triggered_by) == ("healthy", "quarantine", "automated")
    assert IpStandingHistory.objects.count() == 2


def test_the_poll_writes_history_only_at_a_change(source: Source, make_event: Make) -> None:
    record_batch(source, deliveries(make_event, 380) + refusals(make_event, 20), now=NOON)
    for _ in range(3):
        score_ips([IP], now=NOON, only_changes=True)
    assert IpStandingHistory.objects.count() == 1


def test_failures_alone_have_no_ratio_and_warn_at_most(source: Source, make_event: Make) -> None:
    record_batch(source, refusals(make_event, 200), now=NOON)
    score_ips(now=NOON)
    row = IpStanding.objects.get()
    assert (row.status, row.total_sent, row.rejection_ratio) == ("warning", None, None)
    assert row.metadata["volume"] == "unknown"


def test_a_source_that_delivered_today_has_known_volume_while_all_is_refused(source: Source, make_event: Make) -> None:
    record_batch(source, deliveries(make_event, 1, occurred_at=NOON - timedelta(hours=5)), now=NOON)
    record_batch(source, refusals(make_event, 60), now=NOON)
    score_ips(now=NOON)
    assert IpStanding.objects.get().total_sent == 60


def test_a_source_declared_failures_only_stays_unknown_whatever_it_delivers(source: Source, make_event: Make) -> None:
    source.volume = VolumeReporting.FAILURES_ONLY
    source.save()
    record_batch(source, deliveries(make_event, 5) + refusals(make_event, 60), now=NOON)
    score_ips(now=NOON)
    assert IpStanding.objects.get().total_sent is None


def test_reported_volume_makes_the_covered_window_known(source: Source, make_event: Make) -> None:
    record_batch(source, refusals(make_event, 12) + refusals(make_event, 8, "yahoo.com"), now=NOON)
    start = NOON - timedelta(minutes=15)
    report(
        source,
        [Volume(IP, 380, start, NOON - timedelta(minutes=5)), Volume(IP, 20, NOON - timedelta(minutes=5), NOON)],
        now=NOON,
    )
    score_ips(now=NOON)
    row = IpStanding.objects.get()
    assert (row.total_sent, row.total_rejected, row.status) == (400, 20, "quarantine")
    assert row.metadata["volume"] == "reported"


def test_a_gap_in_the_reports_leaves_the_volume_unknown(source: Source, make_event: Make) -> None:
    record_batch(source, refusals(make_event, 20), now=NOON)
    start = NOON - timedelta(minutes=15)
    report(
        source,
        [Volume(IP, 380, start, NOON - timedelta(minutes=6)), Volume(IP, 20, NOON - timedelta(minutes=5), NOON)],
        now=NOON,
    )
    score_ips(now=NOON)
    assert IpStanding.objects.get().total_sent is None


def test_manual_quarantine_beats_automation_until_lifted(source: Source, make_event: Make, operator: User) -> None:
    record_batch(source, deliveries(make_event, 100), now=NOON)
    overrides.quarantine(IP, reason="blocked by hand", user=operator, now=NOON)
    score_ips(now=NOON)
    row = IpStanding.objects.get()
    assert (row.status, row.automatic_status) == ("quarantine", "healthy")
    overrides.lift(IP, reason="mended", user=operator, now=NOON)
    assert IpStanding.objects.get().status == "healthy"
    acts = list(AuditEntry.objects.order_by("id").values_list("action", "previous", "new", "triggered_by"))
    assert acts == [("quarantine", "healthy", "quarantine", "olga"), ("lift", "quarantine", "healthy", "olga")]


def test_a_release_expires_and_the_automatic_status_returns(source: Source, make_event: Make, operator: User) -> None:
    record_batch(source, deliveries(make_event, 380) + refusals(make_event, 20), now=NOON)
    score_ips(now=NOON)
    overrides.release(IP, reason="false alarm", user=operator, now=NOON, expires_at=NOON + timedelta(hours=1))
    score_ips(now=NOON + timedelta(minutes=1))
    assert IpStanding.objects.get().status == "healthy"
    assert overrides.expire(now=NOON + timedelta(minutes=59)) == 0
    assert overrides.expire(now=NOON + timedelta(hours=1)) == 1
    assert overrides.expire(now=NOON + timedelta(hours=1)) == 0
    assert IpStanding.objects.get().status == "quarantine"


@pytest.mark.parametrize(
    ("reason", "ip", "field"), [(" ", IP, "reason"), ("why", "no ip", "ip"), ("why", "0.0.0.0", "ip")]
)
def test_an_act_needs_a_reason_and_an_ip(operator: User, reason: str, ip: str, field: str) -> None:
    with pytest.raises(ValidationError) as caught:
        overrides.quarantine(ip, reason=reason, user=operator, now=NOON)
    assert list(caught.value.message_dict) == [field]


def test_an_audit_row_cannot_be_edited(operator: User) -> None:
    overrides.override(IP, Status.WARNING, reason="watch it", user=operator, now=NOON)
    entry = AuditEntry.objects.get()
    entry.reason = "something else"
    with pytest.raises(TypeError):
        entry.save()


def test_a_policy_change_is_versioned_and_takes_effect(source: Source, make_event: Make, operator: User) -> None:
    policy = Policy.objects.get(pool__is_default=True)
    change_policy(policy, {"minimum_volume": 500}, user=operator, reason="small sender")
    record_batch(source, deliveries(make_event, 380) + refusals(make_event, 20), now=NOON)
    score_ips(now=NOON)
    row = IpStanding.objects.get()
    assert (row.status, row.policy_revision) == ("healthy", 2)
    revision = PolicyRevision.objects.get(revision=2)
    assert (revision.values["minimum_volume"], revision.changed_by, revision.reason) == (
        "500",
        operator,
        "small sender",
    )


def scores(provider: str = "") -> dict[str, int | None]:
    return dict(SenderScore.objects.filter(kind="domain", provider=provider).values_list("name", "score"))


def test_the_worked_scores_hold(source: Source, make_event: Make) -> None:
    good = deliveries(make_event, 98) + refusals(make_event, 2)
    bad = [
        make_event(event_id=f"{kind}{index}", type=kind, sending_domain="bad.example")
        for kind, number in ((EventType.DELIVERY, 40), (EventType.BOUNCE, 50), (EventType.COMPLAINT, 10))
        for index in range(number)
    ]
    record_batch(source, good + bad, now=NOON)
    score_senders(now=NOON)
    assert scores() == {"good.example": 100, "bad.example": 5}
    assert scores("google") == {"good.example": 100, "bad.example": 5}


def test_a_domain_without_mail_keeps_its_score(source: Source, make_event: Make) -> None:
    record_batch(source, deliveries(make_event, 40) + refusals(make_event, 50), now=NOON)
    score_senders(now=NOON)
    before = scores()
    score_senders(now=NOON + timedelta(days=2))
    row = SenderScore.objects.get(kind="domain", provider="")
    assert scores() == before
    assert not row.has_recent_mail


def test_a_failures_only_source_is_never_scored_down(source: Source, make_event: Make) -> None:
    record_batch(source, refusals(make_event, 50), now=NOON)
    score_senders(now=NOON)
    assert scores() == {"good.example": None}


def test_by_provider_a_hosted_domain_counts_as_its_company_and_two_of_one_company_once(
    source: Source, make_event: Make, operator: User
) -> None:
    policy = Policy.objects.get(pool__is_default=True)
    change_policy(policy, {"count_major_by": "provider"}, user=operator, reason="companies, not domains")
    hosted = {"mx_host": "company-example.mail.protection.outlook.com"}
    refused = refusals(make_event, 10, "company.example", **hosted) + refusals(make_event, 10, "hotmail.com")
    record_batch(source, deliveries(make_event, 380) + refused, now=NOON)
    score_ips(now=NOON)
    assert IpStanding.objects.get().major_providers == ["microsoft"]
