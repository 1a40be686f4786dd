"""Turning what senders write into clean values, or saying which field is wrong. Pure functions, no I/O."""

from __future__ import annotations

import ipaddress
import re
from datetime import UTC, datetime, timedelta
from functools import lru_cache

from telemetry.domain.errors import ParseError
from telemetry.domain.vocab import UNKNOWN_IP

# A clock this much ahead is taken for honest drift; beyond it the receive time is used and the event is marked.
FUTURE_TOLERANCE = timedelta(minutes=5)
# Internet mail has no older events; such a time is a unit error (seconds for milliseconds) or a zeroed clock.
EARLIEST = datetime(1990, 1, 1, tzinfo=UTC)

LONGEST_ADDRESS = 320  # 64 octets of local part, "@", 255 octets of domain (RFC 5321 section 4.5.3.1)
LONGEST_DOMAIN = 253
LONGEST_REPLY = 4000  # RFC 5321 allows 512 octets a line; a multi-line reply of a few lines still fits
LONGEST_ID = 512
LONGEST_WORD = 200
# What is remembered of addresses and domains stays small, however long the rubbish that somebody sends.
_LONGEST_REMEMBERED = 100

_ENHANCED = re.compile(r"([245])\.(\d{1,5})\.(\d{1,5})")
_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?")
_SURROGATES = re.compile("[\ud800-\udfff]")


def text(value: str, *, longest: int) -> str:
    """Text that every database takes: NUL and lone surrogates become U+FFFD, the rest is cut at `longest`."""
    if "\x00" in value:
        value = value.replace("\x00", "\ufffd")
    if not value.isascii():
        value = _SURROGATES.sub("\ufffd", value)
    return value[:longest]


def identifier(value: str, field: str, *, longest: int = LONGEST_ID) -> str:
    """An id that must not be altered: refused when it is too long or holds control characters."""
    if not value.isprintable() or _SURROGATES.search(value):
        raise ParseError(field, "holds control characters")
    if len(value) > longest:
        raise ParseError(field, f"is longer than {longest} characters")
    return value


def ip(value: str, field: str) -> str:
    """The canonical form of an IPv4 or IPv6 address.

    An IPv4-mapped IPv6 address becomes the IPv4 one, as both name the same host; the unspecified address (0.0.0.0, ::)
    and an empty string become "unknown IP". Raises for anything else, including a zone index (fe80::1%eth0).
    """
    value = value.strip()
    # One mail server's addresses come again and again; only what can be one is remembered.
    return (_ip if len(value) <= _LONGEST_REMEMBERED else _ip.__wrapped__)(value, field)


@lru_cache(maxsize=10_000)
def _ip(value: str, field: str) -> str:
    if not value:
        return UNKNOWN_IP
    if value.startswith("[") and value.endswith("]"):
        value = value[1:-1].removeprefix("IPv6:")
    if "%" in value:
        raise ParseError(field, "is not a plain IP address (it has a zone index)")
    try:
        address: ipaddress.IPv4Address | ipaddress.IPv6Address = ipaddress.ip_address(value)
    except ValueError:
        raise ParseError(field, "is not an IPv4 or IPv6 address") from None
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    if address.is_unspecified:
        return UNKNOWN_IP
    if address.is_multicast:
        raise ParseError(field, "is a multicast address, which cannot send mail")
    return address.compressed


def domain(value: str, field: str) -> str:
    """A domain as lower-case A-labels without the closing dot (IDNA 2003, as the standard library has it).

    Address literals such as ``[203.0.113.9]`` are kept in that form. Raises when it cannot be a domain.
    """
    value = value.strip().rstrip(".").lower()
    return (_domain if len(value) <= _LONGEST_REMEMBERED else _domain.__wrapped__)(value, field)


@lru_cache(maxsize=20_000)
def _domain(value: str, field: str) -> str:
    if value.startswith("[") and value.endswith("]"):
        inside = value[1:-1]
        return f"[{ip(inside.removeprefix('ipv6:'), field)}]"
    if not value.isascii():
        try:
            value = value.encode("idna").decode("ascii").lower()
        except UnicodeError:
            raise ParseError(field, "is not a valid international domain name") from None
    if len(value) > LONGEST_DOMAIN:
        raise ParseError(field, f"is longer than {LONGEST_DOMAIN} characters")
    if not value or not all(_LABEL.fullmatch(label) for label in value.split(".")):
        raise ParseError(field, "is not a domain name")
    return value


def address(value: str, field: str) -> tuple[str, str]:
    """An envelope address as (address, domain); ``<>`` and an empty string are the null sender, ("", "").

    The local part is kept as it came (RFC 5321 lets only its own host judge it), the domain is made canonical.
    """
    value = value.strip()
    if value.startswith("<") and value.endswith(">"):
        value = value[1:-1].strip()
    if not value:
        return "", ""
    if len(value) > LONGEST_ADDRESS:
        raise ParseError(field, f"is longer than {LONGEST_ADDRESS} characters")
    local, at, host = value.rpartition("@")
    if not at or not local:
        raise ParseError(field, "is not an e-mail address")
    if not local.isprintable() or _SURROGATES.search(local):
        raise ParseError(field, "holds control characters")
    host = domain(host, field)
    return f"{local}@{host}", host


def recipient(value: str, field: str) -> tuple[str, str]:
    """Like `address`, but a recipient cannot be null (a bare "postmaster" has no domain and is refused too)."""
    cleaned = address(value, field)
    if not cleaned[0]:
        raise ParseError(field, "is empty")
    return cleaned


def host_name(value: str) -> str:
    """An MX host as lower-case text; hosts are only grouped by, so an odd one is kept rather than refused."""
    return text(value.strip().rstrip(".").lower(), longest=LONGEST_DOMAIN)


def smtp_code(value: int | None, field: str) -> int | None:
    """A three-digit SMTP reply code (RFC 5321 section 4.2) or None; 0 stands for none in several servers."""
    if value is None or value == 0:
        return None
    if not 200 <= value <= 599:
        raise ParseError(field, "is not an SMTP reply code (200 to 599)")
    return value


def enhanced_code(value: str, field: str) -> str:
    """An enhanced status code (RFC 3463) such as 5.7.606; empty and 0.0.0 mean that the reply had none."""
    value = value.strip()
    if value in ("", "0.0.0"):
        return ""
    match = _ENHANCED.fullmatch(value)
    if match is None:
        raise ParseError(field, "is not an enhanced status code such as 5.7.1 (RFC 3463)")
    return ".".join(str(int(part)) for part in match.groups())


def attempt(value: int | None, field: str) -> int | None:
    """The attempt's number, counted from 1; None and 0 mean that the source does not tell."""
    if value is None or value == 0:
        return None
    if not 1 <= value <= 1_000_000:
        raise ParseError(field, "is not an attempt number")
    return value


def moment(value: datetime | str | int | float, field: str, *, now: datetime) -> tuple[datetime, bool]:
    """When it happened, aware UTC in whole microseconds, and whether a time in the future was replaced by `now`.

    Takes ISO 8601 / RFC 3339 text and Unix seconds. A time without zone is taken for UTC, as the documented payload
    carries UTC. Raises on what is no time and on times before 1990.
    """
    try:
        if isinstance(value, bool):
            raise ValueError
        if isinstance(value, str):
            found = datetime.fromisoformat(value.strip())
        elif isinstance(value, datetime):
            found = value
        else:
            found = datetime.fromtimestamp(value, tz=UTC)
        found = found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
    except (ValueError, OverflowError, OSError):
        raise ParseError(field, "is not a time (use RFC 3339, such as 2026-11-20T12:00:00Z)") from None
    if found < EARLIEST:
        raise ParseError(field, "lies before 1990")
    if found - now > FUTURE_TOLERANCE:
        return now, True
    return found, False


def received_from(occurred_from: datetime) -> datetime:
    """The earliest that an event of this time, or of a later one, can have been received: `moment` sees to it.

    Stored events lie in partitions by the day of receipt; this bound spares the reader of the last days the others.
    """
    return max(occurred_from, EARLIEST) - FUTURE_TOLERANCE
