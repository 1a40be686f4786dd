"""How long history and the audit log are kept, and their clean-up in bounded batches."""

from __future__ import annotations

from datetime import datetime

from django.utils import timezone

from telemetry import sql
from telemetry.models import RetentionPolicy
from telemetry.retention import BATCH, forget_cached, keeps

_TABLES = {
    "reputation_ipstandinghistory": "computed_at",
    "reputation_senderscorehistory": "computed_at",
    "reputation_auditentry": "at",
    "reputation_breakerevent": "at",
    # Events before their warm-ups, which ended after the last of them.
    "reputation_warmupevent": "at",
    "reputation_warmup": "ended_at",
    "reputation_kumoact": "at",
}


def clean_up(*, now: datetime, batch: int = BATCH) -> dict[str, int]:
    """Delete history rows past their time; how many went, by table. May be stopped at any point."""
    forget_cached()
    before = now - keeps("history")
    removed = dict.fromkeys(_TABLES, 0)
    for table, column in _TABLES.items():
        while count := sql.delete_some(table, f"{column} < %s", [before], batch):
            removed[table] += count
    RetentionPolicy.objects.filter(pk="history").update(last_run_at=timezone.now(), last_removed=sum(removed.values()))
    return removed
