"""What Stalwart's events say, and how they become ours: each delivery attempt (span) is judged by itself.

One attempt leaves several events about one recipient, in any order and in different batches: where it connected (the
only one with the sending IP), what the MX host answered, and a notice for each permanent failure. `judge` looks at all
that is known of a span and says what can be recorded now and when to look again. Its answer depends on what is known
and on the time, never on the order in which it came.

How a span is judged
- A delivery, and a recipient refused with 4xx, is recorded as soon as its connection is known.
- A permanent refusal (rcpt-to-rejected 5xx, or expiry) waits for its dsn-perm-fail, which alone has the enhanced code;
  the notice alone, when it has a reply code, says everything. Both are one bounce, and the notice's words win.
- What concerns a whole session or host (greeting, EHLO, MAIL FROM or DATA refused, connection failed) names every
  recipient of the message. It is only taken for those of the host's domain of whom nothing else is known when its time
  has come: Stalwart goes on to the next MX host after some of these, and the next host's answer is the attempt's.
- A connection belongs to an outcome when span, MX host and recipient domain are the same: for each domain Stalwart
  opens at most one connection to a host, so it does not matter what came first. Should there be several, the last one
  that was opened before the outcome is taken. Without any, the outcome waits, and then goes by the IP mapping.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum

from telemetry.domain.event import Event
from telemetry.domain.vocab import UNKNOWN_IP, EventType

# How long an outcome waits for its connection. Stalwart gives a batch up after five minutes (discardAfter), so what has
# not come within twice that time will not come.
GIVE_UP_AFTER = timedelta(minutes=10)
# How long a refusal waits for its dsn-perm-fail, or for what else is said of its recipients. Both are written at the
# end of the same attempt and mostly come in the same batch; a refusal must not stay unnoticed for longer.
SETTLE_AFTER = timedelta(minutes=1)
# The key of a source's IP mapping for whatever has no entry of its own.
ANY = "*"


class Evidence(StrEnum):
    """What an event proves about its recipients."""

    DELIVERED = "delivered"
    DEFERRED = "deferred"
    """This recipient was refused for now."""
    REJECTED = "rejected"
    """This recipient was refused for good."""
    EXPIRED = "expired"
    """This recipient was given up after days."""
    NOTICE = "notice"
    """The permanent failure of this recipient as the non-delivery notice words it."""
    SESSION = "session"
    """A whole session was refused after the connection; the attempt at this domain ends with it."""
    HOST = "host"
    """A host refused to talk; the next MX host is tried."""
    UNREACHED = "unreached"
    """No connection to a host; its other addresses and the next MX host are tried, each for minutes."""


OF_ONE_RECIPIENT = frozenset({Evidence.DELIVERED, Evidence.DEFERRED})
OF_A_BOUNCE = frozenset({Evidence.REJECTED, Evidence.EXPIRED, Evidence.NOTICE})
WAITS = {
    Evidence.SESSION: SETTLE_AFTER,
    Evidence.HOST: SETTLE_AFTER,
    Evidence.UNREACHED: GIVE_UP_AFTER,
}


@dataclass(frozen=True, slots=True)
class Connect:
    """A connection that was opened in a span."""

    key: str
    """Digest of its content."""
    span: str
    mx_host: str
    domain: str
    """The recipient domain it was opened for; empty when that is none of the message's (a relay)."""
    local_ip: str
    """Our side of it; UNKNOWN_IP when Stalwart has no source IPs configured."""
    occurred_at: datetime


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one event says about one or more recipients."""

    evidence: Evidence
    name: str
    """The event's type, as Stalwart calls it."""
    key: str
    """Digest of its content, the same at every retry."""
    occurred_at: datetime
    future: bool
    span: str
    """Decimal id of the attempt; where the server does not tell it, something else that begins with a letter."""
    queue_id: str
    queue_name: str
    mx_host: str
    domain: str
    """The recipient domain that the event itself names; empty when it names none."""
    local_ip: str
    """Our side, where the event itself tells it; else empty."""
    recipients: tuple[str, ...]
    sending_domain: str
    smtp_code: int | None
    enhanced_code: str
    reply: str
    failure: EventType | None
    """Bounce or deferral as the reply code has it; None for a delivery."""


@dataclass(frozen=True, slots=True)
class Complaint:
    """An abuse report that Stalwart took in: one event per incident."""

    events: tuple[Event, ...]


@dataclass(frozen=True, slots=True)
class Ignored:
    """An event that says nothing about delivery, or that we do not know."""

    name: str


Note = Connect | Outcome | Complaint | Ignored


@dataclass(frozen=True, slots=True)
class Held:
    """An outcome with the time it first came."""

    outcome: Outcome
    received_at: datetime


@dataclass(frozen=True, slots=True)
class Setting:
    """What the events themselves do not say."""

    ip_map: Mapping[str, str]
    """Queue name, node, or ANY, to sending IP; for connections whose own side is not told."""
    node: str
    digest: Callable[[str], str]
    """Of a recipient, so that no address is part of an event's id."""


@dataclass(slots=True)
class Verdict:
    """What can be recorded now, and what must be looked at again."""

    certain: list[Event] = field(default_factory=list)
    presumed: list[Event] = field(default_factory=list)
    """To be recorded only where nothing else was recorded of the same attempt and recipient (`attempt_ids`)."""
    done: set[str] = field(default_factory=set)
    """Keys of outcomes that need no further look."""
    due: dict[str, datetime] = field(default_factory=dict)
    """Keys of the others: when to look again, whatever else comes."""


def attempt_ids(event: Event) -> list[str]:
    """The ids that any outcome of the same attempt and recipient has."""
    rest = event.event_id.partition(":")[2]
    return [f"{kind.value}:{rest}" for kind in (EventType.DELIVERY, EventType.BOUNCE, EventType.DEFER)]


def judge(outcomes: Sequence[Held], connects: Iterable[Connect], setting: Setting, *, now: datetime) -> Verdict:
    """Judge one span by everything that is known of it. `outcomes` are distinct by key."""
    span = _Span(connects, setting, now)
    bounces: dict[str, list[Held]] = defaultdict(list)
    whole: list[Held] = []
    known: set[str] = set()
    for held in sorted(outcomes, key=_order):
        evidence = held.outcome.evidence
        if evidence in OF_ONE_RECIPIENT:
            recipient = held.outcome.recipients[0]
            known.add(recipient.lower())
            span.conclude([held], held.outcome, recipient)
        elif evidence in OF_A_BOUNCE:
            # Old servers tell of an expiry by the domain and all the message's addresses.
            for recipient in span.concerned(held.outcome):
                known.add(recipient.lower())
                bounces[recipient.lower()].append(held)
        else:
            whole.append(held)
    for recipient, group in bounces.items():
        span.conclude_bounce(group, recipient)
    span.conclude_whole(whole, known)
    span.verdict.done -= span.verdict.due.keys()
    return span.verdict


def _order(held: Held) -> tuple[datetime, bool, str]:
    outcome = held.outcome
    return outcome.occurred_at, outcome.smtp_code is not None, outcome.key


class _Span:
    """One attempt while it is judged."""

    def __init__(self, connects: Iterable[Connect], setting: Setting, now: datetime) -> None:
        self.setting = setting
        self.now = now
        self.verdict = Verdict()
        self._by_domain: dict[tuple[str, str], list[Connect]] = defaultdict(list)
        self._by_host: dict[str, list[Connect]] = defaultdict(list)
        for connect in sorted(set(connects), key=lambda one: (one.occurred_at, one.local_ip, one.key)):
            self._by_domain[connect.mx_host, connect.domain].append(connect)
            # Under an empty name too, for outcomes that do not name their host.
            self._by_domain["", connect.domain].append(connect)
            self._by_host[connect.mx_host].append(connect)

    def conclude(self, group: Sequence[Held], said: Outcome, recipient: str) -> None:
        """Record what is said of the recipient, or have the group wait for the connection."""
        since = min(held.received_at for held in group)
        local_ip = self._local_ip(said, recipient, last_chance=self.now >= since + GIVE_UP_AFTER)
        if local_ip is None:
            self._look_again(group, since + GIVE_UP_AFTER)
            return
        self.verdict.certain.append(self._event(said, recipient, local_ip))
        self.verdict.done.update(held.outcome.key for held in group)

    def conclude_bounce(self, group: Sequence[Held], recipient: str) -> None:
        """One bounce of everything that is said about a permanent failure."""
        notices = [held.outcome for held in group if held.outcome.evidence is Evidence.NOTICE]
        others = [held.outcome for held in group if held.outcome.evidence is not Evidence.NOTICE]
        complete = [notice for notice in notices if notice.smtp_code is not None and notice.mx_host]
        since = min(held.received_at for held in group)
        if not complete and not (notices and others) and self.now < since + SETTLE_AFTER:
            self._look_again(group, since + SETTLE_AFTER)
            return
        # A complete notice is recorded as it is, as it would be if it came alone; else one makes up for the other.
        said = complete[0] if complete else _together([*others, *notices])
        self.conclude(group, said, next(who for who in said.recipients if who.lower() == recipient))

    def conclude_whole(self, group: Sequence[Held], known: set[str]) -> None:
        """What concerns a whole session or host, for the recipients of whom nothing else is known."""
        concerned = {held.outcome.key: list(self.concerned(held.outcome)) for held in group}
        # In the order of time, so that the last one stays: Stalwart keeps the last host's answer.
        last = {who.lower(): held.outcome.key for held in group for who in concerned[held.outcome.key]}
        for held in group:
            said = held.outcome
            settled_at, give_up_at = held.received_at + WAITS[said.evidence], held.received_at + GIVE_UP_AFTER
            if self.now < settled_at:
                self._look_again([held], settled_at)
                continue
            # At the limit, or when the host's connection is known, everything that can be told is told.
            if self.now < give_up_at and not said.local_ip and not self._by_host.get(said.mx_host):
                self._look_again([held], give_up_at)
                continue
            self.verdict.done.add(said.key)
            for who in concerned[said.key]:
                if who.lower() not in known and last[who.lower()] == said.key:
                    self.verdict.presumed.append(
                        self._event(said, who, self._local_ip(said, who, last_chance=True) or "")
                    )

    def concerned(self, said: Outcome) -> Iterator[str]:
        """The recipients whom it is about: of an inherited list those whose domain the host was tried for, if known."""
        if len(said.recipients) == 1:
            yield from said.recipients
            return
        domains = {said.domain} if said.domain else {one.domain for one in self._by_host.get(said.mx_host, ())}
        everybody = not domains or "" in domains
        yield from (who for who in said.recipients if everybody or domain_of(who) in domains)

    def _look_again(self, group: Iterable[Held], when: datetime) -> None:
        for held in group:
            key = held.outcome.key
            self.verdict.due[key] = min(when, self.verdict.due.get(key, when))

    def _local_ip(self, said: Outcome, recipient: str, *, last_chance: bool) -> str | None:
        """Our side of the connection; empty when there is none to be had, None when one may still come."""
        if said.local_ip:
            return said.local_ip
        if not said.span.isdecimal():
            return ""
        domain = domain_of(recipient)
        fitting = self._by_domain.get((said.mx_host, domain)) or self._by_domain.get((said.mx_host, ""))
        if not fitting and last_chance:
            fitting = self._by_host.get(said.mx_host)
        if not fitting:
            return "" if last_chance else None
        opened_before = bisect_right(fitting, said.occurred_at, key=lambda one: one.occurred_at)
        return fitting[opened_before - 1].local_ip

    def _event(self, said: Outcome, recipient: str, local_ip: str) -> Event:
        kind = EventType.DELIVERY if said.failure is None else said.failure
        return Event(
            type=kind,
            occurred_at=said.occurred_at,
            future=said.future,
            sending_ip=self._sending_ip(local_ip, said),
            sending_domain=said.sending_domain,
            recipient=recipient,
            recipient_domain=domain_of(recipient),
            mx_host=said.mx_host,
            smtp_code=said.smtp_code,
            enhanced_code=said.enhanced_code,
            reply=said.reply,
            message_id=said.queue_id,
            classification=said.name,
            event_id=f"{kind.value}:{said.span}:{self.setting.digest(recipient.lower())}",
        )

    def _sending_ip(self, local_ip: str, said: Outcome) -> str:
        if local_ip and local_ip != UNKNOWN_IP:
            return local_ip
        names = (said.queue_name, self.setting.node, ANY)
        return next((self.setting.ip_map[name] for name in names if name and name in self.setting.ip_map), UNKNOWN_IP)


def domain_of(address: str) -> str:
    """The domain of a clean address."""
    return address.rpartition("@")[2]


def _together(outcomes: Sequence[Outcome]) -> Outcome:
    """One outcome of several about the same permanent failure: what the first one lacks the next one gives."""
    # A refusal with a reply code first, then whatever has one, then the rest; among equals the earliest.
    ranked = sorted(outcomes, key=lambda one: (one.smtp_code is None, one.evidence is not Evidence.REJECTED))
    said = ranked[0]
    return replace(
        said,
        failure=EventType.BOUNCE,
        mx_host=next((one.mx_host for one in ranked if one.mx_host), ""),
        enhanced_code=said.enhanced_code or next((one.enhanced_code for one in ranked if one.enhanced_code), ""),
        reply=said.reply or next((one.reply for one in ranked if one.reply), ""),
        sending_domain=said.sending_domain or next((one.sending_domain for one in ranked if one.sending_domain), ""),
    )
