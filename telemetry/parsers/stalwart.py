"""Stalwart's own webhook: ``{"events": [{"id", "createdAt", "type": "delivery.…", "data": {…}}]}``.

Field names and their traps are Stalwart's (v0.11 to v0.16). `id` is left alone: it changes at every retry. `data` holds
the event's own keys and, behind them, those of the delivery attempt; so `to` is one address where the event is about
one recipient, and all the message's addresses where it is inherited.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from functools import lru_cache
from typing import Any

import msgspec

from telemetry.domain import clean
from telemetry.domain.errors import ParseError
from telemetry.domain.event import Event
from telemetry.domain.reply import failure_type
from telemetry.domain.stalwart_joins import Complaint, Connect, Evidence, Ignored, Note, Outcome, domain_of
from telemetry.domain.vocab import EventType
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
_LARGEST_ID = 2**64 - 1

# How notices word an answer: Unexpected response for RCPT TO:<…>: Code: 550, Enhanced code: 5.7.1, Message: …
_WORDED = re.compile(r"Code: (\d{3}), Enhanced code: (\d{1,5}\.\d{1,5}\.\d{1,5})(?:, Message: (.*))?", re.DOTALL)
_LEADING_CODE = re.compile(r"([245]\.\d{1,5}\.\d{1,5})[ \t]+")


class _Head(msgspec.Struct):
    type: str
    createdAt: str | int | float = ""  # noqa: N815 - Stalwart's names
    data: msgspec.Raw = msgspec.Raw(b"{}")


class _Data(msgspec.Struct, rename={"sender": "from"}):
    spanId: int | str | float | None = None  # noqa: N815
    queueId: int | str | float | None = None  # noqa: N815
    queueName: str | None = None  # noqa: N815
    hostname: str | None = None
    domain: str | list[str] | None = None
    localIp: str | None = None  # noqa: N815
    remoteIp: str | None = None  # noqa: N815
    sender: str | None = None
    to: str | list[str] | None = None
    code: int | None = None
    details: Any = None
    causedBy: Any = None  # noqa: N815
    reason: Any = None
    url: Any = None
    total: Any = None
    rangeFrom: Any = None  # noqa: N815


_HEAD = msgspec.json.Decoder(_Head)
_DATA = msgspec.json.Decoder(_Data)
# Domains and hosts come again and again; checking one costs more than the rest of an event.
_domain = lru_cache(maxsize=20_000)(clean.domain)
_host = lru_cache(maxsize=20_000)(clean.host_name)
_ip = lru_cache(maxsize=2_000)(clean.ip)


def parse(raw: bytes, now: datetime) -> Note:
    """What one event says. Raises ParseError for one of a kind that we use but cannot read."""
    head = read(_HEAD, raw)
    reader = _READERS.get(head.type)
    if reader is None:
        return Ignored(clean.text(head.type, longest=100))
    try:
        data = read(_DATA, bytes(head.data))
    except ParseError as error:
        raise ParseError("data" if error.field == "event" else f"data.{error.field}", error.message) from None
    try:
        return reader(head, data, now)
    except RecursionError:
        raise ParseError("data", "is nested too deeply") from None


def _connect(head: _Head, data: _Data, now: datetime) -> Note:
    span = _id(data.spanId, "data.spanId")
    if not span:
        return Ignored(head.type)
    occurred_at, _ = clean.moment(head.createdAt, "createdAt", now=now)
    domain = _own_domain(data)
    if domain and data.to:
        # A relay's connection is opened for a domain that is none of the recipients': it serves all of them.
        domains = {domain_of(who) for who in _recipients(data)}
        domain = domain if domain in domains else ""
    return Connect(
        key=_key(head, data, span),
        span=span,
        mx_host=_host(data.hostname or ""),
        domain=domain,
        local_ip=_ip(data.localIp or "", "data.localIp"),
        occurred_at=occurred_at,
    )


def _delivered(head: _Head, data: _Data, now: datetime) -> Note:
    reply = _text(data.details)
    return _outcome(head, data, now, Evidence.DELIVERED, None, clean.smtp_code(data.code, "data.code"), "", reply)


def _refused(head: _Head, data: _Data, now: datetime) -> Note:
    code, enhanced, reply = _answer(data)
    if code is None and data.causedBy is None:
        raise ParseError("data.code", "is missing")
    # Whatever is no permanent answer, a broken connection among them, is tried again.
    failure = failure_type(code, "") or EventType.DEFER
    evidence = Evidence.REJECTED if failure is EventType.BOUNCE else Evidence.DEFERRED
    return _outcome(head, data, now, evidence, failure, code, enhanced, reply)


def _notice(head: _Head, data: _Data, now: datetime) -> Note:
    code, enhanced, reply = _answer(data)
    # Permanent by its name: a message that expired carries the temporary answer that it had last.
    evidence = Evidence.EXPIRED if head.type == "delivery.failed" else Evidence.NOTICE
    return _outcome(head, data, now, evidence, EventType.BOUNCE, code, enhanced, reply)


def _whole(evidence: Evidence) -> Callable[[_Head, _Data, datetime], Note]:
    def read_whole(head: _Head, data: _Data, now: datetime) -> Note:
        code, enhanced, reply = _answer(data)
        failure = failure_type(code, "") or EventType.DEFER
        return _outcome(head, data, now, evidence, failure, code, enhanced, reply)

    return read_whole


def _ehlo_rejected(head: _Head, data: _Data, now: datetime) -> Note:
    # Refused on the plain connection (it names the domain) the next host is tried; after STARTTLS the attempt ends.
    return _whole(Evidence.HOST if data.domain else Evidence.SESSION)(head, data, now)


def _complaint(head: _Head, data: _Data, now: datetime) -> Note:
    occurred_at, future = clean.moment(head.createdAt, "createdAt", now=now)
    domains = [data.domain] if isinstance(data.domain, str) else data.domain or []
    event = Event(
        type=EventType.COMPLAINT,
        occurred_at=occurred_at,
        future=future,
        sending_ip=_ip(data.remoteIp or "", "data.remoteIp"),
        sending_domain=_domain(domains[0], "data.domain") if domains and domains[0] else "",
        mx_host=_host(data.hostname or ""),
        classification=head.type,
    )
    said = (data.domain, data.remoteIp, data.rangeFrom, data.total, data.url)
    key = _digest(head.type, head.createdAt, data.spanId, data.hostname, *said, data.details)
    total = data.total if isinstance(data.total, int) and not isinstance(data.total, bool) else 1
    incidents = range(1, min(max(total, 1), MOST_INCIDENTS) + 1)
    return Complaint(tuple(replace(event, event_id=f"complaint:{key}:{number}") for number in incidents))


def _outcome(
    head: _Head,
    data: _Data,
    now: datetime,
    evidence: Evidence,
    failure: EventType | None,
    code: int | None,
    enhanced: str,
    reply: str,
) -> Outcome:
    occurred_at, future = clean.moment(head.createdAt, "createdAt", now=now)
    span = _id(data.spanId, "data.spanId")
    queue_id = _id(data.queueId, "data.queueId")
    domain = _own_domain(data)
    recipients = _recipients(data)
    if domain and evidence in (Evidence.HOST, Evidence.UNREACHED):
        domain = domain if domain in {domain_of(who) for who in recipients} else ""
    if not recipients:
        raise ParseError("data.to", "is missing")
    if evidence in (Evidence.DELIVERED, Evidence.DEFERRED, Evidence.REJECTED, Evidence.NOTICE) and len(recipients) > 1:
        raise ParseError("data.to", "is not one recipient")
    key = _key(head, data, span)
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
        mx_host=_host(data.hostname or ""),
        domain=domain,
        local_ip=_ip(data.localIp, "data.localIp") if data.localIp and evidence is Evidence.UNREACHED else "",
        recipients=recipients,
        sending_domain=_sending_domain(data.sender or ""),
        smtp_code=code,
        enhanced_code=enhanced,
        reply=reply,
        failure=failure,
    )


def _id(value: int | str | float | None, field: str) -> str:
    """An unsigned 64-bit id as decimal text, exactly; empty when there is none."""
    if value is None or value == "":
        return ""
    if isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) <= 20:
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= _LARGEST_ID:
        raise ParseError(field, "is not a whole number of 64 bits")
    return str(value)


def _recipients(data: _Data) -> tuple[str, ...]:
    if data.to is None:
        return ()
    if isinstance(data.to, str):
        return (_recipient(data.to),)
    found: dict[str, None] = {}
    odd: ParseError | None = None
    for who in data.to:
        # An inherited list names everybody; a strange address in it must not hide what befell the others.
        try:
            found[_recipient(who)] = None
        except ParseError as error:
            odd = error
    if not found and odd is not None:
        raise odd
    return tuple(found)


def _recipient(value: str) -> str:
    local, at, host = value.rpartition("@")
    if at and local and local.isascii() and local.isprintable() and "<" not in local and " " not in value:
        whole = f"{local}@{_domain(host, 'data.to')}"
        if len(whole) <= clean.LONGEST_ADDRESS:
            return whole
    return clean.recipient(value, "data.to")[0]


def _own_domain(data: _Data) -> str:
    return _domain(data.domain, "data.domain") if isinstance(data.domain, str) and data.domain else ""


@lru_cache(maxsize=20_000)
def _sending_domain(sender: str) -> str:
    """The domain of the envelope sender. A sender without a readable one is no reason to lose an outcome."""
    try:
        return clean.address(sender, "data.from")[1]
    except ParseError:
        return ""


def _answer(data: _Data) -> tuple[int | None, str, str]:
    """Reply code, enhanced code and text, from wherever this event has them."""
    code, text = data.code, _text(data.details)
    for cause in (data.causedBy, data.reason):
        inner, words = _cause(cause)
        code = code if code is not None else inner
        text = words or text
    worded = _WORDED.search(text) if "Enhanced code" in text else None
    if worded is not None:
        enhanced = _enhanced(worded[2])
        code = code if code is not None else int(worded[1])
        text = worded[3] or ""
    else:
        leading = _LEADING_CODE.match(text)
        enhanced = _enhanced(leading[1]) if leading else ""
    return clean.smtp_code(code, "data.code"), enhanced, text


def _cause(cause: Any) -> tuple[int | None, str]:
    """Code and text of a nested error: ``{"type": …, "data": {"details", "code", "reason"}}``, or a text alone."""
    if isinstance(cause, str):
        return None, _text(cause)
    inside = cause.get("data", cause) if isinstance(cause, dict) else None
    if not isinstance(inside, dict):
        return None, ""
    code = inside.get("code")
    return (
        code if isinstance(code, int) and not isinstance(code, bool) else None,
        _text(inside.get("reason")) or _text(inside.get("details")),
    )


def _text(value: Any) -> str:
    if isinstance(value, str):
        return clean.text(value, longest=clean.LONGEST_REPLY)
    if isinstance(value, list):
        return clean.text("; ".join(part for part in value[:20] if isinstance(part, str)), longest=clean.LONGEST_REPLY)
    return ""


def _enhanced(value: str) -> str:
    try:
        return clean.enhanced_code(value, "")
    except ParseError:
        return ""


def _key(head: _Head, data: _Data, span: str) -> str:
    """What makes two events the same, without the id that changes at every retry."""
    return _digest(
        head.type,
        head.createdAt,
        span,
        data.queueId,
        data.hostname,
        data.localIp,
        data.domain,
        data.to,
        data.code,
        data.details,
        data.causedBy,
        data.reason,
    )


def _digest(*parts: object) -> str:
    return hashlib.blake2b(repr(parts).encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


_READERS: dict[str, Callable[[_Head, _Data, datetime], Note]] = {
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
