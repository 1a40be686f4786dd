"""Who runs a recipient domain's mailboxes, learned from its MX record behind the questions that need it.

Events name the MX host they met, so counters and breakers know that a company's domain is Google's. A permit is asked
before any host is met: the first one for a domain goes by the domain alone, those after it by its MX.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Mapping
from datetime import timedelta

from django.conf import settings

from reputation.dns_lookups import Answer, Client, Kind

# How long an answer is believed, whatever its TTL says, in seconds.
LEAST, MOST = 300.0, 86_400.0
# After no usable answer the domain is asked about again.
AGAIN = 600.0
MOST_DOMAINS = 100_000
MOST_AT_ONCE = 200
TIMEOUT = timedelta(seconds=3)


class MxHosts:
    """MX hosts by recipient domain. Asked from any thread; one thread at a time looks them up."""

    def __init__(self) -> None:
        self._hosts: dict[str, str] = {}
        self._until: dict[str, float] = {}
        self._wanted: dict[str, None] = {}
        self._lock = threading.Lock()
        self._busy = threading.Lock()

    @property
    def known(self) -> Mapping[str, str]:
        """The first MX host by domain, as far as it is known; empty: it has none, or nobody answered."""
        return self._hosts

    def want(self, domain: str) -> None:
        """This domain's host would be good to know."""
        if self._until.get(domain, 0.0) > time.monotonic():
            return
        with self._lock:
            if len(self._wanted) < MOST_DOMAINS:
                self._wanted[domain] = None

    def learn_behind(self) -> None:
        """Look up what is wanted in a thread of its own: slow name servers must hold up nobody."""
        if self._wanted and settings.PERMIT_MX_LOOKUPS and self._busy.acquire(blocking=False):
            threading.Thread(target=self._learn_all, name="mx", daemon=True).start()

    def _learn_all(self) -> None:
        try:
            while self.learn():
                pass
        finally:
            self._busy.release()

    def learn(self, servers: tuple[tuple[str, int], ...] = ()) -> int:
        """Look up some of the wanted domains; how many. Never raises for what DNS answers."""
        if not settings.PERMIT_MX_LOOKUPS:
            return 0
        with self._lock:
            domains = list(self._wanted)[:MOST_AT_ONCE]
            for domain in domains:
                del self._wanted[domain]
        if domains:
            answers = asyncio.run(_ask(domains, servers))
            self._keep(dict(zip(domains, answers, strict=True)))
        return len(domains)

    def _keep(self, answers: Mapping[str, Answer]) -> None:
        now = time.monotonic()
        if len(self._hosts) + len(answers) > MOST_DOMAINS:
            self._hosts, self._until = {}, {}
        for domain, answer in answers.items():
            host = first_host(answer)
            # Where nobody answers, what was known before is better than nothing.
            if host or answer.kind in (Kind.ANSWER, Kind.NODATA, Kind.NXDOMAIN):
                self._hosts[domain] = host
            lasts = min(max(float(answer.ttl), LEAST), MOST) if host else AGAIN
            self._until[domain] = now + lasts


def first_host(answer: Answer) -> str:
    """The most preferred host of an MX answer, lower case without its final dot; empty where there is none."""
    found = []
    for record in answer.records:
        preference, _, host = record.partition(" ")
        if preference.isdecimal() and host.rstrip("."):
            found.append((int(preference), host.rstrip(".").lower()))
    return min(found)[1] if found else ""


async def _ask(domains: list[str], servers: tuple[tuple[str, int], ...]) -> list[Answer]:
    client = Client(servers, timeout=TIMEOUT, retries=1, most_sockets=settings.DNS_MOST_SOCKETS)
    return list(await asyncio.gather(*[client.ask(f"{domain}.", "MX") for domain in domains]))
