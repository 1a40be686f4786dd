"""The score of a domain or IP: worked examples, every threshold, and how far it may be believed."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reputation.domain.score import Confidence, Score, score, wilson
from telemetry.domain.window import Outcomes


def scored(delivered: int, bounced: int, complained: int = 0) -> Score:
    result = score(Outcomes(delivered=delivered, bounced=bounced, complained=complained))
    assert result is not None
    return result


def test_the_worked_examples_hold() -> None:
    assert scored(98, 2, 0).value == 100
    assert scored(40, 50, 10).value == 5


def test_a_score_lists_what_took_its_points() -> None:
    ruined = scored(40, 50, 10)
    assert [(penalty.reason, penalty.points, penalty.rate) for penalty in ruined.penalties] == [
        ("bounce rate above 10 %", 30, Fraction(5, 9)),
        ("complaint rate above 0.1 %", 40, Fraction(1, 4)),
        ("delivery rate not above 80 %", 25, Fraction(4, 9)),
    ]
    assert ruined.complaint.denominator_name == "delivered"
    assert ruined.bounce.denominator_name == "delivered + bounced"


@pytest.mark.parametrize(
    ("delivered", "bounced", "value"),
    [
        # bounce above 2 %
        (9801, 199, 100),
        (9800, 200, 100),
        (9799, 201, 95),
        # bounce above 5 %, delivery not above 95 %
        (9501, 499, 95),
        (9500, 500, 90),
        (9499, 501, 80),
        # bounce above 10 %, delivery not above 90 %
        (9001, 999, 80),
        (9000, 1000, 70),
        (8999, 1001, 55),
        # delivery not above 80 %
        (8001, 1999, 55),
        (8000, 2000, 45),
        (7999, 2001, 45),
        (0, 10_000, 45),
    ],
)
def test_bounce_and_delivery_thresholds_hold_exactly(delivered: int, bounced: int, value: int) -> None:
    assert scored(delivered, bounced).value == value


@pytest.mark.parametrize(
    ("complained", "value"), [(0, 100), (10, 100), (11, 90), (50, 90), (51, 80), (100, 80), (101, 60), (10**6, 60)]
)
def test_complaint_thresholds_hold_exactly(complained: int, value: int) -> None:
    assert scored(100_000, 0, complained).value == value


@pytest.mark.parametrize("outcomes", [Outcomes(), Outcomes(deferred=80), Outcomes(complained=3)])
def test_no_message_that_met_its_fate_gives_no_score(outcomes: Outcomes) -> None:
    assert score(outcomes) is None


def test_complaints_without_deliveries_give_no_rate_and_stay_visible() -> None:
    result = scored(0, 10, 3)
    assert (result.complaint.value, result.complaint.numerator) == (None, 3)
    assert result.value == scored(0, 10, 0).value


def test_deferrals_change_no_score() -> None:
    assert score(Outcomes(delivered=98, bounced=2, deferred=500, superseded=20)) == scored(98, 2)


@pytest.mark.parametrize(
    ("outcomes", "confidence"),
    [
        ((2, 1, 0), Confidence.LOW),
        ((0, 3, 0), Confidence.LOW),
        ((0, 49, 0), Confidence.LOW),
        ((98, 2, 0), Confidence.MEDIUM),
        ((1000, 0, 0), Confidence.MEDIUM),
        ((3837, 0, 0), Confidence.MEDIUM),
        ((3839, 0, 0), Confidence.HIGH),
        ((40, 50, 10), Confidence.HIGH),
        ((90, 10, 0), Confidence.MEDIUM),
        ((55, 5, 0), Confidence.LOW),
    ],
)
def test_confidence_grows_with_what_was_seen(outcomes: tuple[int, int, int], confidence: Confidence) -> None:
    assert scored(*outcomes).confidence is confidence


def test_wilson_gives_the_published_values() -> None:
    # Newcombe 1998 (Statistics in Medicine 17:857), table I, method 3: 81/263, 15/148, 0/20, 1/29.
    published = {
        (81, 263): (0.2553, 0.3662),
        (15, 148): (0.0624, 0.1605),
        (0, 20): (0, 0.1611),
        (1, 29): (0.0061, 0.1718),
    }
    for (successes, trials), ends in published.items():
        assert wilson(successes, trials) == pytest.approx(ends, abs=5e-5)
    assert wilson(0, 0) == (0.0, 1.0)
    with pytest.raises(ValueError, match="between 0 and trials"):
        wilson(4, 3)


@given(st.integers(0, 10**7), st.integers(0, 10**7))
def test_wilson_holds_the_share_and_narrows_with_volume(successes: int, others: int) -> None:
    trials = successes + others
    lower, upper = wilson(successes, trials)
    assert 0 <= lower <= upper <= 1
    if trials:
        assert lower <= successes / trials + 1e-12
        assert upper >= successes / trials - 1e-12
        wider = wilson(successes * 4, trials * 4)
        assert wider[1] - wider[0] <= upper - lower


@given(st.integers(0, 10**6), st.integers(0, 10**6), st.integers(0, 10**6))
def test_a_score_is_a_hundred_less_its_penalties(delivered: int, bounced: int, complained: int) -> None:
    result = score(Outcomes(delivered=delivered, bounced=bounced, complained=complained))
    assert (result is None) is (delivered + bounced == 0)
    if result is not None:
        assert result.value == 100 - sum(penalty.points for penalty in result.penalties)
        assert 0 <= result.value <= 100


@given(st.integers(1, 10**5), st.integers(0, 10**5), st.integers(0, 10**5))
def test_one_more_bounce_or_complaint_never_raises_a_score(delivered: int, bounced: int, complained: int) -> None:
    before = scored(delivered, bounced, complained).value
    assert scored(delivered, bounced + 1, complained).value <= before
    assert scored(delivered, bounced, complained + 1).value <= before
