"""The documented webhook: ``{"events": [{"id", "createdAt", "type": "smtp.delivery.failure", "data": {…}}]}``.

A format of our own. `data` carries ip, recipient, smtp_code, enhanced_code, reason, mx and attempt_number; sender and
message_id are taken too where a shipper knows them.
"""

from __future__ import annotations

from datetime import datetime

import msgspec

from telemetry.domain import clean
from telemetry.domain.errors import ParseError
from telemetry.domain.event import Event
from telemetry.domain.reply import failure_type
from telemetry.domain.vocab import EventType
from telemetry.parsers.base import Parser, read

FAILURE = "smtp.delivery.failure"
SUCCESS = "smtp.delivery.success"


class _Data(msgspec.Struct):
    ip: str
    recipient: str
    smtp_code: int | None = None
    enhanced_code: str | None = None
    reason: str | None = None
    mx: str | None = None
    attempt_number: int | None = None
    sender: str | None = None
    message_id: str | None = None


class _Envelope(msgspec.Struct):
    id: str | int
    createdAt: str | int | float  # noqa: N815 - the documented name
    type: str
    data: _Data


_DECODER = msgspec.json.Decoder(_Envelope, strict=False)


def parse(raw: bytes, now: datetime) -> Event | None:
    """One documented event. The time is when the attempt ended; the id decides what is a repetition."""
    envelope = read(_DECODER, raw)
    if envelope.type not in (FAILURE, SUCCESS):
        raise ParseError("type", f"is not one of {FAILURE}, {SUCCESS}")
    event_id = clean.identifier(str(envelope.id), "id")
    if not event_id:
        raise ParseError("id", "is empty")
    data = envelope.data
    occurred_at, future = clean.moment(envelope.createdAt, "createdAt", now=now)
    recipient, recipient_domain = clean.recipient(data.recipient, "data.recipient")
    smtp_code = clean.smtp_code(data.smtp_code, "data.smtp_code")
    enhanced_code = clean.enhanced_code(data.enhanced_code or "", "data.enhanced_code")
    if envelope.type == SUCCESS:
        kind = EventType.DELIVERY
    else:
        failed = failure_type(smtp_code, enhanced_code)
        if failed is None:
            raise ParseError("data.smtp_code", "tells neither a temporary (4xx) nor a permanent (5xx) failure")
        kind = failed
    return Event(
        type=kind,
        occurred_at=occurred_at,
        future=future,
        sending_ip=clean.ip(data.ip, "data.ip"),
        sending_domain=clean.address(data.sender or "", "data.sender")[1],
        recipient=recipient,
        recipient_domain=recipient_domain,
        mx_host=clean.host_name(data.mx or ""),
        smtp_code=smtp_code,
        enhanced_code=enhanced_code,
        reply=clean.text(data.reason or "", longest=clean.LONGEST_REPLY),
        attempt_number=clean.attempt(data.attempt_number, "data.attempt_number"),
        message_id=clean.identifier(data.message_id or "", "data.message_id"),
        event_id=event_id,
    )


DOCUMENTED = Parser("documented", parse)
