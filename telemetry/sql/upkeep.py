"""Around ingest: the queue of changed senders, the lock between counting and roll-up, clean-up in batches."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final, cast

import msgspec
from django.db import connection

from telemetry.sql.base import for_sqlite, on_postgres, postgres

# Any number that no other user of the database takes; the lock orders ingest and the roll-up.
ROLLUP_LOCK: Final = 7_205_759_403_792_794


def take_changed(limit: int) -> tuple[int, set[str]]:
    """Take up to `limit` queued rows away: how many, and their IPs. A rolled-back transaction brings them back."""
    if on_postgres():
        with postgres() as cursor:
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


def mark_for_counting() -> datetime:
    """Up to when hours and days are complete; the mark stays there until commit.

    Writers do not wait for each other, only for a roll-up.
    """
    if on_postgres():
        with postgres() as cursor:
            cursor.execute("SELECT telemetry_counting_mark(%s)", [ROLLUP_LOCK])
            return cast(datetime, cursor.fetchone()[0])
    with connection.cursor() as cursor:
        cursor.execute("SELECT rolled_up_to FROM telemetry_rollupmark WHERE id = 1")
        return cast(datetime, cursor.fetchone()[0]).replace(tzinfo=UTC)


def lock_for_rollup() -> None:
    """Wait for running batches and keep new ones waiting until commit; what they counted is visible afterwards."""
    if on_postgres():
        with postgres() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(%s)", [ROLLUP_LOCK])


def delete_some(table: str, condition: str, parameters: Sequence[Any], limit: int) -> int:
    """Delete at most `limit` rows of a table that meet the condition; how many went. For bounded clean-up batches."""
    key = _key_of(table)
    with connection.cursor() as cursor:
        cursor.execute(
            f"DELETE FROM {table} WHERE {key} IN (SELECT {key} FROM {table} WHERE {condition} LIMIT %s)",
            [*_adapted(parameters), limit],
        )
        return int(cursor.rowcount)


def delete_in_order(
    table: str, column: str, start: Any, condition: str, parameters: Sequence[Any], limit: int
) -> tuple[int, Any]:
    """Delete the first `limit` rows by that column, from `start` on, that meet the condition: how many, and the last.

    The column has an index, and the next batch begins where this one ended: nothing is looked at twice, neither rows
    that stay nor, on PostgreSQL, what earlier batches left behind until it is vacuumed. Finding comes before deleting,
    so that on SQLite nobody waits for it.
    """
    key = _key_of(table)
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT {key}, {column} FROM {table} WHERE {column} >= %s AND {condition} ORDER BY {column} LIMIT %s",
            [*_adapted([start, *parameters]), limit],
        )
        rows = cursor.fetchall()
        if not rows:
            return 0, start
        if on_postgres():
            cursor.execute(f"DELETE FROM {table} WHERE {key} = ANY(%s)", [[row[0] for row in rows]])
        else:
            cursor.execute(
                f"DELETE FROM {table} WHERE {key} IN (SELECT value FROM json_each(%s))",
                [msgspec.json.encode([row[0] for row in rows]).decode()],
            )
        return int(cursor.rowcount), rows[-1][1]


def block_count(table: str) -> int:
    """PostgreSQL: of how many blocks a table consists."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_relation_size(%s::regclass) / current_setting('block_size')::bigint", [table])
        return int(cursor.fetchone()[0])


def delete_blocks(table: str, first: int, end: int, condition: str, parameters: Sequence[Any], limit: int) -> int:
    """PostgreSQL: delete at most `limit` rows in blocks first to end - 1 that meet the condition; how many went.

    A pass over all blocks needs no index and reads each of them once, whereas the oldest rows, asked for again and
    again, would be looked for among more and more dead ones.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            f"DELETE FROM {table} WHERE ctid = ANY(ARRAY(SELECT ctid FROM {table} "
            f"WHERE ctid >= %s::tid AND ctid < %s::tid AND {condition} LIMIT %s))",
            [f"({first},0)", f"({end},0)", *parameters, limit],
        )
        return int(cursor.rowcount)


def _key_of(table: str) -> str:
    return "key" if table in ("telemetry_receipt", "telemetry_messagestate") else "id"


def _adapted(values: Sequence[Any]) -> list[Any]:
    return list(values) if on_postgres() else [for_sqlite(value) for value in values]
