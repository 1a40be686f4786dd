"""The token bucket of a source: a minute's worth at once, then as fast as it fills."""

from __future__ import annotations

import pytest

from telemetry.domain.rates import charge

START = 1_000_000.0


def passed(amounts: list[tuple[float, int]], per_minute: int) -> list[bool]:
    state, found = 0.0, []
    for at, amount in amounts:
        state, wait = charge(state, amount, per_minute, now=START + at)
        found.append(wait == 0)
    return found


def test_a_minutes_worth_may_come_at_once_and_no_more() -> None:
    assert passed([(0, 1)] * 61, 60) == [True] * 60 + [False]


def test_it_fills_again_as_time_goes() -> None:
    assert passed([(0, 60), (0.9, 1), (1.01, 1), (1.02, 1), (61.02, 60)], 60) == [True, False, True, False, True]


def test_the_wait_is_as_long_as_the_bucket_takes_to_hold_what_is_asked() -> None:
    state, _ = charge(0.0, 60, 60, now=START)
    same, wait = charge(state, 30, 60, now=START)
    assert (same, wait) == (state, pytest.approx(30))
    assert charge(state, 30, 60, now=START + wait)[1] == 0


def test_a_batch_larger_than_the_bucket_passes_when_it_is_full_and_is_paid_off_afterwards() -> None:
    assert passed([(0, 180), (119, 1), (121.1, 1)], 60) == [True, False, True]
    assert passed([(0, 1), (0.5, 180), (1.1, 180)], 60) == [True, False, True]


def test_what_is_refused_costs_nothing() -> None:
    assert passed([(0, 60), *[(0.5, 10)] * 100, (10.1, 10)], 60)[-1] is True


def test_over_an_hour_the_limit_is_the_limit() -> None:
    seconds = [(at / 10, 1) for at in range(36_000)]
    assert sum(passed(seconds, 60)) == pytest.approx(60 * 60 + 60, abs=2)
