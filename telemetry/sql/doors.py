"""Whether tokens of sources are still good, and what decides how their reports are taken: asked with every group."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from typing import Any

import msgspec
from django.db import connection

from telemetry.sql.base import for_sqlite, on_postgres

# The ORM takes thirty times as long to say this. JSON is compared as text, so it is not even decoded.
_FACTS = """
SELECT t.id, s.id, s.hmac_key_sealed, CAST(s.ip_map AS text), CAST(s.allowed_networks AS text), s.requests_per_minute,
    s.events_per_minute
FROM telemetry_sourcetoken t JOIN telemetry_source s ON s.id = t.source_id
WHERE {these} AND t.revoked_at IS NULL AND (t.expires_at IS NULL OR t.expires_at > %s) AND s.is_active
"""
_ON_POSTGRES = _FACTS.format(these="t.id = ANY(%s)")
_ON_SQLITE = _FACTS.format(these="t.id IN (SELECT value FROM json_each(%s))")


def facts_of_tokens(tokens: Collection[int], *, now: datetime) -> dict[int, tuple[Any, ...]]:
    """By the token's id, what its reports are taken by; only tokens that are usable and whose sources are active.

    The facts are there to be compared with what they were before, and say nothing else.
    """
    with connection.cursor() as cursor:
        if on_postgres():
            cursor.execute(_ON_POSTGRES, [list(tokens), now])
        else:
            cursor.execute(_ON_SQLITE, [msgspec.json.encode(list(tokens)).decode(), for_sqlite(now)])
        return {row[0]: tuple(row[1:]) for row in cursor.fetchall()}
