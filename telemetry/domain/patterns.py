"""Regular expressions of rules: the words that a match must contain, and what makes a pattern unfit to be a rule's."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache
from re import _constants as sre  # type: ignore[attr-defined]
from re import _parser  # type: ignore[attr-defined]
from typing import Any, Final

LONGEST: Final = 2_500
# "a.*b.*c" takes time in the third power of the text's length; two of them are bounded by a thousand characters.
MOST_OPEN_REPEATS: Final = 2
_ENDLESS: Final = 200
_REPEATS: Final = (sre.MAX_REPEAT, sre.MIN_REPEAT, sre.POSSESSIVE_REPEAT)


def alternatives(pattern: str) -> list[str]:
    """The patterns that a pattern is made of by "|" at its top level; searched one by one they find the same texts.

    One at a time, because a search for many at once tries each of them at every character.
    """
    parts, start, depth, in_set, position = [], 0, 0, False, 0
    while position < len(pattern):
        sign = pattern[position]
        if sign == "\\":
            position += 1
        elif in_set:
            in_set = sign != "]"
        elif sign == "[":
            in_set = True
            # "]" stands for itself right after the opening.
            position += 1 if pattern[position + 1 : position + 2] == "]" else 0
            position += 2 if pattern[position + 1 : position + 3] == "^]" else 0
        elif sign in "()":
            depth += 1 if sign == "(" else -1
        elif sign == "|" and not depth:
            parts.append(pattern[start:position])
            start = position + 1
        position += 1
    return [*parts, pattern[start:]]


@cache
def needles(pattern: str) -> tuple[str, ...]:
    """Pieces of words of which every match contains at least one, for a cheap look first; ("",) if unknown."""
    if not pattern:
        return ("",)
    found = _best(_parser.parse(pattern, re.IGNORECASE))
    return tuple(sorted({max(needle.lower().split() or [""], key=len) for needle in found})) if found else ("",)


def fault_of(pattern: str, *, of_code: bool = False) -> str:
    """Why this pattern cannot be a rule's, in words for its author; empty when it can.

    A pattern of a code may fit an empty one: that of a reply without a code.
    """
    if len(pattern) > LONGEST:
        return f"Longer than {LONGEST} characters: split it into two rules."
    try:
        parsed = _parser.parse(pattern)
        re.compile(pattern)
    except (re.error, OverflowError, RecursionError) as error:
        return f"Not a regular expression: {error}."
    if pattern and not of_code and re.search(pattern, ""):
        return "It fits an empty text, so it would fit every reply."
    open_repeats, nested, backward = _looked_through(parsed, inside=False)
    if nested:
        return "A repetition inside a repetition, such as (a+)+, can take for ever: repeat only one of them."
    if backward:
        return "References to a group can take for ever: write what may repeat."
    if open_repeats > MOST_OPEN_REPEATS:
        return f"More than {MOST_OPEN_REPEATS} of “.*” or “.+”: bound them, as in “.{{0,40}}”."
    return ""


def _best(parsed: Iterable[tuple[Any, Any]]) -> frozenset[str] | None:
    """The most telling set of alternatives that one place in this sequence must show."""
    sets: list[frozenset[str]] = []
    run = ""
    for operation, value in [*parsed, (None, None)]:
        if operation is sre.LITERAL:
            run += chr(value)
            continue
        if run:
            sets.append(frozenset({run}))
            run = ""
        inner = _of_one(operation, value)
        if inner:
            sets.append(inner)
    return max(sets, key=lambda words: (min(map(len, words)), -len(words)), default=None)


def _of_one(operation: Any, value: Any) -> frozenset[str] | None:
    if operation is sre.SUBPATTERN:
        return _best(value[3])
    if operation is sre.ATOMIC_GROUP:
        return _best(value)
    if operation in _REPEATS and value[0] > 0:
        return _best(value[2])
    if operation is sre.BRANCH:
        parts = [_best(part) for part in value[1]]
        return frozenset().union(*[part for part in parts if part]) if all(parts) else None
    return None


def _looked_through(parsed: Iterable[tuple[Any, Any]], *, inside: bool) -> tuple[int, bool, bool]:
    """How many repetitions without a bound there are, whether any is nested, whether a group is referred to."""
    repeats, nested, backward = 0, False, False
    for operation, value in parsed:
        children: list[Any] = []
        within = inside
        if operation in _REPEATS:
            if value[1] > 1:
                nested |= inside and value[1] > _ENDLESS
                repeats += value[1] > _ENDLESS
                within = inside or value[1] > _ENDLESS
            children = [value[2]]
        elif operation is sre.SUBPATTERN:
            children = [value[3]]
        elif operation is sre.BRANCH:
            children = value[1]
        elif operation in (sre.ASSERT, sre.ASSERT_NOT):
            children = [value[1]]
        elif operation is sre.ATOMIC_GROUP:
            children = [value]
        elif operation in (sre.GROUPREF, sre.GROUPREF_EXISTS):
            backward = True
        looks = [_looked_through(child, inside=within) for child in children]
        # Of alternatives only one is gone through at a time.
        repeats += max((look[0] for look in looks), default=0)
        nested |= any(look[1] for look in looks)
        backward |= any(look[2] for look in looks)
    return repeats, nested, backward
