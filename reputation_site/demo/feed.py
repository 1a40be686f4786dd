"""Plays the story into a running product: first the day that is over, quickly, then what happens now, as it happens."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TextIO

from reputation_site.demo.cast import CAST
from reputation_site.demo.reporter import Reporter
from reputation_site.demo.story import DAY, MINUTE, Outcome, Story

BATCH = 500
LIVE_EVERY = 2.0  # seconds between two reports of what happens now
BAR = 30


class Progress:
    """A bar: redrawn in place on a terminal, a line at every twentieth elsewhere."""

    def __init__(self, output: TextIO) -> None:
        self._output = output
        self._redraws = output.isatty()
        self._last_step = -1

    def show(self, share: float, text: str) -> None:
        """Draw the bar for a share from 0 to 1."""
        step = int(share * (200 if self._redraws else 20))
        if step == self._last_step:
            return
        self._last_step = step
        done = int(share * BAR)
        line = f"[{'#' * done}{'.' * (BAR - done)}] {share:4.0%}  {text}"
        if self._redraws:
            line = f"\r{line}\x1b[K" + ("\n" if share >= 1 else "")
        else:
            line += "\n"
        self._output.write(line)
        self._output.flush()


@dataclass(frozen=True)
class Played:
    """What the quick part sent."""

    events: int
    seconds: float


class Feed:
    """Sends a story through the reporters of its mail servers."""

    def __init__(self, reporters: dict[str, Reporter], *, seed: int, last_event_at: datetime | None) -> None:
        now = datetime.now(UTC)
        self._reporters = reporters
        self._begin = (now - DAY).replace(second=0, microsecond=0) + MINUTE
        bad_from = now - DAY / 2
        if last_event_at is not None:
            # A demo that was stopped goes on where it stopped, with its IP as bad as it was.
            self._begin = max(self._begin, last_event_at.replace(second=0, microsecond=0) + MINUTE)
            bad_from = min(bad_from, self._begin)
        self._story = Story(seed=seed, peak=now, bad_from=bad_from)
        self._waiting: dict[str, list[Outcome]] = {ip.reported_by: [] for ip in CAST}
        self._sent = 0

    def play_the_past(self) -> Played:
        """Send everything up to now, with a bar on standard error."""
        progress = Progress(sys.stderr)
        started, first = time.monotonic(), self._begin
        while self._begin + MINUTE <= (now := datetime.now(UTC)):
            self._tell_minute()
            self._flush(least=BATCH)
            share = (self._begin - first) / max(now - first, MINUTE)
            rate = self._sent / max(time.monotonic() - started, 0.001)
            progress.show(min(share, 0.999), f"{self._sent:,} events, {rate:,.0f} a second")
        self._flush(least=1)
        progress.show(1.0, f"{self._sent:,} events")
        return Played(self._sent, time.monotonic() - started)

    def play_the_present(self, sleep: Callable[[float], None] = time.sleep) -> None:
        """Send what happens now, until the process is stopped."""
        while True:
            now = datetime.now(UTC)
            while self._begin <= now:
                self._tell_minute()
            self._flush(least=1, until=now)
            sleep(LIVE_EVERY)

    def _tell_minute(self) -> None:
        for outcome in self._story.minute(self._begin):
            self._waiting[outcome.reported_by].append(outcome)
        self._begin += MINUTE

    def _flush(self, *, least: int, until: datetime | None = None) -> None:
        for name, waiting in self._waiting.items():
            ready = [one for one in waiting if until is None or one.at <= until]
            if len(ready) < least:
                continue
            for at in range(0, len(ready), BATCH):
                self._reporters[name].report(ready[at : at + BATCH])
            self._sent += len(ready)
            self._waiting[name] = waiting[len(ready) :] if until is None else [one for one in waiting if one.at > until]


def wait_for(condition: Callable[[], bool], *, within: timedelta) -> bool:
    """Ask until the answer is yes or the time is over."""
    until = time.monotonic() + within.total_seconds()
    while not condition():
        if time.monotonic() > until:
            return False
        time.sleep(0.25)
    return True
