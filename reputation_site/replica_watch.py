"""How far behind the read replica is, asked once a second by a thread of its own.

Lag is measured by the primary's own positions in its log: what the primary had written at some moment, and the replica
has replayed by now, makes the replica at most that old. Unlike ``pg_last_xact_replay_timestamp`` this compares no
clocks, is right on an idle primary, and tells a replica that lost its primary from one that has nothing to do.

A replica that hangs stops the thread and not the pages: what it said last grows old, and they leave it.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Iterator
from datetime import timedelta

from django.conf import settings
from django.db import DEFAULT_DB_ALIAS, connections
from django.db import Error as DatabaseError
from prometheus_client.core import GaugeMetricFamily, Metric

from telemetry.metric_state import offer_always

log = logging.getLogger(__name__)

REPLICA = "replica"
ASKED_EVERY = timedelta(seconds=1)
# Positions remembered: ten minutes' worth; a replica further behind than that is of no use to pages.
REMEMBERED = 600


class Positions:
    """What the primary had written at which moment."""

    def __init__(self) -> None:
        self._known: deque[tuple[float, int]] = deque(maxlen=REMEMBERED)

    def note(self, moment: float, position: int) -> None:
        """The primary's position, asked at that moment (seconds of the monotonic clock) or later."""
        self._known.append((moment, position))

    def as_of(self, replayed: int) -> float | None:
        """The latest known moment from which a replica that replayed this much lacks nothing; None: older than all."""
        return next((moment for moment, position in reversed(self._known) if position <= replayed), None)


class Watch:
    """What is known of the replica, in this process."""

    def __init__(self, most: timedelta) -> None:
        self._most = most.total_seconds()
        self._positions = Positions()
        # Replaced as a whole, so that readers need no lock: as of when the replica is complete, and up to where.
        self._found: tuple[float, int] | None = None
        self._starting = threading.Lock()
        self._thread: threading.Thread | None = None
        self._in_use: bool | None = None

    def why_not(self, needed: int) -> str:
        """Empty when the replica is fresh enough and has replayed the needed position; else down, lag, own write."""
        self._start()
        found = self._found
        if found is None:
            return "down"
        as_of, replayed = found
        if time.monotonic() - as_of > self._most:
            return "lag"
        return "" if replayed >= needed else "own write"

    def lag(self) -> float:
        """Seconds that the replica is behind at most; infinite while it is unknown."""
        found = self._found
        return float("inf") if found is None else max(0.0, time.monotonic() - found[0])

    def it_failed(self, error: BaseException | None) -> None:
        """Leave the replica alone until it was asked again."""
        self._found = None
        self._tell(False, "down", error)

    def _start(self) -> None:
        # At the first page and not at import: a server may fork after it loaded us, and threads do not follow.
        if self._thread is None:
            with self._starting:
                if self._thread is None:
                    self._thread = threading.Thread(target=self._run, name="replica-watch", daemon=True)
                    self._thread.start()

    def _run(self) -> None:
        while True:
            try:
                self._look()
            except DatabaseError as error:
                self.it_failed(error)
                connections.close_all()  # this thread's own
            time.sleep(ASKED_EVERY.total_seconds())

    def _look(self) -> None:
        asked = time.monotonic()
        self._positions.note(asked, _flushed_position())
        replayed = _replayed_position()
        if replayed is None:
            self._found = None
            self._tell(False, "no replica", None)
            return
        as_of = self._positions.as_of(replayed)
        self._found = None if as_of is None else (as_of, replayed)
        self._tell(self.lag() <= self._most, "lag", None)

    def _tell(self, in_use: bool, why: str, error: BaseException | None) -> None:
        if in_use == self._in_use:
            return
        self._in_use = in_use
        if in_use:
            log.info("pages are read from the replica", extra={"lag": round(self.lag(), 1)})
        else:
            lag = self.lag()
            told = {"reason": why, "lag": round(lag, 1) if lag != float("inf") else "unknown"}
            log.warning(
                "pages are read from the primary", extra=told | ({"error": type(error).__name__} if error else {})
            )


def written_position() -> int:
    """Up to where the primary has written its log, commits that it did not wait for included; bytes."""
    with connections[DEFAULT_DB_ALIAS].cursor() as cursor:
        cursor.execute("SELECT (pg_current_wal_insert_lsn() - '0/0')::bigint")
        return int(cursor.fetchone()[0])


def _flushed_position() -> int:
    """Up to where the primary's log is on disk: what is beyond may wait there for long when nobody commits."""
    with connections[DEFAULT_DB_ALIAS].cursor() as cursor:
        cursor.execute("SELECT (pg_current_wal_flush_lsn() - '0/0')::bigint")
        return int(cursor.fetchone()[0])


def _replayed_position() -> int | None:
    """Up to where the replica shows the primary's log; None when it is none (it was promoted, or never was one)."""
    with connections[REPLICA].cursor() as cursor:
        cursor.execute("SELECT CASE WHEN pg_is_in_recovery() THEN (pg_last_wal_replay_lsn() - '0/0')::bigint END")
        position = cursor.fetchone()[0]
        return None if position is None else int(position)


def register(watch: Watch) -> None:
    """Offer the gauge of the lag."""

    def lag() -> Iterator[Metric]:
        yield GaugeMetricFamily(
            "replica_lag_seconds", "How far the read replica is behind at most; +Inf while unknown.", watch.lag()
        )

    offer_always(lag)


WATCH = Watch(settings.REPLICA_MAX_LAG)
