"""Stalwart's own webhook: ``{"events": [{"id", "createdAt", "type": "delivery.…", "data": {…}}]}``.

Field names and their traps are Stalwart's (v0.11 to v0.16). `id` is left alone: it changes at every retry. `data` holds
the event's own keys and, behind them, those of the delivery attempt; so `to` is one address where the event is about
one recipient, and all the message's addresses where it is inherited.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

from telemetry.domain import clean
from telemetry.domain.errors import ParseError
from telemetry.domain.event import Event
from telemetry.domain.reply import failure_type
from telemetry.domain.stalwart_joins import Complaint, Connect, Evidence, Ignored, Note, Outcome, domain_of
from telemetry.domain.vocab import EventType
from telemetry.parsers import stalwart_fields as fields
from telemetry.parsers.base import read

NAME = "stalwart"
# What the server should send; everything else is counted and passed over.
USED = (
    "delivery.connect",
    "delivery.connect-error",
    "delivery.greeting-failed",
    "delivery.ehlo-rejected",
    "delivery.mail-from-rejected",
    "delivery.rcpt-to-rejected",
    "delivery.rcpt-to-failed",
    "delivery.message-rejected",
    "delivery.delivered",
    "delivery.dsn-perm-fail",
    "delivery.failed",
    "incoming-report.abuse-report",
)
# Reports say how many incidents they stand for; no honest one comes near this, and one line must not cost millions.
MOST_INCIDENTS = 1000


def parse(raw: bytes, now: datetime) -> Note:
    """What one event says. Raises ParseError for one of a kind that we use but cannot read."""
    head = read(fields.HEAD, raw)
    reader = _READERS.get(head.type)
    if reader is None:
        return Ignored(clean.text(head.type, longest=100))
    try:
        data = read(fields.DATA, bytes(head.data))
    except ParseError as error:
        raise ParseError("data" if error.field == "event" else f"data.{error.field}", error.message) from None
    try:
        return reader(head, data, now)
    except RecursionError:
        raise ParseError("data", "is nested too deeply") from None


def _connect(head: fields.Head, data: fields.Data, now: datetime) -> Note:
    span = fields.identifier(data.spanId, "data.spanId")
    if not span:
        return Ignored(head.type)
    occurred_at, _ = clean.moment(head.createdAt, "createdAt", now=now)
    domain = fields.own_domain(data)
    if domain and data.to:
        # A relay's connection is opened for a domain that is none of the recipients': it serves all of them.
        domains = {domain_of(who) for who in fields.recipients(data)}
        domain = domain if domain in domains else ""
    return Connect(
        key=fields.key(head, data, span),
        span=span,
        mx_host=fields.host_name(data.hostname or ""),
        domain=domain,
        local_ip=fields.ip(data.localIp or "", "data.localIp"),
        occurred_at=occurred_at,
    )


def _delivered(head: fields.Head, data: fields.Data, now: datetime) -> Note:
    reply = fields.text_of(data.details)
    return _outcome(head, data, now, Evidence.DELIVERED, None, clean.smtp_code(data.code, "data.code"), "", reply)


def _refused(head: fields.Head, data: fields.Data, now: datetime) -> Note:
    code, enhanced, reply = fields.answer(data)
    if code is None and data.causedBy is None:
        raise ParseError("data.code", "is missing")
    # Whatever is no permanent answer, a broken connection among them, is tried again.
    failure = failure_type(code, "") or EventType.DEFER
    evidence = Evidence.REJECTED if failure is EventType.BOUNCE else Evidence.DEFERRED
    return _outcome(head, data, now, evidence, failure, code, enhanced, reply)


def _notice(head: fields.Head, data: fields.Data, now: datetime) -> Note:
    code, enhanced, reply = fields.answer(data)
    # Permanent by its name: a message that expired carries the temporary answer that it had last.
    evidence = Evidence.EXPIRED if head.type == "delivery.failed" else Evidence.NOTICE
    return _outcome(head, data, now, evidence, EventType.BOUNCE, code, enhanced, reply)


def _whole(evidence: Evidence) -> Callable[[fields.Head, fields.Data, datetime], Note]:
    def read_whole(head: fields.Head, data: fields.Data, now: datetime) -> Note:
        code, enhanced, reply = fields.answer(data)
        failure = failure_type(code, "") or EventType.DEFER
        return _outcome(head, data, now, evidence, failure, code, enhanced, reply)

    return read_whole


def _ehlo_rejected(head: fields.Head, data: fields.Data, now: datetime) -> Note:
    # Refused on the plain connection (it names the domain) the next host is tried; after STARTTLS the attempt ends.
    return _whole(Evidence.HOST if data.domain else Evidence.SESSION)(head, data, now)


def _complaint(head: fields.Head, data: fields.Data, now: datetime) -> Note:
    occurred_at, future = clean.moment(head.createdAt, "createdAt", now=now)
    domains = [data.domain] if isinstance(data.domain, str) else data.domain or []
    event = Event(
        type=EventType.COMPLAINT,
        occurred_at=occurred_at,
        future=future,
        sending_ip=fields.ip(data.remoteIp or "", "data.remoteIp"),
        sending_domain=fields.domain_name(domains[0], "data.domain") if domains and domains[0] else "",
        mx_host=fields.host_name(data.hostname or ""),
        classification=head.type,
    )
    said = (data.domain, data.remoteIp, data.rangeFrom, data.total, data.url)
    key = fields.digest(head.type, head.createdAt, data.spanId, data.hostname, *said, data.details)
    total = data.total if isinstance(data.total, int) and not isinstance(data.total, bool) else 1
    incidents = range(1, min(max(total, 1), MOST_INCIDENTS) + 1)
    return Complaint(tuple(replace(event, event_id=f"complaint:{key}:{number}") for number in incidents))


def _outcome(
    head: fields.Head,
    data: fields.Data,
    now: datetime,
    evidence: Evidence,
    failure: EventType | None,
    code: int | None,
    enhanced: str,
    reply: str,
) -> Outcome:
    occurred_at, future = clean.moment(head.createdAt, "createdAt", now=now)
    span = fields.identifier(data.spanId, "data.spanId")
    queue_id = fields.identifier(data.queueId, "data.queueId")
    domain = fields.own_domain(data)
    recipients = fields.recipients(data)
    if domain and evidence in (Evidence.HOST, Evidence.UNREACHED):
        domain = domain if domain in {domain_of(who) for who in recipients} else ""
    if not recipients:
        raise ParseError("data.to", "is missing")
    if evidence in (Evidence.DELIVERED, Evidence.DEFERRED, Evidence.REJECTED, Evidence.NOTICE) and len(recipients) > 1:
        raise ParseError("data.to", "is not one recipient")
    key = fields.key(head, data, span)
    return Outcome(
        evidence=evidence,
        name=head.type,
        key=key,
        occurred_at=occurred_at,
        future=future,
        # Servers before 0.10.7 send no span; what they say of one message still belongs together.
        span=span or (f"q{queue_id}" if queue_id else f"k{key[:22]}"),
        queue_id=queue_id,
        queue_name=clean.text(data.queueName or "", longest=clean.LONGEST_WORD),
        mx_host=fields.host_name(data.hostname or ""),
        domain=domain,
        local_ip=fields.ip(data.localIp, "data.localIp") if data.localIp and evidence is Evidence.UNREACHED else "",
        recipients=recipients,
        sending_domain=fields.sending_domain(data.sender or ""),
        smtp_code=code,
        enhanced_code=enhanced,
        reply=reply,
        failure=failure,
    )


_READERS: dict[str, Callable[[fields.Head, fields.Data, datetime], Note]] = {
    "delivery.connect": _connect,
    "delivery.connect-error": _whole(Evidence.UNREACHED),
    "delivery.greeting-failed": _whole(Evidence.HOST),
    "delivery.ehlo-rejected": _ehlo_rejected,
    "delivery.mail-from-rejected": _whole(Evidence.SESSION),
    "delivery.message-rejected": _whole(Evidence.SESSION),
    "delivery.rcpt-to-rejected": _refused,
    "delivery.rcpt-to-failed": _refused,
    "delivery.delivered": _delivered,
    "delivery.dsn-perm-fail": _notice,
    "delivery.failed": _notice,
    "incoming-report.abuse-report": _complaint,
}
