"""Around ingest: the queue of changed senders, the lock between counting and roll-up, clean-up in batches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from django.db import connection

from telemetry.sql.base import for_sqlite, on_postgres, postgres

# Any number that no other user of the database takes; the lock orders ingest and the roll-up.
_ROLLUP_LOCK: Final = 7_205_759_403_792_794


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


def lock_for_counting() -> None:
    """Hold the roll-up's border where it is until commit. Writers do not wait for each other, only for a roll-up."""
    if on_postgres():
        with postgres() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock_shared(%s)", [_ROLLUP_LOCK])


def lock_for_rollup() -> None:
    """Wait for running batches and keep new ones waiting until commit; what they counted is visible afterwards."""
    if on_postgres():
        with postgres() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(%s)", [_ROLLUP_LOCK])


def delete_some(table: str, condition: str, parameters: Sequence[Any], limit: int) -> int:
    """Delete at most `limit` rows of a table that meet the condition; how many went. For bounded clean-up batches."""
    key = "key" if table in ("telemetry_receipt", "telemetry_messagestate") else "id"
    with connection.cursor() as cursor:
        cursor.execute(
            f"DELETE FROM {table} WHERE {key} IN (SELECT {key} FROM {table} WHERE {condition} LIMIT %s)",
            [*(for_sqlite(value) if not on_postgres() else value for value in parameters), limit],
        )
        return int(cursor.rowcount)
