"""Networks that somebody wrote down, and from where a request really came."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence

from telemetry.domain.errors import ParseError

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def network(text: str) -> Network:
    """A network in CIDR form, or one address. Raises ValueError that names what is wrong with it.

    Bits set behind the prefix are refused: 10.0.0.5/8 is more often a slip than a wish for all of 10.0.0.0/8.
    """
    try:
        return ipaddress.ip_network(text.strip())
    except ValueError as error:
        raise ValueError(f"{text[:60]!r} is not a network such as 203.0.113.0/24 or 2001:db8::/32: {error}.") from None


def networks(entries: object) -> tuple[Network, ...]:
    """The networks of a list. Raises ParseError that names the first entry that is none."""
    if not isinstance(entries, list | tuple):
        raise ParseError("networks", 'is not a list such as ["203.0.113.0/24", "2001:db8::/32"]')
    found = []
    for entry in entries:
        if not isinstance(entry, str):
            raise ParseError("networks", f"{str(entry)[:60]!r} is not text")
        try:
            found.append(network(entry))
        except ValueError as error:
            raise ParseError("networks", str(error)) from None
    return tuple(found)


def address(text: str) -> Address | None:
    """The address that a server or proxy wrote, with or without a port or a zone; None for anything else.

    An IPv4 address that came over an IPv6 socket (::ffff:192.0.2.1) is the IPv4 address.
    """
    text = text.strip().strip('"')
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        found = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    mapped = getattr(found, "ipv4_mapped", None)
    return mapped or found


def is_within(place: Address, allowed: Iterable[Network]) -> bool:
    """Whether the address lies in one of the networks."""
    return any(place.version == each.version and place in each for each in allowed)


def client_of(peer: str, forwarded_for: str, trusted: Sequence[Network]) -> Address | None:
    """From where a request came: the peer, or what trusted proxies say of it (X-Forwarded-For). None: not known.

    Each proxy appends the address that it was called from, and a client may have written anything before. So it is
    read from the right, past the proxies we trust, and the first address that is not one of them is the client.
    """
    place = address(peer)
    if place is None or not trusted:
        return place
    for written in reversed(forwarded_for.split(",")):
        if not is_within(place, trusted):
            break
        before = address(written)
        if before is None:
            break
        place = before
    return place
