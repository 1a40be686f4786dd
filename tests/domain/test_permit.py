"""May this be sent now: the pure decision, the order of a pool's IPs, and what enforce and observe have in common."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reputation.domain.breaker import Allowance, Allowances
from reputation.domain.breaker_policy import Scope
from reputation.domain.permit import Action, Ask, Candidate, Cap, Facts, Rule, answer, cannot_know, decide
from reputation.domain.permit_book import PermitBook, scaled
from reputation.domain.policy import Status
from reputation.domain.pool import Member, in_order
from reputation.domain.sending_policy import Mode, OnFailure, ProviderCap, SendingPolicy
from reputation.domain.warmup import DayPlan
from telemetry.domain.mailbox_providers import ProviderDirectory

NOON = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)
NEWS = Ask("news@shop.example", "someone@gmail.com")
PAUSED = Allowance(Fraction(0), Scope("domain", "shop.example"), "Too many complaints.", NOON + HOUR)
GOOD, OTHER, SPARE = "192.0.2.10", "192.0.2.11", "192.0.2.99"


def cap(limit: int, counted: int = 0, **fields: Any) -> Cap:
    values: dict[str, Any] = {"rule": Rule.WARM_UP, "kind": "domain", "sender": "shop.example", "provider": ""}
    return Cap(**(values | {"starts": NOON, "ends": NOON + HOUR, "limit": limit, "counted": counted} | fields))


def candidate(ip: str, *, breakers: tuple[Allowance, ...] = (), caps: tuple[Cap, ...] = (), **fields: Any) -> Candidate:
    return Candidate(Member(ip, **fields), breakers, caps)


def book(**fields: Any) -> PermitBook:
    values: dict[str, Any] = {
        "default_pool": "default",
        "policies": {"default": SendingPolicy(mode=Mode.ENFORCE)},
        "pools": {"default": (Member(GOOD), Member(OTHER))},
        "pool_of_domain": {},
        "pool_of_ip": {GOOD: "default", OTHER: "default"},
        "directory": ProviderDirectory({}, (), {"gmail.com": "google"}),
    }
    return PermitBook(**(values | fields))


def test_nothing_limits_an_unknown_sender() -> None:
    ruling = decide(NEWS, Facts(), {}, NOON)
    assert (ruling.action, ruling.rule, ruling.caps) == (Action.ALLOW, Rule.NO_LIMIT, ())


@pytest.mark.parametrize(
    "ask",
    [
        Ask("", "someone@gmail.com"),
        Ask("<>", "someone@gmail.com"),
        Ask("Postmaster@shop.example", "someone@gmail.com"),
        Ask("news@shop.example", "abuse@gmail.com"),
    ],
)
def test_reports_and_role_accounts_are_never_held_back(ask: Ask) -> None:
    facts = Facts(breakers=(PAUSED,), caps=(cap(0),), candidates=(candidate(GOOD, status=Status.BLACKLISTED),))
    ruling = decide(ask, facts, {}, NOON)
    assert (ruling.action, ruling.rule, ruling.ips, ruling.caps) == (Action.ALLOW, Rule.EXEMPT, (GOOD,), ())


def test_an_open_breaker_defers_until_it_lets_a_probe_through() -> None:
    ruling = decide(NEWS, Facts(breakers=(PAUSED,)), {}, NOON)
    assert (ruling.action, ruling.rule, ruling.until) == (Action.DEFER, Rule.BREAKER, NOON + HOUR)
    assert "shop.example" in ruling.reason
    assert "complaints" in ruling.reason


def test_of_two_rules_that_hold_back_the_longer_decides_and_both_speak() -> None:
    facts = Facts(breakers=(PAUSED,), caps=(cap(10, 10, ends=NOON + 9 * HOUR),))
    ruling = decide(NEWS, facts, {}, NOON)
    assert (ruling.rule, ruling.until) == (Rule.WARM_UP, NOON + 9 * HOUR)
    assert [voice.rule for voice in ruling.voices] == [Rule.BREAKER, Rule.WARM_UP]


@pytest.mark.parametrize(("recipients", "action"), [(1, Action.ALLOW), (2, Action.ALLOW), (3, Action.DEFER)])
def test_a_cap_lets_through_what_is_left_of_it_and_not_one_more(recipients: int, action: Action) -> None:
    ask = replace(NEWS, recipients=recipients)
    assert decide(ask, Facts(caps=(cap(100, 98),)), {}, NOON).action is action
    assert decide(ask, Facts(caps=(cap(100),)), {cap(100).key: 98}, NOON).action is action


def test_more_at_once_than_a_limit_ever_allows_is_rejected() -> None:
    facts = Facts(caps=(cap(50, rule=Rule.BASE_LIMIT, ceiling=100),))
    assert decide(replace(NEWS, recipients=101), facts, {}, NOON).action is Action.REJECT
    assert decide(replace(NEWS, recipients=100), facts, {}, NOON).action is Action.DEFER


def test_the_caps_to_spend_are_the_domains_and_those_of_the_first_ip() -> None:
    own = cap(5)
    by_ip = {ip: cap(9, kind="ip", sender=ip) for ip in (GOOD, OTHER)}
    facts = Facts(caps=(own,), candidates=tuple(candidate(ip, caps=(by_ip[ip],)) for ip in by_ip))
    ruling = decide(NEWS, facts, {}, NOON)
    assert set(ruling.ips) == {GOOD, OTHER}
    assert ruling.caps == (own, by_ip[ruling.ips[0]])


def test_an_ip_whose_cap_is_spent_is_passed_over() -> None:
    spent = cap(9, kind="ip", sender=GOOD)
    facts = Facts(candidates=(candidate(GOOD, caps=(spent,)), candidate(OTHER)))
    assert decide(NEWS, facts, {spent.key: 9}, NOON).ips == (OTHER,)


def test_where_no_ip_may_send_the_one_that_may_soonest_says_when() -> None:
    pauses = {GOOD: NOON + 2 * HOUR, OTHER: NOON + HOUR}
    candidates = tuple(
        candidate(ip, breakers=(Allowance(Fraction(0), Scope("ip", ip, "google"), "Blocked.", until),))
        for ip, until in pauses.items()
    )
    ruling = decide(NEWS, Facts(candidates=candidates), {}, NOON)
    assert (ruling.action, ruling.rule, ruling.until) == (Action.DEFER, Rule.BREAKER, NOON + HOUR)
    assert OTHER in ruling.reason


def test_a_backup_takes_over_only_where_nobody_else_may_send() -> None:
    spare = candidate(SPARE, is_backup=True)
    assert decide(NEWS, Facts(candidates=(candidate(GOOD), spare)), {}, NOON).ips == (GOOD,)
    out = candidate(GOOD, status=Status.BLACKLISTED)
    assert decide(NEWS, Facts(candidates=(out, spare)), {}, NOON).ips == (SPARE,)


def test_a_pool_without_any_weight_defers_and_says_so() -> None:
    ruling = decide(NEWS, Facts(candidates=(candidate(GOOD, weight=0),)), {}, NOON)
    assert (ruling.action, ruling.rule) == (Action.DEFER, Rule.NO_SENDING_IP)


def shares(*members: Member, factor: dict[str, float] | None = None) -> dict[str, float]:
    """How often each IP comes first over many recipients."""
    weighed = [
        (member, member.weight * member.standing_share * (factor or {}).get(member.ip, 1.0)) for member in members
    ]
    first = Counter(in_order(weighed, f"r{number}@gmail.com")[0] for number in range(20_000))
    return {ip: count / 20_000 for ip, count in first.items()}


def test_weights_and_standing_say_how_often_an_ip_comes_first() -> None:
    found = shares(Member(GOOD, weight=300), Member(OTHER, weight=100))
    assert found[GOOD] == pytest.approx(0.75, abs=0.015)
    halved = shares(Member(GOOD), Member(OTHER, status=Status.QUARANTINE))
    assert halved[OTHER] == pytest.approx(1 / 3, abs=0.015)
    assert shares(Member(GOOD), Member(OTHER, status=Status.BLACKLISTED)) == {GOOD: 1.0}
    probing = shares(Member(GOOD), Member(OTHER), factor={OTHER: 0.05})
    assert probing[OTHER] == pytest.approx(0.05 / 1.05, abs=0.008)


def test_when_an_ip_leaves_only_its_own_recipients_move() -> None:
    members = [(Member(ip), 100.0) for ip in (GOOD, OTHER, SPARE)]
    for number in range(500):
        before, after = in_order(members, str(number)), in_order(members[:2], str(number))
        assert after == tuple(ip for ip in before if ip != SPARE)


@pytest.mark.parametrize(
    ("base", "score", "limit"),
    [(1000, 100, 1000), (1000, 55, 550), (100, 3, 10), (5, 50, 5), (100, 0, 0), (7, None, 7)],
)
def test_a_base_limit_follows_the_score(base: int, score: int | None, limit: int) -> None:
    assert scaled(base, score, 10) == limit


def test_the_book_finds_pool_provider_and_limits() -> None:
    policy = SendingPolicy(
        mode=Mode.ENFORCE,
        ip_limit_per_hour=1000,
        provider_limits_on=True,
        provider_caps={"google": ProviderCap(500, 900)},
    )
    made = book(policies={"default": policy}, scores={("ip", GOOD): 60})
    facts = made.facts(replace(NEWS, ip=GOOD), NOON + timedelta(minutes=5))
    limits = {(entry.rule, entry.word): (entry.limit, entry.starts, entry.ends) for entry in facts.candidates[0].caps}
    midnight = NOON.replace(hour=0)
    assert limits == {
        (Rule.BASE_LIMIT, ""): (600, NOON, NOON + HOUR),
        (Rule.PROVIDER_LIMIT, "hour"): (500, NOON, NOON + HOUR),
        (Rule.PROVIDER_LIMIT, "day"): (900, midnight, midnight + timedelta(days=1)),
    }


def test_a_half_open_breaker_lets_its_share_of_the_normal_hour_through() -> None:
    scope = Scope("ip", GOOD, "google")
    allowances = Allowances({scope: Allowance(Fraction(1, 4), scope)})
    made = book(breakers=allowances, normal={scope: 400})
    caps = made.facts(replace(NEWS, ip=GOOD), NOON).candidates[0].caps
    assert [(entry.rule, entry.limit, entry.provider) for entry in caps] == [(Rule.PROBE, 100, "google")]
    elsewhere = made.facts(replace(NEWS, ip=GOOD, recipient="a@other.example"), NOON)
    assert elsewhere.candidates[0].caps == ()
    quiet = book(breakers=allowances).facts(replace(NEWS, ip=GOOD), NOON)
    assert quiet.candidates[0].caps[0].limit == 10  # who sent little must be judged too


def test_what_is_known_to_be_spent_counts_whoever_counted_it() -> None:
    policy = SendingPolicy(mode=Mode.ENFORCE, domain_limit_per_hour=100)
    fresh = book(policies={"default": policy})
    key = fresh.facts(NEWS, NOON).caps[0].key
    spent = replace(fresh, spent={key: 100})
    assert decide(NEWS, spent.facts(NEWS, NOON), {}, NOON).action is Action.DEFER


@pytest.mark.parametrize(("later", "starts", "counted"), [(0, 0, 40), (1, 1, 0), (50, 50, 0)])
def test_a_warm_up_goes_on_in_a_book_that_is_older_than_its_window(later: int, starts: int, counted: int) -> None:
    plan = DayPlan("domain", "shop.example", 1, 100, {"google": 60}, NOON, NOON + HOUR, 40, {"google": 30})
    made = book(warm_ups={("domain", "shop.example"): plan})
    at = NOON + later * HOUR + timedelta(minutes=30)
    found = [(entry.provider, entry.limit, entry.counted, entry.starts) for entry in made.facts(NEWS, at).caps]
    window = NOON + starts * HOUR
    assert found == [("", 100, counted, window), ("google", 60, counted * 3 // 4, window)]


def test_a_book_remembers_this_minute_and_no_other() -> None:
    made = book()
    for minute in range(5):
        for number in range(10):
            made.facts(Ask(f"news@s{number}.example", "a@gmail.com"), NOON + timedelta(minutes=minute))
    assert (len(made._facts), len(made._candidates)) == (10, 2)


def test_a_domains_limit_per_provider_knows_what_is_spent() -> None:
    policy = SendingPolicy(mode=Mode.ENFORCE, provider_limits_on=True, provider_caps={"google": ProviderCap(5, None)})
    empty = book(policies={"default": policy}, pools={"default": ()}, pool_of_ip={})
    key = empty.facts(NEWS, NOON).caps[0].key
    assert [entry.counted for entry in replace(empty, spent={key: 4}).facts(NEWS, NOON).caps] == [4]


# Facts in which anything may hold mail back.
SHARES = st.sampled_from([None, Fraction(0), Fraction(1, 20), Fraction(1, 2)])


@st.composite
def some_facts(draw: st.DrawFn) -> Facts:
    def breakers(scope: Scope) -> tuple[Allowance, ...]:
        share = draw(SHARES)
        return () if share is None else (Allowance(share, scope, "why", NOON + draw(st.sampled_from([HOUR, -HOUR]))),)

    def caps(kind: Any, name: str) -> tuple[Cap, ...]:
        limits = draw(st.lists(st.integers(0, 5), max_size=2))
        return tuple(cap(limit, kind=kind, sender=name, word=str(at)) for at, limit in enumerate(limits))

    candidates = tuple(
        Candidate(
            Member(ip, draw(st.sampled_from([0, 1, 100])), draw(st.booleans()), draw(st.sampled_from(list(Status)))),
            breakers(Scope("ip", ip)),
            caps("ip", ip),
        )
        for ip in draw(st.lists(st.sampled_from([GOOD, OTHER, SPARE]), unique=True))
    )
    return Facts(SendingPolicy(), breakers(Scope("domain", "shop.example")), caps("domain", "shop.example"), candidates)


@given(
    some_facts(),
    st.lists(
        st.tuples(st.sampled_from(["news@shop.example", "<>", "abuse@shop.example"]), st.integers(1, 6)), max_size=12
    ),
)
def test_observe_holds_nothing_back_and_its_log_is_what_enforce_does(facts: Facts, asks: list[tuple[str, int]]) -> None:
    """Both modes see the same asks; each spends what its rules allow. The verdicts must be the same, one by one."""
    logs: dict[Mode, list[Any]] = {}
    for mode in Mode:
        spent: dict[str, int] = {}
        logs[mode] = []
        for sender, recipients in asks:
            ask = Ask(sender, "someone@gmail.com", recipients=recipients)
            ruling = decide(ask, facts, spent, NOON)
            told = answer(ruling, mode, pool="default", provider="google")
            for entry in ruling.caps:
                spent[entry.key] = max(spent.get(entry.key, 0), entry.counted) + recipients
                assert spent[entry.key] <= entry.limit
            logs[mode].append((told.verdict, told.rule, told.reason, told.until, told.ips))
            if mode is not Mode.ENFORCE:
                assert told.action is Action.ALLOW
            else:
                assert told.action is told.verdict
    assert logs[Mode.OBSERVE] == logs[Mode.ENFORCE] == logs[Mode.WARN]


@given(some_facts(), st.integers(1, 6))
def test_who_must_wait_is_told_until_when_and_that_lies_ahead(facts: Facts, recipients: int) -> None:
    ruling = decide(replace(NEWS, recipients=recipients), facts, {}, NOON)
    if ruling.action is Action.DEFER:
        assert ruling.until is not None
        assert ruling.until > NOON
        assert ruling.rule in {voice.rule for voice in ruling.voices} | {Rule.NO_SENDING_IP}
    else:
        assert (ruling.action, ruling.until) == (Action.ALLOW, None)


def test_while_nobody_knows_the_operator_has_chosen() -> None:
    for choice, action in ((OnFailure.OPEN, Action.ALLOW), (OnFailure.CLOSED, Action.DEFER)):
        ruling = cannot_know(SendingPolicy(on_failure=choice), "why", NOON)
        assert (ruling.action, ruling.rule) == (action, Rule.CANNOT_KNOW)
