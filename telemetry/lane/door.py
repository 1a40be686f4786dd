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
from typing import Any

from django.db import DatabaseError, InterfaceError, connection

from telemetry import access, sql
from telemetry.domain.access import AccessKind
from telemetry.models import Source, SourceToken
from telemetry.tokens import find_source_token

log = logging.getLogger(__name__)

# A token that was revoked, or a source that was changed, is believed for at most this long, in seconds.
BELIEVED = 1.0
# From this age on it is looked up anew while requests go on, so that nobody waits for the look-up.
REFRESHED = 0.5
MOST_REMEMBERED = 10_000


@dataclass(frozen=True, slots=True)
class Key:
    """What let a request in: its token and source, and the facts that they were read with."""

    token: SourceToken
    facts: tuple[Any, ...]
    """See `sql.facts_of_tokens`: while the database says the same, the rows are as they were."""

    @property
    def source(self) -> Source:
        """Who reports."""
        return self.token.source


@dataclass(slots=True)
class _Known:
    key: Key
    since: float
    refreshing: bool = False


class Door:
    """Remembers tokens of active sources. Used by one event loop; look-ups run in a thread of their own."""

    def __init__(self) -> None:
        self._known: dict[str, _Known] = {}
        self._looking: dict[str, asyncio.Task[Key | None]] = {}
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="lane-door")

    async def key_of(self, token: str) -> Key | None:
        """The token with its source, where both are usable; None for anything else. Never raises."""
        known = self._known.get(token)
        if known is not None:
            age = time.monotonic() - known.since
            if age < BELIEVED:
                if age > REFRESHED and not known.refreshing:
                    known.refreshing = True
                    self._look(token)
                return known.key
        return await self._look(token)

    def _look(self, token: str) -> asyncio.Task[Key | None]:
        """Look the token up; requests with the same one share the look-up."""
        task = self._looking.get(token)
        if task is None:
            task = self._looking[token] = asyncio.ensure_future(self._find(token))
            task.add_done_callback(lambda _: self._looking.pop(token, None))
        return task

    def forget(self, token: str) -> None:
        """Look the token up anew at its next request."""
        self._known.pop(token, None)

    def note_use(self, key: Key, address: str) -> None:
        """See to it that the access log has this token's use from this address today; without keeping anybody waiting.

        It asks memory only, but for the first time in a day.
        """
        now, who, token = datetime.now(UTC), key.source.name, key.token
        if access.is_written(AccessKind.TOKEN_USED, who=who, address=address, now=now, token=token.prefix):
            return
        self._thread.submit(
            access.record_once_a_day, AccessKind.TOKEN_USED, who=who, address=address, now=now, token=token.prefix
        )

    async def _find(self, token: str) -> Key | None:
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


def _find(token: str) -> Key | None:
    """Look up in this thread. A database that does not answer makes it None: Django then says so to the sender."""
    now = datetime.now(UTC)
    try:
        found = find_source_token(token, now=now)
        if found is None:
            return None
        # The facts first and the rows afterwards: of what changes in between, the facts are the older, and the writer
        # sees that they do not hold any more.
        facts = sql.facts_of_tokens([found.pk], now=now).get(found.pk)
        rows = SourceToken.objects.select_related("source").filter(pk=found.pk).first()
    except (DatabaseError, InterfaceError):
        log.warning("a token could not be looked up", exc_info=True)
        connection.close()
        return None
    return Key(rows, facts) if rows is not None and facts is not None else None
