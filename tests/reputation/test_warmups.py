"""Warm-ups as they are stored: what a day is judged by, what the permits are told, who is found new."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.db import connection
from django.test.utils import CaptureQueriesContext

from reputation import warmups
from reputation.breaker_acts import open_by_hand
from reputation.domain.breaker_policy import Scope
from reputation.domain.warmup import Schedule, Unit, window_at
from reputation.models import (
    AuditEntry,
    Budget,
    IpStandingHistory,
    Pool,
    SendingIP,
    Warmup,
    WarmupEvent,
    WarmupPolicy,
    WarmupPolicyRevision,
    WarmupTemplate,
)
from reputation.overrides import release
from reputation.standing import score_ips
from reputation.warmup_acts import WrongStateError, cancel, complete, confirm, skip, start
from reputation.warmup_detection import detect
from reputation.warmup_policies import change_warmup_policy, ensure_defaults, new_policy
from reputation.warmup_templates import delete_template, ensure_templates, save_template
from telemetry.counters import roll_up
from telemetry.domain.event import Event
from telemetry.domain.vocab import EventType
from telemetry.ingest import record_batch
from telemetry.models import Source
from tests.conftest import NOON
from tests.reputation.test_breakers import DOMAIN, IP, OTHER_IP, UNKNOWN_USER, Traffic

pytestmark = pytest.mark.django_db
DAY, HOUR, MINUTE = timedelta(days=1), timedelta(hours=1), timedelta(minutes=1)
MIDNIGHT = datetime(2026, 11, 21, tzinfo=UTC)
JUST_AFTER = MIDNIGHT + timedelta(minutes=6)


@pytest.fixture
def traffic(source: Source, make_event: Callable[..., Event]) -> Traffic:
    return Traffic(source, make_event)


@pytest.fixture
def olga(django_user_model: type[User]) -> User:
    return django_user_model.objects.create_superuser("olga", "olga@example.com", "correct horse battery")


@pytest.fixture
def warm(olga: User) -> Callable[..., Warmup]:
    """Start a warm-up at noon."""

    def begin(sender: str = IP, numbers: Any = None, **given: Any) -> Warmup:
        kind: Any = "ip" if sender[0].isdigit() else "domain"
        numbers = numbers or Schedule((100, 200, 300))
        given = {"reason": "a new one", "user": olga, "now": NOON} | given
        return start(kind, sender, numbers, **given)

    return begin


def policy(**values: Any) -> WarmupPolicy:
    row = WarmupPolicy.objects.get(pool__is_default=True)
    return change_warmup_policy(row, values, user=None, reason="test")


def a_day(traffic: Traffic, count: int, at: datetime = NOON, **fields: Any) -> None:
    """Mail, and the standing that the next run finds."""
    traffic.record(count, at, **fields)
    score_ips(now=at)


def steps(row: Warmup) -> list[tuple[str, int]]:
    return list(WarmupEvent.objects.filter(warmup=row).order_by("id").values_list("step", "to_day"))


def last(row: Warmup) -> WarmupEvent:
    return WarmupEvent.objects.filter(warmup=row).order_by("-id")[0]


def now_day(row: Warmup) -> tuple[str, int]:
    row.refresh_from_db()
    return row.state, row.day


# What a day is judged by


def test_a_used_and_healthy_day_goes_on_at_midnight_and_not_before(traffic: Traffic, warm: Any) -> None:
    row = warm()
    a_day(traffic, 80)
    assert warmups.tick(now=MIDNIGHT - MINUTE) == 0
    assert warmups.tick(now=MIDNIGHT + MINUTE) == 0, "what is reported a little late still counts"
    assert warmups.tick(now=JUST_AFTER) == 1
    assert warmups.tick(now=JUST_AFTER) == 0, "once per local date"
    assert now_day(row) == ("running", 2)
    event = last(row)
    assert (event.step, event.used, event.planned, event.standing) == ("advanced", 80, 100, "healthy")
    assert (event.on_date, event.from_day, event.to_day, event.automated) == (date(2026, 11, 20), 1, 2, True)
    entry = AuditEntry.objects.get(action="warmup_advanced")
    assert (entry.sending_ip, entry.metadata["warmup_event"]) == (IP, event.pk)


def test_a_day_used_too_little_is_held_and_audited_as_nothing_changed(traffic: Traffic, warm: Any) -> None:
    row = warm()
    a_day(traffic, 79)
    warmups.tick(now=JUST_AFTER)
    assert steps(row) == [("started", 1), ("held", 1)]
    assert "79 of 100 used on 2026-11-20, less than 80 %" in last(row).notes
    assert not AuditEntry.objects.filter(action="warmup_held").exists()
    row.refresh_from_db()
    assert row.on_date == date(2026, 11, 21)


def test_what_permits_handed_out_counts_where_it_is_more(traffic: Traffic, warm: Any) -> None:
    row = warm()
    a_day(traffic, 10)
    day = window_at(NOON, "UTC", Unit.DAY)
    common: dict[str, Any] = {"rule": "warm_up", "kind": "ip", "sender": IP, "limit": 100}
    common |= {"starts_at": day.starts, "ends_at": day.ends}
    Budget.objects.create(key="all", spent=90, **common)
    Budget.objects.create(key="google", provider="google", spent=95, **common)
    Budget.objects.create(key="other", spent=99, **common | {"rule": "base_limit"})
    warmups.tick(now=JUST_AFTER)
    assert (last(row).step, last(row).used) == ("advanced", 90)


def test_the_worst_status_of_the_day_counts_and_a_persons_word_beats_it(
    traffic: Traffic, warm: Any, olga: User
) -> None:
    row = warm(day=2)
    traffic.record(300, NOON)
    score_ips(now=NOON)
    refused = [("gmail.com", 30), ("outlook.com", 30), ("yahoo.com", 30)]
    for domain, count in refused:
        traffic.record(
            count,
            NOON + HOUR,
            recipient_domain=domain,
            type=EventType.BOUNCE,
            smtp_code=550,
            enhanced_code="5.7.1",
            reply="no",
        )
    score_ips(now=NOON + HOUR)
    traffic.record(300, NOON + 5 * HOUR)
    score_ips(now=NOON + 5 * HOUR)
    assert IpStandingHistory.objects.order_by("-computed_at")[0].status == "healthy"
    warmups.tick(now=JUST_AFTER)
    assert steps(row)[-1] == ("stepped_back", 1)
    assert last(row).standing == "blacklisted"

    traffic.record(300, NOON + DAY)
    score_ips(now=NOON + DAY)
    traffic.record(90, NOON + DAY + MINUTE, type=EventType.BOUNCE, smtp_code=550, enhanced_code="5.7.1", reply="no")
    score_ips(now=NOON + DAY + MINUTE)
    release(IP, reason="a mistake of theirs", user=olga, now=NOON + DAY + HOUR, expires_at=NOON + 3 * DAY)
    warmups.tick(now=JUST_AFTER + DAY)
    assert last(row).standing == "healthy"
    assert steps(row)[-1] == ("advanced", 2)


def test_an_ip_whose_mail_nobody_judged_is_held(traffic: Traffic, warm: Any) -> None:
    row = warm()
    traffic.record(100, NOON)
    warmups.tick(now=JUST_AFTER)
    assert (last(row).step, last(row).standing) == ("held", "")
    assert "nobody judged" in last(row).notes


def test_a_domain_goes_by_the_score_of_exactly_that_days_mail(traffic: Traffic, warm: Any) -> None:
    row = warm(DOMAIN, Schedule((50, 60, 70)), day=2)
    traffic.record(100, NOON - DAY, **UNKNOWN_USER)
    traffic.record(90, NOON)
    traffic.record(10, NOON, **UNKNOWN_USER)
    warmups.tick(now=JUST_AFTER)
    assert (last(row).step, last(row).standing) == ("held", "warning"), "10 % bounced: 100 - 15 - 5"
    traffic.record(60, NOON + DAY, **UNKNOWN_USER)
    traffic.record(40, NOON + DAY)
    warmups.tick(now=JUST_AFTER + DAY)
    assert (last(row).step, last(row).standing) == ("stepped_back", "quarantine")
    traffic.record(100, NOON + 2 * DAY)
    warmups.tick(now=JUST_AFTER + 2 * DAY)
    assert (last(row).step, last(row).standing) == ("advanced", "healthy")


def test_a_domain_of_which_only_failures_are_reported_is_not_known_to_be_healthy(
    traffic: Traffic, warm: Any, source: Source
) -> None:
    Source.objects.filter(pk=source.pk).update(volume="failures_only")
    row = warm(DOMAIN)
    traffic.record(100, NOON, **UNKNOWN_USER)
    warmups.tick(now=JUST_AFTER)
    assert (last(row).step, last(row).standing) == ("held", "")


def test_breakers_speak_too_whichever_way_they_stand_at_midnight(traffic: Traffic, warm: Any, olga: User) -> None:
    row, other = warm(day=3), warm(OTHER_IP, day=3)
    open_by_hand(Scope("ip", IP, "google"), reason="x", user=olga, now=NOON, expires_at=NOON + HOUR)
    open_by_hand(Scope("ip", OTHER_IP), reason="x", user=olga, now=NOON - 2 * DAY)
    for ip in (IP, OTHER_IP):
        traffic.record(300, NOON, sending_ip=ip)
    score_ips(now=NOON)
    from reputation import breakers

    breakers.tick(now=NOON + 2 * HOUR)
    warmups.tick(now=JUST_AFTER)
    assert [last(entry).step for entry in (row, other)] == ["stepped_back"] * 2
    assert "a breaker at google was open" in last(row).notes


def test_it_is_complete_after_a_good_last_day(traffic: Traffic, warm: Any) -> None:
    row = warm()
    for number, count in enumerate((100, 200, 300)):
        a_day(traffic, count, NOON + number * DAY)
        warmups.tick(now=JUST_AFTER + number * DAY)
    assert now_day(row) == ("completed", 3)
    assert row.ended_at == JUST_AFTER + 2 * DAY
    assert steps(row) == [("started", 1), ("advanced", 2), ("advanced", 3), ("completed", 3)]
    assert warmups.plans(now=JUST_AFTER + 3 * DAY) == []


def test_days_that_no_worker_saw_are_judged_later_each_by_its_own_mail(traffic: Traffic, warm: Any) -> None:
    row = warm()
    a_day(traffic, 100)
    a_day(traffic, 100, NOON + DAY)
    (plan,) = warmups.plans(now=NOON + DAY)
    assert (plan.day, plan.limit, plan.counted, plan.starts) == (1, 100, 100, MIDNIGHT), "nobody gets more unseen"
    a_day(traffic, 200, NOON + 2 * DAY)
    assert warmups.tick(now=JUST_AFTER + 2 * DAY) == 3
    assert steps(row) == [("started", 1), ("advanced", 2), ("held", 2), ("advanced", 3)]


def test_thirty_days_without_mail_begin_anew(traffic: Traffic, warm: Any) -> None:
    row = warm(day=3)
    a_day(traffic, 100)
    warmups.tick(now=JUST_AFTER + 29 * DAY)
    assert now_day(row) == ("running", 3)
    warmups.tick(now=JUST_AFTER + 30 * DAY)
    assert now_day(row) == ("running", 1)
    assert last(row).step == "restarted"
    assert row.version == WarmupEvent.objects.filter(warmup=row).count()


def test_each_time_zone_has_its_own_midnight_once(traffic: Traffic, warm: Any) -> None:
    rows = {}
    for ip, zone in ((IP, "Asia/Tokyo"), (OTHER_IP, "America/New_York")):
        policy(time_zone=zone)
        rows[zone] = warm(ip)
        traffic.record(100, NOON, sending_ip=ip)
    score_ips(now=NOON)
    policy(time_zone="UTC")
    assert warmups.tick(now=datetime(2026, 11, 20, 15, 6, tzinfo=UTC)) == 1
    assert now_day(rows["Asia/Tokyo"]) == ("running", 2)
    assert warmups.tick(now=datetime(2026, 11, 21, 5, 4, tzinfo=UTC)) == 0
    assert warmups.tick(now=datetime(2026, 11, 21, 5, 6, tzinfo=UTC)) == 1
    assert now_day(rows["America/New_York"]) == ("running", 2)


def test_by_the_hour_the_busiest_hour_is_what_was_used(traffic: Traffic, warm: Any) -> None:
    row = warm(numbers=Schedule((50, 60), Unit.HOUR))
    a_day(traffic, 30, NOON)
    a_day(traffic, 45, NOON + 2 * HOUR + timedelta(minutes=30))
    roll_up(now=NOON + 4 * HOUR)
    (plan,) = warmups.plans(now=NOON + 2 * HOUR + timedelta(minutes=40))
    assert (plan.limit, plan.counted) == (50, 45)
    assert (plan.starts, plan.ends) == (NOON + 2 * HOUR, NOON + 3 * HOUR)
    warmups.tick(now=JUST_AFTER)
    assert (last(row).step, last(row).used) == ("advanced", 45)


def test_a_warm_up_that_moved_meanwhile_is_not_moved_again(traffic: Traffic, warm: Any) -> None:
    row = warm()
    stale = Warmup.objects.get(pk=row.pk)
    a_day(traffic, 100)
    warmups.tick(now=JUST_AFTER)
    from reputation.domain.warmup_policy import State, Step
    from reputation.warmup_moves import Change, move

    assert move(stale, Change(Step.HELD, "late", State.RUNNING, 1), now=JUST_AFTER) is None
    assert WarmupEvent.objects.filter(warmup=row).count() == 2


# What the permits are told


def test_a_plan_counts_everything_that_was_sent_and_by_capped_provider(traffic: Traffic, warm: Any) -> None:
    warm(numbers=Schedule((100, 200), Unit.DAY, {"google": (40, 80)}))
    traffic.record(30, NOON)
    traffic.record(5, NOON, **UNKNOWN_USER)
    traffic.record(20, NOON, recipient_domain="outlook.com")
    traffic.record(7, NOON - DAY)
    traffic.record(9, NOON, sending_ip=OTHER_IP)
    (plan,) = warmups.plans(now=NOON)
    assert (plan.kind, plan.sender, plan.day, plan.limit, plan.counted) == ("ip", IP, 1, 100, 55)
    assert (plan.provider_limits, plan.provider_counted) == ({"google": 40}, {"google": 35})
    assert (plan.starts, plan.ends) == (MIDNIGHT - DAY, MIDNIGHT)


def test_plans_cost_the_same_however_many_there_are(warm: Any) -> None:
    def queries() -> int:
        with CaptureQueriesContext(connection) as captured:
            warmups.plans(now=NOON)
        return len(captured)

    for name in (IP, DOMAIN):
        warm(name)
    few = queries()
    for number in range(20):
        warm(f"198.51.100.{number}")
        warm(f"d{number}.example")
    assert queries() == few <= 12


def test_a_policy_that_is_switched_off_limits_and_judges_nothing(traffic: Traffic, warm: Any) -> None:
    row = warm()
    a_day(traffic, 100)
    policy(enabled=False)
    assert warmups.plans(now=NOON) == []
    assert warmups.tick(now=JUST_AFTER) == 0
    policy(enabled=True)
    warmups.tick(now=JUST_AFTER + DAY)
    assert steps(row) == [("started", 1), ("advanced", 2), ("held", 2)]


# What people decide


def test_acts_need_a_reason_and_are_audited_with_the_user(warm: Any, olga: User) -> None:
    row = warm(numbers=WarmupTemplate.objects.get(name="default"), day=3)
    assert (row.template, row.limit, row.time_zone, row.on_date) == ("default", 500, "UTC", NOON.date())
    acts: dict[str, Any] = {"user": olga, "now": NOON}
    with pytest.raises(ValidationError):
        skip(row, days=1, reason="  ", **acts)
    assert skip(row, days=-2, reason="too fast", **acts).day == 1
    for days in (0, -1, 14):
        with pytest.raises(ValidationError):
            skip(row, days=days, reason="x", **acts)
    assert complete(row, reason="known since long", **acts).state == "completed"
    for act in (complete, cancel, confirm):
        with pytest.raises(WrongStateError):
            act(row, reason="x", **acts)
    told = AuditEntry.objects.order_by("id").values_list("action", "triggered_by", "user", "reason")
    assert list(told) == [
        ("warmup_started", "olga", olga.pk, f"{IP}: a new one"),
        ("warmup_skipped", "olga", olga.pk, f"{IP}: too fast"),
        ("warmup_completed", "olga", olga.pk, f"{IP}: known since long"),
    ]


def test_a_sender_has_one_warm_up_at_a_time(warm: Any) -> None:
    warm()
    with pytest.raises(WrongStateError, match="warms up already: day 1 of 3"):
        warm()
    with pytest.raises(ValidationError):
        warm("not a name")
    with pytest.raises(ValidationError):
        warm(OTHER_IP, day=4)
    assert Warmup.objects.count() == 1


def test_an_edit_of_a_template_changes_nothing_that_runs(warm: Any, olga: User) -> None:
    own = save_template(WarmupTemplate(), {"name": "ours", "amounts": [10, 20]}, user=olga)
    row = warm(numbers=own)
    save_template(own, {"amounts": [1, 2, 3]}, user=olga)
    assert now_day(row) == ("running", 1)
    assert row.amounts == [10, 20]


def test_percent_of_the_full_volume_by_provider(warm: Any) -> None:
    template = WarmupTemplate.objects.get(name="acellemail")
    assert template.days == 45
    with pytest.raises(ValidationError):
        warm(numbers=template)
    row = warm(numbers=template, full_volume=1000, day=7)
    plan = warmups.plans(now=NOON)[0]
    assert (plan.limit, plan.provider_limits["google"], plan.provider_limits["apple"]) == (400, 400, 30)
    assert row.days == 45


# Templates and policies


def test_shipped_templates_are_there_and_a_missing_one_comes_back(olga: User) -> None:
    days = {row.name: (row.days, row.unit) for row in WarmupTemplate.objects.filter(builtin=True)}
    assert days == {
        "default": (14, "day"),
        "conservative": (30, "day"),
        "moderate": (21, "day"),
        "aggressive": (14, "day"),
        "sparkpost": (29, "day"),
        "sendgrid_auto": (42, "hour"),
        "sitevibes": (16, "day"),
        "acellemail": (45, "day"),
    }
    assert WarmupTemplate.objects.get(name="default").amounts[7:9] == [20_000, 30_000]
    assert not WarmupTemplate.objects.filter(source="").exists()
    for row in WarmupTemplate.objects.all():
        row.full_clean()
    WarmupTemplate.objects.filter(name="moderate").delete()
    ensure_templates()
    assert WarmupTemplate.objects.filter(name="moderate").exists()


def test_built_in_templates_stay_as_they_are_and_used_ones_are_kept(olga: User) -> None:
    with pytest.raises(ValidationError):
        save_template(WarmupTemplate.objects.get(name="default"), {"amounts": [1]}, user=olga)
    own = save_template(WarmupTemplate(), {"name": "ours", "amounts": [10, 20]}, user=olga)
    policy(ip_template=own)
    with pytest.raises(ValidationError):
        delete_template(own, user=olga)
    policy(ip_template=WarmupTemplate.objects.get(name="default"))
    delete_template(own, user=olga)
    assert [row.action for row in AuditEntry.objects.order_by("id")] == [
        "warmup_template_made",
        "warmup_template_deleted",
    ]


@pytest.mark.parametrize(
    "values",
    [
        {"amounts": []},
        {"amounts": [200, 100]},
        {"amounts": [0]},
        {"amounts": [1.5]},
        {"amounts": "many"},
        {"amounts": [True]},
        {"amounts": [10], "provider_shares": {"google": [5]}},
        {"amounts": [10], "provider_amounts": {"google": [5, 6]}},
        {"amounts": [10], "provider_amounts": [5]},
        {"provider_shares": {"google": [101]}},
        {"provider_shares": {"google": []}},
        {"provider_shares": {"google": "much"}},
        {"provider_shares": [1]},
    ],
)
def test_templates_that_cannot_be_meant_are_refused(olga: User, values: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        save_template(WarmupTemplate(), {"name": "ours", **values}, user=olga)


def test_a_policy_change_keeps_a_revision_and_refuses_what_cannot_be_meant() -> None:
    ensure_defaults()
    assert WarmupPolicyRevision.objects.count() == 1
    assert policy(advance_share="0.5").revision == 2
    assert policy(advance_share="0.5").revision == 2, "no change, no revision"
    percent = WarmupTemplate.objects.get(name="acellemail")
    for wrong in (
        {"time_zone": "Mars/Olympus"},
        {"time_zone": "../etc/passwd"},
        {"advance_share": "0"},
        {"domain_idle": timedelta(days=200)},
        {"ip_template": percent},
        {"colour": "red"},
    ):
        with pytest.raises(ValidationError):
            policy(**wrong)


# Who is found


def watched(traffic: Traffic, days: int, ip: str = "192.0.2.99", domain: str = "old.example") -> None:
    """A sender that was there so many days ago, and is still."""
    for ago in (days, 5, 1):
        traffic.record(200, NOON - ago * DAY, sending_ip=ip, sending_domain=domain)
    SendingIP.objects.filter(ip=ip).update(first_seen_at=NOON - days * DAY)


def seen(traffic: Traffic, ip: str, *, ago: timedelta, domain: str = "", count: int = 10) -> None:
    traffic.record(count, NOON - ago, sending_ip=ip, sending_domain=domain)
    SendingIP.objects.get_or_create(ip=ip)
    SendingIP.objects.filter(ip=ip).update(first_seen_at=NOON - ago)


def found() -> dict[str, str]:
    detect(now=NOON)
    return dict(Warmup.objects.values_list("sender", "found"))


def rolled(traffic: Traffic) -> None:
    roll_up(now=NOON + HOUR)


def test_an_installation_that_was_just_connected_declares_nobody_new(traffic: Traffic) -> None:
    for number in range(3):
        seen(traffic, f"192.0.2.{number + 1}", ago=number * DAY, domain=f"d{number}.example")
    rolled(traffic)
    assert found() == {}


def test_an_ip_that_appears_where_it_would_have_been_seen_is_new(traffic: Traffic) -> None:
    watched(traffic, 20)
    seen(traffic, IP, ago=3 * DAY)
    seen(traffic, OTHER_IP, ago=9 * DAY)
    SendingIP.objects.create(ip="192.0.2.77", first_seen_at=NOON - DAY)  # entered by hand, before its first mail
    rolled(traffic)
    assert found() == {IP: "new_ip", "192.0.2.77": "new_ip"}
    row = Warmup.objects.get(sender=IP)
    assert (row.state, row.template, row.amounts[0]) == ("proposed", "default", 100)
    assert warmups.plans(now=NOON) == [], "a proposal limits nothing"
    assert detect(now=NOON) == 0


def test_the_ips_of_a_server_that_was_just_connected_are_not_new(
    traffic: Traffic, make_event: Callable[..., Event]
) -> None:
    watched(traffic, 20)
    second = Traffic(Source.objects.create(name="mta-2", kind="generic"), make_event)
    seen(second, IP, ago=2 * DAY)
    rolled(traffic)
    assert found() == {}


def test_old_mail_that_is_imported_proves_an_ip_old(traffic: Traffic) -> None:
    watched(traffic, 20)
    seen(traffic, IP, ago=DAY)
    traffic.record(10, NOON - 12 * DAY, sending_ip=IP)
    rolled(traffic)
    assert found() == {}


def test_domains_without_a_past_are_found_also_where_they_begin_with_a_blast(traffic: Traffic) -> None:
    watched(traffic, 40)
    seen(traffic, "192.0.2.99", ago=DAY, domain="blast.example", count=500)
    seen(traffic, "192.0.2.99", ago=10 * DAY, domain="quiet.example", count=99)
    seen(traffic, "192.0.2.99", ago=10 * DAY, domain="busy.example", count=100)
    seen(traffic, "192.0.2.99", ago=35 * DAY, domain="idle.example", count=500)
    SendingIP.objects.update(first_seen_at=NOON - 40 * DAY)
    rolled(traffic)
    assert found() == {
        "blast.example": "idle_domain",
        "quiet.example": "quiet_domain",
        "idle.example": "idle_domain",
    }


def test_few_messages_of_a_source_that_reports_failures_only_prove_nothing(traffic: Traffic, source: Source) -> None:
    Source.objects.filter(pk=source.pk).update(volume="failures_only")
    watched(traffic, 40)
    seen(traffic, "192.0.2.99", ago=DAY, domain="blast.example")
    rolled(traffic)
    assert "blast.example" not in found()


def test_an_ip_that_was_idle_warms_up_again(traffic: Traffic) -> None:
    watched(traffic, 50)
    seen(traffic, IP, ago=45 * DAY)
    rolled(traffic)
    assert found() == {IP: "idle_ip"}


def test_what_the_policy_says_is_done_with_who_is_found(traffic: Traffic) -> None:
    watched(traffic, 20)
    seen(traffic, IP, ago=DAY)
    rolled(traffic)
    policy(on_detection="off")
    assert found() == {}
    policy(on_detection="start", ip_template=WarmupTemplate.objects.get(name="moderate"), time_zone="Europe/Berlin")
    assert detect(now=NOON) == 1
    row = Warmup.objects.get()
    assert (row.state, row.template, row.time_zone, row.on_date) == (
        "running",
        "moderate",
        "Europe/Berlin",
        NOON.date(),
    )
    assert steps(row) == [("started", 1)]
    assert last(row).policy_revision == 3


def test_a_source_that_was_cut_off_throttles_nobody_when_it_is_back(traffic: Traffic) -> None:
    for ago in (60, 45, 1):
        traffic.record(500, NOON - ago * DAY)
    SendingIP.objects.create(ip=IP, first_seen_at=NOON - 60 * DAY)
    rolled(traffic)
    policy(on_detection="start")
    assert found() == {IP: "idle_ip", DOMAIN: "idle_domain"}
    assert set(Warmup.objects.values_list("state", flat=True)) == {"proposed"}
    assert "was it cut off?" in Warmup.objects.all()[0].reason


def test_a_pool_has_its_own_policy(traffic: Traffic, olga: User) -> None:
    pool = Pool.objects.create(name="bulk")
    change_warmup_policy(new_policy(pool), {"on_detection": "start"}, user=olga, reason="bulk")
    watched(traffic, 20)
    for ip in (IP, OTHER_IP):
        seen(traffic, ip, ago=DAY)
    SendingIP.objects.filter(ip=IP).update(pool=pool)
    rolled(traffic)
    found()
    assert dict(Warmup.objects.values_list("sender", "state")) == {IP: "running", OTHER_IP: "proposed"}


def test_a_proposal_is_confirmed_or_dismissed_or_withdrawn(traffic: Traffic, olga: User) -> None:
    watched(traffic, 20)
    for ip in (IP, OTHER_IP, "192.0.2.12"):
        seen(traffic, ip, ago=DAY)
    rolled(traffic)
    found()
    acts: dict[str, Any] = {"user": olga, "now": NOON}
    row = confirm(Warmup.objects.get(sender=IP), reason="ours", **acts)
    assert (row.state, row.day, steps(row)) == ("running", 1, [("proposed", 1), ("started", 1)])
    cancel(Warmup.objects.get(sender=OTHER_IP), reason="bought warm", **acts)
    taken = start("ip", "192.0.2.12", Schedule((5, 6)), reason="slower", **acts)
    assert (taken.state, taken.amounts, taken.found) == ("running", [5, 6], "new_ip")
    assert detect(now=NOON + DAY) == 0, "who was dismissed is left alone"
    assert Warmup.objects.count() == 3

    seen(traffic, "192.0.2.13", ago=DAY)
    rolled(traffic)
    detect(now=NOON)
    detect(now=NOON + 31 * DAY)
    assert Warmup.objects.filter(sender="192.0.2.13", state="cancelled").count() == 1
    assert last(Warmup.objects.get(sender="192.0.2.13")).step == "withdrawn"


def test_a_batch_of_new_events_reaches_the_plan(warm: Any, source: Source, make_event: Callable[..., Event]) -> None:
    warm()
    record_batch(source, [make_event(event_id="1", occurred_at=NOON)], now=NOON)
    assert warmups.plans(now=NOON)[0].counted == 1
