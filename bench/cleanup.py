"""The clean-up of a day beside ingest: how long a batch takes while nothing else happens, and while the day goes.

Another process records batches at fixed moments throughout (open loop: a batch's time counts from when it was due). The
day goes three times, each time after a stretch without clean-up, so that both see the same machine.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from multiprocessing import get_context
from typing import Any

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "reputation_site.settings")
django.setup()

from django.db import connection, transaction  # noqa: E402
from django.utils import timezone  # noqa: E402

from bench.ingest import events  # noqa: E402
from telemetry import partitions, sql  # noqa: E402
from telemetry.counters import roll_up  # noqa: E402
from telemetry.domain.cells import floor_day  # noqa: E402
from telemetry.ingest import record_batch  # noqa: E402
from telemetry.models import RetentionPolicy, Source  # noqa: E402
from telemetry.retention import clean_up  # noqa: E402

ROUNDS = 3
STORED = {"postgresql": 300_000, "sqlite": 60_000}
BATCH = 25
# On PostgreSQL the clean-up is over in seconds; the percentiles need enough batches in them.
PER_SECOND = {"postgresql": 100, "sqlite": 20}
QUIET_SECONDS = 15.0
PROCESSES = get_context("spawn")
Window = tuple[float, float]


def ingest(stop: Any, answers: Any) -> None:
    """Record batches at fixed moments until told to stop; answers (when it was due, how long it took) of each."""
    source = Source.objects.get(name="bench")
    taken = []
    due = time.perf_counter()
    while not stop.is_set():
        batch = events(BATCH)
        time.sleep(max(0.0, due - time.perf_counter()))
        record_batch(source, batch, now=timezone.now())
        taken.append((due, time.perf_counter() - due))
        due += 1 / PER_SECOND[connection.vendor]
    answers.put(taken)


@contextmanager
def going_on() -> Iterator[list[tuple[float, float]]]:
    """Ingest in another process; what it measured is in the list afterwards."""
    stop, answers = PROCESSES.Event(), PROCESSES.Queue()
    process = PROCESSES.Process(target=ingest, args=(stop, answers), daemon=True)
    process.start()
    taken: list[tuple[float, float]] = []
    yield taken
    stop.set()
    taken.extend(answers.get(timeout=60))
    process.join(60)


def store(source: Source, received: datetime, number: int) -> None:
    """Store events as if they had come on a day of the past, with their receipts and counters."""
    if sql.are_partitioned():
        with transaction.atomic():
            sql.take_turn(1_000)
            sql.create_day(floor_day(received), 0)
    for start in range(0, number, 1_000):
        moment = received + timedelta(minutes=start // 1_000 % 60)
        batch = [replace(event, occurred_at=moment) for event in events(min(1_000, number - start))]
        record_batch(source, batch, now=moment)
    roll_up(now=timezone.now())


def within(taken: Sequence[tuple[float, float]], windows: Sequence[Window]) -> list[float]:
    """The milliseconds of what was due within the windows."""
    return sorted(1000 * took for due, took in taken if any(start <= due < end for start, end in windows))


def spread(times: Sequence[float]) -> str:
    """The usual three."""
    cuts = statistics.quantiles(times, n=100)
    return f"{cuts[49]:.1f} / {cuts[94]:.1f} / {cuts[98]:.1f}"


def main() -> None:
    """Measure and print one row as JSON."""
    number = STORED[connection.vendor] // (10 if "--quick" in sys.argv else 1)
    source = Source.objects.create(name="bench")
    partitions.create_ahead(now=timezone.now())
    # Everything of a day past the day before yesterday goes at once: events, receipts, all counters.
    RetentionPolicy.objects.update(keep=timedelta(days=2))
    quiet: list[Window] = []
    cleaning: list[Window] = []
    removed = 0
    with going_on() as taken:
        for turn in range(ROUNDS):
            store(source, floor_day(timezone.now()) - timedelta(days=6 - turn, hours=-9), number)
            start = time.perf_counter()
            time.sleep(QUIET_SECONDS)
            quiet.append((start, time.perf_counter()))
            start = time.perf_counter()
            removed += sum(clean_up(now=timezone.now()).values())
            cleaning.append((start, time.perf_counter()))
    without, during = within(taken, quiet), within(taken, cleaning)
    ratio = statistics.quantiles(during, n=100)[98] / statistics.quantiles(without, n=100)[98]
    row = {
        "a day's events": f"{number:,}",
        "rows removed": f"{removed:,}",
        "clean-up, s": f"{sum(end - start for start, end in cleaning):.1f}",
        "batches of 25 beside it": f"{len(during):,} at {PER_SECOND[connection.vendor]}/s",
        "without, p50 / p95 / p99 ms": spread(without),
        "during, p50 / p95 / p99 ms": spread(during),
        "p99, times": f"{ratio:.1f}",
    }
    print(json.dumps([row]))


if __name__ == "__main__":
    main()
