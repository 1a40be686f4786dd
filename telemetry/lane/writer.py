"""A thread that records what waits, many requests in one transaction, and hands the results back."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from queue import Empty, SimpleQueue

from django.db import DatabaseError, DataError, IntegrityError, connection

from telemetry import deferrals, sql
from telemetry.ingest import Batch, record_batches
from telemetry.intake import Intake, Reading, read, store, take_in
from telemetry.lane.door import Key
from telemetry.log_context import bound, several
from telemetry.models import Source
from telemetry.parsers.base import Parser

log = logging.getLogger(__name__)

# An idle connection is looked after this often, in seconds (Django's CONN_MAX_AGE, a server that went away).
LOOK_AFTER = 30.0


class NotStoredError(Exception):
    """The database could not be written; the sender should try again."""


class StaleError(Exception):
    """The token was revoked, or its source changed, since the request was let in; nothing of it was stored."""


@dataclass(slots=True, eq=False)
class Work:
    """One request: its events, as they came or read already, and the future of its answer."""

    key: Key
    """What let it in, as it was when it was looked up."""
    parser: Parser
    raw_events: Sequence[bytes]
    answer: asyncio.Future[Intake]
    request: str = ""
    batch: str = ""
    since: float = field(default_factory=time.monotonic)
    reading: Reading | None = None
    """Its events where the event loop has read them."""
    taken: Intake = field(default_factory=lambda: Intake(0, 0, 0, ()))
    position: int = 0

    @property
    def source(self) -> Source:
        """Who reports."""
        return self.key.source

    @property
    def is_done(self) -> bool:
        """Whether nothing of it is left to record."""
        return self.position >= len(self.raw_events)

    def next_part(self, most: int, now: datetime) -> _Part:
        """Its next events, at most so many; all of them where they are read already."""
        first = self.position
        if self.reading is not None:
            self.position = len(self.raw_events)
            return _Part(self, self.reading, first, self.raw_events)
        some = self.raw_events[first : first + most]
        self.position += len(some)
        return _Part(self, read(self.parser, some, ip_map=self.source.ip_map, now=now, first=first), first, some)


@dataclass(frozen=True, slots=True)
class _Part:
    """What one transaction records of one request."""

    work: Work
    reading: Reading
    first: int
    raw_events: Sequence[bytes]


class Writer:
    """Records works one group after the other, each group in as few transactions as it allows.

    `settle` is called in this thread with each group's finished works and their results. A work with more events than
    a transaction takes goes back to the end of the line after each, so that a body of ten thousand does not keep the
    others waiting.
    """

    def __init__(
        self, name: str, most_events: int, settle: Callable[[list[tuple[Work, Intake | Exception]]], None]
    ) -> None:
        self._queue: SimpleQueue[Work | None] = SimpleQueue()
        self._most_events = most_events
        self._settle = settle
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Begin to work."""
        self._thread.start()

    def put(self, work: Work) -> None:
        """Queue a work; from any thread."""
        self._queue.put(work)

    def stop(self) -> None:
        """Finish what is queued and end; returns when that is done."""
        self._queue.put(None)
        self._thread.join()

    def _run(self) -> None:
        stopping = False
        looked_after = time.monotonic()
        while not stopping or not self._queue.empty():
            try:
                first = self._queue.get(timeout=LOOK_AFTER)
            except Empty:
                connection.close_if_unusable_or_obsolete()
                continue
            if time.monotonic() - looked_after > LOOK_AFTER:
                connection.close_if_unusable_or_obsolete()
                looked_after = time.monotonic()
            if first is None:
                stopping = True
                continue
            stopping |= self._one_group(first)
        connection.close()

    def _one_group(self, first: Work) -> bool:
        """Record the first work and what waits behind it; True when the sign to stop was among it."""
        now = datetime.now(UTC)
        parts: list[_Part] = []
        events, work, stopping = 0, first, False
        while True:
            # One whose sender was told to try again meanwhile is not worth a transaction.
            if not work.answer.done():
                parts.append(work.next_part(self._most_events - events, now))
                events += len(parts[-1].reading.events) + len(parts[-1].reading.rejections)
            if events >= self._most_events:
                break
            try:
                following = self._queue.get_nowait()
            except Empty:
                break
            if following is None:
                stopping = True
                continue
            work = following
        self._record(parts, now)
        return stopping

    def _record(self, parts: Sequence[_Part], now: datetime) -> None:
        results: list[tuple[Work, Intake | Exception]] = []
        stale = _stale(parts, now)
        results += [(work, error) for work, error in stale.items()]
        parts = [part for part in parts if part.work not in stale]
        for kind in _kinds(parts):
            requests, batches = several(part.work.request for part in kind), several(part.work.batch for part in kind)
            with bound(request_id=requests, batch_id=batches):
                outcome = _record_together(kind, now)
            for part, result in zip(kind, outcome, strict=True):
                work = part.work
                if isinstance(result, Exception):
                    results.append((work, result))
                    continue
                work.taken += result
                if work.is_done:
                    results.append((work, work.taken))
                else:
                    self._queue.put(work)
        if results:
            self._settle(results)


def _stale(parts: Sequence[_Part], now: datetime) -> dict[Work, Exception]:
    """The works that may not be recorded any more: of what let them in, something changed since it was looked up.

    One query for all that are recorded together, so that a token that was revoked opens nothing from that moment on.
    What was begun before is finished.
    """
    beginning = [part.work for part in parts if part.first == 0]
    for attempt in (1, 2):
        try:
            holds = sql.facts_of_tokens({work.key.token.pk for work in beginning}, now=now) if beginning else {}
        except DatabaseError:
            # See _record_together.
            connection.close()
            if attempt == 2:
                log.warning("tokens could not be looked up", exc_info=True)
                return {work: NotStoredError() for work in beginning}
        else:
            break
    return {work: StaleError() for work in beginning if holds.get(work.key.token.pk) != work.key.facts}


def _kinds(parts: Sequence[_Part]) -> list[list[_Part]]:
    """The parts by the way they are recorded: plain ones, those that change a message's state, and those to be kept."""
    plain: list[_Part] = []
    states: list[_Part] = []
    kept: list[list[_Part]] = []
    for part in parts:
        if part.reading.rejections:
            kept.append([part])
        elif any(map(deferrals.concerns, part.reading.events)):
            states.append(part)
        else:
            plain.append(part)
    return [kind for kind in (plain, states, *kept) if kind]


def _record_together(parts: Sequence[_Part], now: datetime) -> Sequence[Intake | Exception]:
    """Record in one transaction; where an event in it cannot be stored, each part by itself."""
    for attempt in (1, 2):
        try:
            return _record_once(parts, now)
        except (DataError, IntegrityError):
            log.warning("requests could not be stored together", exc_info=True)
            return [_record_alone(part, now) for part in parts]
        except DatabaseError:
            # A server that was restarted, or two writers that met: a new connection may do. What was committed after
            # all is recognised by its receipts.
            connection.close()
            if attempt == 2:
                log.warning("events could not be stored", exc_info=True)
    return [NotStoredError()] * len(parts)


def _record_once(parts: Sequence[_Part], now: datetime) -> list[Intake]:
    if parts[0].reading.rejections:
        part = parts[0]
        return [store(part.work.source, part.work.parser, part.reading, now=now)]
    results = record_batches([Batch(part.work.source, part.reading.events) for part in parts], now=now)
    return [
        Intake(result.recorded, result.duplicates, part.reading.ignored, ())
        for part, result in zip(parts, results, strict=True)
    ]


def _record_alone(part: _Part, now: datetime) -> Intake | Exception:
    try:
        with bound(request_id=part.work.request, batch_id=part.work.batch):
            return take_in(part.work.source, part.work.parser, part.raw_events, now=now, first=part.first)
    except DatabaseError:
        log.warning("events could not be stored", exc_info=True)
        connection.close()
        return NotStoredError()
