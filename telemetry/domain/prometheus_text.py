"""Prometheus' text exposition format (version 0.0.4), as far as plain totals need it."""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Collection

from telemetry.domain.errors import ParseError

# name {label="value",…} value timestamp; possessive, so that no line of any length is tried twice.
_SAMPLE = re.compile(
    r"([A-Za-z_:][\w:]*+)[ \t]*+"
    r'(?:\{(?:[^"{}]|"(?:[^"\\]|\\.)*+")*+\}[ \t]*+)?+'
    r'([^ \t{}"]++)(?:[ \t]++-?\d++)?+',
    re.ASCII,
)
# What a signed 64-bit column holds.
_LARGEST = 2**63 - 1


def counters(text: str, names: Collection[str]) -> dict[str, int]:
    """The counters of those names, each summed over its label sets; a name that does not appear is left out.

    Raises ParseError naming the line for text that is not in the format (a log-in page, say), and for a value that no
    counter can have.
    """
    found: dict[str, int] = defaultdict(int)
    for number, line in enumerate(text.split("\n"), start=1):
        line = line.strip(" \t\r")  # noqa: PLW2901 - the line without its edges is the line
        if not line or line.startswith("#"):
            continue
        sample = _SAMPLE.fullmatch(line)
        value = _value(sample[2]) if sample else None
        if sample is None or value is None:
            raise ParseError(f"line {number}", "is not in Prometheus' text format")
        if sample[1] in names:
            if not (math.isfinite(value) and 0 <= value <= _LARGEST):
                raise ParseError(f"line {number}", f"says that {sample[1]} is {sample[2][:40]}, which no counter is")
            found[sample[1]] += int(value)
    return dict(found)


def _value(text: str) -> float | None:
    if "_" in text:  # Python's own spelling of numbers, not the format's
        return None
    try:
        return float(text)
    except ValueError:
        return None
