"""A database that refuses to be written, as a full disk makes it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.db import connection

FULL = """
CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN RAISE EXCEPTION 'could not extend file: No space left on device' USING ERRCODE = 'disk_full'; END $$;
CREATE TRIGGER full_disk BEFORE INSERT ON telemetry_trafficminute FOR EACH STATEMENT EXECUTE FUNCTION full_disk();
"""


@contextmanager
def unwritable_database() -> Iterator[None]:
    """While it lasts, counters cannot be written (PostgreSQL) or nothing can (SQLite)."""
    if connection.vendor == "postgresql":
        begin, end = FULL, "DROP FUNCTION full_disk CASCADE"
    else:
        begin, end = "PRAGMA query_only = ON", "PRAGMA query_only = OFF"
    connection.ensure_connection()
    # Past Django, which asks for nothing more on a connection whose transaction has failed.
    raw: Any = connection.connection
    raw.execute(begin)
    try:
        yield
    finally:
        raw.execute(end)
