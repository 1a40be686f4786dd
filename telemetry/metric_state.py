"""What /metrics says: counters that processes keep, and gauges that are read from the database when somebody asks.

Gauges from the database are the same whichever process answers and whatever was restarted. They are kept for a few
seconds, so that several who scrape, or one who hurries, do not become a load on the database.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from itertools import product

from django.db import Error as DatabaseError
from django.db import connection
from django.utils import timezone
from prometheus_client import REGISTRY, CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from telemetry import metric_files

Read = Callable[[], Iterable[Metric]]

_reads: list[Read] = []
_always: list[Read] = []
_queues: dict[str, Callable[[datetime], datetime | None]] = {}


class _State(Collector):
    def describe(self) -> list[Metric]:
        """Nothing: registering must not ask the database."""
        return []

    def collect(self) -> Iterator[Metric]:
        """What the database says, and whether it says anything."""
        for read in _always:
            yield from read()
        answers = True
        for read in _reads:
            try:
                yield from list(read())
            except DatabaseError:
                # One that does not answer is not asked by the others too: each would wait for its own time-out.
                connection.close()
                answers = False
                break
        yield GaugeMetricFamily(
            "database_answers", "1 where the database answered this scrape's questions, else 0.", int(answers)
        )


STATE = CollectorRegistry()
"""The gauges of what is, beside the library's own registry, which holds what was counted."""
STATE.register(_State())


def offer(read: Read) -> None:
    """Have these metrics on the page; `read` asks the database and may raise its errors."""
    if read not in _reads:
        _reads.append(read)


def offer_always(read: Read) -> None:
    """Have these metrics on the page, whether the database answers or not; `read` does not ask it."""
    if read not in _always:
        _always.append(read)


def offer_queue(name: str, oldest: Callable[[datetime], datetime | None]) -> None:
    """Have the age of a queue's oldest entry on the page; `oldest` says since when that waits, None: nothing does."""
    _queues[name] = oldest
    offer(_queue_ages)


def gauge_of(
    name: str, text: str, labels: Mapping[str, Iterable[str]], found: Mapping[tuple[str, str], int]
) -> GaugeMetricFamily:
    """A gauge with a series for each pair of the two labels' words, 0 where nothing was found."""
    gauge = GaugeMetricFamily(name, text, labels=list(labels))
    first, second = labels.values()
    for pair in product(first, second):
        gauge.add_metric(list(pair), found.get(pair, 0))
    return gauge


def _queue_ages() -> Iterator[Metric]:
    now = timezone.now()
    ages = GaugeMetricFamily(
        "queue_oldest_seconds", "Since when the oldest entry waits that could be done; 0: none does.", labels=["queue"]
    )
    for name, oldest in _queues.items():
        since = oldest(now)
        ages.add_metric([name], max(0.0, (now - since).total_seconds()) if since is not None else 0.0)
    yield ages


class Page:
    """The text of /metrics; what the database says is asked at most once in `held`."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._said = b""
        self._asked_at = float("-inf")

    def text(self, *, held: timedelta) -> bytes:
        """The whole page. Counters are never kept: one that goes backwards looks like a restart."""
        return self._state(held) + generate_latest(_counted())

    def forget(self) -> None:
        """Ask anew at the next scrape."""
        self._asked_at = float("-inf")

    def _state(self, held: timedelta) -> bytes:
        with self._lock:
            if time.monotonic() - self._asked_at >= held.total_seconds():
                self._said = generate_latest(STATE)
                self._asked_at = time.monotonic()
            return self._said


def _counted() -> CollectorRegistry:
    shared = metric_files.shared()
    if shared is None:
        return REGISTRY
    together = CollectorRegistry()
    together.register(shared)
    return together


PAGE = Page()
