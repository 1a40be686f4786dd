"""Our own event, field by field: what `POST /api/events` takes."""

from __future__ import annotations

from datetime import datetime

import msgspec

from telemetry.domain import clean
from telemetry.domain.errors import ParseError
from telemetry.domain.event import Event
from telemetry.domain.vocab import EventType
from telemetry.parsers.base import Parser, read


class GenericEvent(msgspec.Struct):
    """The fields of one event; `type`, `occurred_at` and a recipient or recipient_domain are needed."""

    type: str
    occurred_at: str | int | float
    sending_ip: str | None = None
    sending_domain: str | None = None
    sender: str | None = None
    recipient: str | None = None
    recipient_domain: str | None = None
    mx_host: str | None = None
    smtp_code: int | None = None
    enhanced_code: str | None = None
    reply: str | None = None
    attempt_number: int | None = None
    message_id: str | None = None
    classification: str | None = None
    node: str | None = None
    event_id: str | int | None = None


_DECODER = msgspec.json.Decoder(GenericEvent, strict=False)


def parse(raw: bytes, now: datetime) -> Event | None:
    """One event in our own words; without `event_id` its content decides what is a repetition."""
    given = read(_DECODER, raw)
    try:
        kind = EventType(given.type)
    except ValueError:
        raise ParseError("type", f"is not one of {', '.join(EventType)}") from None
    occurred_at, future = clean.moment(given.occurred_at, "occurred_at", now=now)
    recipient, recipient_domain = "", ""
    if given.recipient:
        recipient, recipient_domain = clean.recipient(given.recipient, "recipient")
    elif given.recipient_domain:
        recipient_domain = clean.domain(given.recipient_domain, "recipient_domain")
    elif kind is not EventType.COMPLAINT:
        raise ParseError("recipient", "is missing (recipient_domain will do)")
    return Event(
        type=kind,
        occurred_at=occurred_at,
        future=future,
        sending_ip=clean.ip(given.sending_ip or "", "sending_ip"),
        sending_domain=_sending_domain(given),
        recipient=recipient,
        recipient_domain=recipient_domain,
        mx_host=clean.host_name(given.mx_host or ""),
        smtp_code=clean.smtp_code(given.smtp_code, "smtp_code"),
        enhanced_code=clean.enhanced_code(given.enhanced_code or "", "enhanced_code"),
        reply=clean.text(given.reply or "", longest=clean.LONGEST_REPLY),
        attempt_number=clean.attempt(given.attempt_number, "attempt_number"),
        message_id=clean.identifier(given.message_id or "", "message_id"),
        classification=clean.text(given.classification or "", longest=clean.LONGEST_WORD),
        node=clean.identifier(given.node or "", "node", longest=clean.LONGEST_WORD),
        event_id=clean.identifier("" if given.event_id is None else str(given.event_id), "event_id"),
    )


def _sending_domain(given: GenericEvent) -> str:
    if given.sending_domain:
        return clean.domain(given.sending_domain, "sending_domain")
    return clean.address(given.sender or "", "sender")[1]


GENERIC = Parser("generic", parse)
