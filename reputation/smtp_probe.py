"""A look at an MX host over SMTP: its certificate, and whether it takes postmaster@ and abuse@. No message is sent.

Only done where the operator has switched it on. The host comes from somebody's DNS, so an address in a private network
is refused as in `telemetry.outbound`, and time and size have limits.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

from django.conf import settings

from reputation.domain.audit.probe import ROLES, Probed
from telemetry.domain.web_address import is_public

PORT: Final = 25
TIMEOUT: Final = timedelta(seconds=15)
_LONGEST_LINE: Final = 4_096  # RFC 5321 section 4.5.3.1.5 says 512; some extensions say more
_MOST_LINES: Final = 100
_SHOWN: Final = 200


class _ProbeError(Exception):
    """The host cannot be talked to; the message says why."""


async def probe(
    host: str, addresses: Sequence[str], domain: str, *, port: int = PORT, timeout: timedelta = TIMEOUT
) -> Probed:
    """Ask one MX host at the first of its addresses; never raises but when it is cancelled."""
    if not addresses:
        return Probed(host, trouble=f"{host} has no address")
    if not settings.ALLOW_PRIVATE_URLS and not is_public(addresses[0]):
        return Probed(host, trouble=f"{host} lies in a private network")
    try:
        async with asyncio.timeout(timeout.total_seconds()):
            return await _probe(host, addresses[0], port, domain)
    except TimeoutError:
        return Probed(host, trouble=f"{host} did not answer in time")
    except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, ValueError) as error:
        said = getattr(error, "strerror", None) or type(error).__name__
        return Probed(host, trouble=f"the connection to {host} failed: {said}")
    except _ProbeError as error:
        return Probed(host, trouble=str(error))


async def _probe(host: str, address: str, port: int, domain: str) -> Probed:
    session = await _Session.to(host, address, port)
    problem, ends = "", None
    try:
        starttls = "STARTTLS" in await session.hello()
        if starttls:
            try:
                ends = await session.secure()
            except ssl.SSLError as error:
                problem = getattr(error, "verify_message", "") or error.reason or type(error).__name__
                await session.close()
                session = await _Session.to(host, address, port)
            # What is offered after STARTTLS is another list (RFC 3207 section 4.2), and a new connection greets anew.
            await session.hello()
        replies, refused = await session.try_roles(domain)
        return Probed(host, "", starttls, problem, ends, replies, refused)
    finally:
        await session.close()


class _Session:
    """One SMTP conversation."""

    def __init__(self, host: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._host, self._reader, self._writer = host, reader, writer

    @classmethod
    async def to(cls, host: str, address: str, port: int) -> _Session:
        """Connect and read the greeting."""
        session = cls(host, *await asyncio.open_connection(address, port, limit=_LONGEST_LINE))
        try:
            code, text = await session._reply()
            if code != 220:
                raise _ProbeError(f"{host} answered {code} {text}")
        except BaseException:
            await session.close()
            raise
        return session

    async def hello(self) -> set[str]:
        """Say EHLO with the own address (RFC 5321 section 4.1.3); the extensions that are offered."""
        own = self._writer.get_extra_info("sockname")[0]
        literal = f"[IPv6:{own}]" if ":" in own else f"[{own}]"
        code, text = await self._command(f"EHLO {literal}")
        if code == 250:
            return {line.split(" ")[0].upper() for line in text.splitlines()[1:]}
        code, text = await self._command(f"HELO {literal}")
        if code != 250:
            raise _ProbeError(f"{self._host} answered {code} {text}")
        return set()

    async def secure(self) -> datetime | None:
        """Begin TLS with a verified certificate; when it ends. Raises ssl.SSLError."""
        code, text = await self._command("STARTTLS")
        if code != 220:
            raise _ProbeError(f"{self._host} answered {code} {text} to STARTTLS")
        await self._writer.start_tls(ssl.create_default_context(), server_hostname=self._host)
        certificate = self._writer.get_extra_info("peercert") or {}
        ends = certificate.get("notAfter")
        return datetime.fromtimestamp(ssl.cert_time_to_seconds(ends), UTC) if ends else None

    async def try_roles(self, domain: str) -> tuple[dict[str, tuple[int, str]], str]:
        """(the reply to each role address, why none could be tried)."""
        code, text = await self._command("MAIL FROM:<>")
        if code != 250:
            return {}, f"{self._host} took no mail from here: {code} {text}"
        replies = {role: await self._command(f"RCPT TO:<{role}@{domain}>") for role in ROLES}
        await self._command("RSET")
        return replies, ""

    async def close(self) -> None:
        """Part, without waiting for an answer."""
        if not self._writer.is_closing():
            self._writer.write(b"QUIT\r\n")
        self._writer.close()

    async def _command(self, line: str) -> tuple[int, str]:
        self._writer.write(line.encode("ascii") + b"\r\n")
        await self._writer.drain()
        return await self._reply()

    async def _reply(self) -> tuple[int, str]:
        """The code and the text of a reply; its lines joined by line ends."""
        texts: list[str] = []
        for _ in range(_MOST_LINES):
            line = (await self._reader.readuntil(b"\n")).decode("utf-8", "replace").rstrip("\r\n")
            if not line[:3].isdecimal() or line[3:4] not in (" ", "-", ""):
                raise _ProbeError(f"{self._host} does not speak SMTP")
            texts.append(line[4:][:_SHOWN])
            if line[3:4] != "-":
                return int(line[:3]), "\n".join(texts)
        raise _ProbeError(f"{self._host} answers without end")
