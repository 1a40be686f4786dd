"""The hand-written statements of this app: scores are written by the ten thousand, and budgets while mail servers wait
for an answer of the same process; the ORM takes ten times as long, and cannot say "the larger of the two"."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from telemetry.sql.base import Row, insert_rows, on_postgres, postgres

__all__ = [
    "BUDGET_COLUMNS",
    "HISTORY_COLUMNS",
    "SCORE_COLUMNS",
    "Row",
    "add_score_history",
    "more_memory",
    "raise_budgets",
    "write_scores",
]

_SENDER: Final = {"kind": "text", "name": "text", "provider": "text"}
SCORE_COLUMNS: Final = {
    **_SENDER,
    "score": "smallint",
    "delivered": "bigint",
    "bounced": "bigint",
    "deferred": "bigint",
    "complained": "bigint",
    "has_recent_mail": "boolean",
    "window_start": "timestamptz",
    "window_end": "timestamptz",
    "computed_at": "timestamptz",
    "first_seen_at": "timestamptz",
    "history_at": "timestamptz",
    "penalties": "jsonb",
    "rates": "jsonb",
    "confidence": "text",
}
HISTORY_COLUMNS: Final = {
    **_SENDER,
    "score": "smallint",
    "delivered": "bigint",
    "bounced": "bigint",
    "complained": "bigint",
    "computed_at": "timestamptz",
}
BUDGET_COLUMNS: Final = {
    "key": "text",
    "rule": "text",
    "kind": "text",
    "sender": "text",
    "provider": "text",
    "starts_at": "timestamptz",
    "ends_at": "timestamptz",
    "limit": "bigint",
    "spent": "bigint",
}
_KEPT: Final = (*_SENDER, "first_seen_at", "history_at")

# A day of counters of some thousand senders is summed in memory instead of being sorted on disk.
_WORK_MEMORY: Final = "64MB"


def more_memory() -> None:
    """Let the queries of this transaction use more memory (PostgreSQL)."""
    if on_postgres():
        with postgres() as cursor:
            cursor.execute("SELECT set_config('work_mem', %s, true)", [_WORK_MEMORY])


def write_scores(rows: Sequence[Row]) -> None:
    """Insert or update rows of SCORE_COLUMNS (penalties and rates as msgspec.Raw), each sender at most once.

    Without a `history_at` the stored one stays.
    """
    table = "reputation_senderscore"
    sets = ", ".join(f'"{name}" = excluded."{name}"' for name in SCORE_COLUMNS if name not in _KEPT)
    sets += f", history_at = COALESCE(excluded.history_at, {table}.history_at)"
    insert_rows(table, SCORE_COLUMNS, rows, f"ON CONFLICT (kind, name, provider) DO UPDATE SET {sets}")


def add_score_history(rows: Sequence[Row]) -> None:
    """Insert rows of HISTORY_COLUMNS."""
    insert_rows("reputation_senderscorehistory", HISTORY_COLUMNS, rows)


def raise_budgets(rows: Sequence[Row]) -> None:
    """Insert budgets (BUDGET_COLUMNS), or raise stored ones to these levels; none is lowered.

    Rows are taken in the order of their keys, so that two writers never wait for each other at once.
    """
    if not rows:
        return
    table, larger = "reputation_budget", "GREATEST" if on_postgres() else "MAX"
    sets = f'"limit" = excluded."limit", spent = {larger}({table}.spent, excluded.spent)'
    insert_rows(table, BUDGET_COLUMNS, sorted(rows), f"ON CONFLICT (key) DO UPDATE SET {sets}")
