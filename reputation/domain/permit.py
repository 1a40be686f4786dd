"""May this be sent now? One pure decision from facts, with every rule that spoke. Product specification 4 and 5.

`decide` names the caps to be spent; spending them exactly while others ask too is the budgets' work, and who finds one
empty decides anew with what is known then (`spent`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum

from reputation.domain.breaker import Allowance
from reputation.domain.breaker_policy import Kind
from reputation.domain.policy import Status, percent
from reputation.domain.pool import Member, in_order
from reputation.domain.sending_policy import Mode, OnFailure, SendingPolicy

# When nobody knows when a pause ends: ask again then.
ASK_AGAIN = timedelta(minutes=15)
# While we cannot know: ask again then.
ASK_SOON = timedelta(minutes=1)
# RFC 2142: mailboxes that must always be reachable, and their answers.
ROLE_ACCOUNTS = frozenset({"postmaster", "abuse"})


class Action(StrEnum):
    """What the mail server is told."""

    ALLOW = "allow"
    DEFER = "defer"
    REJECT = "reject"


class Rule(StrEnum):
    """What can speak about a permit."""

    EXEMPT = "exempt"
    BREAKER = "breaker"
    PROBE = "probe"
    """A half-open breaker's share."""
    WARM_UP = "warm_up"
    BASE_LIMIT = "base_limit"
    PROVIDER_LIMIT = "provider_limit"
    BLACKLISTED = "blacklisted"
    NO_SENDING_IP = "no_sending_ip"
    CANNOT_KNOW = "cannot_know"
    NO_LIMIT = "no_limit"


@dataclass(frozen=True, slots=True)
class Ask:
    """One question. Either `ip` or a pool (by default the sending domain's)."""

    sender: str
    """The envelope sender's address or its domain; empty or "<>": the null sender."""
    recipient: str = ""
    """The recipient's address or domain; may be empty where `provider` is given or nothing is known."""
    provider: str = ""
    """The mailbox provider's id; empty: found by the recipient."""
    recipients: int = 1
    ip: str = ""
    pool: str = ""

    @property
    def domain(self) -> str:
        """The sending domain."""
        return "" if self.sender == "<>" else self.sender.rpartition("@")[2].lower()

    @property
    def is_exempt(self) -> bool:
        """Whether it is a report or an answer that must never wait: the null sender, postmaster, abuse."""
        if not self.domain:
            return True
        return any(name.partition("@")[0].lower() in ROLE_ACCOUNTS for name in (self.sender, self.recipient))

    def key(self, now: datetime) -> str:
        """Decides among IPs: the same key finds the same IP as long as nothing changes.

        By recipient where there is one, so that the policy service and the socketmap find the same IP for a message;
        with the date, so that nobody's mail is bound to one IP for ever.
        """
        return f"{(self.recipient or self.sender).lower()}|{now.toordinal()}"


@dataclass(frozen=True, slots=True)
class Cap:
    """So many recipients in one window."""

    rule: Rule
    kind: Kind
    sender: str
    provider: str
    starts: datetime
    ends: datetime
    limit: int
    counted: int = 0
    """What is known to be spent whoever counted it: events, or another process."""
    ceiling: int | None = None
    """The limit at its best; an ask above it can never pass. None: that is not known."""
    word: str = ""
    """Tells apart caps of one rule whose limit changes within the window, such as a breaker's steps."""
    key: str = field(init=False, compare=False)
    """The budget that this is spent from."""

    def __post_init__(self) -> None:
        start = self.starts
        at = f"{start.year:04}{start.month:02}{start.day:02}T{start.hour:02}{start.minute:02}"
        parts = (self.rule, self.word, self.kind, self.sender, self.provider, at)
        object.__setattr__(self, "key", "|".join(parts))


@dataclass(frozen=True, slots=True)
class Voice:
    """One rule's word about an ask."""

    rule: Rule
    action: Action
    words: str = ""
    until: datetime | None = None
    cap: Cap | None = None
    """What it speaks about, where it is a cap."""

    @property
    def reason(self) -> str:
        """The sentence; put together when somebody reads it, as most are not read."""
        return self.words or (f"Within {_named(self.cap)}." if self.cap else "")


@dataclass(frozen=True, slots=True)
class Candidate:
    """A sending IP that could send this, and what limits it there."""

    member: Member
    breakers: tuple[Allowance, ...] = ()
    caps: tuple[Cap, ...] = ()
    weight: float = field(init=False)
    """Its share of the pool's mail: by standing and breakers too."""

    def __post_init__(self) -> None:
        share = min((float(entry.share) for entry in self.breakers), default=1.0)
        object.__setattr__(self, "weight", self.member.weight * self.member.standing_share * share)

    @property
    def ip(self) -> str:
        """Its address."""
        return self.member.ip


@dataclass(frozen=True, slots=True)
class Facts:
    """All that a permit is decided by."""

    policy: SendingPolicy = field(default_factory=SendingPolicy)
    breakers: tuple[Allowance, ...] = ()
    """Of the sending domain, as a whole and at this provider."""
    caps: tuple[Cap, ...] = ()
    """Of the sending domain."""
    candidates: tuple[Candidate, ...] = ()
    """Empty: nobody knows by which IP this will leave."""


@dataclass(frozen=True, slots=True)
class Ruling:
    """What the rules say, the one that decided, and all that spoke."""

    action: Action
    rule: Rule
    reason: str
    until: datetime | None = None
    voices: tuple[Voice, ...] = ()
    ips: tuple[str, ...] = ()
    """Which may send this, in the order to use them; the caps are those of the first."""
    caps: tuple[Cap, ...] = ()
    """To be spent before the answer is "allow"."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What is told, and why."""

    action: Action
    """What the mail server shall do: in the modes observe and warn always allow."""
    verdict: Action
    """What the rules say."""
    rule: Rule
    reason: str
    until: datetime | None
    """When to ask again; None: there is nothing to wait for."""
    mode: Mode
    ips: tuple[str, ...] = ()
    """The pool's sending IPs that may send this, in the order to use them."""
    voices: tuple[Voice, ...] = ()
    pool: str = ""
    provider: str = ""

    @property
    def warns(self) -> bool:
        """Whether the mail server shall log a warning."""
        return self.mode is Mode.WARN and self.verdict is not Action.ALLOW


def decide(ask: Ask, facts: Facts, spent: Mapping[str, int], now: datetime) -> Ruling:
    """What the rules say of this ask. `spent` holds what is known of budgets beyond what the caps themselves tell."""
    if ask.is_exempt:
        voice = Voice(Rule.EXEMPT, Action.ALLOW, "Reports, postmaster and abuse are never held back.")
        return _ruling(voice, (voice,), facts.candidates, ask.key(now))
    voices = list(_breaker_voices(facts.breakers, now))
    voices += _cap_voices(facts.caps, ask.recipients, spent)
    held = _strictest(voices)
    if held is not None:
        return Ruling(held.action, held.rule, held.reason, held.until, tuple(voices))
    if not facts.candidates:
        return _allowed(voices, facts.caps)
    able: list[Candidate] = []
    against: list[Voice] = []
    for candidate in facts.candidates:
        spoke = [*_standing_voices(candidate, now), *_breaker_voices(candidate.breakers, now)]
        spoke += _cap_voices(candidate.caps, ask.recipients, spent)
        stopped = _strictest(spoke)
        voices += spoke
        if stopped is None and candidate.weight > 0:
            able.append(candidate)
        elif stopped is not None:
            against.append(stopped)
    ordered = in_order([(candidate.member, candidate.weight) for candidate in able], ask.key(now))
    if not ordered:
        return _nobody(voices, against, now)
    first = next(candidate for candidate in able if candidate.ip == ordered[0])
    return _allowed(voices, (*facts.caps, *first.caps), ordered)


def cannot_know(policy: SendingPolicy, why: str, now: datetime) -> Ruling:
    """While the store of what is spent is away: open or closed, as the operator chose."""
    action = Action.ALLOW if policy.on_failure is OnFailure.OPEN else Action.DEFER
    until = now + ASK_SOON if action is Action.DEFER else None
    voice = Voice(Rule.CANNOT_KNOW, action, why, until)
    return Ruling(action, Rule.CANNOT_KNOW, why, until, (voice,))


def answer(ruling: Ruling, mode: Mode, *, pool: str, provider: str) -> Answer:
    """What is told of a ruling: only the mode enforce holds anything back."""
    told = ruling.action if mode is Mode.ENFORCE else Action.ALLOW
    until = ruling.until if ruling.action is Action.DEFER else None
    return Answer(
        told, ruling.action, ruling.rule, ruling.reason, until, mode, ruling.ips, ruling.voices, pool, provider
    )


def _allowed(voices: Sequence[Voice], caps: tuple[Cap, ...], ips: tuple[str, ...] = ()) -> Ruling:
    decided = min(caps, key=lambda cap: cap.limit - cap.counted, default=None)
    if decided is None:
        return Ruling(Action.ALLOW, Rule.NO_LIMIT, "Nothing limits this.", None, tuple(voices), ips)
    return Ruling(Action.ALLOW, decided.rule, f"Within {_named(decided)}.", None, tuple(voices), ips, caps)


def _ruling(voice: Voice, voices: tuple[Voice, ...], candidates: Iterable[Candidate], key: str) -> Ruling:
    # What is never throttled still leaves by a healthy IP where there is one, else by any.
    weighed = [(entry.member, entry.weight) for entry in candidates]
    ips = in_order([pair for pair in weighed if pair[1] > 0] or [(member, 1.0) for member, _ in weighed], key)
    return Ruling(voice.action, voice.rule, voice.reason, voice.until, voices, ips)


def _nobody(voices: Sequence[Voice], against: Sequence[Voice], now: datetime) -> Ruling:
    """No IP may send this: the one that may soonest says when to ask again."""
    if not against:
        why = "No sending IP of the pool has a weight above 0."
        return Ruling(Action.DEFER, Rule.NO_SENDING_IP, why, now + ASK_AGAIN, tuple(voices))
    waiting = [voice for voice in against if voice.action is Action.DEFER]
    found = min(waiting or against, key=lambda voice: voice.until or now)
    return Ruling(found.action, found.rule, found.reason, found.until, tuple(voices))


def _strictest(voices: Iterable[Voice]) -> Voice | None:
    """The word that holds mail back: a refusal before a pause, and of pauses the one that lasts longest."""
    against = [voice for voice in voices if voice.action is not Action.ALLOW]
    key = lambda voice: (voice.action is Action.REJECT, voice.until.timestamp() if voice.until else 0.0)  # noqa: E731
    return max(against, key=key, default=None)


def _breaker_voices(breakers: Iterable[Allowance], now: datetime) -> Iterable[Voice]:
    for entry in breakers:
        if not entry.share:
            until = entry.until if entry.until is not None and entry.until > now else now + ASK_AGAIN
            yield Voice(Rule.BREAKER, Action.DEFER, f"Mail of {entry.scope} is paused: {entry.reason}", until)
        else:
            words = f"The breaker of {entry.scope} is half-open and lets {percent(entry.share)} through."
            yield Voice(Rule.BREAKER, Action.ALLOW, words)


def _standing_voices(candidate: Candidate, now: datetime) -> Iterable[Voice]:
    member = candidate.member
    if member.status is Status.BLACKLISTED:
        yield Voice(Rule.BLACKLISTED, Action.DEFER, f"{member.ip} stands as blacklisted.", now + ASK_AGAIN)


def _cap_voices(caps: Iterable[Cap], recipients: int, spent: Mapping[str, int]) -> Iterable[Voice]:
    for cap in caps:
        used = max(cap.counted, spent.get(cap.key, 0))
        if cap.ceiling is not None and recipients > cap.ceiling:
            words = f"{recipients:,} recipients at once are more than {_named(cap)} will ever allow: ask for fewer."
            yield Voice(cap.rule, Action.REJECT, words)
        elif used + recipients > cap.limit:
            named = _named(cap, used)
            words = f"{named[0].upper()}{named[1:]} is spent."
            yield Voice(cap.rule, Action.DEFER, words, cap.ends)
        else:
            yield Voice(cap.rule, Action.ALLOW, cap=cap)


_CAP_WORDS = {
    Rule.WARM_UP: "the warm-up's volume",
    Rule.PROBE: "the probes of a half-open breaker",
    Rule.BASE_LIMIT: "the limit",
    Rule.PROVIDER_LIMIT: "the limit per provider",
}


def _named(cap: Cap, used: int | None = None) -> str:
    per = "an hour" if cap.ends - cap.starts <= timedelta(hours=1) else "a day"
    at = f" at {cap.provider}" if cap.provider else ""
    numbers = f"{cap.limit:,} {per}" if used is None else f"{min(used, cap.limit):,} of {cap.limit:,} {per}"
    return f"{_CAP_WORDS[cap.rule]} of {cap.sender}{at} ({numbers})"
