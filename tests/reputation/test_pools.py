"""Who of a pool takes how much and why one is out, the caps in force of a sender, and the record summed up."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.db import connection
from django.test.utils import CaptureQueriesContext

from reputation import breaker_acts, permits, pool_acts, warmup_acts
from reputation.caps import caps_of
from reputation.domain.breaker_policy import Scope
from reputation.domain.permit import Ask, Rule
from reputation.domain.warmup import Schedule
from reputation.models import AuditEntry, IpStanding, Pool, PoolDomain, SendingIP, SendingPolicy
from reputation.permit_summary import by_pool, pools_under, summary
from reputation.pools import Share, pool_now
from reputation.sending_policies import change_sending_policy
from reputation.standing import blank_standing

pytestmark = pytest.mark.django_db
# Of now, because what is spent is read of the windows that the clock says are in force.
NOW = datetime.now(UTC)
GOOD, OTHER, SPARE = "192.0.2.10", "192.0.2.20", "192.0.2.30"
DAY = timedelta(days=1)


@pytest.fixture(autouse=True)
def _this_very_hour(monkeypatch: pytest.MonkeyPatch) -> None:
    """The file may be read an hour before its last test runs."""
    monkeypatch.setitem(globals(), "NOW", datetime.now(UTC))


@pytest.fixture
def user() -> User:
    return User.objects.create_superuser("olga")


@pytest.fixture
def pool() -> Pool:
    """Two IPs, one with a third of the other's weight, and a backup."""
    made = Pool.objects.create(name="news")
    SendingIP.objects.create(ip=GOOD, pool=made, weight=300)
    SendingIP.objects.create(ip=OTHER, pool=made)
    SendingIP.objects.create(ip=SPARE, pool=made, is_backup=True)
    return made


def stands(ip: str, status: str) -> None:
    row = blank_standing(ip, now=NOW)
    row.status = status
    row.save()


def now_of(pool: Pool, provider: str = "") -> dict[str, Share]:
    permits.desk().books.forget()
    return {entry.ip: entry for entry in pool_now(pool, now=NOW, provider=provider).members}


def change(pool: Pool, **values: Any) -> None:
    row = SendingPolicy.objects.filter(pool=pool).first() or SendingPolicy.objects.create(pool=pool)
    change_sending_policy(row, values, user=None, reason="test")
    permits.desk().books.forget()


def told(members: dict[str, Share]) -> list[float]:
    return [round(members[ip].share, 4) for ip in (GOOD, OTHER, SPARE)]


def test_shares_follow_the_weights_and_a_backup_waits(pool: Pool) -> None:
    members = now_of(pool)
    assert told(members) == [0.75, 0.25, 0]
    assert [members[ip].why for ip in (GOOD, OTHER, SPARE)] == ["", "", "A backup: others may send."]
    SendingIP.objects.filter(ip=OTHER).update(weight=0)
    members = now_of(pool)
    assert told(members) == [1, 0, 0]
    assert (members[OTHER].why, members[OTHER].is_out) == ("Its weight is 0.", True)


def test_quarantine_halves_a_share_and_blacklisted_takes_the_ip_out(pool: Pool) -> None:
    stands(GOOD, "quarantine")
    members = now_of(pool)
    assert told(members) == [0.6, 0.4, 0]
    assert members[GOOD].why == "It stands as quarantine, which leaves 50 %."
    assert members[GOOD].share_by_weight == 0.75
    IpStanding.objects.update(status="blacklisted")
    members = now_of(pool)
    assert told(members) == [0, 1, 0]
    assert (members[GOOD].rule, members[GOOD].until) == (Rule.BLACKLISTED, None), "nobody knows when it is back"


def test_breakers_take_out_for_what_they_are_about_and_the_backup_comes_in(pool: Pool, user: User) -> None:
    until = NOW + DAY
    breaker_acts.open_by_hand(Scope("ip", GOOD), reason="a bought list", user=user, now=NOW, expires_at=until)
    breaker_acts.open_by_hand(Scope("ip", OTHER, "google"), reason="a block", user=user, now=NOW, expires_at=until)
    members = now_of(pool)
    assert told(members) == [0, 1, 0]
    assert (members[GOOD].rule, members[GOOD].until) == (Rule.BREAKER, until)
    assert "a bought list" in members[GOOD].why
    (local,) = members[OTHER].at_providers
    assert local.startswith("Paused at google: ")
    assert "a block" in local
    at_google = now_of(pool, "google")
    assert told(at_google) == [0, 0, 1]
    assert at_google[OTHER].at_providers == ()


def test_a_spent_cap_takes_an_ip_out_until_its_window_ends(pool: Pool) -> None:
    change(pool, ip_limit_per_hour=1)
    first = permits.ask([Ask("a@shop.example", "x@gmail.com", pool="news")], now=NOW)[0].ips[0]
    members = now_of(pool)
    assert members[first].is_out
    assert members[first].rule is Rule.BASE_LIMIT
    assert "is spent" in members[first].why
    assert members[first].until == NOW.replace(minute=0, second=0, microsecond=0) + timedelta(hours=1)
    assert sum(told(members)) == 1


def test_the_share_is_what_permits_hand_out(pool: Pool) -> None:
    stands(GOOD, "quarantine")
    asks = [Ask("a@shop.example", f"r{n}@gmail.com", pool="news") for n in range(2000)]
    permits.desk().books.forget()
    firsts = [answer.ips[0] for answer in permits.ask(asks, now=NOW, spend=False)]
    assert abs(firsts.count(GOOD) / 2000 - now_of(pool)[GOOD].share) < 0.05


def test_caps_in_force_say_what_is_spent_and_vanish_with_what_made_them(user: User) -> None:
    policy = SendingPolicy.objects.get(pool__is_default=True)
    SendingIP.objects.create(ip=GOOD)
    assert caps_of("ip", GOOD, now=NOW).caps == ()
    change(policy.pool, provider_limits_on=True)
    row = warmup_acts.start("ip", GOOD, Schedule((10, 20)), reason="new", user=user, now=NOW)
    permits.desk().books.forget()
    permits.ask([Ask("a@shop.example", "x@gmail.com", recipients=4, ip=GOOD)], now=NOW)
    permits.desk().books.forget()
    caps = {(cap.rule, cap.provider, cap.limit): cap.counted for cap in caps_of("ip", GOOD, now=NOW).caps}
    assert caps[Rule.WARM_UP, "", 10] == 4
    assert caps[Rule.PROVIDER_LIMIT, "google", 500] == 4
    assert caps[Rule.PROVIDER_LIMIT, "yahoo", 200] == 0
    assert caps_of("ip", GOOD, now=NOW).caps[0].rule is Rule.WARM_UP, "the fullest comes first"
    warmup_acts.complete(row, reason="warm", user=user, now=NOW)
    change(policy.pool, provider_limits_on=False)
    assert caps_of("ip", GOOD, now=NOW).caps == (), "their budgets are still there, but limit nothing"


def test_a_domain_has_caps_of_its_own_and_the_mode_of_its_pool(pool: Pool) -> None:
    change(pool, mode="enforce")
    change(Pool.objects.get(is_default=True), domain_limit_per_hour=50)
    PoolDomain.objects.create(domain="shop.example", pool=pool)
    permits.desk().books.forget()
    permits.ask([Ask("a@shop.example", "x@gmail.com", recipients=7)], now=NOW)
    permits.desk().books.forget()
    found = caps_of("domain", "shop.example", now=NOW)
    assert (found.pool, found.mode.value) == ("news", "enforce")
    assert [(cap.rule, cap.limit, cap.counted) for cap in found.caps] == [(Rule.BASE_LIMIT, 50, 7)]


def test_the_provider_caps_of_a_domain_without_ips_say_what_is_spent(user: User) -> None:
    change(Pool.objects.get(is_default=True), provider_limits_on=True)
    permits.ask([Ask("a@shop.example", "x@gmail.com", recipients=7)], now=NOW)
    permits.desk().books.forget()
    caps = {(cap.provider, cap.limit): cap.counted for cap in caps_of("domain", "shop.example", now=NOW).caps}
    assert (caps["google", 500], caps["google", 10_000], caps["yahoo", 200]) == (7, 7, 0)


def observed(user: User) -> None:
    """Of five questions two would be held back, and one is, by a pool that enforces."""
    enforcing = Pool.objects.create(name="strict")
    change(enforcing, mode="enforce")
    breaker_acts.open_by_hand(Scope("domain", "spam.example"), reason="a bought list", user=user, now=NOW)
    permits.desk().books.forget()
    spam, good = "x@spam.example", "x@good.example"
    permits.ask([Ask(spam, "a@gmail.com", recipients=3), Ask(spam, "a@yahoo.com"), Ask(good, "a@gmail.com")], now=NOW)
    permits.ask([Ask(spam, "a@gmail.com", pool="strict"), Ask(good, "a@gmail.com", pool="strict")], now=NOW)
    permits.desk().write_down()


def test_the_record_tells_what_was_held_back_from_what_would_have_been(user: User) -> None:
    observed(user)
    found = summary(start=NOW - DAY, end=NOW)
    assert (found.asked.asks, found.asked.recipients) == (5, 7)
    assert (found.would_have_been.asks, found.would_have_been.recipients) == (2, 4)
    assert (found.held_back.asks, found.held_back.recipients) == (1, 1)
    (rule,) = found.by_rule
    assert (rule.rule, rule.would_have_been.recipients, rule.held_back.recipients) == ("breaker", 4, 1)
    assert [(line.sending_domain, line.rule) for line in found.by_sender] == [("spam.example", "breaker")]
    assert "a bought list" in found.by_sender[0].reason
    assert [(line.provider, line.would_have_been.asks) for line in found.by_provider] == [("google", 1), ("yahoo", 1)]
    assert summary(start=NOW + timedelta(minutes=1), end=NOW + DAY).asked.asks == 0
    assert summary(start=NOW - DAY, end=NOW - timedelta(minutes=1)).asked.asks == 0
    assert summary(start=NOW - DAY, end=NOW, pools=["strict"]).asked.asks == 2
    each = by_pool(start=NOW - DAY, end=NOW)
    assert (each["strict"].held_back.asks, each["default"].would_have_been.recipients) == (1, 4)


def test_a_default_policy_speaks_for_all_pools_without_one(user: User, pool: Pool) -> None:
    change(Pool.objects.create(name="strict"), mode="enforce")
    assert sorted(pools_under(SendingPolicy.objects.get(pool__is_default=True))) == ["default", "news"]
    assert pools_under(SendingPolicy.objects.get(pool__name="strict")) == ["strict"]


def test_the_summary_costs_the_same_however_much_was_held_back(user: User) -> None:
    observed(user)

    def queries() -> int:
        with CaptureQueriesContext(connection) as captured:
            summary(start=NOW - DAY, end=NOW + DAY)
        return len(captured)

    few = queries()
    for number in range(9):
        breaker_acts.open_by_hand(Scope("domain", f"d{number}.example"), reason="x", user=user, now=NOW)
        permits.desk().books.forget()
        permits.ask([Ask(f"x@d{number}.example", "a@gmail.com")], now=NOW + timedelta(minutes=number))
    permits.desk().write_down()
    assert queries() == few


def test_a_sending_ip_changes_with_an_audit_row_and_only_where_something_changes(pool: Pool, user: User) -> None:
    row = SendingIP.objects.get(ip=GOOD)
    pool_acts.change_sending_ip(row, {"weight": 50, "pool": None, "label": ""}, user=user, reason="a new role")
    entry = AuditEntry.objects.get()
    assert (entry.action, entry.sending_ip, entry.triggered_by) == ("sending_ip_changed", GOOD, "olga")
    assert entry.metadata == {"changed": {"pool": ["news", "the default"], "weight": [300, 50]}}
    assert entry.reason == "pool: news → the default; weight: 300 → 50. a new role"
    pool_acts.change_sending_ip(row, {"weight": 50}, user=user)
    assert AuditEntry.objects.count() == 1
    for wrong in ({"weight": 10_001}, {"transport": "smtp 10"}, {"colour": "red"}):
        with pytest.raises(ValidationError):
            pool_acts.change_sending_ip(row, wrong, user=user)


def test_a_domain_moves_between_pools_with_an_audit_row_each(pool: Pool, user: User) -> None:
    row, is_new = pool_acts.set_domain_pool("shop.example", pool, user=user)
    assert is_new
    other = Pool.objects.create(name="bulk")
    assert pool_acts.set_domain_pool("shop.example", other, user=user)[1] is False
    pool_acts.set_domain_pool("shop.example", other, user=user)
    row.refresh_from_db()
    pool_acts.unset_domain_pool(row, user=user, reason="sold")
    moves = [entry.metadata["changed"]["pool"] for entry in AuditEntry.objects.order_by("id")]
    assert moves == [["the default", "news"], ["news", "bulk"], ["bulk", "the default"]]
    assert not PoolDomain.objects.exists()
