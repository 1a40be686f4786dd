"""KumoMTA's log records, as its log hook posts them: one JSON object per record, or an array of them.

A record counts once by its message id, type, recipient, attempt and time, which stay the same when it is sent again.
Field names: KumoMTA reference, "Log Record".
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from datetime import datetime
from functools import partial
from typing import Any

import msgspec

from telemetry.domain import clean
from telemetry.domain.errors import ParseError
from telemetry.domain.event import Event
from telemetry.domain.vocab import UNKNOWN_IP, EventType
from telemetry.parsers.base import Parsed, Parser, read
from telemetry.secrets import digest

# What is missing here says nothing about a remote's judgement and is ignored: Reception, Rejection (inbound), Delayed,
# the transfers and rebinds, and AdminBounce, which is the operator's own act and no refusal.
TYPES = {
    "Delivery": EventType.DELIVERY,
    "TransientFailure": EventType.DEFER,
    "Bounce": EventType.BOUNCE,
    "Expiration": EventType.BOUNCE,
    "OOB": EventType.BOUNCE,
    "Feedback": EventType.COMPLAINT,
}
# KumoMTA marks replies that it made itself (no connection, suspended, throttled): no remote has said anything.
INTERNAL = "KumoMTA internal: "
# Messages that carry log records to webhooks, ours among them, are logged too.
OF_LOG_HOOKS = "LogRecord"
# Handed to a folder or to Lua code instead of an MX host.
NOT_SMTP = frozenset({"Maildir", "Lua"})
# Feedback types (RFC 5965, 6430, 6591) by which nobody complains.
NO_COMPLAINT = frozenset({"not-spam", "auth-failure", "dmarc", "opt-out", "opt-out-list"})
# A report speaks for several complaints by a number that anybody can write into a mail: it is believed up to here.
MOST_INCIDENTS = 100
MOST_RECIPIENTS = 10_000
LONGEST_RECORD_ID = 100
_BEHIND_NAT = [
    ipaddress.ip_network(net) for net in ("10.0.0.0/8", "100.64.0.0/10", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7")
]


class _Kind(msgspec.Struct):
    type: str
    reception_protocol: str | None = None
    delivery_protocol: str | None = None


class _EnhancedCode(msgspec.Struct):
    subject: int
    detail: int
    class_: int = msgspec.field(name="class")


class _Response(msgspec.Struct):
    code: int | None = None
    enhanced_code: _EnhancedCode | None = None
    content: str | None = None


class _Peer(msgspec.Struct):
    name: str | None = None


class _SourceAddress(msgspec.Struct):
    address: str | None = None


class _FeedbackReport(msgspec.Struct):
    feedback_type: str | None = None
    incidents: int | None = None
    original_mail_from: str | None = None
    source_ip: str | None = None
    original_rcpto_to: list[str] | None = None  # the field's name, as KumoMTA spells it
    reported_domain: list[str] | None = None
    supplemental_trace: Any = None


class _Record(msgspec.Struct):
    type: str
    id: str
    timestamp: int | float | None = None
    event_time: str | None = None
    sender: str | None = None
    recipient: str | list[str] | None = None
    response: _Response | None = None
    peer_address: _Peer | None = None
    num_attempts: int | None = None
    bounce_classification: str | None = None
    egress_source: str | None = None
    source_address: _SourceAddress | None = None
    feedback_report: _FeedbackReport | None = None
    nodeid: str | None = None


_KIND = msgspec.json.Decoder(_Kind, strict=False)
_RECORD = msgspec.json.Decoder(_Record, strict=False)


def parse(raw: bytes, now: datetime, ip_map: Mapping[str, str] | None = None) -> Parsed:
    """The events of one record: one per recipient, or per incident of a feedback report; None when it is ignored.

    `ip_map` gives the sending IP of an egress source whose address the record does not tell.
    """
    kind = read(_KIND, raw)
    if kind.type not in TYPES or kind.reception_protocol == OF_LOG_HOOKS or kind.delivery_protocol in NOT_SMTP:
        return None
    record = read(_RECORD, raw)
    if not clean.identifier(record.id, "id", longest=LONGEST_RECORD_ID):
        raise ParseError("id", "is empty")
    if record.type == "Feedback":
        return _complaints(record, now)
    # A message expires by KumoMTA's own words after remotes have deferred it: that reply is the end of it all the same.
    if record.type != "Expiration" and _content(record).startswith(INTERNAL):
        return None
    return _outcomes(record, ip_map or {}, now)


def _outcomes(record: _Record, ip_map: Mapping[str, str], now: datetime) -> list[Event]:
    occurred_at, future = _time(record, now)
    response = record.response or _Response()
    peer = record.peer_address
    # The id of an out-of-band record is that of the mail which brought the report, not of the message sent; and its
    # peer is the host that reported, not an MX host that we talked to.
    about_our_attempt = record.type != "OOB"
    sending_ip = _sending_ip(record, ip_map)
    sending_domain = clean.address(record.sender or "", "sender")[1]
    given = [record.recipient] if isinstance(record.recipient, str) else record.recipient or []
    if not given:
        raise ParseError("recipient", "is missing")
    if len(given) > MOST_RECIPIENTS:
        raise ParseError("recipient", f"holds more than {MOST_RECIPIENTS} addresses")
    events = []
    for address in dict.fromkeys(given):
        recipient, recipient_domain = clean.recipient(address, "recipient")
        events.append(
            Event(
                type=TYPES[record.type],
                occurred_at=occurred_at,
                future=future,
                sending_ip=sending_ip,
                sending_domain=sending_domain,
                recipient=recipient,
                recipient_domain=recipient_domain,
                mx_host=clean.host_name(peer.name or "") if peer is not None and about_our_attempt else "",
                smtp_code=_smtp_code(response),
                enhanced_code=_enhanced_code(response),
                reply=clean.text(_content(record), longest=clean.LONGEST_REPLY),
                attempt_number=_attempt(record) if about_our_attempt else None,
                message_id=record.id,
                classification=clean.text(record.bounce_classification or "", longest=clean.LONGEST_WORD),
                node=clean.identifier(record.nodeid or "", "nodeid", longest=clean.LONGEST_WORD),
                event_id=_event_id(record, recipient),
            )
        )
    return events


def _event_id(record: _Record, recipient: str) -> str:
    # A keyed digest, because the id is kept where the privacy settings do not let the recipient be kept.
    who = digest("kumomta-recipient", recipient)[:16]
    when = clean.identifier(record.event_time or str(record.timestamp), "event_time", longest=clean.LONGEST_WORD)
    return f"{record.id} {record.type} {record.num_attempts} {when} {who}"


def _complaints(record: _Record, now: datetime) -> list[Event] | None:
    """One complaint per incident of an ARF report (RFC 5965); the record itself is about the mail that brought it."""
    report = record.feedback_report
    if report is None:
        raise ParseError("feedback_report", "is missing")
    if (report.feedback_type or "").strip().lower() in NO_COMPLAINT:
        return None
    occurred_at, future = _time(record, now)
    recipient, recipient_domain = _reported_recipient(report)
    incidents = min(max(report.incidents or 1, 1), MOST_INCIDENTS)
    return [
        Event(
            type=EventType.COMPLAINT,
            occurred_at=occurred_at,
            future=future,
            sending_ip=clean.ip(report.source_ip or "", "feedback_report.source_ip"),
            sending_domain=_reported_domain(report),
            recipient=recipient,
            recipient_domain=recipient_domain,
            message_id=record.id,
            classification=clean.text(report.feedback_type or "", longest=clean.LONGEST_WORD),
            node=clean.identifier(record.nodeid or "", "nodeid", longest=clean.LONGEST_WORD),
            # The incidents of one report have the same content.
            event_id=f"feedback {record.id} {number}",
        )
        for number in range(1, incidents + 1)
    ]


def _time(record: _Record, now: datetime) -> tuple[datetime, bool]:
    """When it was logged: `event_time` to the nanosecond, before version 2025.10 only `timestamp` in whole seconds."""
    if record.event_time:
        return clean.moment(record.event_time, "event_time", now=now)
    if record.timestamp is None:
        raise ParseError("timestamp", "is missing")
    return clean.moment(record.timestamp, "timestamp", now=now)


def _content(record: _Record) -> str:
    return (record.response.content or "") if record.response is not None else ""


def _attempt(record: _Record) -> int | None:
    """The attempt's number from 1. KumoMTA logs an attempt before it counts it, so `num_attempts` begins at 0.

    An expiration follows at least one attempt, even where a restart has made KumoMTA forget how many there were.
    """
    if record.num_attempts is None:
        return None
    least = 2 if record.type == "Expiration" else 1
    return clean.attempt(max(record.num_attempts + 1, least), "num_attempts")


def _sending_ip(record: _Record, ip_map: Mapping[str, str]) -> str:
    """The address that the connection came from; the IP mapping's where there is none, or one behind NAT."""
    given = (record.source_address.address or "") if record.source_address is not None else ""
    address = clean.ip(_without_port(given), "source_address.address")
    mapped = ip_map.get(record.egress_source or "")
    if mapped is not None and (address == UNKNOWN_IP or _is_behind_nat(address)):
        return clean.ip(str(mapped), "egress_source")
    return address


def _without_port(address: str) -> str:
    """The IP of "203.0.113.10:41234" or "[2001:db8::1]:25"; the port is 0 where a proxy hides it."""
    if address.startswith("["):
        return address[1:].partition("]")[0]
    return address.partition(":")[0] if address.count(":") == 1 else address


def _is_behind_nat(address: str) -> bool:
    ip = ipaddress.ip_address(address)
    return any(ip in net for net in _BEHIND_NAT if net.version == ip.version)


def _smtp_code(response: _Response) -> int | None:
    # A number that a remote made up must not cost the event.
    return response.code if response.code is not None and 200 <= response.code <= 599 else None


def _enhanced_code(response: _Response) -> str:
    code = response.enhanced_code
    if code is None or code.class_ not in (2, 4, 5) or not (0 <= code.subject <= 99999 and 0 <= code.detail <= 99999):
        return ""
    return f"{code.class_}.{code.subject}.{code.detail}"


def _reported_recipient(report: _FeedbackReport) -> tuple[str, str]:
    """Who complained. Providers redact it in many ways, so what is no address is none and costs nothing."""
    trace = report.supplemental_trace
    traced = trace.get("recipient") if isinstance(trace, dict) else None
    for address in [*(report.original_rcpto_to or []), traced]:
        try:
            if isinstance(address, str) and address:
                return clean.recipient(address, "feedback_report.original_rcpto_to")
        except ParseError:
            continue
    return "", ""


def _reported_domain(report: _FeedbackReport) -> str:
    """The sending domain: the original envelope sender's, else the first that the report names."""
    try:
        found = clean.address(report.original_mail_from or "", "feedback_report.original_mail_from")[1]
        if found:
            return found
        named = report.reported_domain or []
        return clean.domain(named[0], "feedback_report.reported_domain") if named and named[0] else ""
    except ParseError:
        return ""


def _with_ip_map(ip_map: Mapping[str, str]) -> partial[Parsed]:
    return partial(parse, ip_map=ip_map)


KUMOMTA = Parser("kumomta", parse, _with_ip_map)
