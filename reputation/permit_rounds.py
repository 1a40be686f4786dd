"""Permits in an event loop: what needs nothing to be spent is answered at once, the rest in rounds.

While one round is being spent in a thread, asks that arrive wait for the next, so the cost of a transaction or a round
trip is shared by all that are under way. No timer: the running round is the window.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TypeVar

from django.utils import timezone

from reputation.domain.permit import Answer, Ask
from reputation.permits import Considered, Desk

log = logging.getLogger(__name__)

# Asks spent together at most; the rest waits for the next round.
MOST_TOGETHER = 500
# Asks that wait at most; past them we say that we cannot know, and memory does not grow.
MOST_WAITING = 10_000

T = TypeVar("T")
Told = Callable[[Answer], None]


class Rounds:
    """Joins the asks of one event loop. The desk must have a book."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self._waiting: deque[tuple[Considered, Told]] = deque()
        self._spending = False
        # One thread: it holds the database connection, and rounds follow each other.
        self._spender = ThreadPoolExecutor(max_workers=1, thread_name_prefix="spend")
        self._tasks: set[asyncio.Task[None]] = set()

    def ask(self, ask: Ask, *, spend: bool, tell: Told) -> None:
        """Tell the answer, at once where nothing is to be spent."""
        book, now = self.desk.books.latest, timezone.now()
        considered = self.desk.consider(ask, book, now=now)
        if not spend or not considered.ruling.caps:
            tell(self.desk.tell(considered, book, now=now, record=spend))
        elif len(self._waiting) >= MOST_WAITING:
            tell(self.desk.too_many(ask, book, now=now))
        else:
            self._waiting.append((considered, tell))
            if not self._spending:
                self._spending = True
                self.run(self._spend())

    async def _spend(self) -> None:
        try:
            while self._waiting:
                together = [self._waiting.popleft() for _ in range(min(MOST_TOGETHER, len(self._waiting)))]
                for (_, tell), answer in zip(together, await self._answers(together), strict=True):
                    tell(answer)
        finally:
            self._spending = False

    async def _answers(self, together: list[tuple[Considered, Told]]) -> list[Answer]:
        considered = [asked for asked, _ in together]
        try:
            return await within(self._spender, partial(self._round, considered))
        except Exception:
            # A mistake of ours must not leave a mail server waiting for ever.
            log.exception("a round of permits failed")
            book, now = self.desk.books.latest, timezone.now()
            return [self.desk.too_many(asked.ask, book, now=now) for asked in considered]

    def _round(self, considered: list[Considered]) -> list[Answer]:
        return self.desk.spend_decided(considered, self.desk.books.latest, now=timezone.now())

    def run(self, work: Awaitable[None]) -> None:
        """Run in the background, until `stop`."""
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.error("background work of the permits failed", exc_info=task.exception())

    async def stop(self) -> None:
        """Finish what is under way."""
        while self._waiting or self._spending:
            await asyncio.sleep(0.01)
        for task in list(self._tasks):
            task.cancel()
        self._spender.shutdown()


async def within(pool: ThreadPoolExecutor, work: Callable[[], T]) -> T:
    """Run in a thread of the pool."""
    return await asyncio.get_running_loop().run_in_executor(pool, work)
