"""The record of permits: counted in memory, written once a second, one row a minute and kind of answer.

What held mail back (or would have) is told by sender and provider; what passed by pool only. A process that dies loses
at most the last second of this record, and nothing of what was spent.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from django.db import transaction
from django.db.models import F
from prometheus_client import Counter

from reputation.domain.permit import Action, Answer, Ask
from reputation.models import PermitMinute

log = logging.getLogger(__name__)

ANSWERS = Counter(
    "permits", "Permits asked for, by the pool's mode, what the rules said and the rule.", ["mode", "verdict", "rule"]
)
# Distinct rows of one write; in a storm the rest is counted without naming senders.
MOST_ROWS = 1_000
LONGEST_REASON = 500


class _Row(NamedTuple):
    minute: datetime
    pool: str
    mode: str
    action: str
    rule: str
    sending_domain: str
    sending_ip: str
    provider: str


@dataclass(slots=True)
class _Count:
    asks: int = 0
    recipients: int = 0
    reason: str = ""


class Recorder:
    """Counts answers; `flush` writes them down."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: dict[_Row, _Count] = {}

    def add(self, asks: Iterable[tuple[Ask, Answer]], *, now: datetime) -> None:
        """Count answers that are about to be given."""
        minute = now.replace(second=0, microsecond=0)
        with self._lock:
            for ask, answer in asks:
                self._add(minute, ask, answer)

    def _add(self, minute: datetime, ask: Ask, answer: Answer) -> None:
        ANSWERS.labels(mode=answer.mode, verdict=answer.verdict, rule=answer.rule).inc()
        general = _Row(minute, answer.pool, answer.mode, answer.verdict, answer.rule, "", "", "")
        if answer.verdict is Action.ALLOW or len(self._counts) >= MOST_ROWS:
            row = general
        else:
            row = general._replace(sending_domain=ask.domain[:255], sending_ip=ask.ip, provider=answer.provider[:60])
        count = self._counts.get(row)
        if count is None:
            count = self._counts[row] = _Count()
            if answer.warns:
                # The first of the minute; the others are counted.
                told = {"sending_domain": ask.domain, "provider": answer.provider, "rule": answer.rule}
                log.warning("would be held back", extra={**told, "reason": answer.reason})
        count.asks += 1
        count.recipients += ask.recipients
        count.reason = answer.reason if row is not general else ""

    def flush(self) -> int:
        """Write what was counted since the last call; how many rows. Raises DatabaseError, and then nothing is lost."""
        with self._lock:
            counts, self._counts = self._counts, {}
        if not counts:
            return 0
        try:
            _write(counts)
        except BaseException:
            with self._lock:
                for row, count in counts.items():
                    newer = self._counts.setdefault(row, _Count(reason=count.reason))
                    newer.asks += count.asks
                    newer.recipients += count.recipients
            raise
        return len(counts)


def _write(counts: dict[_Row, _Count]) -> None:
    with transaction.atomic():
        for row in sorted(counts):
            key, count = row._asdict(), counts[row]
            changed = PermitMinute.objects.filter(**key).update(
                asks=F("asks") + count.asks,
                recipients=F("recipients") + count.recipients,
                reason=count.reason[:LONGEST_REASON],
            )
            if not changed:
                fresh = PermitMinute(**key, asks=0, recipients=0)
                PermitMinute.objects.bulk_create([fresh], ignore_conflicts=True)
                PermitMinute.objects.filter(**key).update(
                    asks=F("asks") + count.asks,
                    recipients=F("recipients") + count.recipients,
                    reason=count.reason[:LONGEST_REASON],
                )
