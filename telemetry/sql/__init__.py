"""The hand-written statements of this floor, each for both databases.

By hand because the ORM cannot say them: INSERT … ON CONFLICT DO NOTHING RETURNING (which keys are new), additive
upserts, COPY, DELETE … RETURNING as a queue, advisory locks. All of them run inside the caller's transaction.

Every statement that can meet another writer's rows takes them in key order. Two batches that share keys (a retry racing
its first delivery) would otherwise deadlock.
"""

from __future__ import annotations

from telemetry.sql.base import (
    EVENT_COLUMNS,
    REFUSAL_COLUMNS,
    STATE_COLUMNS,
    TRAFFIC_COLUMNS,
    TRAFFIC_MEASURES,
    Row,
    for_sqlite,
    insert_rows,
    on_postgres,
    postgres,
)
from telemetry.sql.upkeep import delete_some, lock_for_counting, lock_for_rollup, take_changed
from telemetry.sql.writing import (
    COPY_FROM_ROWS,
    add_refusals,
    add_traffic,
    claim_receipts,
    insert_events,
    lock_states,
    note_changed,
    store_states,
)

__all__ = [
    "COPY_FROM_ROWS",
    "EVENT_COLUMNS",
    "REFUSAL_COLUMNS",
    "STATE_COLUMNS",
    "TRAFFIC_COLUMNS",
    "TRAFFIC_MEASURES",
    "Row",
    "add_refusals",
    "add_traffic",
    "claim_receipts",
    "delete_some",
    "for_sqlite",
    "insert_events",
    "insert_rows",
    "lock_for_counting",
    "lock_for_rollup",
    "lock_states",
    "note_changed",
    "on_postgres",
    "postgres",
    "store_states",
    "take_changed",
]
