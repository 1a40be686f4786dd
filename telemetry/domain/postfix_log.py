"""Lines of a Postfix log: who sent which queue id, what became of each delivery attempt, which message is done.

Pure functions over text. Three kinds of line matter: the queue manager's ``from=`` and ``removed``, and the SMTP
client's ``to=`` (written by Postfix's log_adhoc). Everything else is passed over: local, virtual, lmtp and pipe do not
send to the Internet, the error agent only repeats an older failure, and probes (``status=deliverable``) carry no mail.
"""

from __future__ import annotations

import hashlib
import re
from calendar import isleap
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo

from telemetry.domain import clean
from telemetry.domain.errors import ParseError
from telemetry.domain.vocab import UNKNOWN_IP, EventType

# <PRI>, the version of RFC 5424 and a byte order mark come and go with the shipper.
_STAMP = (
    r"[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d(?:\.\d+)?"
    r"|\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:[.,]\d+)?(?:Z|[+-]\d\d:?\d\d)?"
)
_HEADER = re.compile(
    rf"(?:<\d{{1,3}}>)?(?:1 )?(?P<time>{_STAMP}) (?P<host>[!-~]{{1,200}}) (?P<tag>[!-9;-Z\\-~]{{1,200}})"
    r"(?:\[\d+\]: ?| (?:\d+|-) \S+ (?:-|\[.*?\]) \ufeff?|: )(?P<message>.*)",
    re.DOTALL,
)
# Short queue ids are hex, long ones have 52 letters and digits without vowels (Postfix, enable_long_queue_ids).
_QUEUE_ID = r"(?P<queue_id>[0-9A-Za-z]{5,40}): "
# A quoted local part may hold ">" and "," (RFC 5321 section 4.1.2). Where quotes do not pair (Postfix before 3.5 logs
# addresses without quoting), the address ends at the next ">, relay=" or ">, orig_to=".
_TO = re.compile(
    _QUEUE_ID + r'to=<(?:(?P<to>(?:"(?:[^"\\]|\\.)*"|[^">])*)>|(?P<odd_to>.*?)>(?=, (?:relay|orig_to)=))'
    r"(?:, orig_to=<.*?>(?=, relay=))?, relay=(?P<relay>[^,]*),(?:.*?,)??"
    r" dsn=(?P<dsn>\d\.\d{1,5}\.\d{1,5}), status=(?P<status>[a-z-]+)(?: \((?P<text>.*))?$",
    re.DOTALL,
)
_FROM = re.compile(_QUEUE_ID + r"from=<(?P<sender>.*?)>, (?:size|status)=", re.DOTALL)
_REMOVED = re.compile(_QUEUE_ID + r"removed$")
_HOST_SAID = re.compile(
    r"host (?P<host>[^\s\[]+)\[[^\]]*\](?::\d+)? (?:said|refused to talk to me): (?P<reply>.*)", re.DOTALL
)
_CONNECT_TO = re.compile(r"connect to (?P<host>[^\s\[]+)\[")
_IN_REPLY_TO = re.compile(r" \(in reply to [^()]*\)?$")
_REPLY = re.compile(
    r"(?P<code>[2-5]\d\d)(?P<more>[- ]|$)(?:(?P<enhanced>[245]\.\d{1,5}\.\d{1,5})(?:[: ]|$))?(?P<text>.*)", re.DOTALL
)
# Never left this machine: a mistake of set-up here, about which no receiver said anything.
_LOOP = "loops back to myself"
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_TYPES = {
    "sent": EventType.DELIVERY,
    "deferred": EventType.DEFER,
    "bounced": EventType.BOUNCE,
    # The message is given up: final, whatever the last reply was.
    "expired": EventType.BOUNCE,
}
# A log is never read from more than a day ahead of our clock; a later date belongs to last year.
_AHEAD = timedelta(days=1)
# Looking back this many years finds a February 29, whatever the century.
_YEARS_TO_A_LEAP_DAY = 9


@dataclass(frozen=True, slots=True)
class LogLine:
    """One line of a Postfix program: when as written, host, syslog name ("postfix-ip10"), program ("smtp"), message."""

    time: str
    host: str
    name: str
    program: str
    message: str


@dataclass(frozen=True, slots=True)
class Queued:
    """The queue manager took a message up: its envelope sender ("" is the null sender)."""

    host: str
    queue_id: str
    sender: str


@dataclass(frozen=True, slots=True)
class Removed:
    """A message left the queue: every recipient's fate is known."""

    host: str
    queue_id: str


@dataclass(frozen=True, slots=True)
class Attempt:
    """How one attempt of the SMTP client to deliver to one recipient ended."""

    time: str
    host: str
    name: str
    queue_id: str
    recipient: str
    status: str
    type: EventType
    mx_host: str
    smtp_code: int | None
    """None where no reply was received (host not found, connection timed out or lost)."""
    enhanced_code: str
    """The receiver's, or Postfix's own where no reply was received; empty for a reply without one."""
    reply: str
    """The text without codes and without "(in reply to …)"."""
    event_id: str
    """The same whenever this line is read: from host, queue id, recipient, time, status and text."""


Record = Queued | Removed | Attempt


def split(text: str) -> LogLine | None:
    """The parts of a log line, or None for one that no Postfix program wrote."""
    found = _HEADER.match(text)
    if found is None or "/" not in found["tag"]:
        return None
    name, _, program = found["tag"].rpartition("/")
    return LogLine(found["time"], found["host"], name, program, found["message"])


def read(line: LogLine) -> Record | None:
    """What the line says, or None when it says nothing about outbound mail."""
    if line.program == "smtp":
        return _attempt(line)
    if line.program in ("qmgr", "oqmgr", "nqmgr"):
        if (found := _FROM.match(line.message)) is not None:
            return Queued(line.host, found["queue_id"], found["sender"])
        if (found := _REMOVED.match(line.message)) is not None:
            return Removed(line.host, found["queue_id"])
    if line.program == "postsuper" and (found := _REMOVED.match(line.message)) is not None:
        return Removed(line.host, found["queue_id"])
    return None


def moment(text: str, *, now: datetime, zone: tzinfo) -> datetime:
    """The time of a line, aware UTC. Raises ParseError for a time that does not exist (February 30).

    A time without zone is in `zone`, the log's; one without year is the latest that is not ahead of `now`. In the hour
    that a clock change repeats, the first is meant.
    """
    text = text.replace(",", ".").replace(":60", ":59")  # a leap second has no place in our calendar
    try:
        if text[0].isdigit():
            found = datetime.fromisoformat(text)
            return (found if found.tzinfo else found.replace(tzinfo=zone)).astimezone(UTC)
        month, day = _MONTHS.index(text[:3]) + 1, int(text[4:6])
        latest = (now + _AHEAD).year
        for year in range(latest, latest - _YEARS_TO_A_LEAP_DAY, -1):
            if (month, day) == (2, 29) and not isleap(year):
                continue
            clock = int(text[7:9]), int(text[10:12]), int(text[13:15])
            found = datetime(year, month, day, *clock, tzinfo=zone).astimezone(UTC)
            if found <= now + _AHEAD:
                return found
    except (ValueError, OverflowError):
        raise ParseError("time", "is not a time of a log line") from None
    raise ParseError("time", "is not a time of a log line")


def sending_ip(name: str, ip_map: Mapping[str, str]) -> str:
    """The sending IP that a syslog name ("postfix-ip10", also as "postfix-ip10/smtp") is mapped to, or unknown IP."""
    return ip_map.get(name) or ip_map.get(f"{name}/smtp") or UNKNOWN_IP


def _attempt(line: LogLine) -> Attempt | None:
    found = _TO.match(line.message)
    if found is None:
        return None
    kind = _TYPES.get(found["status"])
    text = _without_last_bracket(found["text"] or "")
    if kind is None or _LOOP in text:
        return None
    recipient = found["to"] if found["to"] is not None else found["odd_to"]
    mx_host, smtp_code, enhanced_code, reply = _said(found["relay"], found["dsn"], text, sent=found["status"] == "sent")
    return Attempt(
        time=line.time,
        host=line.host,
        name=line.name,
        queue_id=found["queue_id"],
        recipient=recipient,
        status=found["status"],
        type=kind,
        mx_host=mx_host,
        smtp_code=smtp_code,
        enhanced_code=enhanced_code,
        reply=reply,
        event_id=_event_id(
            line.host, found["queue_id"], recipient, line.time, found["relay"], found["dsn"], found["status"], text
        ),
    )


def _said(relay: str, dsn: str, text: str, *, sent: bool) -> tuple[str, int | None, str, str]:
    """MX host, reply code, enhanced code, reply text."""
    mx_host = "" if relay == "none" else relay.partition("[")[0]
    said = _HOST_SAID.search(text)
    if said is not None:
        mx_host = mx_host or said["host"]
    elif not mx_host and (connect := _CONNECT_TO.search(text)) is not None:
        mx_host = connect["host"]
    answer = said["reply"] if said is not None else text if sent else ""
    reply = _REPLY.match(_IN_REPLY_TO.sub("", answer))
    if reply is None:
        return clean.host_name(mx_host), None, _plain(dsn), clean.text(text, longest=clean.LONGEST_REPLY)
    body = _one_text(reply)
    return (
        clean.host_name(mx_host),
        int(reply["code"]),
        clean.enhanced_code(reply["enhanced"] or "", "dsn"),
        clean.text(body, longest=clean.LONGEST_REPLY),
    )


def _one_text(reply: re.Match[str]) -> str:
    """A reply of several lines comes as one, with the codes of each line in it: take those out."""
    text = reply["text"].strip()
    if reply["more"] == "-":
        enhanced = rf"(?:{re.escape(reply['enhanced'])}(?: |$))?" if reply["enhanced"] else ""
        text = re.sub(rf"\s{reply['code']}(?:[- ]|$){enhanced}", " ", f" {text}").strip()
    return text


def _plain(dsn: str) -> str:
    """Postfix's own status code; x.0.0 is what it writes when it knows nothing closer."""
    return "" if dsn.endswith(".0.0") else clean.enhanced_code(dsn, "dsn")


def _without_last_bracket(text: str) -> str:
    # Syslog cuts long lines; then the closing bracket is missing and there is nothing to take off.
    return text[:-1] if text.endswith(")") else text


def _event_id(*parts: str) -> str:
    digest = hashlib.blake2b(digest_size=20)
    for part in parts:
        raw = part.encode("utf-8", "surrogatepass")
        digest.update(b"%d:" % len(raw))
        digest.update(raw)
    return f"postfix-{digest.hexdigest()}"
