"""The hand-written statements of this floor, each for both databases.

By hand because the ORM cannot say them: INSERT … ON CONFLICT DO NOTHING RETURNING (which keys are new), additive
upserts, COPY, DELETE … RETURNING as a queue, advisory locks. All of them run inside the caller's transaction.

Every statement that can meet another writer's rows takes them in key order. Two batches that share keys (a retry racing
its first delivery) would otherwise deadlock.
"""

from __future__ import annotations

from telemetry.sql.base import (
    EVENT_COLUMNS,
    MINUTE_TRAFFIC_COLUMNS,
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
from telemetry.sql.doors import facts_of_tokens
from telemetry.sql.partitions import (
    EVENTS,
    REST,
    Part,
    are_partitioned,
    create_day,
    drop,
    empty,
    parts,
    rest_days,
    rows_in,
    take_turn,
)
from telemetry.sql.plain import record_plain
from telemetry.sql.upkeep import (
    block_count,
    delete_blocks,
    delete_in_order,
    delete_some,
    lock_for_rollup,
    mark_for_counting,
    take_changed,
)
from telemetry.sql.writing import (
    COPY_FROM_ROWS,
    add_refusals,
    add_traffic,
    claim_receipts,
    counter_key,
    insert_events,
    lock_states,
    note_changed,
    store_states,
)

__all__ = [
    "COPY_FROM_ROWS",
    "EVENTS",
    "EVENT_COLUMNS",
    "MINUTE_TRAFFIC_COLUMNS",
    "REFUSAL_COLUMNS",
    "REST",
    "STATE_COLUMNS",
    "TRAFFIC_COLUMNS",
    "TRAFFIC_MEASURES",
    "Part",
    "Row",
    "add_refusals",
    "add_traffic",
    "are_partitioned",
    "block_count",
    "claim_receipts",
    "counter_key",
    "create_day",
    "delete_blocks",
    "delete_in_order",
    "delete_some",
    "drop",
    "empty",
    "facts_of_tokens",
    "for_sqlite",
    "insert_events",
    "insert_rows",
    "lock_for_rollup",
    "lock_states",
    "mark_for_counting",
    "note_changed",
    "on_postgres",
    "parts",
    "postgres",
    "record_plain",
    "rest_days",
    "rows_in",
    "store_states",
    "take_changed",
    "take_turn",
]
