"""From a reply to its cause by an ordered set of rules: the first that fits wins.

Provider and codes narrow the rules once per combination; of those that are left only the few are searched whose words
the reply has. What was found is remembered by the reply's shape, in which addresses, ids and numbers are blanked.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple, TypeVar

from telemetry.domain.causes import ADVICE, UNKNOWN, Cause, Permanence, Rule
from telemetry.domain.patterns import alternatives, needles
from telemetry.domain.reply_text import codes_in, shape_of, without_codes

Key = TypeVar("Key")
Value = TypeVar("Value")
# Words that only one provider's servers write; they tell whose reply it is where the MX host does not.
REPLY_MARKS: Final[tuple[tuple[str, str], ...]] = (
    ("gsmtp", "google"),
    ("support.google.com", "google"),
    ("outlook.com]", "microsoft"),
    ("postmaster.live.com", "microsoft"),
    ("sender.office.com", "microsoft"),
    ("(as16012", "microsoft"),
    ("(as7771", "microsoft"),
    ("yahoodns.net", "yahoo"),
    ("postmaster.yahoo", "yahoo"),
    ("delivery error: dd", "yahoo"),
    ("support.apple.com", "apple"),
    ("postmaster.comcast.net", "comcast"),
    ("postmaster.gmx", "united_internet"),
    ("postmaster.web.de", "united_internet"),
    ("nemesis esmtp", "united_internet"),
    ("t-online.de", "telekom_de"),
    ("ofr_", "orange"),
    ("ofr0", "orange"),
    ("lpn0", "laposte"),
    ("lpn_", "laposte"),
    ("mail.ru", "mailru"),
    ("ya.cc/", "yandex"),
    ("mail.qq.com", "qq"),
    ("exmail.qq.com", "qq"),
    ("mail.163.com", "netease"),
    ("mimecast", "mimecast"),
    ("proofpoint.com", "proofpoint"),
    ("barracuda", "barracuda"),
    ("cuda_nsu", "barracuda"),
    ("trendmicro", "trendmicro"),
    ("secureserver.net", "godaddy"),
    ("aup#", "spectrum"),
)
# Stalwart keeps each part of an enhanced code in a byte, so 255 means "255 or more"; 0.0.0 means that there was none.
_CUT_OFF: Final = ".255"
_NONE: Final = ("", "0.0.0")
_REMEMBERED: Final = 20_000
# Needles are found by so many of their first characters.
_START: Final = 3


class _Part(NamedTuple):
    """One alternative of a rule's text pattern."""

    rule: int
    pattern: str


class _Hints(dict[str, frozenset[int]]):
    """The parts that a word of a reply makes possible, as it holds a piece that every match of theirs must hold.

    Nearly all words have been seen before, so a reply costs a look-up per word and a search per part that may well fit.
    """

    def __init__(self, parts: Iterable[_Part]) -> None:
        super().__init__()
        self.always: set[int] = set()
        self._by_start: dict[str, list[tuple[str, int]]] = {}
        self._short: list[tuple[str, int]] = []
        for number, part in enumerate(parts):
            for needle in needles(part.pattern):
                if not needle:
                    self.always.add(number)
                elif len(needle) < _START:
                    self._short.append((needle, number))
                else:
                    self._by_start.setdefault(needle[:_START], []).append((needle, number))

    def __missing__(self, word: str) -> frozenset[int]:
        found = {number for needle, number in self._short if needle in word}
        for position in range(len(word) - _START + 1):
            for needle, number in self._by_start.get(word[position : position + _START], ()):
                if word.startswith(needle, position):
                    found.add(number)
        return _remember(self, word, frozenset(found))


class _Fit(NamedTuple):
    """What provider and codes leave possible: parts to search, and the rule that is met without any text."""

    parts: frozenset[int]
    last: Rule | None


@dataclass(slots=True)
class Classifier:
    """Finds the cause of replies by one rule set; made anew when the rules change, so no stale answer is remembered."""

    rules: tuple[Rule, ...]
    """In order: the first that fits wins."""
    registry: Mapping[str, Rule] = field(default_factory=dict)
    """The last resort by code: "X.7.1", "X.7", "421"; also for the digits of a reply without any rule."""
    family_of: Mapping[str, str] = field(default_factory=dict)
    """Family by provider id where they differ (microsoft_365 is of the family microsoft)."""
    _parts: list[_Part] = field(init=False)
    _hints: _Hints = field(init=False)
    _fits: dict[tuple[str, int | None, str], _Fit] = field(init=False, default_factory=dict)
    _compiled: dict[str, re.Pattern[str]] = field(init=False, default_factory=dict)
    _by_text: dict[tuple[str, int | None, str, str], Cause] = field(init=False, default_factory=dict)
    _by_shape: dict[tuple[str, int | None, str, str], Cause] = field(init=False, default_factory=dict)
    _causes: dict[tuple[str, Permanence], Cause] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        self._parts = [
            _Part(number, part)
            for number, rule in enumerate(self.rules)
            if rule.text
            for part in alternatives(rule.text)
        ]
        self._hints = _Hints(self._parts)

    def classify(self, provider: str, smtp_code: int | None, enhanced_code: str, text: str) -> Cause:
        """The cause of a reply: remembered for the same text, and for texts that differ in ids and addresses only."""
        exact = (provider, smtp_code, enhanced_code, text)
        cause = self._by_text.get(exact)
        if cause is None:
            shape = shape_of(text)
            alike = (provider, smtp_code, enhanced_code, shape)
            cause = self._by_shape.get(alike)
            if cause is None:
                cause = _remember(self._by_shape, alike, self.judge(provider, smtp_code, enhanced_code, shape))
            if "#" not in shape and "@" not in shape:
                _remember(self._by_text, exact, cause)
        return cause

    def judge(self, provider: str, smtp_code: int | None, enhanced_code: str, shape: str) -> Cause:
        """The same without memory, from the reply's shape."""
        if enhanced_code in _NONE or enhanced_code.endswith(_CUT_OFF) or smtp_code is None:
            smtp_code, enhanced_code = _completed(smtp_code, enhanced_code, shape)
        family = self.family_of.get(provider, provider)
        rule = self._first_fit(family, smtp_code, enhanced_code, shape)
        return self._cause(rule, smtp_code, enhanced_code)

    def _first_fit(self, family: str, smtp_code: int | None, enhanced_code: str, shape: str) -> Rule | None:
        marked = next((owner for mark, owner in REPLY_MARKS if mark in shape), family)
        families = family if marked == family else f"{family}|{marked}"
        fit = self._fit(families, smtp_code, enhanced_code)
        words = without_codes(shape)
        possible = self._hints.always.union(*map(self._hints.__getitem__, words.split()))
        for number in sorted(possible & fit.parts):
            part = self._parts[number]
            if self._pattern(part.pattern).search(words):
                return self.rules[part.rule]
        return fit.last or self._registered(smtp_code, enhanced_code)

    def _fit(self, families: str, smtp_code: int | None, enhanced_code: str) -> _Fit:
        key = (families, smtp_code, enhanced_code)
        found = self._fits.get(key)
        if found is None:
            found = _remember(self._fits, key, self._narrowed(set(families.split("|")), smtp_code, enhanced_code))
        return found

    def _narrowed(self, families: set[str], smtp_code: int | None, enhanced_code: str) -> _Fit:
        code = "" if smtp_code is None else str(smtp_code)
        fitting: set[int] = set()
        last = None
        for number, rule in enumerate(self.rules):
            if (
                (not rule.providers or rule.providers & families)
                and (not rule.reply or self._pattern(rule.reply).fullmatch(code))
                and (not rule.enhanced or self._pattern(rule.enhanced).fullmatch(enhanced_code))
            ):
                if not rule.text:
                    last = rule
                    break
                fitting.add(number)
        return _Fit(frozenset(number for number, part in enumerate(self._parts) if part.rule in fitting), last)

    def _pattern(self, pattern: str) -> re.Pattern[str]:
        compiled = self._compiled.get(pattern)
        if compiled is None:
            # Shapes are in lower case; only a pattern that is not needs the slower matching.
            flags = re.IGNORECASE if re.search(r"(?<!\\)[A-Z]", pattern) else re.NOFLAG
            compiled = self._compiled[pattern] = re.compile(pattern, flags)
        return compiled

    def _registered(self, smtp_code: int | None, enhanced_code: str) -> Rule | None:
        if enhanced_code.count(".") == 2:
            _, subject, detail = enhanced_code.split(".")
            found = self.registry.get(f"X.{subject}.{detail}") or self.registry.get(f"X.{subject}")
            if found is not None:
                return found
        return self.registry.get(str(smtp_code))

    def _cause(self, rule: Rule | None, smtp_code: int | None, enhanced_code: str) -> Cause:
        rule = rule or UNKNOWN
        permanence = rule.permanence
        if permanence is Permanence.EITHER:
            first = str(smtp_code or enhanced_code)[:1]
            permanence = {"4": Permanence.TEMPORARY, "5": Permanence.PERMANENT}.get(first, Permanence.EITHER)
        key = (rule.name, permanence)
        if key not in self._causes:
            advice = rule.advice or ADVICE[rule.category]
            self._causes[key] = Cause(
                rule.category, rule.scope, permanence, rule.confidence, advice, rule.link, rule.name
            )
        return self._causes[key]


def _completed(smtp_code: int | None, enhanced_code: str, shape: str) -> tuple[int | None, str]:
    """The codes, completed from the text; a cut enhanced code stays where the text does not have it in full."""
    told_code, told_enhanced = codes_in(shape)
    if enhanced_code in _NONE or (enhanced_code.endswith(_CUT_OFF) and told_enhanced):
        enhanced_code = told_enhanced
    return smtp_code if smtp_code is not None else told_code, enhanced_code


def _remember(memory: dict[Key, Value], key: Key, value: Value) -> Value:
    # Emptied as a whole when full: cheaper than keeping an order of use, and full again in a second.
    if len(memory) >= _REMEMBERED:
        memory.clear()
    memory[key] = value
    return value
