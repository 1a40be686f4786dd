"""The whole ingest transaction as one statement, for batches in which nothing but the receipts needs a look back.

PostgreSQL only. Small batches cost what their round trips cost, and this is one instead of eight: claim the receipts,
store the rows that are new, count them, queue their sending IPs. It refuses a batch that holds a minute which was
rolled up already (those count in hours and days too); the caller then takes the long way.

Each part that can meet another writer's rows takes them in the order of their keys, and the parts follow each other in
the order of the long way: receipts, traffic, refusals. PostgreSQL runs the parts of a WITH as they need each other,
hence the conditions that look idle.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

import msgspec

from telemetry.domain.cells import day_number
from telemetry.sql.base import EVENT_COLUMNS, MINUTE_TRAFFIC_COLUMNS, REFUSAL_COLUMNS, TRAFFIC_MEASURES, Row, postgres
from telemetry.sql.upkeep import ROLLUP_LOCK

# What one row brings besides the event: its receipt, the counters it counts in, and their minute.
PLAIN_COLUMNS: Final = {
    **{name: kind for name, kind in EVENT_COLUMNS.items() if name != "received_at"},
    "key": "uuid",
    "bucket": "timestamptz",
    "cell": "uuid",
    "refusal": "uuid",
    "code": "text",
}
# What is empty is left out of the JSON that carries the rows, and put back by the statement: parsing it costs a third
# of the statement's time.
_EMPTY: Final = {"text": "", "boolean": False}
_Given = msgspec.defstruct(
    "_Given",
    [(name, Any, _EMPTY.get(kind)) for name, kind in PLAIN_COLUMNS.items()],
    omit_defaults=True,
)
_SQL_EMPTY: Final = {"text": "''", "boolean": "false"}
_ENCODER = msgspec.json.Encoder()


def _list(names: Any) -> str:
    return ", ".join(f'"{name}"' for name in names)


def _statement() -> str:
    kinds = {"delivered": "delivery", "bounced": "bounce", "deferred": "defer", "complained": "complaint"}
    counts = ", ".join(
        f"count(*) FILTER (WHERE type = '{kinds[name]}')" if name in kinds else "0" for name in TRAFFIC_MEASURES
    )
    sums = ", ".join(f'"{name}" = t."{name}" + excluded."{name}"' for name in TRAFFIC_MEASURES)
    stored = ", ".join("%(now)s" if name == "received_at" else f'"{name}"' for name in EVENT_COLUMNS)
    typed = ", ".join(f'"{name}" {kind}' for name, kind in PLAIN_COLUMNS.items())
    whole = ", ".join(
        f'COALESCE("{name}", {_SQL_EMPTY[kind]}) AS "{name}"' if kind in _SQL_EMPTY else f'"{name}"'
        for name, kind in PLAIN_COLUMNS.items()
    )
    return f"""
WITH border AS MATERIALIZED (
    SELECT telemetry_counting_mark(%(lock)s) <= %(earliest)s AS open
), given AS MATERIALIZED (
    SELECT {whole} FROM border, json_to_recordset(%(rows)s::json) AS r({typed}) WHERE border.open
), claimed AS (
    INSERT INTO telemetry_receipt (key, received_on) SELECT key, %(today)s FROM given ORDER BY key
    ON CONFLICT (key) DO NOTHING RETURNING key
), fresh AS MATERIALIZED (
    SELECT given.* FROM given JOIN claimed USING (key)
), stored AS (
    INSERT INTO telemetry_sendingevent ({_list(EVENT_COLUMNS)}) SELECT {stored} FROM fresh
), counted AS (
    INSERT INTO telemetry_trafficminute AS t ({_list(MINUTE_TRAFFIC_COLUMNS)})
    SELECT cell, bucket, sending_ip, sending_domain, provider, source_id, {counts},
           max(occurred_at) FILTER (WHERE type = 'delivery')
    FROM fresh GROUP BY cell, bucket, sending_ip, sending_domain, provider, source_id ORDER BY cell
    ON CONFLICT (id, sending_ip) DO UPDATE
    SET {sums}, last_delivered_at = GREATEST(t.last_delivered_at, excluded.last_delivered_at)
    RETURNING 1
), refused AS (
    INSERT INTO telemetry_refusalminute AS t ({_list(REFUSAL_COLUMNS)})
    SELECT refusal, bucket, sending_ip, sending_domain, recipient_domain, provider, code, cause, count(*)
    FROM fresh WHERE refusal IS NOT NULL AND (SELECT count(*) FROM counted) > 0
    GROUP BY refusal, bucket, sending_ip, sending_domain, recipient_domain, provider, code, cause ORDER BY refusal
    ON CONFLICT (id, sending_ip) DO UPDATE SET "count" = t."count" + excluded."count"
), changed AS (
    INSERT INTO telemetry_changedsender (sending_ip, noted_at) SELECT DISTINCT sending_ip, %(now)s FROM fresh
)
SELECT open, CASE WHEN (SELECT count(*) FROM claimed) < %(number)s THEN ARRAY(SELECT key FROM claimed) END FROM border
"""


_STATEMENT: Final = _statement()


def record_plain(rows: Sequence[Row], *, earliest: datetime, now: datetime) -> set[uuid.UUID] | None:
    """Record these rows (PLAIN_COLUMNS, no key twice); the keys that were new, or None when nothing was done.

    `earliest` is the first minute among them. Every row must be one that no deferral's standing depends on.
    """
    records = [_Given(*row) for row in rows]
    with postgres() as cursor:
        cursor.execute(
            _STATEMENT,
            {
                "lock": ROLLUP_LOCK,
                "earliest": earliest,
                "rows": _ENCODER.encode(records).decode(),
                "number": len(records),
                "now": now,
                "today": day_number(now),
            },
        )
        open_, claimed = cursor.fetchone()
    if not open_:
        return None
    # The usual case, that all were new, is told without a list of keys.
    at = list(PLAIN_COLUMNS).index("key")
    return {row[at] for row in rows} if claimed is None else set(claimed)
