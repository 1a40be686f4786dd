"""The numbers that a chart is drawn from."""

from __future__ import annotations

from datetime import timedelta
from itertools import pairwise

import pytest

from dashboard.charts import HEIGHT, Column, round_up, stacked
from tests.conftest import NOON

pytestmark = pytest.mark.one_database


def columns(*values: tuple[float, ...]) -> list[Column]:
    return [
        Column(NOON + timedelta(hours=index), str(index), tuple(zip(("delivered", "refused"), stack, strict=False)))
        for index, stack in enumerate(values)
    ]


@pytest.mark.parametrize(
    ("value", "top"),
    [(0, 1), (1, 1), (1.2, 1.5), (7, 8), (9, 10), (10, 10), (11, 15), (999, 1000), (0.05, 0.05), (0.33, 0.5)],
)
def test_the_axis_ends_at_a_round_value_that_nothing_exceeds(value: float, top: float) -> None:
    assert round_up(value) == pytest.approx(top)


def test_parts_stack_without_gap_and_stay_inside_the_drawing() -> None:
    chart = stacked(columns((60, 40), (0, 10)))
    below, above = chart.bars[0].parts
    assert chart.top == 100
    assert (below.y, below.height) == (40, 60)
    assert (above.y, above.height) == (0, 40)
    assert chart.bars[1].parts[1].y + chart.bars[1].parts[1].height == HEIGHT


def test_bars_stand_side_by_side_in_the_order_of_time() -> None:
    bars = stacked(columns((1,), (2,), (3,))).bars
    assert [bar.label for bar in bars] == ["0", "1", "2"]
    assert all(left.x + left.width <= right.x for left, right in pairwise(bars))


def test_one_small_value_does_not_fill_an_axis_with_a_least_top() -> None:
    assert stacked(columns((0.01,)), least_top=0.05).bars[0].parts[0].height == pytest.approx(20)


def test_a_day_of_nothing_is_empty_and_divides_by_nothing() -> None:
    assert stacked(columns((0, 0), ())).is_empty
    assert stacked([]).is_empty
