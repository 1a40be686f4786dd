"""record_batch() beside the raw limit: the same rows by COPY (PostgreSQL) or INSERT (SQLite) with a unique key."""

from __future__ import annotations

import json
import os
import statistics
import sys
import time
import uuid
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "reputation_site.settings")
django.setup()

import psycopg  # noqa: E402
from django.db import connection, transaction  # noqa: E402
from django.utils import timezone  # noqa: E402

from telemetry import sql  # noqa: E402
from telemetry.domain.event import Event  # noqa: E402
from telemetry.domain.fold import Classified  # noqa: E402
from telemetry.domain.vocab import EventType  # noqa: E402
from telemetry.ingest import _row, record_batch  # noqa: E402
from telemetry.models import Source  # noqa: E402

SIZES = {1: 1_500, 10: 8_000, 100: 40_000, 1000: 80_000}
ROUNDS = 3


def events(number: int) -> list[Event]:
    """Fresh events: 20 IPs, 50 sending domains, 12 recipient domains, 5 % refused."""
    now = timezone.now()
    made = []
    for index in range(number):
        refused = index % 20 == 0
        domain = (
            ["gmail.com", "outlook.com", "yahoo.com", "web.de"][index % 4] if index % 3 else f"d{index % 8}.example"
        )
        made.append(
            Event(
                type=EventType.BOUNCE if refused else EventType.DELIVERY,
                occurred_at=now - timedelta(milliseconds=index % 60_000),
                sending_ip=f"192.0.2.{index % 20 + 1}",
                sending_domain=f"sender{index % 50}.example",
                recipient=f"recipient{index}@{domain}",
                recipient_domain=domain,
                mx_host="gmail-smtp-in.l.google.com" if domain == "gmail.com" else "",
                smtp_code=550 if refused else 250,
                enhanced_code="5.7.1" if refused else "2.0.0",
                reply="550 5.7.1 refused for reasons of policy" if refused else "250 2.0.0 OK queued as 4711",
                attempt_number=1,
                message_id=f"queue-{index}",
                event_id=uuid.uuid4().hex,
            )
        )
    return made


def raw_table() -> None:
    """A table of the raw rows' width with a unique key and nothing else."""
    key = "uuid" if sql.on_postgres() else "text"
    columns = ", ".join(f"{name} {kind if sql.on_postgres() else 'text'}" for name, kind in sql.EVENT_COLUMNS.items())
    with connection.cursor() as cursor:
        cursor.execute("DROP TABLE IF EXISTS bench_raw")
        cursor.execute(f"CREATE TABLE bench_raw (key {key} PRIMARY KEY, {columns})")


def raw(rows: Sequence[Sequence[Any]]) -> None:
    """One batch of raw rows in one transaction, by the fastest way the database has."""
    names = ", ".join(["key", *sql.EVENT_COLUMNS])
    with transaction.atomic():
        if sql.on_postgres():
            cursor = psycopg.Cursor(connection.connection)
            with cursor.copy(f"COPY bench_raw ({names}) FROM STDIN") as copy:
                for row in rows:
                    copy.write_row(row)
        else:
            marks = ", ".join(["%s"] * (len(sql.EVENT_COLUMNS) + 1))
            with connection.cursor() as sqlite:
                sqlite.executemany(f"INSERT INTO bench_raw ({names}) VALUES ({marks})", rows)


def raw_rows(source: Source, number: int) -> list[Sequence[Any]]:
    """That many fresh events as rows of the raw table."""
    now = timezone.now()
    made = events(number)
    rows = [(uuid.uuid4(), *_row(source.pk, Classified(event, "google", ""), now)) for event in made]
    return [tuple(map(sql.for_sqlite, row)) for row in rows] if not sql.on_postgres() else list(rows)


def per_second(batches: Sequence[Any], work: Callable[[Any], object], count: int) -> float:
    """Events per second over all batches."""
    start = time.perf_counter()
    for batch in batches:
        work(batch)
    return count / (time.perf_counter() - start)


def main() -> None:
    """Measure each batch size in alternating rounds and print the medians as JSON."""
    quick = "--quick" in sys.argv
    source = Source.objects.create(name="bench")
    raw_table()
    connection.ensure_connection()
    table = []
    for size, total in SIZES.items():
        count = total // 10 if quick else total
        ours, limit = [], []
        for _ in range(ROUNDS):
            made = events(count)
            batches = [made[start : start + size] for start in range(0, count, size)]
            rows = raw_rows(source, count)
            limit.append(per_second([rows[start : start + size] for start in range(0, count, size)], raw, count))
            ours.append(per_second(batches, lambda batch: record_batch(source, batch, now=timezone.now()), count))
        middle, most = statistics.median(ours), statistics.median(limit)
        table.append(
            {
                "events per batch": size,
                "record_batch, events/s": f"{middle:,.0f}",
                "raw rows, rows/s": f"{most:,.0f}",
                "ratio": f"{middle / most:.2f}",
                "spread of rounds": f"{min(ours):,.0f}–{max(ours):,.0f}",
            }
        )
    print(json.dumps(table))


if __name__ == "__main__":
    main()
