"""Breakers as they are stored: what opens them from real events, how they come back, and who may be at it at once."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.db import connection
from django.utils import timezone

from reputation import breakers
from reputation.breaker_acts import close_by_hand, open_by_hand
from reputation.breaker_moves import transition_made
from reputation.breaker_policies import breaker_book, change_breaker_policy, major_providers
from reputation.domain.breaker_policy import Scope, State
from reputation.models import AuditEntry, Breaker, BreakerEvent, BreakerPolicy, BreakerPolicyRevision, Pool, SendingIP
from reputation.scores import score_senders
from reputation.standing import score_ips
from reputation.tasks import poll_changes
from telemetry.counters import roll_up
from telemetry.domain.event import Event
from telemetry.domain.vocab import EventType, VolumeReporting
from telemetry.ingest import record_batch
from telemetry.models import Source, TrafficMinute
from tests.conftest import NOON

pytestmark = pytest.mark.django_db
Make = Callable[..., Event]
IP, OTHER_IP, DOMAIN = "192.0.2.10", "192.0.2.11", "good.example"
REFUSED = {
    "type": EventType.BOUNCE,
    "smtp_code": 550,
    "enhanced_code": "5.7.1",
    "reply": "550 5.7.1 Our system has detected that this message is likely suspicious due to the very low reputation "
    "of the sending IP address",
}
UNKNOWN_USER = {"type": EventType.BOUNCE, "smtp_code": 550, "enhanced_code": "5.1.1", "reply": "550 5.1.1 no such user"}
GREYLISTED = {
    "type": EventType.DEFER,
    "smtp_code": 451,
    "enhanced_code": "4.7.1",
    "reply": "451 4.7.1 Greylisted, try later",
}
TOO_FAST = {
    "type": EventType.DEFER,
    "smtp_code": 421,
    "enhanced_code": "4.7.28",
    "reply": "421 4.7.28 unusual rate of mail",
}


class Traffic:
    """Records events of the cast, each at its moment, and checks the breakers as the poll does."""

    def __init__(self, source: Source, make: Make) -> None:
        self.source, self.make, self.number = source, make, 0

    def events(self, count: int, at: datetime, **fields: Any) -> list[Event]:
        self.number += count
        first = self.number - count
        # Counted backwards from the moment, a millisecond apart: none shares its time with another.
        return [
            self.make(event_id=f"e{first + n}", occurred_at=at - timedelta(milliseconds=count - n), **fields)
            for n in range(count)
        ]

    def record(self, count: int, at: datetime, **fields: Any) -> None:
        record_batch(self.source, self.events(count, at, **fields), now=at)

    def check(self, now: datetime, ip: str = IP) -> int:
        return breakers.tick(now=now) + breakers.check_changed([ip], now=now)


@pytest.fixture
def traffic(source: Source, make_event: Make) -> Traffic:
    return Traffic(source, make_event)


@pytest.fixture
def operator(django_user_model: type[User]) -> User:
    return django_user_model.objects.create_superuser("olga", "olga@example.com", "correct horse battery")


def states() -> dict[str, str]:
    return {str(row.scope): row.state for row in Breaker.objects.exclude(state=State.CLOSED)}


def path(scope: str) -> list[tuple[str, str, int]]:
    rows = BreakerEvent.objects.select_related("breaker").order_by("id")
    return [(row.trigger, row.to_state, row.step) for row in rows if str(row.breaker.scope) == scope]


def test_three_refusals_in_a_row_open_that_provider_and_nothing_else(traffic: Traffic) -> None:
    traffic.record(200, NOON - timedelta(minutes=5))
    traffic.record(50, NOON - timedelta(minutes=5), recipient_domain="outlook.com")
    traffic.record(2, NOON, **REFUSED)
    assert traffic.check(NOON) == 0, "two are no block"
    traffic.record(1, NOON + timedelta(seconds=10), **REFUSED)
    traffic.check(NOON + timedelta(seconds=12))
    assert states() == {f"{IP} at google": "open", f"{DOMAIN} at google": "open"}
    event = BreakerEvent.objects.get(breaker__kind="ip")
    assert (event.trigger, event.value, event.threshold, event.from_state) == ("provider_block", 3.0, 3.0, "closed")
    assert event.paused_at == event.at
    assert event.reopen_at == event.at + timedelta(hours=1)
    entry = AuditEntry.objects.get(sending_ip=IP)
    assert (entry.action, entry.triggered_by, entry.metadata["breaker_event"]) == (
        "breaker_opened",
        "automated",
        event.pk,
    )


def test_a_delivery_between_refusals_keeps_the_provider_open_to_us(traffic: Traffic) -> None:
    for second in range(0, 60, 20):
        traffic.record(2, NOON + timedelta(seconds=second), **REFUSED)
        traffic.record(1, NOON + timedelta(seconds=second + 10))
    assert traffic.check(NOON + timedelta(minutes=1)) == 0


def test_order_within_one_minute_is_by_time_and_not_by_arrival(traffic: Traffic) -> None:
    traffic.record(1, NOON + timedelta(seconds=30))
    traffic.record(3, NOON + timedelta(seconds=20), **REFUSED)
    assert traffic.check(NOON + timedelta(seconds=40)) == 0, "they were refused before the delivery"
    traffic.record(3, NOON + timedelta(seconds=50), **REFUSED)
    assert traffic.check(NOON + timedelta(seconds=51)) == 2


def test_deliveries_counted_before_they_had_a_time_still_stand_between(traffic: Traffic) -> None:
    traffic.record(2, NOON + timedelta(seconds=10), **REFUSED)
    traffic.record(1, NOON + timedelta(seconds=20))
    traffic.record(2, NOON + timedelta(seconds=30), **REFUSED)
    TrafficMinute.objects.update(last_delivered_at=None)
    assert traffic.check(NOON + timedelta(minutes=1)) == 0


@pytest.mark.parametrize("refusal", [UNKNOWN_USER, GREYLISTED, TOO_FAST])
def test_unknown_users_greylisting_and_rate_limits_are_no_block(traffic: Traffic, refusal: dict[str, Any]) -> None:
    traffic.record(60, NOON - timedelta(minutes=5))
    traffic.record(6, NOON, **refusal)
    assert traffic.check(NOON) == 0
    assert breakers.check_all(now=NOON) == 0


def test_refusals_of_a_small_provider_open_nothing_by_their_order(traffic: Traffic) -> None:
    traffic.record(60, NOON - timedelta(minutes=5), recipient_domain="smallhost.example")
    traffic.record(5, NOON, recipient_domain="smallhost.example", **REFUSED)
    assert traffic.check(NOON) == 0


def test_without_known_deliveries_nothing_is_called_a_row_or_a_rate(traffic: Traffic, source: Source) -> None:
    source.volume = VolumeReporting.FAILURES_ONLY
    source.save()
    traffic.record(300, NOON, **REFUSED)
    assert breakers.check_all(now=NOON) == 0


def test_a_persons_pause_does_not_make_failures_alone_a_rate(traffic: Traffic, operator: User) -> None:
    open_by_hand(Scope("ip", IP, "yahoo"), reason="a hunch", user=operator, now=NOON)
    traffic.record(300, NOON, recipient_domain="a.example", **UNKNOWN_USER)
    assert breakers.check_all(now=NOON) == 0


def test_the_longest_names_fit_into_every_row(operator: User) -> None:
    domain = f"{'.'.join(['a' * 60] * 4)}.example"
    row = open_by_hand(Scope("domain", domain, "p" * 60), reason="r" * 5000, user=operator, now=NOON)
    assert row.sender == domain


@pytest.mark.parametrize(
    ("bounced", "opens"), [(10, False), (14, False), (25, True)], ids=["at the rate", "not sure enough", "surely above"]
)
def test_bounces_open_the_sender_once_the_rate_is_surely_above(traffic: Traffic, bounced: int, opens: bool) -> None:
    providers = ("a.example", "b.example")  # two domains of their own servers are one provider: all others
    for provider in providers:
        traffic.record(50 - bounced // 2, NOON, recipient_domain=provider)
    traffic.record(bounced, NOON, recipient_domain="a.example", **UNKNOWN_USER)
    traffic.check(NOON)
    everywhere = {IP, DOMAIN, f"{IP} at other", f"{DOMAIN} at other"}
    assert set(states()) == (everywhere if opens else set())


def test_a_calm_sender_is_not_read_by_the_poll_and_yet_found_when_it_turns(
    traffic: Traffic, django_assert_max_num_queries: Any
) -> None:
    traffic.record(500, NOON - timedelta(minutes=30), recipient_domain="a.example")
    traffic.record(5, NOON - timedelta(minutes=1), recipient_domain="a.example", **UNKNOWN_USER)
    score_senders(now=NOON)
    with django_assert_max_num_queries(10):
        assert traffic.check(NOON) == 0
    traffic.record(90, NOON, recipient_domain="a.example", **UNKNOWN_USER)
    traffic.check(NOON)
    assert set(states()) == {IP, DOMAIN, f"{IP} at other", f"{DOMAIN} at other"}


def test_a_few_failures_of_a_small_sender_are_calm_until_they_reach_the_minimum(
    traffic: Traffic, django_assert_max_num_queries: Any
) -> None:
    traffic.record(40, NOON - timedelta(minutes=30), recipient_domain="a.example")
    score_senders(now=NOON)
    # 4 of 44 are near 10 %, and yet far from 10 % of the 100 that a rate must have under it.
    traffic.record(4, NOON, recipient_domain="a.example", **UNKNOWN_USER)
    with django_assert_max_num_queries(10):
        assert traffic.check(NOON) == 0
    traffic.record(60, NOON, recipient_domain="a.example", **UNKNOWN_USER)
    traffic.check(NOON)
    assert set(states()) == {IP, DOMAIN, f"{IP} at other", f"{DOMAIN} at other"}


def test_a_calm_sender_stays_calm_while_its_scores_by_provider_need_no_writing(
    traffic: Traffic, django_assert_max_num_queries: Any
) -> None:
    traffic.record(500, NOON - timedelta(minutes=30), recipient_domain="a.example")
    later = NOON + timedelta(hours=2)
    for now in (NOON, later):
        score_senders(now=now)
    traffic.record(5, later, recipient_domain="a.example", **UNKNOWN_USER)
    with django_assert_max_num_queries(10):
        assert traffic.check(later) == 0


def test_a_calm_sender_that_a_provider_blocks_is_found_at_once(traffic: Traffic) -> None:
    traffic.record(500, NOON - timedelta(minutes=30))
    traffic.record(1000, NOON - timedelta(minutes=30), recipient_domain="outlook.com")
    score_senders(now=NOON)
    traffic.record(3, NOON, **REFUSED)
    assert traffic.check(NOON) == 2


def test_few_messages_open_nothing(traffic: Traffic) -> None:
    traffic.record(20, NOON)
    traffic.record(60, NOON, **UNKNOWN_USER)
    assert traffic.check(NOON) == 0, "80 are fewer than the minimum of 100"


def test_complaints_open_the_sender(traffic: Traffic) -> None:
    traffic.record(1000, NOON - timedelta(hours=2))
    roll_up(now=NOON)
    traffic.record(2, NOON, type=EventType.COMPLAINT)
    assert traffic.check(NOON) == 0
    traffic.record(4, NOON, type=EventType.COMPLAINT)
    traffic.check(NOON)
    assert set(states()) >= {IP, DOMAIN}
    event = BreakerEvent.objects.get(breaker__kind="domain", breaker__provider="")
    assert (event.trigger, event.value, event.volume, event.threshold) == ("complaint_rate", 0.006, 1000, 0.001)
    assert event.bound is not None
    assert 0.001 < event.bound < 0.006


def test_a_blocking_providers_bounces_do_not_open_the_whole_sender_then_or_later(traffic: Traffic) -> None:
    traffic.record(300, NOON - timedelta(minutes=10), recipient_domain="outlook.com")
    traffic.record(100, NOON - timedelta(minutes=10))
    traffic.record(200, NOON, **REFUSED)
    traffic.check(NOON)
    assert set(states()) == {f"{IP} at google", f"{DOMAIN} at google"}
    now = healed(traffic, NOON)
    assert states() == {}
    assert breakers.check_all(now=now + timedelta(minutes=15)) == 0


def healed(traffic: Traffic, now: datetime, *, minutes: int = 2) -> datetime:
    """Let time pass and all mail be delivered until no breaker holds anything back; the moment."""
    now = max(row.reopen_at or now for row in Breaker.objects.all())
    for _ in range(20):
        traffic.check(now)
        if not states():
            return now
        now += timedelta(minutes=minutes)
        traffic.record(60, now)
    raise AssertionError(f"a healthy sender did not get back: {states()}")


def test_a_healed_sender_comes_back_in_three_steps_and_every_one_has_its_row(traffic: Traffic) -> None:
    traffic.record(50, NOON - timedelta(minutes=5))
    traffic.record(3, NOON, **REFUSED)
    traffic.check(NOON)
    hour_later = NOON + timedelta(hours=1)
    assert breakers.tick(now=hour_later - timedelta(seconds=1)) == 0
    healed(traffic, NOON)
    assert path(f"{IP} at google") == [
        ("provider_block", "open", 0),
        ("pause_over", "half_open", 1),
        ("step_passed", "half_open", 2),
        ("step_passed", "half_open", 3),
        ("step_passed", "closed", 0),
    ]
    last = BreakerEvent.objects.filter(breaker__kind="ip").latest("id")
    assert (last.paused_at, last.resumed_at) == (NOON, last.at)
    assert AuditEntry.objects.filter(action__startswith="breaker_").count() == BreakerEvent.objects.count()


def test_a_step_is_judged_by_what_was_sent_since_it_began(traffic: Traffic) -> None:
    traffic.record(300, NOON - timedelta(minutes=5))
    traffic.record(100, NOON, recipient_domain="outlook.com", **UNKNOWN_USER)
    traffic.record(100, NOON, **UNKNOWN_USER)
    traffic.check(NOON)
    assert IP in states()
    now = NOON + timedelta(hours=1)
    breakers.tick(now=now)
    traffic.record(49, now + timedelta(minutes=2), recipient_domain="a.example")
    traffic.check(now + timedelta(minutes=2))
    assert Breaker.objects.get(kind="ip", provider="").step == 1, "a step needs its minimum of traffic"
    traffic.record(1, now + timedelta(minutes=3), recipient_domain="a.example")
    traffic.check(now + timedelta(minutes=3))
    assert Breaker.objects.get(kind="ip", provider="").step == 2, "the bounces of the day are not asked again"


def test_a_sick_sender_fails_its_probes_and_pauses_twice_as_long(traffic: Traffic) -> None:
    traffic.record(50, NOON - timedelta(minutes=5))
    traffic.record(3, NOON, **REFUSED)
    traffic.check(NOON)
    now, lengths = NOON, []
    for _ in range(5):
        row = Breaker.objects.get(kind="ip", provider="google")
        assert row.reopen_at is not None
        lengths.append((row.reopen_at - row.since) / timedelta(hours=1))
        now = row.reopen_at
        breakers.tick(now=now)
        now += timedelta(minutes=1)
        traffic.record(3, now, **REFUSED)
        traffic.check(now)
    assert lengths == [1, 2, 4, 8, 8]


def test_a_paused_sender_without_any_traffic_gets_its_probe(traffic: Traffic) -> None:
    traffic.record(50, NOON - timedelta(minutes=5))
    traffic.record(3, NOON, **REFUSED)
    traffic.check(NOON)
    later = NOON + timedelta(days=3)
    assert breakers.standing_for(now=later).strictest(ip=IP, provider="google").share == pytest.approx(0.05), (
        "even where no worker has written it down"
    )
    assert breakers.tick(now=later) == 2
    assert states() == {f"{IP} at google": "half_open", f"{DOMAIN} at google": "half_open"}
    assert breakers.check_all(now=later + timedelta(days=3)) == 0, "it waits for traffic"


def test_probes_after_days_of_silence_are_judged_though_nothing_was_delivered_lately(traffic: Traffic) -> None:
    traffic.record(50, NOON - timedelta(minutes=5))
    traffic.record(3, NOON, **REFUSED)
    traffic.check(NOON)
    later = NOON + timedelta(days=2)
    breakers.tick(now=later)
    traffic.record(3, later + timedelta(minutes=1), **REFUSED)
    traffic.check(later + timedelta(minutes=1))
    assert states() == {f"{IP} at google": "open", f"{DOMAIN} at google": "open"}


def test_permits_learn_share_reason_and_end(traffic: Traffic) -> None:
    traffic.record(50, NOON - timedelta(minutes=5))
    traffic.record(3, NOON, **REFUSED)
    traffic.check(NOON)
    found = breakers.standing_for([DOMAIN], [IP], ["google"], now=NOON)
    left = found.strictest(domain=DOMAIN, ip=IP, provider="google")
    assert (left.share, left.until) == (0, NOON + timedelta(hours=1))
    assert "in a row" in left.reason
    assert found.strictest(domain=DOMAIN, ip=IP, provider="yahoo").share == 1
    assert found.strictest(ip=OTHER_IP, provider="google").share == 1
    assert not breakers.standing_for([DOMAIN], [IP], ["yahoo"], now=NOON).by_scope
    assert not breakers.standing_for([], [OTHER_IP], now=NOON).by_scope


def test_a_person_opens_what_never_sent_and_it_ends_by_itself(operator: User) -> None:
    scope = Scope("domain", "Newborn.Example")
    end = NOON + timedelta(hours=2)
    row = open_by_hand(scope, reason="list was bought", user=operator, now=NOON, expires_at=end)
    assert (row.sender, row.state, row.held_by, row.reopen_at) == ("newborn.example", "open", "olga", end)
    assert breakers.standing_for(now=NOON).strictest(domain="newborn.example").share == 0
    assert breakers.tick(now=end) == 1
    assert states() == {}, "the automation had nothing against it"
    assert [row.automated for row in BreakerEvent.objects.order_by("id")] == [False, True]
    assert AuditEntry.objects.get(user=operator).reason == "newborn.example: list was bought"


def test_a_persons_word_beats_the_automation_until_it_expires(traffic: Traffic, operator: User) -> None:
    traffic.record(50, NOON - timedelta(minutes=5))
    traffic.record(3, NOON, **REFUSED)
    traffic.check(NOON)
    row = Breaker.objects.get(kind="ip", provider="google")
    end = NOON + timedelta(hours=1)
    close_by_hand(row, reason="Google confirmed a mistake", user=operator, now=NOON, expires_at=end)
    traffic.record(3, NOON + timedelta(minutes=30), **REFUSED)
    traffic.check(NOON + timedelta(minutes=30))
    assert f"{IP} at google" not in states()
    traffic.record(3, end - timedelta(minutes=1), **REFUSED)
    traffic.check(end)
    row.refresh_from_db()
    assert row.state == "open", "what was sent meanwhile is judged once the word has expired"


def test_an_act_needs_a_reason_a_sender_and_an_end_to_come(operator: User) -> None:
    def refused(scope: Scope, reason: str = "because", expires_at: datetime | None = None) -> set[str]:
        with pytest.raises(ValidationError) as error:
            open_by_hand(scope, reason=reason, user=operator, now=NOON, expires_at=expires_at)
        return set(error.value.message_dict)

    assert refused(Scope("ip", "nonsense")) == {"sending_ip"}
    assert refused(Scope("ip", "0.0.0.0")) == {"sending_ip"}
    assert refused(Scope("domain", "not a domain")) == {"sending_domain"}
    assert refused(Scope("ip", IP), reason="  ") == {"reason"}
    assert refused(Scope("ip", IP), expires_at=NOON) == {"expires_at"}
    assert not Breaker.objects.exists()


def test_a_pool_may_have_numbers_of_its_own_and_each_change_is_kept(traffic: Traffic, operator: User) -> None:
    assert BreakerPolicyRevision.objects.get().revision == 1, "the default pool's policy is there from the start"
    pool = Pool.objects.create(name="bulk")
    SendingIP.objects.create(ip=IP, pool=pool)
    policy = BreakerPolicy.objects.create(pool=pool, revision=0)
    change_breaker_policy(policy, {"block_refusals": 5}, user=operator, reason="noisy receivers")
    traffic.record(60, NOON - timedelta(minutes=5))
    traffic.record(4, NOON, **REFUSED)
    traffic.check(NOON)
    assert states() == {f"{DOMAIN} at google": "open"}
    with pytest.raises(ValidationError):
        change_breaker_policy(policy, {"step_1_share": "0.9"}, user=operator, reason="too much")


def test_switching_a_policy_off_lets_go_what_the_automation_holds(traffic: Traffic, operator: User) -> None:
    traffic.record(60, NOON - timedelta(minutes=5))
    traffic.record(3, NOON, **REFUSED)
    traffic.check(NOON)
    open_by_hand(Scope("ip", OTHER_IP), reason="bought with a past", user=operator, now=NOON)
    change_breaker_policy(BreakerPolicy.objects.get(), {"enabled": False}, user=operator, reason="trial")
    breakers.check_all(now=NOON + timedelta(minutes=1))
    assert states() == {OTHER_IP: "open"}


def test_an_event_row_is_never_edited(operator: User) -> None:
    open_by_hand(Scope("ip", IP), reason="test", user=operator, now=NOON)
    row = BreakerEvent.objects.get()
    row.notes = "something else"
    with pytest.raises(TypeError):
        row.save()


@pytest.mark.django_db(transaction=True)
def test_whoever_listens_is_told_after_the_commit(traffic: Traffic) -> None:
    heard: list[tuple[str, str]] = []

    def listen(event: BreakerEvent, **_: Any) -> None:
        heard.append((str(event.breaker.scope), event.to_state))

    transition_made.connect(listen)
    try:
        traffic.record(60, NOON - timedelta(minutes=5))
        traffic.record(3, NOON, **REFUSED)
        traffic.check(NOON)
    finally:
        transition_made.disconnect(listen)
    assert sorted(heard) == [(f"{IP} at google", "open"), (f"{DOMAIN} at google", "open")]


@pytest.mark.django_db(transaction=True)
def test_two_checks_at_once_make_one_transition(traffic: Traffic) -> None:
    traffic.record(60, NOON - timedelta(minutes=5))
    traffic.record(3, NOON, **REFUSED)
    together = threading.Barrier(2)
    moved: list[int] = []

    def check() -> None:
        try:
            together.wait(30)
            moved.append(breakers.check_all(now=NOON))
        finally:
            connection.close()

    threads = [threading.Thread(target=check) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sum(moved) == 2
    assert BreakerEvent.objects.count() == AuditEntry.objects.filter(action="breaker_opened").count() == 2


def test_a_decision_upon_what_somebody_else_has_moved_is_void(traffic: Traffic, operator: User) -> None:
    traffic.record(60, NOON - timedelta(minutes=5))
    traffic.record(3, NOON, **REFUSED)
    late = breakers._Check("ip", None, breaker_book(), major_providers(), NOON)  # has read, and decides only later
    open_by_hand(Scope("ip", IP, "google"), reason="I was faster", user=operator, now=NOON)
    assert late.run() == 0
    assert BreakerEvent.objects.count() == 1


def test_the_poll_opens_the_breaker_in_the_same_tick(traffic: Traffic) -> None:
    now = timezone.now()
    traffic.record(60, now - timedelta(minutes=5))
    traffic.record(3, now, **REFUSED)
    poll_changes()
    assert states() == {f"{IP} at google": "open", f"{DOMAIN} at google": "open"}


def test_standing_and_fleet_are_not_disturbed_by_breaker_rows(traffic: Traffic) -> None:
    from reputation.queries import fleet

    traffic.record(60, NOON - timedelta(minutes=5))
    traffic.record(3, NOON, **REFUSED)
    score_ips(now=NOON)
    before = [entry.action for entry in fleet(now=NOON, most_changes=50).changes]
    traffic.check(NOON)
    assert [entry.action for entry in fleet(now=NOON, most_changes=50).changes] == before
