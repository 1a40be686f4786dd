"""What an alert is: when one opens, counts up, gets worse or is over, and when people are told.

A signal is news or a condition. News (a status changed, a breaker opened) happened at a moment and is told once,
however often it is read again. A condition (a source is silent, the disk is full) is looked at again and again while it
lasts.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, time, timedelta
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import Any, Final
from zoneinfo import ZoneInfo

# Several alerts of one kind within this time reach a channel as one message.
GROUPED_WITHIN: Final = timedelta(minutes=1)
# A message names so many; of the rest it says how many they are.
NAMED_IN_MESSAGE: Final = 20
# What a lasting condition says is brought up to date so often; it is looked at more often than that.
KEPT_EVERY: Final = timedelta(minutes=1)
# What a failed delivery waits: doubled from the first to the last of them, and given up after so many attempts.
FIRST_RETRY: Final = timedelta(seconds=30)
LONGEST_RETRY: Final = timedelta(hours=1)
MOST_ATTEMPTS: Final = 10
_ADDRESS: Final = re.compile(r"[^\s<>\"'(),;:]+@[^\s<>\"'(),;:]+")


class Kind(StrEnum):
    """What an alert is about."""

    STATUS = "status"
    SCORE_DROP = "score_drop"
    BREAKER = "breaker"
    LISTING = "listing"
    AUDIT = "audit"
    SOURCE_SILENT = "source_silent"
    INCOMPLETE = "incomplete"
    QUEUE = "queue"
    DISK = "disk"


TITLES: Final[Mapping[Kind, str]] = {
    Kind.STATUS: "status of a sending IP",
    Kind.SCORE_DROP: "score drop",
    Kind.BREAKER: "circuit breaker",
    Kind.LISTING: "blocklist listing",
    Kind.AUDIT: "audit failure",
    Kind.SOURCE_SILENT: "silent source",
    Kind.INCOMPLETE: "events missing",
    Kind.QUEUE: "work is late",
    Kind.DISK: "disk space",
}


def headline(kind: Kind) -> str:
    """The kind's title as it begins a line."""
    return TITLES[kind][0].upper() + TITLES[kind][1:]


class Severity(StrEnum):
    """How much it matters; `rank` orders them."""

    INFO = "info"
    WARNING = "warning"
    CRITICAL = "critical"

    @property
    def rank(self) -> int:
        """0 for info to 2 for critical."""
        return list(Severity).index(self)


class State(StrEnum):
    """Whether somebody must look. At most one alert of a key is not resolved."""

    OPEN = "open"
    ACKNOWLEDGED = "acknowledged"
    RESOLVED = "resolved"


class SubjectKind(StrEnum):
    """What sort of thing the subject is."""

    IP = "ip"
    DOMAIN = "domain"
    SOURCE = "source"
    SYSTEM = "system"


@dataclass(frozen=True, slots=True, kw_only=True)
class Signal:
    """Something that was seen, good or bad."""

    kind: Kind
    subject: str
    subject_kind: SubjectKind
    key: str
    """What makes two signals the same trouble."""
    sentence: str
    at: datetime
    severity: Severity = Severity.WARNING
    over: bool = False
    """The trouble has ended."""
    is_condition: bool = False
    evidence: Mapping[str, Any] = field(default_factory=dict)
    link: str = ""
    """Path of the page that says more."""


@dataclass(frozen=True, slots=True)
class Held:
    """What is stored of the latest alert of a key."""

    state: State
    severity: Severity
    signal_at: datetime
    """Of the newest signal that was taken into account."""
    lasts: bool = False
    """A condition that a person called resolved, and that has not ended since."""


class Step(StrEnum):
    """What a signal does."""

    IGNORE = "ignore"
    OPEN = "open"
    """A new alert; people are told."""
    COUNT = "count"
    """One more of the same while it is not resolved: nobody is told."""
    KEEP = "keep"
    """A condition that lasts: what it says is brought up to date."""
    WORSEN = "worsen"
    """More severe than it was: people are told, and an acknowledged alert is open again."""
    RECOVER = "recover"
    """It has ended by itself: resolved, and people are told."""
    FORGET = "forget"
    """A condition has ended that a person had called resolved: its next time is a new alert."""


def decide(latest: Held | None, signal: Signal) -> Step:
    """What a signal does to the latest alert of its key; None where there never was one."""
    stands = latest is not None and latest.state is not State.RESOLVED
    if latest is not None and signal.at <= latest.signal_at:
        return Step.IGNORE  # read again, or overtaken by what was read before it
    if signal.over:
        if stands:
            return Step.RECOVER
        return Step.FORGET if latest is not None and latest.lasts else Step.IGNORE
    if latest is None or not stands:
        # What a person called resolved is not opened again every few seconds, unless it has become worse.
        if latest is None or not (latest.lasts and signal.is_condition):
            return Step.OPEN
        return Step.OPEN if signal.severity.rank > latest.severity.rank else Step.IGNORE
    if signal.severity.rank > latest.severity.rank:
        return Step.WORSEN
    if not signal.is_condition:
        return Step.COUNT
    return Step.KEEP if signal.at - latest.signal_at >= KEPT_EVERY else Step.IGNORE


def without_addresses(text: str) -> str:
    """The text with what looks like a mail address taken out: alerts leave the house, recipients do not."""
    return _ADDRESS.sub("(address)", text)


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """Whom a rule is for."""

    kind: str = ""
    """Empty: every kind."""
    least: Severity = Severity.WARNING
    subject: str = ""
    """A pattern with * and ?; empty: everybody."""
    pool_ips: frozenset[str] | None = None
    """The sending IPs of the pool that the rule is limited to; None: no pool."""

    def takes(self, kind: str, severity: Severity, subject: str) -> bool:
        """Whether the rule is for such an alert."""
        if self.kind and self.kind != kind:
            return False
        if severity.rank < self.least.rank:
            return False
        if self.subject and not fnmatchcase(subject.lower(), self.subject.lower()):
            return False
        return self.pool_ips is None or subject in self.pool_ips


@dataclass(frozen=True, slots=True)
class QuietHours:
    """From … to … by the clock of a time zone; over midnight where the end is the earlier one."""

    start: time
    end: time
    zone: str

    def until(self, now: datetime) -> datetime | None:
        """When they end, in UTC-aware time; None outside them. Both ends alike: none at all."""
        here = now.astimezone(ZoneInfo(self.zone))
        clock = here.time()
        if self.start < self.end:
            inside, day = self.start <= clock < self.end, here.date()
        elif self.start > self.end:
            inside = clock >= self.start or clock < self.end
            day = here.date() + timedelta(days=1) if clock >= self.start else here.date()
        else:
            return None
        if not inside:
            return None
        end: datetime = datetime.combine(day, self.end, tzinfo=here.tzinfo).astimezone(now.tzinfo)
        return end


def when_due(now: datetime, severity: Severity, quiet: QuietHours | None) -> datetime:
    """When people are told: at once, or at the end of the quiet hours, which only what is critical passes."""
    if quiet is None or severity is Severity.CRITICAL:
        return now
    return quiet.until(now) or now


def next_attempt(attempts: int, now: datetime) -> datetime | None:
    """When to try again after so many failed attempts; None: it is given up."""
    if attempts >= MOST_ATTEMPTS:
        return None
    return now + min(FIRST_RETRY * (1 << (attempts - 1)), LONGEST_RETRY)


class News(StrEnum):
    """What became of an alert: its own row each, and what channels are told."""

    OPENED = "opened"
    WORSENED = "worsened"
    RECOVERED = "recovered"
    ACKNOWLEDGED = "acknowledged"
    RESOLVED = "resolved"
    ESCALATED = "escalated"


# Acts of people are not sent round: whoever acts knows, and the page shows it.
TOLD: Final = frozenset({News.OPENED, News.WORSENED, News.RECOVERED, News.ESCALATED})


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One alert in a message."""

    id: int
    kind: Kind
    news: News
    severity: Severity
    subject: str
    sentence: str
    url: str = ""
    opened_at: datetime


@dataclass(frozen=True, slots=True)
class Message:
    """What a channel is told at once: one alert, or several of one kind."""

    id: str
    """The same for every attempt, so that the other side can see a repetition."""
    items: tuple[Item, ...]
    is_test: bool = False

    @property
    def severity(self) -> Severity:
        """Of the worst of them."""
        return max((item.severity for item in self.items), key=lambda severity: severity.rank)

    @property
    def is_recovery(self) -> bool:
        """Whether everything in it is good news."""
        return all(item.news is News.RECOVERED for item in self.items)

    @property
    def title(self) -> str:
        """One line."""
        first = self.items[0]
        if self.is_test:
            return "[test] Good Standing"
        mark = "recovered" if self.is_recovery else str(self.severity)
        again = " (nobody has acknowledged it)" if first.news is News.ESCALATED else ""
        if len(self.items) == 1:
            return f"[{mark}] {first.subject}: {TITLES[first.kind]}{again}"
        return f"[{mark}] {len(self.items)} × {TITLES[first.kind]}{again}"

    @property
    def text(self) -> str:
        """What happened, a line each, and where to look."""
        lines = []
        for item in self.items[:NAMED_IN_MESSAGE]:
            over = "Over: " if item.news is News.RECOVERED else ""
            lines.append(f"{over}{item.sentence}" + (f"\n{item.url}" if item.url else ""))
        rest = len(self.items) - NAMED_IN_MESSAGE
        if rest > 0:
            lines.append(f"And {rest} more.")
        return "\n\n".join(lines)


def not_before(last_sent_at: datetime | None, now: datetime) -> datetime:
    """When the next message of a kind may go to a channel: what comes sooner is gathered until then."""
    return now if last_sent_at is None else max(now, last_sent_at + GROUPED_WITHIN)
