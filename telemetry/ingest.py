"""The only way in: dedup, store and count a batch of events in one short transaction.

What `record_batch` returned from is stored and counted once, for ever; what it raised from left no trace, and the
sender may try again. Nothing that can wait happens here: status changes are found by the poll of changed senders.
"""

from __future__ import annotations

import time
import uuid
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.conf import settings
from django.db import transaction
from django.db.models import Q

from telemetry import deferrals, metrics, sql
from telemetry.causes import cause_of
from telemetry.counters import horizons
from telemetry.domain.cells import cell_key
from telemetry.domain.event import Event, event_key
from telemetry.domain.fold import Classified, Fold, Increments
from telemetry.domain.vocab import EventType, RecipientPrivacy
from telemetry.mailbox_providers import provider_of
from telemetry.models import Source
from telemetry.secrets import digest

# "Last event" of a source is shown to the minute; writing it at every batch would make one row everybody's lock.
TOUCH_EVERY = timedelta(seconds=10)
_touched: dict[int, float] = {}


@dataclass(frozen=True, slots=True)
class BatchResult:
    """What became of a batch: how many events were new, and how many were known already."""

    recorded: int
    duplicates: int

    def __add__(self, other: BatchResult) -> BatchResult:
        return BatchResult(self.recorded + other.recorded, self.duplicates + other.duplicates)


def record_batch(source: Source, events: Sequence[Event], *, now: datetime) -> BatchResult:
    """Record each event of the batch once, whatever was sent before; all of it or nothing.

    May run inside the caller's transaction (a log follower stores its position with what it recorded). Raises the
    database's errors; the caller answers "try again".
    """
    by_key: dict[uuid.UUID, Event] = {}
    for event in events:
        by_key.setdefault(event_key(source.pk, event), event)
    with transaction.atomic():
        new = sql.claim_receipts(source.pk, list(by_key), now) if by_key else set()
        if new:
            _store_and_count(source, [event for key, event in by_key.items() if key in new], now)
        result = BatchResult(recorded=len(new), duplicates=len(events) - len(new))
        transaction.on_commit(lambda: _after_commit(source, result, now))
    return result


def _store_and_count(source: Source, events: Sequence[Event], now: datetime) -> None:
    items = [_classified(event) for event in events]
    sql.insert_events([_row(source.pk, item, now) for item in items])
    sql.lock_for_counting()
    borders = horizons(now)
    fold = Fold()
    fold.add(items, source.pk, borders)
    for cell in deferrals.superseded_cells(source.pk, items, now):
        fold.supersede(cell, borders)
    for level, increments in (("minute", fold.minute), ("hour", fold.hour), ("day", fold.day)):
        add_increments(level, increments)
    sql.note_changed({event.sending_ip for event in events}, now)
    failures = Counter(event.type for event in events if event.type.is_failure)
    transaction.on_commit(lambda: metrics.count_failures(failures))


def add_increments(level: str, increments: Increments) -> None:
    """Add folded increments to a level's two tables, one statement each."""
    if increments.traffic:
        sql.add_traffic(level, [(cell_key(*cell), *cell, *counts) for cell, counts in increments.traffic.items()])
    if increments.refusals:
        sql.add_refusals(level, [(cell_key(*cell), *cell, count) for cell, count in increments.refusals.items()])


def _classified(event: Event) -> Classified:
    refused = event.type in (EventType.BOUNCE, EventType.DEFER)
    provider = provider_of(event.mx_host, event.recipient_domain)
    return Classified(event=event, provider=provider, cause=cause_of(event, provider) if refused else "")


def _row(source_id: int, item: Classified, now: datetime) -> tuple[object, ...]:
    event = item.event
    recipient, reply = _private(event)
    return (
        source_id,
        event.type.value,
        event.occurred_at,
        now,
        event.sending_ip,
        event.sending_domain,
        recipient,
        event.recipient_domain,
        item.provider,
        event.mx_host,
        event.smtp_code,
        event.enhanced_code,
        item.cause,
        reply,
        event.attempt_number,
        event.message_id,
        event.classification,
        event.node,
        event.event_id,
        event.future,
    )


def _private(event: Event) -> tuple[str, str]:
    """The recipient as far as the operator keeps it, and the reply text without it where it is not kept in full."""
    kept = settings.RECIPIENTS_OF_FAILURES if event.type.is_failure else settings.RECIPIENTS_OF_DELIVERIES
    if kept == RecipientPrivacy.FULL or not event.recipient:
        return event.recipient, event.reply
    reply = _without(event.reply, event.recipient)
    if kept == RecipientPrivacy.HASHED:
        return digest("recipient", event.recipient.lower()), reply
    return "", reply


def _without(text: str, address: str) -> str:
    at = text.lower().find(address.lower())
    if at == -1:
        return text
    return text[:at] + "[recipient]" + _without(text[at + len(address) :], address)


def _after_commit(source: Source, result: BatchResult, now: datetime) -> None:
    metrics.count_batch(source.kind, result.recorded, result.duplicates)
    tick = time.monotonic()
    if tick - _touched.get(source.pk, float("-inf")) < TOUCH_EVERY.total_seconds():
        return
    _touched[source.pk] = tick
    Source.objects.filter(pk=source.pk).filter(
        Q(last_event_at__isnull=True) | Q(last_event_at__lt=now - TOUCH_EVERY)
    ).update(last_event_at=now)
