"""The fields of Stalwart's events: their types, and how ids, addresses and answers are read from them.

Nothing here knows what an event means; telemetry/parsers/stalwart.py does.
"""

from __future__ import annotations

import hashlib
import re
from functools import lru_cache
from typing import Any

import msgspec

from telemetry.domain import clean
from telemetry.domain.errors import ParseError

_LARGEST_ID = 2**64 - 1
# How notices word an answer: Unexpected response for RCPT TO:<…>: Code: 550, Enhanced code: 5.7.1, Message: …
_WORDED = re.compile(r"Code: (\d{3}), Enhanced code: (\d{1,5}\.\d{1,5}\.\d{1,5})(?:, Message: (.*))?", re.DOTALL)
_LEADING_CODE = re.compile(r"([245]\.\d{1,5}\.\d{1,5})[ \t]+")


class Head(msgspec.Struct):
    """What stands around an event's own fields."""

    type: str
    createdAt: str | int | float = ""  # noqa: N815 - Stalwart's names
    data: msgspec.Raw = msgspec.Raw(b"{}")


class Data(msgspec.Struct, rename={"sender": "from"}):
    """The fields that we read; others are passed over. `Any` are those whose shape differs from event to event."""

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


HEAD = msgspec.json.Decoder(Head)
DATA = msgspec.json.Decoder(Data)
# Domains and hosts come again and again; checking one costs more than the rest of an event.
domain_name = lru_cache(maxsize=20_000)(clean.domain)
host_name = lru_cache(maxsize=20_000)(clean.host_name)
ip = lru_cache(maxsize=2_000)(clean.ip)


def identifier(value: int | str | float | None, field: str) -> str:
    """An unsigned 64-bit id as decimal text, exactly; empty when there is none."""
    if value is None or value == "":
        return ""
    if isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) <= 20:
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= _LARGEST_ID:
        raise ParseError(field, "is not a whole number of 64 bits")
    return str(value)


def recipients(data: Data) -> tuple[str, ...]:
    """The recipients that the event names, each once. Raises ParseError where it names some and none can be read."""
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
        whole = f"{local}@{domain_name(host, 'data.to')}"
        if len(whole) <= clean.LONGEST_ADDRESS:
            return whole
    return clean.recipient(value, "data.to")[0]


def own_domain(data: Data) -> str:
    """The recipient domain of the event itself; empty where there is none, or several."""
    return domain_name(data.domain, "data.domain") if isinstance(data.domain, str) and data.domain else ""


@lru_cache(maxsize=20_000)
def sending_domain(sender: str) -> str:
    """The domain of the envelope sender. A sender without a readable one is no reason to lose an outcome."""
    try:
        return clean.address(sender, "data.from")[1]
    except ParseError:
        return ""


def answer(data: Data) -> tuple[int | None, str, str]:
    """Reply code, enhanced code and text, from wherever this event has them."""
    code, text = data.code, text_of(data.details)
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
        return None, text_of(cause)
    inside = cause.get("data", cause) if isinstance(cause, dict) else None
    if not isinstance(inside, dict):
        return None, ""
    code = inside.get("code")
    return (
        code if isinstance(code, int) and not isinstance(code, bool) else None,
        text_of(inside.get("reason")) or text_of(inside.get("details")),
    )


def text_of(value: Any) -> str:
    """A text, or the texts of a list; empty for anything else."""
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


def key(head: Head, data: Data, span: str) -> str:
    """What makes two events the same, without the id that changes at every retry."""
    return digest(
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


def digest(*parts: object) -> str:
    """Equal for equal values. Raises RecursionError for those that are nested too deeply."""
    return hashlib.blake2b(repr(parts).encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
