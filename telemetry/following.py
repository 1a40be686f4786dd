"""Following a log: read lines, hand them to a ledger with the position behind them, wait for more, stop when asked.

A ledger records lines and position together, so a kill -9 between any two instructions loses nothing and doubles
nothing: `telemetry.postfix_ledger` in this database, `telemetry.postfix_shipping` on another machine.
"""

from __future__ import annotations

import logging
import os
import select
import signal
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any, Protocol

from django.db import InterfaceError, OperationalError, connection
from django.utils import timezone

from telemetry.domain.postfix_joins import Tally
from telemetry.growing_file import LONGEST_LINE, Position

log = logging.getLogger(__name__)

REPORT_EVERY = timedelta(minutes=1)
LONGEST_PAUSE = timedelta(seconds=30)


class CannotFollowError(Exception):
    """Following cannot go on; the message tells the operator why and what to do."""


class Feed(Protocol):
    """Where lines come from."""

    @property
    def position(self) -> Position | None:
        """Behind the last line that was read; None where there is nothing to go back to."""

    @property
    def behind(self) -> int:
        """Bytes that are there and not read yet."""

    @property
    def ended(self) -> bool:
        """Whether no more lines can come."""

    def read(self, most: int) -> list[bytes]:
        """Complete lines that are there now, at most that many."""

    def held(self, most: int) -> list[bytes]:
        """Lines that were taken from where nobody else can read them again; given out before the end."""


class Ledger(Protocol):
    """Where events go, with the position they leave."""

    def record(self, lines: Sequence[bytes], position: Position | None, *, now: datetime) -> Tally:
        """Record what the lines say and the position behind them, once; all or nothing."""


class Stop:
    """``with Stop() as stop:`` SIGTERM and SIGINT ask to stop instead of ending the process. Main thread only."""

    def __init__(self) -> None:
        self.requested = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Stop:
        # A signal writes a byte here, so that no wait can miss one.
        self._reader, self._writer = os.pipe()
        os.set_blocking(self._reader, False)
        os.set_blocking(self._writer, False)
        self._wakeup_before = signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT):
            self._before[number] = signal.signal(number, self._ask)
        return self

    def __exit__(self, *_: object) -> None:
        for number, before in self._before.items():
            signal.signal(number, before)
        signal.set_wakeup_fd(self._wakeup_before)
        os.close(self._reader)
        os.close(self._writer)

    def _ask(self, *_: object) -> None:
        self.requested = True

    def wait(self, seconds: float, *, or_readable: int | None = None) -> bool:
        """Return after that time, at a signal, or when there is something to read: whether somebody asked to stop."""
        if not self.requested:
            select.select([self._reader, *([] if or_readable is None else [or_readable])], [], [], seconds)
            with suppress(BlockingIOError):
                os.read(self._reader, 4096)
        return self.requested


class Stdin:
    """Lines from a pipe; what was taken from it is given out even when we are asked to stop."""

    position = None
    behind = 0

    def __init__(self, fd: int = 0) -> None:
        self.fd = fd
        self.ended = False
        self._lines: list[bytes] = []
        self._begun = b""

    def read(self, most: int) -> list[bytes]:
        """See `Feed`."""
        while len(self._lines) < most and not self.ended and select.select([self.fd], [], [], 0)[0]:
            chunk = os.read(self.fd, LONGEST_LINE)
            *lines, rest = chunk.split(b"\n")
            if lines:
                self._lines += [self._begun + lines[0], *lines[1:]]
                self._begun = rest
            else:
                # Cut rather than kept whole: a line of this length is none of Postfix's, and is passed over.
                self._begun = (self._begun + rest)[:LONGEST_LINE]
            if not chunk:
                self.ended = True
                self._lines += [self._begun] if self._begun else []
        return self.held(most)

    def held(self, most: int) -> list[bytes]:
        """See `Feed`."""
        lines, self._lines = self._lines[:most], self._lines[most:]
        return lines


def follow(
    feed: Feed, ledger: Ledger, stop: Stop, *, batch: int, interval: float, once: bool, wake_on: int | None = None
) -> Tally:
    """Read and record until asked to stop, until the feed ends or (`once`) until there is nothing more now.

    `interval` is how long to wait for lines, in seconds. A database that cannot be written is waited for, unless
    `once`.
    """
    reporter = _Reporter(feed)
    while not stop.requested:
        lines = feed.read(batch)
        if lines:
            reporter.add(_insist(lambda lines=lines: _record(feed, ledger, lines), stop, once=once))  # type: ignore[misc]
        elif feed.ended or once:
            break
        else:
            reporter.perhaps_report()
            stop.wait(interval, or_readable=wake_on)
    while lines := feed.held(batch):
        reporter.add(_record(feed, ledger, lines))
    reporter.report()
    return reporter.total


def _record(feed: Feed, ledger: Ledger, lines: Sequence[bytes]) -> Tally:
    return ledger.record(lines, feed.position, now=timezone.now())


def _insist(work: Callable[[], Tally], stop: Stop, *, once: bool) -> Tally:
    """Do it until the database lets us. Asked to stop while it does not, nothing of the batch is counted as read."""
    pause = 1.0
    while True:
        try:
            if not connection.in_atomic_block:
                connection.close_if_unusable_or_obsolete()
            return work()
        except (OperationalError, InterfaceError) as error:
            if once or stop.requested:
                raise
            log.warning("the database cannot be written; trying again", extra={"error": type(error).__name__})
            if not connection.in_atomic_block:
                connection.close()
            if stop.wait(pause):
                return Tally()
            pause = min(pause * 2, LONGEST_PAUSE.total_seconds())


class _Reporter:
    """Says every so often how it goes: numbers and syslog names, no addresses."""

    def __init__(self, feed: Feed) -> None:
        self.total = Tally()
        self._feed = feed
        self._reported_at = time.monotonic()
        self._reported_lines = 0

    def add(self, tally: Tally) -> None:
        for name in tally.unmapped.keys() - self.total.unmapped.keys():
            log.warning(
                "no sending IP is mapped to this syslog name, its events go under the unknown IP: map it in the "
                "source's IP mapping or with --ip",
                extra={"syslog_name": name},
            )
        self.total.add(tally)
        self.perhaps_report()

    def perhaps_report(self) -> None:
        if time.monotonic() - self._reported_at >= REPORT_EVERY.total_seconds():
            self.report()

    def report(self) -> None:
        self._reported_at = time.monotonic()
        if self.total.lines == self._reported_lines:
            return
        self._reported_lines = self.total.lines
        latest = self.total.latest
        log.info(
            "followed",
            extra={
                "lines": self.total.lines,
                "events": self.total.events,
                "unmapped": sum(self.total.unmapped.values()),
                "unreadable": self.total.unreadable,
                "without_sender": self.total.without_sender,
                "bytes_behind": self._feed.behind,
                "latest_event": latest.isoformat() if latest is not None else None,
            },
        )
