"""Statements of the ingest transaction: receipts, raw rows, counters, states of messages, the queue of changes."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Final

import msgspec
from django.db import connection

from telemetry.domain.cells import day_number
from telemetry.sql.base import (
    EVENT_COLUMNS,
    MINUTE_TRAFFIC_COLUMNS,
    REFUSAL_COLUMNS,
    STATE_COLUMNS,
    TRAFFIC_COLUMNS,
    TRAFFIC_MEASURES,
    Row,
    insert_rows,
    on_postgres,
    postgres,
)

# From this many rows on COPY is cheaper than one INSERT, in spite of its extra messages (bench/).
COPY_FROM_ROWS: Final = 50


def claim_receipts(keys: Iterable[uuid.UUID], now: datetime) -> set[uuid.UUID]:
    """Store a receipt for each key that has none; returns those keys. A concurrent claim of the same key waits."""
    ordered = sorted(keys, key=_by_value)
    if on_postgres():
        with postgres() as cursor:
            cursor.execute(
                "INSERT INTO telemetry_receipt (key, received_on) "
                "SELECT k, %s FROM unnest(%s::uuid[]) AS r(k) ORDER BY k "
                "ON CONFLICT (key) DO NOTHING RETURNING key",
                [day_number(now), ordered],
            )
            return {row[0] for row in cursor.fetchall()}
    with connection.cursor() as cursor:
        # "WHERE true" keeps SQLite's parser from reading ON as a join constraint.
        cursor.execute(
            "INSERT INTO telemetry_receipt (key, received_on) "
            "SELECT value, %s FROM json_each(%s) WHERE true ORDER BY 1 "
            "ON CONFLICT (key) DO NOTHING RETURNING key",
            [day_number(now), msgspec.json.encode([key.hex for key in ordered]).decode()],
        )
        return {uuid.UUID(row[0]) for row in cursor.fetchall()}


def _by_value(key: uuid.UUID) -> int:
    return key.int


def insert_events(rows: Sequence[Row]) -> None:
    """Append raw rows (EVENT_COLUMNS); they cannot conflict, the receipts have decided which are new."""
    if on_postgres() and len(rows) >= COPY_FROM_ROWS:
        names = ", ".join(EVENT_COLUMNS)
        with postgres() as cursor, cursor.copy(f"COPY telemetry_sendingevent ({names}) FROM STDIN") as copy:
            for row in rows:
                copy.write_row(row)
    else:
        insert_rows("telemetry_sendingevent", EVENT_COLUMNS, rows)


def add_traffic(level: str, rows: Sequence[Row]) -> None:
    """Add increments to the traffic table of a level: TRAFFIC_COLUMNS, for minutes MINUTE_TRAFFIC_COLUMNS."""
    table = f"telemetry_traffic{level}"
    columns = MINUTE_TRAFFIC_COLUMNS if level == "minute" else TRAFFIC_COLUMNS
    sets = [f'"{name}" = {table}."{name}" + excluded."{name}"' for name in TRAFFIC_MEASURES]
    if level == "minute":
        sets.append(f"last_delivered_at = {latest(f'{table}.last_delivered_at', 'excluded.last_delivered_at')}")
    ordered = sorted(rows, key=lambda row: row[0])
    insert_rows(table, columns, ordered, f"ON CONFLICT ({counter_key()}) DO UPDATE SET {', '.join(sets)}")


def counter_key() -> str:
    """The primary key of a counter table: on PostgreSQL it carries what the table would be distributed by."""
    return "id, sending_ip" if on_postgres() else "id"


def latest(one: str, other: str) -> str:
    """The SQL for the later of two times, either of which may be missing."""
    # SQLite's max() of two values is NULL when one of them is.
    return f"GREATEST({one}, {other})" if on_postgres() else f"COALESCE(MAX({one}, {other}), {one}, {other})"


def add_refusals(level: str, rows: Sequence[Row]) -> None:
    """Add increments (REFUSAL_COLUMNS) to the refusal table of a level: minute, hour or day."""
    table = f"telemetry_refusal{level}"
    insert_rows(
        table,
        REFUSAL_COLUMNS,
        sorted(rows),
        f'ON CONFLICT ({counter_key()}) DO UPDATE SET "count" = {table}."count" + excluded."count"',
    )


def lock_states(rows: Sequence[Row]) -> list[Row]:
    """The stored rows (STATE_COLUMNS) for these keys, locked until commit; a missing one is made from the row given."""
    ordered = sorted(rows)
    keys = [row[0] for row in ordered]
    insert_rows("telemetry_messagestate", STATE_COLUMNS, ordered, "ON CONFLICT (key) DO NOTHING")
    names = ", ".join(STATE_COLUMNS)
    if on_postgres():
        with postgres() as cursor:
            cursor.execute(
                f"SELECT {names} FROM telemetry_messagestate WHERE key = ANY(%s) ORDER BY key FOR UPDATE", [keys]
            )
            return [(*row[:5], str(row[5]), *row[6:]) for row in cursor.fetchall()]
    with connection.cursor() as cursor:
        # The whole database is ours since BEGIN IMMEDIATE.
        cursor.execute(
            f"SELECT {names} FROM telemetry_messagestate WHERE key IN (SELECT value FROM json_each(%s))",
            [msgspec.json.encode([key.hex for key in keys]).decode()],
        )
        return [_state_from_sqlite(row) for row in cursor.fetchall()]


def _moment(naive: datetime | None) -> datetime | None:
    return naive.replace(tzinfo=UTC) if naive is not None else None


def _state_from_sqlite(row: Row) -> Row:
    key, source, final, attempt, bucket, sending_ip, sending_domain, provider, updated = row
    return (
        uuid.UUID(key),
        source,
        bool(final),
        attempt,
        _moment(bucket),
        sending_ip,
        sending_domain,
        provider,
        _moment(updated),
    )


def store_states(rows: Sequence[Row]) -> None:
    """Overwrite message states (STATE_COLUMNS); `lock_states` holds them."""
    sets = ", ".join(f'"{name}" = excluded."{name}"' for name in STATE_COLUMNS if name not in ("key", "source_id"))
    insert_rows(
        "telemetry_messagestate",
        STATE_COLUMNS,
        sorted(rows, key=lambda row: row[0]),
        f"ON CONFLICT (key) DO UPDATE SET {sets}",
    )


def note_changed(addresses: Iterable[str], now: datetime) -> None:
    """Queue these sending IPs for the next poll."""
    insert_rows(
        "telemetry_changedsender",
        {"sending_ip": "inet", "noted_at": "timestamptz"},
        [(address, now) for address in sorted(addresses)],
    )
