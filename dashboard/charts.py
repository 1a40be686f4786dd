"""Bar charts as plain numbers: a template draws them as SVG, and the same numbers make the table behind them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

# Drawing units of the SVG's view box; the page stretches it to the room there is.
WIDTH, HEIGHT = 480, 100
_GAP = 4
# The axis ends at one of these times a power of ten, so that its label is a round number.
_ROUND = (1, 1.5, 2, 3, 5, 8, 10)


@dataclass(frozen=True, slots=True)
class Part:
    """A rectangle of a bar, in drawing units from the top left; `kind` names its colour class."""

    kind: str
    y: float
    height: float


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar: what it stands for in words, and its parts from the bottom up."""

    start: datetime
    label: str
    x: float
    width: float
    parts: tuple[Part, ...]


@dataclass(frozen=True, slots=True)
class Chart:
    """Bars over equal steps of time and the value at the top of the axis."""

    bars: tuple[Bar, ...]
    top: float
    width: int = WIDTH
    height: int = HEIGHT

    @property
    def is_empty(self) -> bool:
        """True when no bar has any height."""
        return all(part.height == 0 for bar in self.bars for part in bar.parts)


@dataclass(frozen=True, slots=True)
class Column:
    """What one bar shows: values stacked from the bottom up as (kind, value); no values where nothing is known."""

    start: datetime
    label: str
    values: tuple[tuple[str, float], ...]


def stacked(columns: Sequence[Column], *, least_top: float = 0) -> Chart:
    """Lay out stacked bars of equal width; the axis begins at 0 and ends at a round value, at least `least_top`."""
    top = round_up(max([sum(value for _, value in column.values) for column in columns] + [least_top]))
    step = WIDTH / max(1, len(columns))
    gap = min(_GAP, step / 4)
    bars = []
    for index, column in enumerate(columns):
        parts, base = [], float(HEIGHT)
        for kind, value in column.values:
            height = round(value / top * HEIGHT, 2)
            base = round(base - height, 2)
            parts.append(Part(kind, base, height))
        bars.append(
            Bar(column.start, column.label, round(index * step + gap / 2, 2), round(step - gap, 2), tuple(parts))
        )
    return Chart(tuple(bars), top)


def round_up(value: float) -> float:
    """The smallest round number that is not below the value; 1 for nothing."""
    if value <= 0:
        return 1.0
    power = 1.0
    while power * 10 <= value:
        power *= 10
    while power > value:
        power /= 10
    return next(step * power for step in _ROUND if step * power >= value * (1 - 1e-9))
