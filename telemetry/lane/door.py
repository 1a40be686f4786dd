"""Which source a request's token belongs to, remembered for a moment: a look-up per request would double its cost."""

from __future__ import annotations

import asyncio
import logging
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime

from django.db import DatabaseError, InterfaceError, connection

from telemetry.models import Source
from telemetry.tokens import find_source_token

log = logging.getLogger(__name__)

# A token that was revoked, or a source that was changed, is believed for at most this long, in seconds.
BELIEVED = 1.0
# From this age on it is looked up anew while requests go on, so that nobody waits for the look-up.
REFRESHED = 0.5
MOST_REMEMBERED = 10_000


@dataclass(slots=True)
class _Known:
    source: Source
    since: float
    refreshing: bool = False


class Door:
    """Remembers tokens of active sources. Used by one event loop; look-ups run in a thread of their own."""

    def __init__(self) -> None:
        self._known: dict[str, _Known] = {}
        self._looking: dict[str, asyncio.Task[Source | None]] = {}
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="lane-door")

    async def source_of(self, token: str) -> Source | None:
        """The active source that this token belongs to; None for anything else. Never raises."""
        known = self._known.get(token)
        if known is not None:
            age = time.monotonic() - known.since
            if age < BELIEVED:
                if age > REFRESHED and not known.refreshing:
                    known.refreshing = True
                    self._look(token)
                return known.source
        return await self._look(token)

    def _look(self, token: str) -> asyncio.Task[Source | None]:
        """Look the token up; requests with the same one share the look-up."""
        task = self._looking.get(token)
        if task is None:
            task = self._looking[token] = asyncio.ensure_future(self._find(token))
            task.add_done_callback(lambda _: self._looking.pop(token, None))
        return task

    async def _find(self, token: str) -> Source | None:
        since = time.monotonic()
        source = await asyncio.get_running_loop().run_in_executor(self._thread, _find, token)
        if source is None:
            self._known.pop(token, None)
        else:
            if len(self._known) >= MOST_REMEMBERED:
                self._known.clear()
            self._known[token] = _Known(source, since)
        return source

    def close(self) -> None:
        """End the thread."""
        self._thread.shutdown(wait=False, cancel_futures=True)


def _find(token: str) -> Source | None:
    """Look up in this thread. A database that does not answer makes it None: Django then says so to the sender."""
    try:
        found = find_source_token(token, now=datetime.now(UTC))
    except (DatabaseError, InterfaceError):
        log.warning("a token could not be looked up", exc_info=True)
        connection.close()
        return None
    return found.source if found is not None and found.source.is_active else None
