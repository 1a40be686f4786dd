"""Asks blocklists, all at once and each at its own pace: test points first, then IPs and domains.

Nothing here touches the database. A list that fails its test points is not asked about anybody, and one that stops
answering is left alone for the rest of the run, so that a few dead-slow lists cannot hold up the others.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from reputation.dns_lookups import Answer, Client, Kind
from reputation.domain.dnsbl import ErrorKind, Reading, Result, Zone, canaries, ip_version, query_name
from reputation.domain.dnsbl_reading import canary_verdict, failed, read
from telemetry.domain.mailbox_providers import base_domain

# So many questions in a row without an answer, and the list counts as gone for this run.
SET_ASIDE_AFTER = 3
# Questions of one run to one list that wait for their answers at the same time.
AT_ONCE = 4
LONGEST_TEXT = 500
# How long the verdict on a list's test points is remembered.
CANARY_GOOD = timedelta(hours=1)
CANARY_BAD = timedelta(minutes=10)
_GONE = f"It did not answer {SET_ASIDE_AFTER} questions in a row; left alone for some minutes"


@dataclass(frozen=True, slots=True)
class AskedList:
    """A list as one run asks it."""

    id: int
    zone: Zone
    servers: tuple[tuple[str, int], ...] = ()
    """Its own resolver; none: the client's."""
    per_second: float = 20.0
    secret: str = ""
    """The key, which must not appear in what is kept."""


@dataclass(frozen=True, slots=True)
class Pair:
    """One question to be answered: is this subject on that list?"""

    id: int
    list_id: int
    subject: str


@dataclass(frozen=True, slots=True)
class Told:
    """What one look found."""

    reading: Reading
    ttl: int = 0
    took: float = 0.0


@dataclass(frozen=True, slots=True)
class Trust:
    """Whether a list passed its test points: None, or why it is not believed."""

    verdict: Reading | None
    is_new: bool = False
    """Found in this run, to be remembered."""


CanaryKey = tuple[int, int]
"""(list, IP version or 0 for domains)"""


class Checker:
    """One run. `trusted` are the verdicts on test points that still stand."""

    def __init__(self, client: Client, lists: Iterable[AskedList], trusted: Mapping[CanaryKey, Reading | None]) -> None:
        self.client = client
        self.lists = {entry.id: entry for entry in lists}
        self.trust: dict[CanaryKey, Trust] = {key: Trust(verdict) for key, verdict in trusted.items()}
        self._testing: dict[CanaryKey, asyncio.Task[Trust]] = {}
        self._paces = {entry.id: _Pace(entry.per_second) for entry in self.lists.values()}
        self._silent = dict.fromkeys(self.lists, 0)

    async def run(self, pairs: Iterable[Pair], *, seconds: float) -> dict[int, Told]:
        """What was found within the time, by the pair's id; what is missing was not answered in time."""
        tasks = {asyncio.create_task(self._look(pair)): pair.id for pair in pairs}
        if not tasks:
            return {}
        done, late = await asyncio.wait(tasks, timeout=seconds)
        unfinished = [*late, *(task for task in self._testing.values() if not task.done())]
        for task in unfinished:
            task.cancel()
        await asyncio.gather(*unfinished, return_exceptions=True)
        return {tasks[task]: task.result() for task in done}

    async def test(self, list_id: int, family: int) -> Trust:
        """Whether a list may be believed about this IP version (0: domains); asked once a run, and only if unknown."""
        key = (list_id, family)
        if key not in self.trust:
            if key not in self._testing:
                self._testing[key] = asyncio.create_task(self._test(self.lists[list_id], family))
            # Shielded: of those who wait for the same test points one may be cancelled.
            await asyncio.shield(self._testing[key])
        return self.trust[key]

    async def _test(self, asked: AskedList, family: int) -> Trust:
        points = canaries(asked.zone, family or None)
        listed, clear = await asyncio.gather(*(self._read(asked, point) for point in points))
        trust = Trust(canary_verdict(asked.zone, listed.reading, clear.reading), is_new=True)
        self.trust[asked.id, family] = trust
        return trust

    async def _look(self, pair: Pair) -> Told:
        asked = self.lists[pair.list_id]
        family = ip_version(pair.subject) or 0
        trust = await self.test(pair.list_id, family)
        if trust.verdict is not None:
            return Told(trust.verdict)
        told = Told(Reading(Result.CLEAN))
        for name in _names(pair.subject):
            async with self._paces[asked.id]:
                # Asked only now: while this waited for its turn, others may have found that nobody answers.
                if self._is_gone(asked, family):
                    return Told(failed(ErrorKind.TIMEOUT, _GONE))
                found = await self._read(asked, name)
            told = replace(found, took=told.took + found.took)
            if found.reading.result is not Result.CLEAN:
                break
        if told.reading.result is Result.LISTED:
            text = await self._text(asked, name)
            told = replace(told, reading=replace(told.reading, text=text))
        return told

    def _is_gone(self, asked: AskedList, family: int) -> bool:
        if self._silent[asked.id] < SET_ASIDE_AFTER:
            return False
        self.trust[asked.id, family] = Trust(failed(ErrorKind.TIMEOUT, _GONE), is_new=True)
        return True

    async def _read(self, asked: AskedList, subject: str) -> Told:
        answer = await self._ask(asked, subject, "A")
        reading = read(asked.zone, answer.kind.value, answer.records)
        return Told(reading, answer.ttl, answer.took)

    async def _text(self, asked: AskedList, subject: str) -> str:
        async with self._paces[asked.id]:
            answer = await self._ask(asked, subject, "TXT")
        text = " ".join(answer.records) if answer.kind is Kind.ANSWER else ""
        printable = "".join(sign if sign.isprintable() else " " for sign in text)
        return (printable.replace(asked.secret, "…") if asked.secret else printable)[:LONGEST_TEXT]

    async def _ask(self, asked: AskedList, subject: str, rdtype: str) -> Answer:
        answer = await self.client.ask(query_name(subject, asked.zone.suffix), rdtype, servers=asked.servers)
        self._silent[asked.id] = self._silent[asked.id] + 1 if answer.kind is Kind.TIMEOUT else 0
        return answer


def _names(subject: str) -> list[str]:
    """What to ask about: an IP itself; of a domain also the part that was registered, because lists keep that one."""
    if ip_version(subject) is not None:
        return [subject]
    return list(dict.fromkeys([subject, base_domain(subject) or subject]))


class _Pace:
    """So many questions a second without a burst, and few at once: a slow list must not take every socket."""

    def __init__(self, per_second: float) -> None:
        self._gap = 1 / per_second
        self._next = 0.0
        self._places = asyncio.Semaphore(AT_ONCE)

    async def __aenter__(self) -> None:
        await self._places.acquire()
        now = asyncio.get_running_loop().time()
        at = max(now, self._next)
        self._next = at + self._gap
        if at > now:
            try:
                await asyncio.sleep(at - now)
            except asyncio.CancelledError:
                self._places.release()
                raise

    async def __aexit__(self, *_: object) -> None:
        self._places.release()


def stands_until(trust: Trust, now: datetime) -> datetime:
    """How long the verdict on a list's test points is remembered."""
    return now + (CANARY_GOOD if trust.verdict is None else CANARY_BAD)
