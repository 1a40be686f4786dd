"""The fifteen scenarios decided from the outcomes that play them, without a database."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

import pytest

from reputation.domain.decision import Status, decide
from reputation.domain.policy import CodeTiers, MajorProviders, Policy
from reputation.domain.scenarios import MAX_SENT, SCENARIOS, Failure, Scenario, SimulatedOutcome, events_of
from telemetry.domain.vocab import EventType
from telemetry.domain.window import IpWindow, Outcomes, RefusalCount

NOW = datetime(2026, 3, 2, 12, 0, 30, tzinfo=UTC)


def folded(ip: str, played: Iterable[SimulatedOutcome]) -> IpWindow:
    """The window that counters of these outcomes would give."""
    types = Counter(outcome.type for outcome in played)
    refused = Counter(
        (outcome.code, outcome.recipient_domain) for outcome in played if outcome.type is not EventType.DELIVERY
    )
    outcomes = Outcomes(
        delivered=types[EventType.DELIVERY], bounced=types[EventType.BOUNCE], deferred=types[EventType.DEFER]
    )
    refusals = tuple(RefusalCount(code, domain, "other", "refused", n) for (code, domain), n in refused.items())
    return IpWindow(ip, NOW - timedelta(minutes=15), NOW, outcomes, outcomes.sent, refusals)


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: f"{scenario.number}-{scenario.name}")
def test_every_scenario_gives_its_expected_standing(scenario: Scenario) -> None:
    played = events_of(scenario.ip, scenario.sent, scenario.failures, now=NOW)
    decision = decide(folded(scenario.ip, played), Policy(), CodeTiers(), MajorProviders())
    assert decision.status is scenario.expected, decision.why
    assert decision.total_sent == scenario.sent
    assert decision.total_rejected == sum(failure.count for failure in scenario.failures)


def test_there_are_fifteen_on_the_documented_addresses() -> None:
    assert [scenario.number for scenario in SCENARIOS] == list(range(1, 16))
    assert [scenario.ip for scenario in SCENARIOS] == [f"203.0.113.{last}" for last in range(10, 25)]
    assert Counter(scenario.expected for scenario in SCENARIOS) == {
        Status.HEALTHY: 3,
        Status.WARNING: 4,
        Status.QUARANTINE: 7,
        Status.BLACKLISTED: 1,
    }


def test_outcomes_lie_in_the_last_minutes_and_carry_the_right_replies() -> None:
    played = events_of("203.0.113.10", 10, (("4.7.0", "gmail.com", 1), ("5.7.1", "yahoo.com", 2)), now=NOW)
    assert all(NOW - timedelta(minutes=6) <= outcome.occurred_at < NOW for outcome in played)
    assert [(outcome.type, outcome.smtp_code) for outcome in played[:3]] == [
        (EventType.DEFER, 451),
        (EventType.BOUNCE, 550),
        (EventType.BOUNCE, 550),
    ]
    assert {outcome.recipient_domain for outcome in played[3:]} == {
        "gmail.com",
        "outlook.com",
        "yahoo.com",
        "example.com",
    }


def test_three_digits_alone_stay_the_reply_code() -> None:
    (outcome,) = events_of("203.0.113.10", 1, [Failure("421", "gmail.com", 1, "slow down")], now=NOW)
    assert (outcome.type, outcome.code, outcome.smtp_code) == (EventType.DEFER, "", 421)
    assert outcome.reply == "421 slow down"


@pytest.mark.parametrize(
    ("sent", "failures"),
    [
        (1, [("5.7.1", "gmail.com", 2)]),
        (5, [("5.7.1", "gmail.com", 0)]),
        (5, [("5.7.1", "gmail.com", -1)]),
        (5, [("2.0.0", "gmail.com", 1)]),
        (5, [("refused", "gmail.com", 1)]),
        (-1, []),
        (MAX_SENT + 1, []),
    ],
)
def test_a_simulation_that_cannot_be_is_refused(sent: int, failures: list[tuple[str, str, int]]) -> None:
    with pytest.raises(ValueError, match=r"must|more than|not a failure code"):
        events_of("203.0.113.10", sent, failures, now=NOW)
