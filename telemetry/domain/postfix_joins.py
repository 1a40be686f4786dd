"""Joining the lines of a Postfix log: a delivery attempt gets its sender, its number and its sending IP.

Pure: what is known of each message is a value that the caller loads before and stores after, in the transaction that
records the events.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, tzinfo

from telemetry.domain import clean, postfix_log
from telemetry.domain.errors import ParseError
from telemetry.domain.event import Event
from telemetry.domain.postfix_log import Attempt, Queued, Record, Removed
from telemetry.domain.vocab import UNKNOWN_IP

# A sender that is known to have no domain (the null sender of a bounce), as against one that is not known.
NO_DOMAIN = "<>"
Key = tuple[str, str]
"""Host and queue id."""


@dataclass(slots=True)
class Message:
    """What is known of a message in the queue."""

    sender: str = ""
    """Domain of the envelope sender, NO_DOMAIN, or "" while the queue manager's line was not seen."""
    attempts: dict[str, int] = field(default_factory=dict)
    """Deferred attempts so far, by digest of the recipient; only recipients that still wait."""


@dataclass(slots=True)
class Tally:
    """What was seen, in numbers and names without any address."""

    lines: int = 0
    events: int = 0
    unreadable: int = 0
    """Attempts whose time could not be read; they are not recorded."""
    without_sender: int = 0
    """Events whose message was queued before the log that we know begins."""
    unmapped: dict[str, int] = field(default_factory=dict)
    """Events by syslog name that no sending IP is mapped to."""
    latest: datetime | None = None

    def add(self, other: Tally) -> None:
        """Add what another one counted."""
        self.lines += other.lines
        self.events += other.events
        self.unreadable += other.unreadable
        self.without_sender += other.without_sender
        for name, count in other.unmapped.items():
            self.unmapped[name] = self.unmapped.get(name, 0) + count
        self.latest = other.latest or self.latest


@dataclass(frozen=True, slots=True)
class Setting:
    """What a log itself does not say."""

    zone: tzinfo
    """Of times written without one."""
    ip_map: Mapping[str, str]
    """Syslog name to sending IP."""
    digest: Callable[[str], str]
    """Of a recipient, so that no address is kept with a message."""


def records_of(lines: Iterable[bytes]) -> tuple[list[Record], int]:
    """What the lines say about outbound mail, and how many lines there were."""
    records: list[Record] = []
    count = 0
    for raw in lines:
        count += 1
        line = postfix_log.split(raw.decode("utf-8", "replace").rstrip("\r\n"))
        record = postfix_log.read(line) if line is not None else None
        if record is not None:
            records.append(record)
    return records, count


def keys_of(records: Iterable[Record]) -> set[Key]:
    """The messages that these records are about."""
    return {(record.host, record.queue_id) for record in records}


def join(
    records: Iterable[Record], messages: dict[Key, Message], setting: Setting, *, now: datetime
) -> tuple[list[Event], Tally]:
    """The events of these records, in the log's order.

    Changes `messages` to what is known afterwards: messages that left the queue are gone from it.
    """
    tally = Tally()
    events = []
    for record in records:
        key = (record.host, record.queue_id)
        if isinstance(record, Removed):
            messages.pop(key, None)
        elif isinstance(record, Queued):
            _take_up(record, key, messages)
        else:
            event = _event(record, messages.setdefault(key, Message()), setting, tally, now)
            if event is not None:
                events.append(event)
    tally.events = len(events)
    return events, tally


def _take_up(record: Queued, key: Key, messages: dict[Key, Message]) -> None:
    sender = _domain(record.sender, "from") or NO_DOMAIN
    known = messages.get(key)
    # Short queue ids are used again. Another sender means another message, whose "removed" was not in our log.
    if known is None or known.sender not in ("", sender):
        messages[key] = Message(sender)
    else:
        known.sender = sender


def _event(record: Attempt, message: Message, setting: Setting, tally: Tally, now: datetime) -> Event | None:
    try:
        at, future = clean.moment(postfix_log.moment(record.time, now=now, zone=setting.zone), "time", now=now)
    except ParseError:
        tally.unreadable += 1
        return None
    sending_ip = postfix_log.sending_ip(record.name, setting.ip_map)
    if sending_ip == UNKNOWN_IP:
        tally.unmapped[record.name] = tally.unmapped.get(record.name, 0) + 1
    tally.without_sender += not message.sender
    tally.latest = at
    recipient, recipient_domain = _recipient(record.recipient)
    return Event(
        type=record.type,
        occurred_at=at,
        future=future,
        sending_ip=sending_ip,
        sending_domain="" if message.sender == NO_DOMAIN else message.sender,
        recipient=recipient,
        recipient_domain=recipient_domain,
        mx_host=record.mx_host,
        smtp_code=record.smtp_code,
        enhanced_code=record.enhanced_code,
        reply=record.reply,
        attempt_number=_number(record, message, setting),
        message_id=record.queue_id,
        classification="" if record.status == "sent" else record.status,
        node=record.host,
        event_id=record.event_id,
    )


def _number(record: Attempt, message: Message, setting: Setting) -> int:
    """Which attempt this is, counted from the first that we saw deferred."""
    if record.type.is_final:
        # Most messages get through at once: no digest is needed for them.
        return 1 + (message.attempts.pop(setting.digest(record.recipient), 0) if message.attempts else 0)
    who = setting.digest(record.recipient)
    message.attempts[who] = number = message.attempts.get(who, 0) + 1
    return number


def _recipient(address: str) -> tuple[str, str]:
    """Address and domain; an odd address is still an attempt and is counted, with what can be told of it."""
    try:
        return clean.recipient(address, "to")
    except ParseError:
        return "", _domain(address, "to")


def _domain(address: str, name: str) -> str:
    if "@" not in address:
        return ""
    try:
        return clean.domain(address.rpartition("@")[2], name)
    except ParseError:
        return ""
