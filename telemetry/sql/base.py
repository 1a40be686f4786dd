"""What every statement here is made of: columns, cursors, and one INSERT for both databases."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from contextlib import contextmanager
from datetime import datetime
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
MINUTE_TRAFFIC_COLUMNS: Final = {**TRAFFIC_COLUMNS, "last_delivered_at": "timestamptz"}
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

Row = tuple[Any, ...]


def on_postgres() -> bool:
    """Whether the default database is PostgreSQL (else it is SQLite)."""
    return connection.vendor == "postgresql"


@contextmanager
def postgres() -> Any:
    """A server-side-binding cursor of the current transaction; errors come out as Django's."""
    connection.ensure_connection()
    with connection.wrap_database_errors, psycopg.Cursor(connection.connection) as cursor:
        yield cursor


def for_sqlite(value: Any) -> Any:
    """The value as SQLite keeps it."""
    if isinstance(value, uuid.UUID):
        return value.hex
    if isinstance(value, datetime):
        return connection.ops.adapt_datetimefield_value(value)
    if isinstance(value, msgspec.Raw):
        return bytes(value).decode()
    return value


def insert_rows(table: str, columns: dict[str, str], rows: Iterable[Row], conflict: str = "") -> None:
    """One INSERT of all rows, in the order given, with the given conflict clause. JSON is given as msgspec.Raw."""
    names = ", ".join(f'"{name}"' for name in columns)
    if on_postgres():
        types = ", ".join(f'"{name}" {kind}' for name, kind in columns.items())
        records = [dict(zip(columns, row, strict=True)) for row in rows]
        with postgres() as cursor:
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
                [[for_sqlite(value) for value in row] for row in rows],
            )
