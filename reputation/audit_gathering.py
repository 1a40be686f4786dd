"""Runs an audit's plans: asks DNS, fetches the MTA-STS policy, probes MX hosts; no database, and always an answer.

Every question is asked once an audit, whatever asks it. What is not known when the time is over counts as not checked.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final, TypeVar

from django.conf import settings

from reputation import smtp_probe
from reputation.dns_lookups import Answer, Client, Kind
from reputation.domain.audit import dkim, dmarc, probe, reverse, spf_findings, transport
from reputation.domain.audit.asking import Asking, Question, Reply
from reputation.domain.audit.dkim import Selector
from reputation.domain.audit.findings import Finding, Result, in_order
from telemetry.outbound import OutboundError, Trouble, send

T = TypeVar("T")

# DNS is asked so long for one audit, and what follows on it has limits of its own; a usual one takes under a second.
TIME: Final = timedelta(seconds=15)
MOST_MX: Final = 3
AT_ONCE: Final = 4
_MOST_SOCKETS: Final = 8
_POLICY_TIMEOUT: Final = timedelta(seconds=5)
_POLICY_BYTES: Final = 64 * 1024  # RFC 8461 section 3.2 lets senders stop there
_RETRIES: Final = 1
_TROUBLES: Final = {
    Kind.SERVFAIL: "its name server fails (SERVFAIL)",
    Kind.REFUSED: "the name server refuses to answer",
    Kind.TIMEOUT: "no name server answered in time",
    Kind.NETWORK: "no name server could be reached",
    Kind.BAD: "the name server's answer cannot be read",
}
# Of these the other side is to blame; of the others nobody knows.
_WRONG_ANSWERS: Final = (Trouble.TLS, Trouble.REDIRECT, Trouble.TOO_LARGE, Trouble.NOT_HTTP)


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """What is audited, and what is known of it beforehand."""

    kind: str
    """ip or domain"""
    name: str
    ips: Sequence[str] = ()
    """By which a domain sends, the busiest first."""
    domains: Sequence[str] = ()
    """Whose envelope senders an IP's mail has, the busiest first."""
    selectors: Sequence[Selector] = ()
    envelope: str = ""
    """The domain of its envelope senders; empty: itself."""
    helo_names: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """By IP."""
    no_probe: str = ""
    """Why its MX hosts are not probed; empty: they are."""


def gather(subjects: Sequence[Subject], *, now: datetime) -> list[list[Finding] | BaseException]:
    """Audit them, a few at once; the findings of each, worst first, or the error that ended its audit."""
    return asyncio.run(_gather(subjects, now))


async def _gather(subjects: Sequence[Subject], now: datetime) -> list[list[Finding] | BaseException]:
    sockets = min(_MOST_SOCKETS, settings.DNS_MOST_SOCKETS)
    client = Client(timeout=settings.DNS_TIMEOUT, retries=_RETRIES, most_sockets=sockets)
    free = asyncio.Semaphore(AT_ONCE)

    async def one(subject: Subject) -> list[Finding]:
        async with free:
            asker = _Asker(client, time.monotonic() + TIME.total_seconds())
            parts = _of_ip(subject, asker) if subject.kind == "ip" else _of_domain(subject, asker, now)
            return in_order(finding for part in await asyncio.gather(*parts) for finding in part)

    return await asyncio.gather(*(one(subject) for subject in subjects), return_exceptions=True)


class _Asker:
    """Answers the plans of one audit."""

    def __init__(self, client: Client, deadline: float) -> None:
        self._client, self._deadline = client, deadline
        self._asked: dict[Question, asyncio.Task[Answer]] = {}

    async def run(self, plan: Asking[T]) -> T:
        """What the plan returns."""
        reply: Reply | None = None
        try:
            while True:
                reply = await self.ask(plan.send(reply))  # type: ignore[arg-type]  # a generator begins with None
        except StopIteration as end:
            found: T = end.value
            return found

    async def ask(self, question: Question) -> Reply:
        """The answer, of whoever asked first."""
        task = self._asked.get(question)
        if task is None:
            task = self._asked[question] = asyncio.create_task(self._client.ask(question.name, question.rdtype))
        left = max(0.0, self._deadline - time.monotonic())
        try:
            answer = await asyncio.wait_for(asyncio.shield(task), left)
        except TimeoutError:
            return Reply(trouble="the audit's time was over")
        if answer.kind in _TROUBLES:
            return Reply(trouble=_TROUBLES[answer.kind])
        return Reply(answer.records, exists=answer.kind is not Kind.NXDOMAIN)


Part = Coroutine[Any, Any, list[Finding]]


def _of_ip(subject: Subject, asker: _Asker) -> list[Part]:
    ip = subject.name
    return [_reverse(subject, ip, asker), *(_spf_for(domain, ip, asker) for domain in subject.domains)]


async def _spf_for(domain: str, ip: str, asker: _Asker) -> list[Finding]:
    """Whether the domain authorises the IP; what else could be better is the domain's own audit's."""
    found = await asker.run(spf_findings.audit_spf(domain, [ip]))
    return [finding for finding in found if finding.result is not Result.ADVICE]


async def _reverse(subject: Subject, ip: str, asker: _Asker) -> list[Finding]:
    names = subject.helo_names.get(ip, ())
    owner = subject.name if subject.kind == "domain" else next(iter(subject.domains), "example.com")
    seen = await asker.run(reverse.audit_reverse(ip, suggested=next(iter(names), f"mail.{owner}")))
    found = list(seen.findings)
    if names or subject.kind == "ip":
        found += await asker.run(reverse.audit_helo(ip, names, seen.names))
    return found


def _of_domain(subject: Subject, asker: _Asker, now: datetime) -> list[Part]:
    domain, envelope = subject.name, subject.envelope or subject.name
    return [
        asker.run(spf_findings.audit_spf(envelope, subject.ips)),
        asker.run(dkim.audit_dkim(domain, subject.selectors)),
        asker.run(dmarc.audit_dmarc(domain, envelope, subject.selectors)),
        asker.run(transport.audit_tls_rpt(domain)),
        _mail_servers(subject, asker, now),
        *(_reverse(subject, ip, asker) for ip in subject.ips),
    ]


async def _mail_servers(subject: Subject, asker: _Asker, now: datetime) -> list[Finding]:
    """MX, MTA-STS, and the probe of the MX hosts."""
    domain = subject.name
    mx = await asker.run(transport.audit_mx(domain))
    found = list(mx.findings)
    if not mx.takes_mail:
        return [*found, *probe.not_probed(domain, "the domain takes no mail")]
    policy, probed = await asyncio.gather(_mta_sts(domain, mx.hosts, asker), _probe(subject, mx.hosts, asker, now))
    return [*found, *policy, *probed]


async def _mta_sts(domain: str, hosts: Sequence[str], asker: _Asker) -> list[Finding]:
    record, wrong = await asker.run(transport.sts_record(domain))
    if wrong is not None:
        return [wrong]
    host = f"mta-sts.{domain}"
    replies = [await asker.ask(Question(host, rdtype)) for rdtype in ("A", "AAAA")]
    trouble = next((reply.trouble for reply in replies if reply.trouble), "")
    if all(reply.is_void for reply in replies):
        fetched = transport.Fetched(problem=f"{host} has no address.")
    elif trouble and not any(reply.records for reply in replies):
        fetched = transport.Fetched(trouble=trouble)
    else:
        fetched = await asyncio.to_thread(fetch_policy, transport.policy_url(domain))
    return transport.judge_policy(domain, record, fetched, hosts)


def fetch_policy(url: str) -> transport.Fetched:
    """The policy at its address."""
    try:
        answer = send("GET", url, timeout=_POLICY_TIMEOUT, most_bytes=_POLICY_BYTES)
    except OutboundError as error:
        if error.trouble in _WRONG_ANSWERS:
            return transport.Fetched(problem=str(error))
        return transport.Fetched(trouble=str(error).rstrip("."))
    if answer.status != 200:
        return transport.Fetched(problem=f"It answered {answer.status}.")
    return transport.Fetched(answer.body.decode("utf-8", "replace"))


async def _probe(subject: Subject, hosts: Sequence[str], asker: _Asker, now: datetime) -> list[Finding]:
    if subject.no_probe:
        return probe.not_probed(subject.name, subject.no_probe)

    async def one(host: str) -> probe.Probed:
        replies = [await asker.ask(Question(host, rdtype)) for rdtype in ("A", "AAAA")]
        addresses = [record for reply in replies for record in reply.records]
        return await smtp_probe.probe(host, addresses, subject.name)

    return probe.judge(subject.name, await asyncio.gather(*(one(host) for host in hosts[:MOST_MX])), now=now)
