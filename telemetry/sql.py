"""The hand-written statements of this floor, each for both databases.

By hand because the ORM cannot say them: INSERT … ON CONFLICT DO NOTHING RETURNING (which keys are new), additive
upserts, COPY, DELETE … RETURNING as a queue, advisory locks. All of them run inside the caller's transaction.

Every statement that can meet another writer's rows takes them in key order. Two batches that share keys (a retry racing
its first delivery) would otherwise deadlock.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, Final

import msgspec
import psycopg
from django.db import connection

# Columns with their PostgreSQL types, in the order in which rows are given.
TRAFFIC_MEASURES: Final = ("delivered", "bounced", "deferred", "superseded", "complained")
TRAFFIC_COLUMNS: Final = {
    "id": "uuid",
    "bucket": "timestamptz",
    "sending_ip": "inet",
    "sending_domain": "text",
    "provider": "text",
    "source_id": "bigint",
    **dict.fromkeys(TRAFFIC_MEASURES, "bigint"),
}
REFUSAL_COLUMNS: Final = {
    "id": "uuid",
    "bucket": "timestamptz",
    "sending_ip": "inet",
    "sending_domain": "text",
    "recipient_domain": "text",
    "provider": "text",
    "code": "text",
    "cause": "text",
    "count": "bigint",
}
EVENT_COLUMNS: Final = {
    "source_id": "bigint",
    "type": "text",
    "occurred_at": "timestamptz",
    "received_at": "timestamptz",
    "sending_ip": "inet",
    "sending_domain": "text",
    "recipient": "text",
    "recipient_domain": "text",
    "provider": "text",
    "mx_host": "text",
    "smtp_code": "smallint",
    "enhanced_code": "text",
    "cause": "text",
    "reply": "text",
    "attempt_number": "integer",
    "message_id": "text",
    "classification": "text",
    "node": "text",
    "event_id": "text",
    "future": "boolean",
}
STATE_COLUMNS: Final = {
    "key": "uuid",
    "source_id": "bigint",
    "final": "boolean",
    "attempt": "integer",
    "bucket": "timestamptz",
    "sending_ip": "inet",
    "sending_domain": "text",
    "provider": "text",
    "updated_at": "timestamptz",
}
# From this many rows on COPY is cheaper than one INSERT, in spite of its extra messages (bench/).
COPY_FROM_ROWS: Final = 50
# Any number that no other user of the database takes; the lock orders ingest and the roll-up.
_ROLLUP_LOCK: Final = 7_205_759_403_792_794

Row = tuple[Any, ...]


def on_postgres() -> bool:
    """Whether the default database is PostgreSQL (else it is SQLite)."""
    return connection.vendor == "postgresql"


@contextmanager
def _postgres() -> Any:
    """A server-side-binding cursor of the current transaction; errors come out as Django's."""
    connection.ensure_connection()
    with connection.wrap_database_errors, psycopg.Cursor(connection.connection) as cursor:
        yield cursor


def _for_sqlite(value: Any) -> Any:
    if isinstance(value, uuid.UUID):
        return value.hex
    if isinstance(value, datetime):
        return connection.ops.adapt_datetimefield_value(value)
    return value


def _insert(table: str, columns: dict[str, str], rows: Iterable[Row], conflict: str = "") -> None:
    """One INSERT of all rows, in the order given, with the given conflict clause."""
    names = ", ".join(f'"{name}"' for name in columns)
    if on_postgres():
        types = ", ".join(f'"{name}" {kind}' for name, kind in columns.items())
        records = [dict(zip(columns, row, strict=True)) for row in rows]
        with _postgres() as cursor:
            cursor.execute(
                f"INSERT INTO {table} ({names}) "
                f"SELECT {names} FROM json_to_recordset(%s::json) AS r({types}) {conflict}",
                [msgspec.json.encode(records).decode()],
            )
    else:
        marks = ", ".join(["%s"] * len(columns))
        with connection.cursor() as cursor:
            cursor.executemany(
                f"INSERT INTO {table} ({names}) VALUES ({marks}) {conflict}",
                [[_for_sqlite(value) for value in row] for row in rows],
            )


def claim_receipts(source_id: int, keys: Sequence[uuid.UUID], now: datetime) -> set[uuid.UUID]:
    """Store a receipt for each key that has none; returns those keys. A concurrent claim of the same key waits."""
    ordered = sorted(keys)
    if on_postgres():
        with _postgres() as cursor:
            cursor.execute(
                "INSERT INTO telemetry_receipt (key, source_id, received_at) "
                "SELECT k, %s, %s FROM unnest(%s::uuid[]) AS k ORDER BY k "
                "ON CONFLICT (key) DO NOTHING RETURNING key",
                [source_id, now, ordered],
            )
            return {row[0] for row in cursor.fetchall()}
    with connection.cursor() as cursor:
        # "WHERE true" keeps SQLite's parser from reading ON as a join constraint.
        cursor.execute(
            "INSERT INTO telemetry_receipt (key, source_id, received_at) "
            "SELECT value, %s, %s FROM json_each(%s) WHERE true ORDER BY value "
            "ON CONFLICT (key) DO NOTHING RETURNING key",
            [source_id, _for_sqlite(now), msgspec.json.encode([key.hex for key in ordered]).decode()],
        )
        return {uuid.UUID(row[0]) for row in cursor.fetchall()}


def insert_events(rows: Sequence[Row]) -> None:
    """Append raw rows (EVENT_COLUMNS); they cannot conflict, the receipts have decided which are new."""
    if on_postgres() and len(rows) >= COPY_FROM_ROWS:
        names = ", ".join(EVENT_COLUMNS)
        with _postgres() as cursor, cursor.copy(f"COPY telemetry_sendingevent ({names}) FROM STDIN") as copy:
            for row in rows:
                copy.write_row(row)
    else:
        _insert("telemetry_sendingevent", EVENT_COLUMNS, rows)


def add_traffic(level: str, rows: Sequence[Row]) -> None:
    """Add increments (TRAFFIC_COLUMNS) to the traffic table of a level: minute, hour or day."""
    table = f"telemetry_traffic{level}"
    sums = ", ".join(f'"{name}" = {table}."{name}" + excluded."{name}"' for name in TRAFFIC_MEASURES)
    _insert(table, TRAFFIC_COLUMNS, sorted(rows), f"ON CONFLICT (id) DO UPDATE SET {sums}")


def add_refusals(level: str, rows: Sequence[Row]) -> None:
    """Add increments (REFUSAL_COLUMNS) to the refusal table of a level: minute, hour or day."""
    table = f"telemetry_refusal{level}"
    _insert(
        table,
        REFUSAL_COLUMNS,
        sorted(rows),
        f'ON CONFLICT (id) DO UPDATE SET "count" = {table}."count" + excluded."count"',
    )


def lock_states(rows: Sequence[Row]) -> list[Row]:
    """The stored rows (STATE_COLUMNS) for these keys, locked until commit; a missing one is made from the row given."""
    ordered = sorted(rows)
    keys = [row[0] for row in ordered]
    _insert("telemetry_messagestate", STATE_COLUMNS, ordered, "ON CONFLICT (key) DO NOTHING")
    names = ", ".join(STATE_COLUMNS)
    if on_postgres():
        with _postgres() as cursor:
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
    _insert(
        "telemetry_messagestate",
        STATE_COLUMNS,
        sorted(rows, key=lambda row: row[0]),
        f"ON CONFLICT (key) DO UPDATE SET {sets}",
    )


def note_changed(addresses: Iterable[str], now: datetime) -> None:
    """Queue these sending IPs for the next poll."""
    _insert(
        "telemetry_changedsender",
        {"sending_ip": "inet", "noted_at": "timestamptz"},
        [(address, now) for address in sorted(addresses)],
    )


def take_changed(limit: int) -> tuple[int, set[str]]:
    """Take up to `limit` queued rows away: how many, and their IPs. A rolled-back transaction brings them back."""
    if on_postgres():
        with _postgres() as cursor:
            cursor.execute(
                "DELETE FROM telemetry_changedsender WHERE id IN "
                "(SELECT id FROM telemetry_changedsender ORDER BY id LIMIT %s FOR UPDATE SKIP LOCKED) "
                "RETURNING host(sending_ip)",
                [limit],
            )
            rows = cursor.fetchall()
            return len(rows), {row[0] for row in rows}
    with connection.cursor() as cursor:
        cursor.execute(
            "DELETE FROM telemetry_changedsender WHERE id IN "
            "(SELECT id FROM telemetry_changedsender ORDER BY id LIMIT %s) RETURNING sending_ip",
            [limit],
        )
        rows = cursor.fetchall()
        return len(rows), {row[0] for row in rows}


def lock_for_counting() -> None:
    """Hold the roll-up's border where it is until commit. Writers do not wait for each other, only for a roll-up."""
    if on_postgres():
        with _postgres() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock_shared(%s)", [_ROLLUP_LOCK])


def lock_for_rollup() -> None:
    """Wait for running batches and keep new ones waiting until commit; what they counted is visible afterwards."""
    if on_postgres():
        with _postgres() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(%s)", [_ROLLUP_LOCK])


def delete_some(table: str, condition: str, parameters: Sequence[Any], limit: int) -> int:
    """Delete at most `limit` rows of a table that meet the condition; how many went. For bounded clean-up batches."""
    key = "key" if table in ("telemetry_receipt", "telemetry_messagestate") else "id"
    with connection.cursor() as cursor:
        cursor.execute(
            f"DELETE FROM {table} WHERE {key} IN (SELECT {key} FROM {table} WHERE {condition} LIMIT %s)",
            [*(_for_sqlite(value) if not on_postgres() else value for value in parameters), limit],
        )
        return int(cursor.rowcount)
