"""Single mistakes as a real name server publishes them, each with the finding that it brings."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from reputation import smtp_probe
from reputation.audit_gathering import Subject, gather
from reputation.domain.audit.dkim import Selector
from reputation.domain.audit.findings import Check, Finding, Result
from tests import dns_servers
from tests.dns_servers import Knot
from tests.domain.test_audit_records import der

pytestmark = pytest.mark.skipif(bool(dns_servers.why_not("knotd")), reason=dns_servers.why_not("knotd"))
PROBLEM, ADVICE, OK = Result.PROBLEM, Result.ADVICE, Result.OK
IP, IP6 = "192.0.2.10", "2001:db8::10"


def key(bits: int) -> str:
    return base64.b64encode(der(bits)).decode()


def strings(text: str) -> str:
    return " ".join(f'"{text[start : start + 200]}"' for start in range(0, len(text), 200))


INCLUDES = " ".join(f"include:i{number}.test" for number in range(11))
ZONE = f"""
many TXT {strings(f"v=spf1 {INCLUDES} ip4:{IP} -all")}
loop TXT "v=spf1 include:ring.test ip4:{IP} -all"
ring TXT "v=spf1 include:loop.test -all"
two TXT "v=spf1 a -all"
two TXT "v=spf1 mx -all"
six TXT "v=spf1 ip6:2001:db8::/64 -all"
host TXT "v=spf1 a:a.host.test -all"
a.host AAAA {IP6}
void TXT "v=spf1 a:x.void.test a:y.void.test mx:z.void.test ip4:{IP} -all"
_dmarc.none TXT "v=DMARC1; p=none; rua=mailto:d@none.test"
_dmarc.reject TXT "v=DMARC1; p=reject; rua=mailto:d@reject.test"
_dmarc.twice TXT "v=DMARC1; p=reject"
_dmarc.twice TXT "v=DMARC1; p=none"
k512._domainkey TXT {strings(f"v=DKIM1; p={key(512)}")}
k1024._domainkey TXT {strings(f"v=DKIM1; p={key(1024)}")}
k2048._domainkey TXT {strings(f"v=DKIM1; p={key(2048)}")}
k4096._domainkey TXT {strings(f"v=DKIM1; p={key(4096)}")}
gone._domainkey TXT "v=DKIM1; p="
alias._domainkey CNAME k2048._domainkey
right A {IP}
right A 192.0.2.12
right AAAA {IP6}
wrong A 192.0.2.99
null MX 0 .
""" + "\n".join(f'i{number} TXT "v=spf1 ip4:198.51.100.{number} -all"' for number in range(11))
POINTERS = "10 PTR right.test.\n11 PTR wrong.test.\n12 PTR wrong.test.\n12 PTR right.test.\n"


@pytest.fixture(scope="module")
def knot() -> Iterator[Knot]:
    pointer6 = "0.1.0.0" + ".0" * 20 + " PTR right.test.\n"
    with Knot({"test": ZONE, "2.0.192.in-addr.arpa": POINTERS, "8.b.d.0.1.0.0.2.ip6.arpa": pointer6}) as server:
        yield server


@pytest.fixture(autouse=True)
def _asks_knot(knot: Knot, settings: Any) -> None:
    settings.DNS_SERVERS = (knot.address,)
    settings.DNS_TIMEOUT = timedelta(seconds=2)
    settings.ALLOW_PRIVATE_URLS = True


def findings(check: Check, name: str, **known: Any) -> list[Finding]:
    subject = Subject(kind="domain", name=name, no_probe="off", **known)
    (found,) = gather([subject], now=timezone.now())
    assert isinstance(found, list), found
    return [entry for entry in found if entry.check is check]


@pytest.mark.parametrize(
    ("name", "ip", "result", "says"),
    [
        ("many.test", IP, PROBLEM, "Evaluating the record takes 11 DNS lookups, and 10 are allowed: include:i0.test 1"),
        ("loop.test", IP, PROBLEM, "The record includes itself: loop.test → ring.test → loop.test."),
        ("two.test", IP, PROBLEM, "two.test has 2 SPF records"),
        ("void.test", IP, PROBLEM, "3 terms ask for names that have no answer"),
        ("six.test", IP6, OK, f"Authorised: {IP6} by ip6:2001:db8::/64 in the record of six.test."),
        ("six.test", IP, PROBLEM, f"The record does not authorise {IP}"),
        ("host.test", IP6, OK, f"Authorised: {IP6} by a:a.host.test in the record of host.test."),
        ("host.test", IP, PROBLEM, f"The record does not authorise {IP}"),
        ("nobody.test", IP, PROBLEM, "nobody.test has no SPF record."),
    ],
)
def test_spf(name: str, ip: str, result: Result, says: str) -> None:
    found = findings(Check.SPF, name, ips=[ip])
    assert found[0].result is result
    assert found[0].says.startswith(says)


@pytest.mark.parametrize(
    ("selector", "result", "says"),
    [
        ("k512", PROBLEM, "The RSA key has 512 bits"),
        ("k1024", ADVICE, "The RSA key has 1024 bits"),
        ("k2048", OK, "An RSA key of 2048 bits."),
        ("k4096", OK, "An RSA key of 4096 bits."),
        ("alias", OK, "An RSA key of 2048 bits."),
        ("gone", PROBLEM, "The key is revoked"),
        ("other", PROBLEM, "There is no key at other._domainkey.test."),
    ],
)
def test_dkim(selector: str, result: Result, says: str) -> None:
    (found,) = findings(Check.DKIM, "sender.test", selectors=[Selector(selector, "test")])
    assert found.result is result
    assert found.says.startswith(says)


@pytest.mark.parametrize(
    ("name", "result", "says"),
    [
        ("missing.test", PROBLEM, "There is no DMARC record for missing.test, nor above it."),
        ("twice.test", PROBLEM, "There are 2 DMARC records at _dmarc.twice.test"),
        ("none.test", ADVICE, "The policy is none: receivers report mail that fails"),
        ("reject.test", OK, "The policy is reject, by _dmarc.reject.test."),
        ("news.reject.test", OK, "The policy is reject, by _dmarc.reject.test."),
    ],
)
def test_dmarc(name: str, result: Result, says: str) -> None:
    found = findings(Check.DMARC, name)[0]
    assert found.result is result
    assert found.says.startswith(says)


@pytest.mark.parametrize(
    ("ip", "pointer", "confirmed"),
    [
        (IP, OK, OK),
        (IP6, OK, OK),
        ("192.0.2.11", OK, PROBLEM),
        ("192.0.2.12", OK, OK),
        ("192.0.2.13", PROBLEM, PROBLEM),
        ("2001:db8::13", PROBLEM, PROBLEM),
    ],
)
def test_ptr(ip: str, pointer: Result, confirmed: Result) -> None:
    assert [entry.result for entry in findings(Check.PTR, "sender.test", ips=[ip])] == [pointer]
    assert [entry.result for entry in findings(Check.FORWARD_CONFIRMED, "sender.test", ips=[ip])] == [confirmed]


def test_a_domain_that_takes_no_mail_needs_no_mta_sts() -> None:
    (found,) = findings(Check.MX, "null.test")
    assert (found.result, found.says) == (PROBLEM, "null.test says that it takes no mail (null MX).")
    assert findings(Check.MTA_STS, "null.test") == []


# --- mail servers that misbehave -------------------------------------------------------------------------------------

Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Any]


@asynccontextmanager
async def listening(talk: Talk) -> AsyncIterator[int]:
    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read()
    writer.close()


async def endless(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while not writer.is_closing():
        writer.write(b"220-more\r\n" * 50)
        await asyncio.sleep(0.001)


async def long_line(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"220 " + b"x" * 100_000)
    await reader.read()
    writer.close()


async def web(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 400 Bad Request\r\n")
    writer.close()


async def closed(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.close()


async def unwilling(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"554 5.7.1 not you\r\n")
    writer.close()


@pytest.mark.parametrize(
    ("talk", "trouble"),
    [
        (silent, "mx.test did not answer in time"),
        (endless, "mx.test answers without end"),
        (long_line, "the connection to mx.test failed: LimitOverrunError"),
        (web, "mx.test does not speak SMTP"),
        (closed, "the connection to mx.test failed: IncompleteReadError"),
        (unwilling, "mx.test answered 554 5.7.1 not you"),
    ],
)
def test_a_mail_server_that_misbehaves_is_not_checked(talk: Talk, trouble: str) -> None:
    async def ask() -> Any:
        async with listening(talk) as port:
            return await smtp_probe.probe("mx.test", ["127.0.0.1"], "a.test", port=port, timeout=timedelta(seconds=1))

    assert asyncio.run(ask()).trouble == trouble
