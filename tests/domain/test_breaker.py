"""What opens a breaker and what does not, how it comes back, and that a healthy sender always does."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from reputation.domain import breaker
from reputation.domain.breaker import Allowances, Circuit, Decision, Hold, allowance, decide
from reputation.domain.breaker_policy import BreakerPolicy, Facts, Scope, State, Trigger
from reputation.domain.breaker_triggers import crossed, in_a_row, is_blocking
from telemetry.causes import compiled_from, shipped
from telemetry.domain.cells import floor_minute
from tests.conftest import NOON

POLICY = BreakerPolicy()
MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)
CLASSIFIER = compiled_from(shipped(), {})


@pytest.mark.parametrize(
    ("facts", "trigger"),
    [
        (Facts(delivered=100_000), None),
        (Facts(delivered=90, bounced=10), None),  # 10 % is not more than 10 %
        (Facts(delivered=84, bounced=16), Trigger.BOUNCE_RATE),  # lower bound 10.1 %
        (Facts(delivered=85, bounced=15), None),  # 15 %, lower bound 9.3 %
        (Facts(delivered=17, bounced=3), None),  # three out of twenty are not an incident
        (Facts(delivered=0, bounced=99), None),  # one short of the minimum volume
        (Facts(bounced=100), Trigger.BOUNCE_RATE),
        (Facts(delivered=899_000, bounced=101_000), Trigger.BOUNCE_RATE),  # 10.1 % of a million is sure
        (Facts(delivered=100, complained=2), None),  # the bound alone would say yes to two of a hundred
        (Facts(delivered=100, complained=3), Trigger.COMPLAINT_RATE),
        (Facts(delivered=1_000, complained=3), Trigger.COMPLAINT_RATE),  # 0.3 %, lower bound 0.102 %
        (Facts(delivered=1_100, complained=3), None),  # 0.27 %, lower bound 0.093 %
        (Facts(delivered=99, complained=99), None),
        (Facts(complained=500), None),  # complaints about earlier mail: no denominator
        (Facts(delivered=1_000_000, complained=1_000), None),  # 0.1 % is not more than 0.1 %
        (Facts(refusals=(NOON, NOON)), None),
        (Facts(refusals=(NOON, NOON, NOON)), Trigger.PROVIDER_BLOCK),  # needs no volume: it is a row, not a rate
    ],
)
def test_what_opens_a_breaker(facts: Facts, trigger: Trigger | None) -> None:
    found = crossed(facts, POLICY, minimum=POLICY.minimum_volume)
    assert (found.trigger if found else None) == trigger
    if found is not None and found.bound is not None:
        assert found.value > found.threshold
        assert found.bound > found.threshold


def test_more_confidence_asks_for_more_evidence() -> None:
    facts = Facts(delivered=84, bounced=16)
    assert crossed(facts, BreakerPolicy(confidence=Decimal("0.99")), minimum=100) is None


REPLIES = [
    ("google", 550, "5.7.1", "our system has detected that this message is likely unsolicited mail", None),
    ("google", 421, "4.7.0", "Our system has detected that this message is suspicious due to the very low reputation of the sending IP address", True),
    ("microsoft", 550, "5.7.1", "Unfortunately, messages from [192.0.2.1] weren't sent. Please contact your Internet service provider since part of their network is on our block list (S3140).", True),
    ("yahoo", 553, "5.7.1", "[BL21] Connections will not be accepted from 192.0.2.1, because the ip is in Spamhaus's list", True),
    ("yahoo", 554, "5.7.9", "Message not accepted for policy reasons", True),
    ("google", 550, "5.1.1", "The email account that you tried to reach does not exist", False),
    ("google", 452, "4.2.2", "The email account that you tried to reach is over quota", False),
    ("other", 451, "4.7.1", "Greylisted, please try again later", False),
    ("google", 421, "4.7.28", "unusual rate of unsolicited mail", False),
    ("microsoft", 451, "4.7.500", "Server busy. Please try again later", False),
    ("other", 550, "5.7.1", "recipient has blocked this sender in his personal list", False),
    ("google", 550, "5.7.26", "This mail is unauthenticated: SPF and DKIM did not pass", False),
    ("other", 550, "", "sorry, your host is blocked here for policy reasons", True),
]  # fmt: skip


@pytest.mark.parametrize(("provider", "smtp", "enhanced", "text", "blocks"), REPLIES)
def test_which_replies_can_be_a_block(provider: str, smtp: int, enhanced: str, text: str, blocks: bool | None) -> None:
    cause = CLASSIFIER.classify(provider, smtp, enhanced, text)
    if blocks is None:  # a verdict on the content is not one on the sender
        blocks = False
        assert cause.category in ("content", "reputation")
        blocks = cause.category == "reputation"
    assert is_blocking(cause.category, cause.scope, enhanced, text) is blocks, cause


def test_refusals_in_a_row_end_at_the_last_delivery() -> None:
    times = [NOON, NOON + 2 * MINUTE, NOON + MINUTE]
    assert in_a_row(times, None) == (NOON + 2 * MINUTE, NOON + MINUTE, NOON)
    assert in_a_row(times, NOON + MINUTE) == (NOON + 2 * MINUTE,)
    assert in_a_row(times, NOON + 3 * MINUTE) == ()


BLOCK = Facts(refusals=(NOON, NOON, NOON))


def after(circuit: Circuit, facts: Facts, now: datetime, policy: BreakerPolicy = POLICY) -> Circuit:
    made = decide(circuit, facts, policy, now)
    assert made is not None
    return made.after


def test_the_way_through_all_states() -> None:
    opened = after(Circuit(), BLOCK, NOON)
    assert (opened.state, opened.pauses, opened.reopen_at) == (State.OPEN, 1, NOON + HOUR)
    assert decide(opened, Facts(delivered=1000), POLICY, NOON + HOUR - MINUTE) is None
    probing = after(opened, Facts(), NOON + HOUR)
    assert (probing.state, probing.step) == (State.HALF_OPEN, 1)
    for number in (2, 3):
        assert decide(probing, Facts(delivered=9), POLICY, NOON + 2 * HOUR) is None
        assert decide(probing, Facts(bounced=10), POLICY, NOON + 2 * HOUR) is not None, "that is a bounce rate of 100 %"
        probing = after(probing, Facts(delivered=10), NOON + 2 * HOUR)
        assert (probing.state, probing.step) == (State.HALF_OPEN, number)
    closed = after(probing, Facts(delivered=10), NOON + 3 * HOUR)
    assert (closed.state, closed.step, closed.pauses, closed.since) == (State.CLOSED, 0, 1, NOON + 3 * HOUR)


@pytest.mark.parametrize(("healthy", "hours"), [(HOUR, 2), (23 * HOUR, 2), (24 * HOUR, 1), (48 * HOUR, 1)])
def test_pauses_are_forgotten_after_a_healthy_day(healthy: timedelta, hours: int) -> None:
    closed = Circuit(State.CLOSED, NOON, pauses=1, cause=Trigger.PROVIDER_BLOCK)
    now = NOON + healthy
    assert after(closed, BLOCK, now).reopen_at == now + hours * HOUR


def test_pauses_double_up_to_the_cap_however_often() -> None:
    assert [POLICY.pause(number) / HOUR for number in (1, 2, 3, 4, 5, 10_000)] == [1, 2, 4, 8, 8, 8]


def test_a_sender_that_sends_nothing_waits_in_its_step_and_does_not_close_by_time() -> None:
    probing = after(after(Circuit(), BLOCK, NOON), Facts(), NOON + HOUR)
    assert decide(probing, Facts(), POLICY, NOON + 1000 * HOUR) is None


def test_each_state_lets_its_share_through() -> None:
    scope = Scope("ip", "192.0.2.1", "google")
    opened = after(Circuit(), BLOCK, NOON)
    shares = [allowance(scope, opened, POLICY, "")]
    circuit = after(opened, Facts(), NOON + HOUR)
    for _ in range(3):
        shares.append(allowance(scope, circuit, POLICY, ""))
        circuit = after(circuit, Facts(delivered=10), NOON + HOUR)
    assert [entry.share if entry else None for entry in shares] == [0, Fraction(1, 20), Fraction(1, 4), Fraction(1, 2)]
    assert allowance(scope, circuit, POLICY, "") is None


def test_the_strictest_of_the_four_scopes_of_a_mail_counts() -> None:
    scopes = [Scope("ip", "192.0.2.1"), Scope("ip", "192.0.2.1", "google"), Scope("domain", "a.example")]
    shares = (Fraction(1, 2), Fraction(1, 20), Fraction(1, 4))
    found = Allowances({scope: breaker.Allowance(share, scope) for scope, share in zip(scopes, shares, strict=True)})
    assert found.strictest(domain="a.example", ip="192.0.2.1", provider="google").share == Fraction(1, 20)
    assert found.strictest(domain="a.example", ip="192.0.2.1", provider="yahoo").share == Fraction(1, 4)
    assert found.strictest(domain="b.example", ip="192.0.2.1").share == Fraction(1, 2)
    assert found.strictest(domain="b.example").share == 1


@pytest.mark.parametrize(
    "numbers",
    [{"step_1_share": Decimal("0.6")}, {"first_pause": 9 * HOUR}, {"confidence": Decimal(1)}, {"step_minimum": 0}],
)
def test_numbers_that_cannot_be_meant_are_refused(numbers: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="must"):
        replace(POLICY, **numbers)


@dataclass(frozen=True)
class Sent:
    at: datetime
    delivered: int = 0
    bounced: int = 0
    complained: int = 0
    refused: int = 0


# What a breaker may do by itself.
LEGAL = {
    (State.CLOSED, State.OPEN),
    (State.OPEN, State.HALF_OPEN),
    (State.HALF_OPEN, State.HALF_OPEN),
    (State.HALF_OPEN, State.OPEN),
    (State.HALF_OPEN, State.CLOSED),
}


class ABreaker(RuleBasedStateMachine):
    """Any traffic, any waiting, any decisions of people: the breaker keeps its word, and then the sender is healthy."""

    @initialize()
    def begin(self) -> None:
        self.now = NOON
        self.circuit = Circuit()
        self.sent: list[Sent] = []
        self.rows: list[tuple[Circuit, Circuit, Trigger]] = []

    def facts(self) -> Facts:
        start = floor_minute(breaker.judged_from(self.circuit, POLICY, self.now))
        counted = [sent for sent in self.sent if floor_minute(sent.at) >= start]
        since = breaker.refusals_from(self.circuit, POLICY, self.now)
        refused = [sent.at for sent in self.sent if sent.at >= since for _ in range(sent.refused)]
        last = max((sent.at for sent in self.sent if sent.delivered), default=None)
        return Facts(
            sum(sent.delivered for sent in counted),
            sum(sent.bounced for sent in counted),
            sum(sent.complained for sent in counted),
            in_a_row(refused, last),
        )

    def take(self, made: Decision) -> None:
        self.rows.append((self.circuit, made.after, made.trigger))
        self.circuit = made.after

    def check(self) -> None:
        """One check makes at most one transition, and the next check of the same moment none: nothing flaps."""
        facts, before = self.facts(), self.circuit
        made = decide(before, facts, POLICY, self.now)
        if made is None:
            return
        if before.hold is None:
            assert (before.state, made.after.state) in LEGAL
        if made.trigger is Trigger.STEP_PASSED:
            least = POLICY.block_step_minimum if before.was_blocked else POLICY.step_minimum
            assert facts.final >= least
            assert facts.delivered
            assert before.since is not None
            assert all(sent.at >= before.since for sent in self.sent if floor_minute(sent.at) >= before.since)
        if made.evidence is not None:
            pause = (made.after.reopen_at or self.now) - self.now
            assert pause in (HOUR, 2 * HOUR, 4 * HOUR, 8 * HOUR)
        self.take(made)
        again = decide(self.circuit, self.facts(), POLICY, self.now)
        # Only what a person kept the automation from seeing may follow the end of his word at once.
        assert again is None or made.trigger is Trigger.MANUAL_OVER

    @rule(minutes=st.sampled_from([1, 3, 20, 60, 8 * 60, 25 * 60]))
    def wait(self, minutes: int) -> None:
        self.now += minutes * MINUTE
        self.check()

    @precondition(lambda self: self.circuit.state is State.OPEN and self.circuit.hold is None)
    @rule()
    def wait_for_the_probe(self) -> None:
        assert self.circuit.reopen_at is not None
        self.now = max(self.now, self.circuit.reopen_at)
        self.check()

    @rule(delivered=st.sampled_from([0, 1, 9, 60, 5000]), bounced=st.sampled_from([0, 1, 12, 400]))
    def send(self, delivered: int, bounced: int) -> None:
        self.now += timedelta(seconds=7)
        if self.circuit.state is not State.OPEN:  # what is paused sends nothing
            self.sent.append(Sent(self.now, delivered, bounced))
        self.check()

    @rule(refused=st.integers(1, 4), complained=st.sampled_from([0, 2, 40]))
    def be_refused(self, refused: int, complained: int) -> None:
        self.now += timedelta(seconds=7)
        self.sent.append(Sent(self.now, refused=refused, bounced=refused, complained=complained))
        self.check()

    @rule(hours=st.sampled_from([1, 30, None]))
    def person_opens(self, hours: int | None) -> None:
        until = self.now + hours * HOUR if hours else None
        self.take(Decision(breaker.hold_open(self.circuit, until, now=self.now), Trigger.MANUAL, "a person"))
        self.check()

    @precondition(lambda self: self.rows)
    @rule(hours=st.sampled_from([1, 30]))
    def person_closes(self, hours: int) -> None:
        after = breaker.hold_closed(self.circuit, self.now + hours * HOUR, now=self.now)
        self.take(Decision(after, Trigger.MANUAL, "a person"))
        self.check()

    @invariant()
    def is_sound(self) -> None:
        if not hasattr(self, "circuit"):
            return
        assert (self.circuit.step > 0) == (self.circuit.state is State.HALF_OPEN)
        held = self.circuit.hold is not None
        assert held or (self.circuit.reopen_at is not None) == (self.circuit.state is State.OPEN)
        chain = [Circuit(), *(row[1] for row in self.rows)]
        assert [row[0] for row in self.rows] == chain[:-1], "every transition has its row, and no row is missing"
        assert chain[-1] == self.circuit

    def teardown(self) -> None:
        """Whatever it went through: a sender that is healthy from now on gets back by time and traffic alone."""
        if not hasattr(self, "circuit"):
            return
        if isinstance(self.circuit.hold, Hold) and self.circuit.hold.until is None:
            return  # only a person ends what a person did not limit
        for _ in range(20):
            ends = [self.circuit.reopen_at, self.circuit.hold.until if self.circuit.hold else None]
            self.now = max([self.now + 2 * MINUTE, *(end for end in ends if end is not None)])
            if self.circuit.state is not State.OPEN:
                self.sent.append(Sent(self.now, delivered=100_000))
            self.check()
            if self.circuit.state is State.CLOSED and self.circuit.hold is None:
                break
        assert self.circuit.state is State.CLOSED
        self.now += 25 * HOUR
        self.sent.append(Sent(self.now, delivered=1000))
        self.check()
        assert self.circuit.state is State.CLOSED, "and stays there"


ABreaker.TestCase.settings = settings(max_examples=200, stateful_step_count=30, deadline=None, derandomize=True)
TestABreaker = ABreaker.TestCase
