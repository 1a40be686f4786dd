"""PowerMTA's accounting records: CSV rows whose first line names the columns.

`Columns` turns rows into JSON objects by column name, so that a row which cannot be taken is kept, mended and replayed
like any other event; `parse` reads such an object. Column names: PowerMTA User's Guide, "Accounting records".
"""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping
from datetime import datetime
from functools import partial
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec

from telemetry.domain import clean
from telemetry.domain.errors import ParseError
from telemetry.domain.event import Event
from telemetry.domain.vocab import UNKNOWN_IP, EventType
from telemetry.parsers.base import Parser, read
from telemetry.secrets import digest

# What is missing here is ignored: tq (a whole queue's state, not a message's), r (received), rs (a remote's report that
# is no failure).
TYPES = {
    "d": EventType.DELIVERY,
    "delivery": EventType.DELIVERY,
    "b": EventType.BOUNCE,
    "bounce": EventType.BOUNCE,
    "t": EventType.DEFER,
    "transient": EventType.DEFER,
    "f": EventType.COMPLAINT,
    "feedback-loop": EventType.COMPLAINT,
    "rb": EventType.BOUNCE,
    "remote-bounce": EventType.BOUNCE,
}
# Deliveries that went to no MX host.
NOT_SMTP = frozenset({"discard", "file", "pipe"})
# Feedback types (RFC 5965, 6430, 6591) by which nobody complains.
NO_COMPLAINT = frozenset({"not-spam", "auth-failure", "dmarc", "opt-out", "opt-out-list"})
_UNIX_TIME = re.compile(r"\d{1,12}(?:\.\d{1,9})?")
_WITHOUT_ZONE = re.compile(r"\d{4}-\d\d-\d\d[ T][\d:.]+")
# "smtp;550 5.7.1 text", "smtp;550-5.7.1 text"; the type and either code may be missing.
_DIAGNOSTIC = re.compile(
    r"(?:(?P<type>[A-Za-z0-9-]{1,20});)?\s*(?:(?P<code>[2-5]\d\d)(?=[\s-]|$)[\s-]?)?\s*"
    r"(?:(?P<enhanced>[245]\.\d{1,5}\.\d{1,5})(?=\s|$))?\s*(?P<text>.*)",
    re.DOTALL,
)


class _Row(msgspec.Struct):
    """The columns we read; a file may lack most of them, and no row fills them all."""

    type: str
    timeLogged: str = ""  # noqa: N815 - the columns' names
    timeQueued: str = ""  # noqa: N815
    orig: str = ""
    rcpt: str = ""
    dsnStatus: str = ""  # noqa: N815
    dsnDiag: str = ""  # noqa: N815
    dsnMta: str = ""  # noqa: N815
    bounceCat: str = ""  # noqa: N815
    dlvType: str = ""  # noqa: N815
    dlvSourceIp: str = ""  # noqa: N815
    vmta: str = ""
    jobId: str = ""  # noqa: N815
    envId: str = ""  # noqa: N815
    feedbackType: str = ""  # noqa: N815
    reportedDomain: str = ""  # noqa: N815
    repSourceIp: str = ""  # noqa: N815
    zone: str = ""
    """Not PowerMTA's: the time zone of times that are written without one; UTC when empty."""


_DECODER = msgspec.json.Decoder(_Row, strict=False)
_NAMES = {name.lower(): name for name in _Row.__struct_fields__ if name != "zone"}


class Columns:
    """Which column is which, by the last header line that was seen; rows in between are read by it."""

    def __init__(self, zone: str = "") -> None:
        self.names: list[str] = []
        self.without_zone = 0
        """Rows whose time was taken for UTC because neither they nor the operator named a zone."""
        self._zone = zone

    def row(self, record: bytes) -> bytes | None:
        """The JSON text of one CSV record; None for a header, which is remembered, and for a blank line.

        Columns that are not read (headers of the mail among them) are left out. Without a header, or for a record of
        another length, the object says so and `parse` refuses it by that.
        """
        line = record.decode("utf-8", "replace").lstrip("\ufeff").strip("\r\n")
        if not line.strip():
            return None
        try:
            fields = next(csv.reader([line], strict=True))
        except csv.Error as error:
            return _unreadable(line, f"is not CSV: {error}")
        if fields and fields[0].strip().lower() == "type":
            self.names = [name.strip().lower() for name in fields]
            return None
        if not self.names:
            return _unreadable(line, "comes before any header line that names the columns")
        if len(fields) != len(self.names):
            return _unreadable(line, f"has {len(fields)} fields where the header names {len(self.names)}")
        found = {
            _NAMES[name]: value for name, value in zip(self.names, fields, strict=True) if name in _NAMES and value
        }
        if self._zone:
            found["zone"] = self._zone
        elif _WITHOUT_ZONE.fullmatch(found.get("timeLogged", "")):
            self.without_zone += 1
        return msgspec.json.encode(found)


class _Unreadable(msgspec.Struct):
    unreadable_line: str
    problem: str


_UNREADABLE = msgspec.json.Decoder(_Unreadable)


def _unreadable(line: str, problem: str) -> bytes:
    return msgspec.json.encode(_Unreadable(line, problem))


def parse(raw: bytes, now: datetime, ip_map: Mapping[str, str] | None = None) -> Event | None:
    """The event of one row (a JSON object by column name); None for a type of record that is ignored.

    `ip_map` gives the sending IP of a virtual MTA where the row has no `dlvSourceIp`.
    """
    try:
        row = read(_DECODER, raw)
    except ParseError as error:
        raise _why_unreadable(raw) or error from None
    kind = TYPES.get(row.type.strip().lower())
    if kind is None or row.dlvType.strip().lower() in NOT_SMTP:
        return None
    if kind is EventType.COMPLAINT:
        return _complaint(row, ip_map or {}, now)
    occurred_at, future = _time(row, now)
    recipient, recipient_domain = clean.recipient(row.rcpt, "rcpt")
    smtp_code, enhanced_code, reply = _reply(row)
    return Event(
        type=kind,
        occurred_at=occurred_at,
        future=future,
        sending_ip=_sending_ip(row.dlvSourceIp, "dlvSourceIp", row, ip_map or {}),
        sending_domain=clean.address(row.orig, "orig")[1],
        recipient=recipient,
        recipient_domain=recipient_domain,
        mx_host=_host(row.dsnMta),
        smtp_code=smtp_code,
        enhanced_code=enhanced_code,
        reply=clean.text(reply, longest=clean.LONGEST_REPLY),
        message_id=clean.identifier(row.jobId.strip(), "jobId"),
        classification=clean.text(row.bounceCat.strip(), longest=clean.LONGEST_WORD),
        event_id=_event_id(row),
    )


def _complaint(row: _Row, ip_map: Mapping[str, str], now: datetime) -> Event | None:
    """A feedback-loop report; its recipient is often redacted, and then it has none."""
    if row.feedbackType.strip().lower() in NO_COMPLAINT:
        return None
    occurred_at, future = _time(row, now)
    try:
        recipient, recipient_domain = clean.recipient(row.rcpt, "rcpt")
    except ParseError:
        recipient, recipient_domain = "", ""
    reported = row.reportedDomain.strip()
    domain = clean.domain(reported, "reportedDomain") if reported else clean.address(row.orig, "orig")[1]
    given, field = (row.repSourceIp, "repSourceIp") if row.repSourceIp.strip() else (row.dlvSourceIp, "dlvSourceIp")
    return Event(
        type=EventType.COMPLAINT,
        occurred_at=occurred_at,
        future=future,
        sending_ip=_sending_ip(given, field, row, ip_map),
        sending_domain=domain,
        recipient=recipient,
        recipient_domain=recipient_domain,
        message_id=clean.identifier(row.jobId.strip(), "jobId"),
        classification=clean.text(row.feedbackType.strip(), longest=clean.LONGEST_WORD),
        event_id=_event_id(row),
    )


def _why_unreadable(raw: bytes) -> ParseError | None:
    try:
        return ParseError("line", _UNREADABLE.decode(raw).problem)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def _event_id(row: _Row) -> str:
    """What tells one record from another, whatever the sending IP is mapped to and however its reply is read later.

    Job, recipient, time and status; and where the file has them the time of queueing, the sender and the envelope id,
    because two mails to one mailbox can end in the same second. A keyed digest: the id is kept longer than recipients.
    """
    parts = (row.type, row.jobId, row.rcpt, row.timeLogged, row.dsnStatus, row.timeQueued, row.orig, row.envId)
    joined = "\x1f".join(clean.text(part.strip(), longest=clean.LONGEST_REPLY) for part in parts)
    return digest("powermta-record", joined)[:32]


def _time(row: _Row, now: datetime) -> tuple[datetime, bool]:
    """`timeLogged`: Unix seconds, or text with or without a zone."""
    written = row.timeLogged.strip()
    if not written:
        raise ParseError("timeLogged", "is missing")
    if _UNIX_TIME.fullmatch(written):
        return clean.moment(float(written), "timeLogged", now=now)
    try:
        found = datetime.fromisoformat(written)
        if found.tzinfo is None and row.zone:
            found = found.replace(tzinfo=ZoneInfo(row.zone))
    except (ZoneInfoNotFoundError, OSError):
        raise ParseError("zone", "is not a time zone such as Europe/Berlin") from None
    except ValueError:
        raise ParseError("timeLogged", "is not a time") from None
    return clean.moment(found, "timeLogged", now=now)


def _sending_ip(given: str, field: str, row: _Row, ip_map: Mapping[str, str]) -> str:
    address = clean.ip(given, field)
    mapped = ip_map.get(row.vmta.strip()) if address == UNKNOWN_IP else None
    return address if mapped is None else clean.ip(str(mapped), "vmta")


def _reply(row: _Row) -> tuple[int | None, str, str]:
    """Reply code, enhanced code and text.

    The enhanced code is the remote's own where the diagnostic has one; PowerMTA's status ("5.7.1 (delivery not
    authorized)") is filled in by rules of its own where the remote gave none.
    """
    match = _DIAGNOSTIC.fullmatch(row.dsnDiag.strip())
    assert match is not None  # every part may be missing
    status = row.dsnStatus.strip().partition(" ")[0]
    try:
        enhanced = clean.enhanced_code(match["enhanced"] or status, "dsnStatus")
    except ParseError:
        enhanced = ""
    return int(match["code"]) if match["code"] else None, enhanced, match["text"].strip()


def _host(written: str) -> str:
    """The MX host of "gmail-smtp-in.l.google.com (142.250.110.26)" or "dns; mx.example.net"."""
    host = written.strip().partition(" (")[0]
    return clean.host_name(host.rpartition(";")[2])


def _with_ip_map(ip_map: Mapping[str, str]) -> partial[Event | None]:
    return partial(parse, ip_map=ip_map)


POWERMTA = Parser("powermta", parse, _with_ip_map)
