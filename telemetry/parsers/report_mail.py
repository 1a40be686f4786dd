"""Reports that come as mails: complaints (ARF, RFC 5965) and bounces (delivery status notifications, RFC 3464).

What the report says is taken, and nothing is guessed: a report that does not name the sending IP is about the unknown
IP. Both formats are multipart/report, but parts are found by their type: forwarders and gateways rewrite the outside.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

from telemetry.domain import clean
from telemetry.domain.event import Event
from telemetry.domain.vocab import UNKNOWN_IP, EventType
from telemetry.parsers import mail_fields as fields
from telemetry.parsers.mail_parts import (
    Fields,
    Mail,
    Part,
    UnreadableMailError,
    address_in,
    blocks,
    date_in,
    header_of,
    normalised,
    take_apart,
)

# One report that speaks for many (Incidents) must not outweigh everything else; the field is whatever its writer likes.
MOST_INCIDENTS = 1000
MOST_RECIPIENTS = 1000

# Feedback types of RFC 5965, RFC 6430 (not-spam) and RFC 6591 (auth-failure), and those seen in the wild. An opt-out is
# a wish to be left alone and no accusation.
_COMPLAINTS = frozenset({"abuse", "fraud", "virus", "other", "miscategorized"})
_NO_COMPLAINTS = frozenset({"not-spam", "auth-failure", "opt-out", "opt-out-list", "dmarc", "dkim"})
_FEEDBACK = ("message/feedback-report",)
_STATUS = ("message/delivery-status", "message/global-delivery-status")
_RETURNED = (
    "message/rfc822",
    "message/global",
    "text/rfc822-headers",
    "message/rfc822-headers",
    "message/global-headers",
)
_ACTIONS = {"failed": EventType.BOUNCE, "delayed": EventType.DEFER}
_DONE = frozenset({"delivered", "relayed", "expanded"})

_ENHANCED = fields.ENHANCED
# Outlook's junk reports (JMRP) in their older form name the IP in the subject and the recipient in a header.
_OUTLOOK_SUBJECT = re.compile(r"complaint about message from\s+\[?([0-9a-fA-F.:]{3,45})", re.IGNORECASE)
_OUTLOOK_RECIPIENT = "x-hmxmroriginalrecipient"


class Kind(StrEnum):
    """What a mail turned out to be."""

    COMPLAINT = "complaint"
    BOUNCE = "bounce"
    NO_REPORT = "no_report"
    """Not readable as a report; worth a look."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What a mail says: events to record, none where it reports nothing that counts, or why it is no report."""

    kind: Kind
    events: tuple[Event, ...] = ()
    why: str = ""
    header: Fields | None = None
    dated: datetime | None = None
    """When the mail was written, as far as it says so."""


def read_mail(raw: bytes, now: datetime, ip_map: Mapping[str, str]) -> Reading:
    """Read a mail. Never raises, whatever the bytes.

    `ip_map` gives the sending IP of a bounce by the name of the server that reports it (Reporting-MTA).
    """
    lines = normalised(raw)
    try:
        mail = take_apart(lines)
    except UnreadableMailError as error:
        return Reading(Kind.NO_REPORT, why=str(error))
    dated = _dated(mail.header)
    reading = _read(mail, dated, now, ip_map)
    return replace(reading, header=mail.header, dated=dated)


def _read(mail: Mail, dated: datetime | None, now: datetime, ip_map: Mapping[str, str]) -> Reading:
    feedback, status = _part(mail, _FEEDBACK), _part(mail, _STATUS)
    returned = _part(mail, _RETURNED)
    original = header_of(returned.text) if returned else Fields(())
    if feedback is not None:
        return _feedback(mail, _merged(feedback.text), original, _key(mail, feedback, returned), dated, now)
    if status is not None:
        return _bounces(status.text, original, _key(mail, status, returned), dated, now, ip_map)
    if returned is not None and (_OUTLOOK_RECIPIENT in original or _OUTLOOK_RECIPIENT in mail.header):
        return _feedback(mail, _outlook(mail), original, _key(mail, None, returned), dated, now)
    return Reading(Kind.NO_REPORT, why="It has neither a feedback report nor a delivery status part.")


def _part(mail: Mail, types: Sequence[str]) -> Part | None:
    return next((part for part in mail.parts if part.content_type in types), None)


def _merged(text: str) -> Fields:
    # A stray blank line in a feedback report must not hide the fields after it.
    return Fields([(name, value) for block in blocks(text) for name in block.names() for value in block.all(name)])


def _outlook(mail: Mail) -> Fields:
    found = _OUTLOOK_SUBJECT.search(mail.header.first("subject"))
    return Fields([("feedback-type", "abuse"), *([("source-ip", found[1])] if found else [])])


def _feedback(mail: Mail, report: Fields, original: Fields, key: str, dated: datetime | None, now: datetime) -> Reading:
    kind = report.first("feedback-type").lower()
    if kind in _NO_COMPLAINTS:
        return Reading(Kind.COMPLAINT, why=f"Feedback of type {kind} is no complaint.")
    if kind not in _COMPLAINTS:
        return Reading(Kind.NO_REPORT, why=f"Its Feedback-Type is {kind[:40]!r}." if kind else "No Feedback-Type.")
    occurred_at, future = fields.moment(now, dated, date_in(report.first("arrival-date", "received-date")))
    recipient, recipient_domain = fields.recipient(
        report.first("original-rcpt-to", "removal-recipient"),
        original.first(_OUTLOOK_RECIPIENT),
        mail.header.first(_OUTLOOK_RECIPIENT),
    )
    event = Event(
        type=EventType.COMPLAINT,
        occurred_at=occurred_at,
        future=future,
        sending_ip=next((ip for ip in map(fields.ip, report.all("source-ip")) if ip != UNKNOWN_IP), UNKNOWN_IP),
        sending_domain=fields.domain(
            address_in(report.first("original-mail-from")),
            address_in(original.first("return-path")),
            address_in(original.first("from")),
            "@" + report.first("reported-domain"),
        ),
        recipient=recipient,
        recipient_domain=recipient_domain,
        mx_host=fields.host(report.first("reporting-mta")),
        message_id=fields.message_id(original),
        classification=kind,
    )
    incidents = report.first("incidents")
    number = int(incidents) if incidents.isascii() and incidents.isdigit() and len(incidents) < 10 else 1
    number = min(max(number, 1), MOST_INCIDENTS)
    events = tuple(replace(event, event_id=f"complaint:{key}:{place}") for place in range(1, number + 1))
    return Reading(Kind.COMPLAINT, events)


def _bounces(
    text: str, original: Fields, key: str, dated: datetime | None, now: datetime, ip_map: Mapping[str, str]
) -> Reading:
    message, *recipients = [*blocks(text), Fields(())]
    recipients = [block for block in recipients if _is_recipient(block)]
    if _is_recipient(message):  # no blank line after the fields of the message
        recipients.insert(0, message)
    reporter = fields.host(message.first("reporting-mta"))
    about = Event(
        type=EventType.BOUNCE,
        occurred_at=now,
        sending_ip=fields.mapped(reporter, ip_map),
        sending_domain=fields.domain(
            address_in(message.first("x-postfix-sender")),
            address_in(original.first("return-path")),
            address_in(original.first("from")),
        ),
        message_id=fields.message_id(original),
        node=clean.text(reporter, longest=clean.LONGEST_WORD),
    )
    arrived = date_in(message.first("arrival-date"))
    events = []
    unread = 0
    for place, block in enumerate(recipients[:MOST_RECIPIENTS], 1):
        kind = _kind(block)
        if kind is None:
            unread += _action(block) not in _DONE and not block.first("status").startswith("2")
            continue
        occurred_at, future = fields.moment(now, date_in(block.first("last-attempt-date")), dated, arrived)
        event = replace(
            about,
            type=kind,
            occurred_at=occurred_at,
            future=future,
            event_id=f"bounce:{key}:{place}",
            classification=clean.text(_action(block), longest=40),
        )
        events.append(_with_reply(event, block))
    if not events and (unread or not recipients):
        return Reading(Kind.NO_REPORT, why="Its delivery status names no recipient with a known action.")
    return Reading(Kind.BOUNCE, tuple(events), why="" if events else "It reports no failure.")


def _is_recipient(block: Fields) -> bool:
    return any(name in block for name in ("final-recipient", "original-recipient", "action", "diagnostic-code"))


def _action(block: Fields) -> str:
    return (block.first("action").lower().split() or [""])[0].rstrip(";,.")


def _kind(block: Fields) -> EventType | None:
    action = _action(block)
    if action:
        return _ACTIONS.get(action)
    status = _ENHANCED.search(block.first("status"))
    return {"5": EventType.BOUNCE, "4": EventType.DEFER}.get(status[1][0]) if status else None


def _with_reply(event: Event, block: Fields) -> Event:
    """With recipient, MX and reply."""
    who, domain = fields.recipient(block.first("final-recipient"), block.first("original-recipient"))
    said = fields.answer(block.first("diagnostic-code"), block.first("status"))
    return replace(
        event,
        recipient=who,
        recipient_domain=domain,
        mx_host=fields.host(block.first("remote-mta")),
        smtp_code=said.code,
        enhanced_code=said.enhanced,
        reply=said.text,
    )


def _dated(header: Fields) -> datetime | None:
    """When the mail was written, else when the last server took it."""
    written = date_in(header.first("date"))
    return written or date_in(header.first("received").rpartition(";")[2])


def _key(mail: Mail, report: Part | None, returned: Part | None) -> str:
    """What makes two mails the same report: its own id and date, what it says, and the header of what it is about.

    Not the whole mail: each way here adds headers of its own.
    """
    header = mail.header
    returned_header = returned.text.lstrip("\n").partition("\n\n")[0] if returned else ""
    said = (header.first("message-id"), header.first("date"), report.text if report else "", returned_header)
    digest = hashlib.blake2b(digest_size=16)
    for part in said:
        written = " ".join(part.split()).encode("utf-8", "replace")
        digest.update(b"%d:" % len(written) + written)
    return digest.hexdigest()
