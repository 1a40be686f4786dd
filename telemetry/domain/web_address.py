"""Addresses that we connect to on somebody's word: which are well formed, and which lie in the public Internet."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from urllib.parse import urlsplit

from telemetry.domain.errors import ParseError

_PORTS = {"http": 80, "https": 443}
LONGEST_URL = 500
# RFC 6052: IPv4 addresses inside IPv6 ones, for translators; what counts is where the translator sends it.
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")


@dataclass(frozen=True, slots=True)
class WebAddress:
    """An http(s) address, taken apart."""

    scheme: str
    host: str
    """Name or IP address, without brackets."""
    port: int
    path: str
    """Path and query, beginning with a slash."""


def web_address(url: str, field: str) -> WebAddress:
    """Take an http(s) address apart. Raises ParseError; also for a name and password in it, as logs show URLs."""
    if not url.isascii() or not url.isprintable() or " " in url or len(url) > LONGEST_URL:
        raise ParseError(field, f"is not a URL of at most {LONGEST_URL} plain characters")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise ParseError(field, "is not a URL") from None
    if parts.scheme not in _PORTS or not parts.hostname or port == 0:
        raise ParseError(field, "is not an http:// or https:// address")
    if "@" in parts.netloc:
        raise ParseError(field, "holds a user name: give name and password in their own field")
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return WebAddress(parts.scheme, parts.hostname, port or _PORTS[parts.scheme], path)


def is_public(address: str) -> bool:
    """Whether an IP address lies in the public Internet: not loopback, private, link-local, shared or multicast."""
    found = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(found, ipaddress.IPv6Address):
        inside = found.ipv4_mapped or found.sixtofour or (found.teredo[1] if found.teredo else None)
        if inside is None and found in _NAT64:
            inside = ipaddress.IPv4Address(int(found) & 0xFFFFFFFF)
        if inside is not None:
            return is_public(str(inside))
    return found.is_global and not found.is_multicast
