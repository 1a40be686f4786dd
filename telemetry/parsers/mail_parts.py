"""A mail taken apart with bounded work, whatever is in it: its header and the text of each part.

Mails come from strangers. The standard library's parser reads anything, but some shapes cost it time that grows with
the square of their size (thousands of nested parts, a Content-Type of a megabyte); those are refused before it sees
them.
"""

from __future__ import annotations

import base64
import binascii
import quopri
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email import message_from_bytes
from email.message import Message
from email.utils import parsedate_to_datetime
from typing import Any

# What a report says stands at its beginning; after it come the words and pictures of the mail that it is about.
LONGEST_MAIL = 128 * 1024
# Nested multiparts and included mails: a report has two of them, and the mail in it a few.
MOST_PARTS = 32
_LONGEST_CONTENT_HEADER = 4096

_STRUCTURE = re.compile(rb"boundary\*?[0-9*]{0,4}\s{0,9}=|content-type:\s{0,99}message/", re.IGNORECASE)
_CONTENT_HEADER = re.compile(
    rb"^content-(?:type|transfer-encoding|disposition):[^\n]*(?:\n[ \t][^\n]*)*", re.IGNORECASE | re.MULTILINE
)
_BLANK_LINES = re.compile(rb"\n{3,}")
_FIELD = re.compile(r"([!-9;-~]{1,80}):[ \t]*(.*)")
_IN_BRACKETS = re.compile(r"<([^<>\s]{1,400})>")
_BARE = re.compile(r"[^\s<>(),;:\"]{1,64}@[^\s<>(),;:\"]{1,255}")

# What the standard library may raise over a broken mail: numbers of a thousand digits in a parameter, unknown
# character sets, nesting deeper than Python's stack.
_UNREADABLE = (ValueError, TypeError, LookupError, AttributeError, AssertionError, RecursionError, OverflowError)


class UnreadableMailError(Exception):
    """The bytes cannot be taken for a mail; the message says why."""


class Fields:
    """Header-like fields: by lower-case name, in order, unfolded, any bytes made into text."""

    def __init__(self, fields: Sequence[tuple[str, str]]) -> None:
        self._values: dict[str, list[str]] = {}
        for name, value in fields:
            self._values.setdefault(name.lower(), []).append(" ".join(value.split()))

    def first(self, *names: str) -> str:
        """The first value that is not empty, by the names in their order."""
        return next((value for name in names for value in self._values.get(name, ()) if value), "")

    def all(self, name: str) -> Sequence[str]:
        """Every value of one name."""
        return self._values.get(name, ())

    def names(self) -> Sequence[str]:
        """The names that occur."""
        return tuple(self._values)

    def __contains__(self, name: str) -> bool:
        return name in self._values


@dataclass(frozen=True, slots=True)
class Part:
    """A leaf of the mail: its lower-case type ("message/rfc822") and its text, decoded."""

    content_type: str
    text: str


@dataclass(frozen=True, slots=True)
class Mail:
    """A mail's header and its leaves in order; what is inside of an included mail is not taken apart."""

    header: Fields
    content_type: str
    parts: tuple[Part, ...]


def normalised(raw: bytes) -> bytes:
    """The part of a mail that is read, with line feeds for line ends: the same mail from a pipe and from SMTP."""
    return raw[: 2 * LONGEST_MAIL].replace(b"\r\n", b"\n").replace(b"\r", b"\n")[:LONGEST_MAIL]


def take_apart(lines: bytes) -> Mail:
    """Read a mail that `normalised` has cut. Raises UnreadableMailError."""
    if len(_STRUCTURE.findall(lines)) > MOST_PARTS:
        raise UnreadableMailError("It has too many parts.")
    if any(len(found[0]) > _LONGEST_CONTENT_HEADER for found in _CONTENT_HEADER.finditer(lines)):
        raise UnreadableMailError("A Content header is too long.")
    try:
        # Every blank line in a delivery status begins a message of its own for the parser; one of a run is enough.
        message = message_from_bytes(_BLANK_LINES.sub(b"\n\n", lines))
        return Mail(Fields(_fields_of(message)), message.get_content_type().lower(), tuple(_leaves(message)))
    except _UNREADABLE as error:
        raise UnreadableMailError(f"It cannot be read as MIME ({type(error).__name__}).") from None


def blocks(text: str) -> list[Fields]:
    """Groups of fields parted by blank lines, as in message/delivery-status; lines that are no field are skipped."""
    found: list[Fields] = []
    fields: list[tuple[str, list[str]]] = []
    for line in [*text.split("\n"), ""]:
        if not line.strip():
            if fields:
                found.append(Fields([(name, "\n".join(lines)) for name, lines in fields]))
            fields = []
        elif line[0] in " \t" and fields:
            fields[-1][1].append(line)
        elif match := _FIELD.fullmatch(line):
            fields.append((match[1], [match[2]]))
    return found


def header_of(text: str) -> Fields:
    """The header of an included mail."""
    return next(iter(blocks(text.lstrip("\n").partition("\n\n")[0])), Fields(()))


def address_in(value: str) -> str:
    """The address in a header such as ``"Ann" <ann@example.com>``, or of ``rfc822; ann@example.com``."""
    kind, semicolon, rest = value.partition(";")
    value = rest if semicolon and kind.strip().lower() in ("rfc822", "utf-8") else value
    bracketed = _IN_BRACKETS.findall(value[:2000])
    if bracketed:
        return str(bracketed[-1])
    bare = _BARE.search(value[:2000])
    return bare[0] if bare else ""


def date_in(value: str) -> datetime | None:
    """A mail's date, aware; None when it is none. One without a zone is taken for UTC (RFC 5322 section 3.3)."""
    try:
        found = parsedate_to_datetime(value[:200])
        return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
    except _UNREADABLE:
        return None


def _fields_of(message: Message) -> list[tuple[str, str]]:
    return [(name, _text(str(value))) for name, value in message.raw_items()]


def _text(value: str) -> str:
    """Text of a header or body: the parser keeps bytes beyond ASCII as surrogates; they are UTF-8 or lost."""
    return value.encode("utf-8", "surrogateescape").decode("utf-8", "replace") if not value.isascii() else value


def _leaves(message: Message) -> Iterator[Part]:
    content_type = message.get_content_type().lower()
    children: Any = message.get_payload() if message.is_multipart() else []
    if not content_type.startswith("message/"):
        if not children:
            yield Part(content_type, _body(message))
        for child in children:
            yield from _leaves(child)
        return
    text = "\n\n".join(_written(child) for child in children) if children else _body(message)
    yield Part(content_type, _decoded(text, str(message.get("content-transfer-encoding", "")).strip().lower()))


def _body(message: Message) -> str:
    """The text of a leaf. Taken as UTF-8 whatever it claims: what we look for in it is ASCII."""
    payload = message.get_payload(decode=True)
    return payload.replace(b"\r\n", b"\n").decode("utf-8", "replace") if isinstance(payload, bytes) else ""


def _written(message: Message) -> str:
    """Fields and text of an included mail or block of fields; an included multipart's body is left out."""
    lines = [f"{name}: {value}" for name, value in _fields_of(message)]
    body = "" if message.is_multipart() else _body(message)
    return "\n".join([*lines, "", body]) if lines else body


def _decoded(text: str, encoding: str) -> str:
    # RFC 6522 forbids encoding the parts of a report; some servers do it, and the parser leaves that to us.
    try:
        if encoding == "base64" and ":" not in text:
            raw = base64.b64decode("".join(text.split()) + "===")
        elif encoding == "quoted-printable":
            raw = quopri.decodestring(text.encode())
        else:
            return text
    except (binascii.Error, ValueError):
        return text
    return raw.replace(b"\r\n", b"\n").decode("utf-8", "replace")
