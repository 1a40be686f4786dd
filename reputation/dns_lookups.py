"""DNS as this house asks it: one question, one typed outcome, and never more sockets open than allowed.

UDP first, TCP where the answer was cut off (RFC 7766); a question without an answer is asked again, at the next server
where there are several. Nothing is remembered between questions: an answer carries its TTL, and whoever asks keeps it.
No name is logged here, because the name of a keyed blocklist holds its key.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Any

import dns.asyncbackend
import dns.asyncquery
import dns.entropy
import dns.exception
import dns.inet
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.resolver
import dns.ttl
from django.conf import settings
from dns.rdata import Rdata
from dns.rdtypes.txtbase import TXTBase

PORT = 53
# What fits through every network in one packet (DNS flag day 2020); the rest comes over TCP.
_LARGEST_PACKET = 1232


class Kind(StrEnum):
    """How a question ended."""

    ANSWER = "answer"
    NXDOMAIN = "nxdomain"
    """There is no such name."""
    NODATA = "nodata"
    """The name exists, without a record of this type."""
    SERVFAIL = "servfail"
    REFUSED = "refused"
    TIMEOUT = "timeout"
    NETWORK = "network"
    """No server could be reached, or none is known."""
    BAD = "bad"
    """The name cannot be asked, or the answer cannot be read."""


# Another server may know better, or this one another time.
_ANOTHER_SERVER = frozenset({Kind.SERVFAIL, Kind.REFUSED, Kind.NETWORK, Kind.BAD})


@dataclass(frozen=True, slots=True)
class Answer:
    """What was answered to one question."""

    kind: Kind
    records: tuple[str, ...] = ()
    """In the usual text form, host names in lower case with their final dot; the strings of a TXT record joined."""
    ttl: int = 0
    """Seconds it may be kept, aliases included; for a name that does not exist by RFC 2308; 0 where nothing says so."""
    took: float = 0.0
    """Seconds from the first packet to the end, retries included and the wait for a free socket not."""


class Client:
    """Asks DNS servers. Belongs to one event loop: make one for each."""

    def __init__(
        self,
        servers: Sequence[tuple[str, int]] = (),
        *,
        timeout: timedelta,
        retries: int,
        most_sockets: int,
    ) -> None:
        """`timeout` holds for each try, of which there are 1 + `retries`; without servers the settings' are asked."""
        self.servers = tuple(servers) or default_servers()
        self.most_open = 0
        """The most sockets that were open at once."""
        self._timeout = timeout.total_seconds()
        self._tries = 1 + retries
        self._free = asyncio.Semaphore(most_sockets)
        self._open = 0

    async def ask(
        self, name: str, rdtype: str, *, servers: Sequence[tuple[str, int]] = (), timeout: timedelta | None = None
    ) -> Answer:
        """The outcome of one question; never raises but when it is cancelled. `servers` may be others than usual."""
        try:
            query = dns.message.make_query(dns.name.from_text(name), rdtype, use_edns=0, payload=_LARGEST_PACKET)
        except (dns.exception.DNSException, ValueError, UnicodeError):
            return Answer(Kind.BAD)
        asked = tuple(servers) or self.servers
        if not asked:
            return Answer(Kind.NETWORK)
        seconds = self._timeout if timeout is None else timeout.total_seconds()
        answer, took = Answer(Kind.NETWORK), 0.0
        for number in range(max(self._tries, len(asked)) if len(asked) > 1 else self._tries):
            answer = await self._try(query, asked[number % len(asked)], seconds)
            took += answer.took
            is_last_server = number + 1 >= len(asked)
            if answer.kind is not Kind.TIMEOUT and (answer.kind not in _ANOTHER_SERVER or is_last_server):
                break
        return Answer(answer.kind, answer.records, answer.ttl, took)

    async def _try(self, query: dns.message.QueryMessage, server: tuple[str, int], seconds: float) -> Answer:
        # Servers answer to the id, so each try has its own; else a late answer to the last try could be this one's.
        query.id = dns.entropy.random_16()
        async with self._free:
            self._open += 1
            self.most_open = max(self.most_open, self._open)
            began = time.monotonic()
            try:
                async with asyncio.timeout(seconds):
                    reply = await _exchange(query, server)
                kind, records, ttl = _read(reply)
            except (TimeoutError, dns.exception.Timeout):
                kind, records, ttl = Kind.TIMEOUT, (), 0
            except (OSError, EOFError):
                kind, records, ttl = Kind.NETWORK, (), 0
            except (dns.exception.DNSException, ValueError):
                kind, records, ttl = Kind.BAD, (), 0
            finally:
                # The loop closes a socket at its next turn, and only then is its place free.
                await asyncio.sleep(0)
                self._open -= 1
            return Answer(kind, records, ttl, time.monotonic() - began)


def default_servers() -> tuple[tuple[str, int], ...]:
    """GS_DNS_SERVERS, or what the system asks; none where neither says so."""
    if settings.DNS_SERVERS:
        return tuple(settings.DNS_SERVERS)
    try:
        found = dns.resolver.Resolver().nameservers
    except (dns.exception.DNSException, OSError):
        return ()
    return tuple((str(address), PORT) for address in found)


async def _exchange(query: dns.message.QueryMessage, server: tuple[str, int]) -> dns.message.Message:
    host, port = server
    backend = dns.asyncbackend.get_backend("asyncio")
    family = dns.inet.af_for_address(host)
    # Connected: a closed port is known at once, and nobody else's packets come in.
    made: Any = backend.make_socket(family, socket.SOCK_DGRAM, 0, None, (host, port))  # type: ignore[no-untyped-call]
    async with await made as sock:
        try:
            return await dns.asyncquery.udp(
                query,
                host,
                port=port,
                sock=sock,
                ignore_unexpected=True,
                ignore_errors=True,
                raise_on_truncation=True,
            )
        except dns.message.Truncated:
            pass
    return await dns.asyncquery.tcp(query, host, port=port)


def _read(reply: dns.message.Message) -> tuple[Kind, tuple[str, ...], int]:
    """(kind, records, TTL) of a reply."""
    code = reply.rcode()
    if code == dns.rcode.SERVFAIL:
        return Kind.SERVFAIL, (), 0
    if code == dns.rcode.REFUSED:
        return Kind.REFUSED, (), 0
    if code not in (dns.rcode.NOERROR, dns.rcode.NXDOMAIN) or not isinstance(reply, dns.message.QueryMessage):
        return Kind.BAD, (), 0
    chain = reply.resolve_chaining()
    ttl = int(min(chain.minimum_ttl, dns.ttl.MAX_TTL)) if reply.answer or reply.authority else 0
    if code == dns.rcode.NXDOMAIN:
        return Kind.NXDOMAIN, (), ttl
    if chain.answer is None:
        return Kind.NODATA, (), ttl
    return Kind.ANSWER, tuple(_text(rdata) for rdata in chain.answer), ttl


def _text(rdata: Rdata) -> str:
    if isinstance(rdata, TXTBase):
        return b"".join(rdata.strings).decode("utf-8", "replace")
    return str(rdata.to_text())
