"""How long history and the audit log are kept, and their clean-up in bounded batches."""

from __future__ import annotations

from datetime import datetime

from django.utils import timezone

from reputation import budgets
from telemetry import sql
from telemetry.models import RetentionPolicy
from telemetry.retention import BATCH, forget_cached, keeps

_TABLES = {
    "reputation_ipstandinghistory": "computed_at",
    "reputation_senderscorehistory": "computed_at",
    # Judgements bear the time of the audit row that they are about, and go before it.
    "reputation_judgement": "at",
    "reputation_auditentry": "at",
    "reputation_breakerevent": "at",
    # Events before their warm-ups, which ended after the last of them.
    "reputation_warmupevent": "at",
    "reputation_warmup": "ended_at",
    "reputation_kumoact": "at",
    "reputation_auditreport": "at",
    "reputation_listingevent": "at",
    # Deliveries before their events, events before their alerts.
    "reputation_alertdelivery": "created_at",
    "reputation_alertevent": "at",
    "reputation_alert": "resolved_at",
}
_PERMITS = "reputation_permitminute"


def clean_up(*, now: datetime, batch: int = BATCH) -> dict[str, int]:
    """Delete history rows past their time; how many went, by table. May be stopped at any point."""
    forget_cached()
    before = now - keeps("history")
    removed = {table: _delete_before(table, column, before, batch) for table, column in _TABLES.items()}
    # The record of permits is a counter; budgets have nothing to tell once their window was judged.
    removed[_PERMITS] = _delete_before(_PERMITS, "minute", now - keeps("counters_hour"), batch)
    removed["reputation_budget"] = budgets.clean_up(now=now)
    RetentionPolicy.objects.filter(pk="history").update(last_run_at=timezone.now(), last_removed=sum(removed.values()))
    return removed


def _delete_before(table: str, column: str, before: datetime, batch: int) -> int:
    removed = 0
    while count := sql.delete_some(table, f"{column} < %s", [before], batch):
        removed += count
    return removed
