"""Which source a request's token belongs to, remembered for a moment: a look-up per request would double its cost.

What is remembered may have been revoked meanwhile. Reports are therefore looked at once more together with what is
recorded with them (`telemetry.lane.writer`); permits live with the moment.
"""

from __future__ import annotations

import asyncio
import logging
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime

from django.db import DatabaseError, InterfaceError, connection

from telemetry import access
from telemetry.domain.access import AccessKind
from telemetry.models import SourceToken
from telemetry.tokens import find_source_token

log = logging.getLogger(__name__)

# A token that was revoked, or a source that was changed, is believed for at most this long, in seconds.
BELIEVED = 1.0
# From this age on it is looked up anew while requests go on, so that nobody waits for the look-up.
REFRESHED = 0.5
MOST_REMEMBERED = 10_000


@dataclass(slots=True)
class _Known:
    token: SourceToken
    since: float
    refreshing: bool = False


class Door:
    """Remembers tokens of active sources. Used by one event loop; look-ups run in a thread of their own."""

    def __init__(self) -> None:
        self._known: dict[str, _Known] = {}
        self._looking: dict[str, asyncio.Task[SourceToken | None]] = {}
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="lane-door")

    async def token_of(self, token: str) -> SourceToken | None:
        """The token with its source, where both are usable; None for anything else. Never raises."""
        known = self._known.get(token)
        if known is not None:
            age = time.monotonic() - known.since
            if age < BELIEVED:
                if age > REFRESHED and not known.refreshing:
                    known.refreshing = True
                    self._look(token)
                return known.token
        return await self._look(token)

    def _look(self, token: str) -> asyncio.Task[SourceToken | None]:
        """Look the token up; requests with the same one share the look-up."""
        task = self._looking.get(token)
        if task is None:
            task = self._looking[token] = asyncio.ensure_future(self._find(token))
            task.add_done_callback(lambda _: self._looking.pop(token, None))
        return task

    def forget(self, token: str) -> None:
        """Look the token up anew at its next request."""
        self._known.pop(token, None)

    def note_use(self, token: SourceToken, address: str) -> None:
        """See to it that the access log has this token's use from this address today; without keeping anybody waiting.

        It asks memory only, but for the first time in a day.
        """
        now, who = datetime.now(UTC), token.source.name
        if access.is_written(AccessKind.TOKEN_USED, who=who, address=address, now=now, token=token.prefix):
            return
        self._thread.submit(
            access.record_once_a_day, AccessKind.TOKEN_USED, who=who, address=address, now=now, token=token.prefix
        )

    async def _find(self, token: str) -> SourceToken | None:
        since = time.monotonic()
        found = await asyncio.get_running_loop().run_in_executor(self._thread, _find, token)
        if found is None:
            self._known.pop(token, None)
        else:
            if len(self._known) >= MOST_REMEMBERED:
                self._known.clear()
            self._known[token] = _Known(found, since)
        return found

    def close(self) -> None:
        """End the thread."""
        self._thread.shutdown(wait=False, cancel_futures=True)


def _find(token: str) -> SourceToken | None:
    """Look up in this thread. A database that does not answer makes it None: Django then says so to the sender."""
    try:
        found = find_source_token(token, now=datetime.now(UTC))
    except (DatabaseError, InterfaceError):
        log.warning("a token could not be looked up", exc_info=True)
        connection.close()
        return None
    return found if found is not None and found.source.is_active else None
