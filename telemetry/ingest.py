"""The only way in: dedup, store and count a batch of events in one short transaction.

What `record_batch` returned from is stored and counted once, for ever; what it raised from left no trace, and the
sender may try again. Nothing that can wait happens here: status changes are found by the poll of changed senders.
"""

from __future__ import annotations

import time
import uuid
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple

from django.conf import settings
from django.db import transaction
from django.db.models import Q

from telemetry import deferrals, metrics, sql
from telemetry.causes import cause_of
from telemetry.counters import horizons
from telemetry.domain.cells import cell_key, floor_minute
from telemetry.domain.event import Event, event_key
from telemetry.domain.fold import Classified, Fold, Increments, refusal_cell, traffic_cell
from telemetry.domain.vocab import EventType, RecipientPrivacy
from telemetry.mailbox_providers import provider_of
from telemetry.models import Source
from telemetry.secrets import digest

# "Last event" of a source is shown to the minute; writing it at every batch would make one row everybody's lock.
TOUCH_EVERY = timedelta(seconds=10)
_touched: dict[int, float] = {}
# Up to this many events one statement is cheaper than COPY and its round trips (bench/).
MOST_PLAIN = 500


@dataclass(frozen=True, slots=True)
class Batch:
    """Events of one source that are recorded together."""

    source: Source
    events: Sequence[Event]


@dataclass(frozen=True, slots=True)
class BatchResult:
    """What became of a batch: how many events were new, and how many were known already."""

    recorded: int
    duplicates: int

    def __add__(self, other: BatchResult) -> BatchResult:
        return BatchResult(self.recorded + other.recorded, self.duplicates + other.duplicates)


class _Arrived(NamedTuple):
    """An event with the place of its batch."""

    batch: int
    item: Classified


def record_batch(source: Source, events: Sequence[Event], *, now: datetime) -> BatchResult:
    """Record each event of the batch once, whatever was sent before; all of it or nothing.

    May run inside the caller's transaction (a log follower stores its position with what it recorded). Raises the
    database's errors; the caller answers "try again".
    """
    return record_batches([Batch(source, events)], now=now)[0]


def record_batches(batches: Sequence[Batch], *, now: datetime) -> list[BatchResult]:
    """Record several batches as one: all of them or nothing, and for each what became of it, in their order.

    Of an event that two of the batches hold, the first one's counts as new.
    """
    arrived: dict[uuid.UUID, _Arrived] = {}
    for place, batch in enumerate(batches):
        for event in batch.events:
            key = event_key(batch.source.pk, event)
            if key not in arrived:
                arrived[key] = _Arrived(place, _classified(event))
    new = _record_plain(batches, arrived, now) if arrived else set()
    if new is None:
        new = _record(batches, arrived, now)
    recorded = Counter(arrived[key].batch for key in new)
    results = [BatchResult(recorded[place], len(batch.events) - recorded[place]) for place, batch in enumerate(batches)]
    failures = Counter(
        item.event.type for key, (_, item) in arrived.items() if item.event.type.is_failure and key in new
    )
    transaction.on_commit(lambda: _after_commit(batches, results, failures, now))
    return results


def _record_plain(
    batches: Sequence[Batch], arrived: Mapping[uuid.UUID, _Arrived], now: datetime
) -> set[uuid.UUID] | None:
    """Record by the one statement that small batches of plain events allow; None where it does not apply."""
    if len(arrived) > MOST_PLAIN or not sql.on_postgres():
        return None
    if any(deferrals.concerns(item.event) for _, item in arrived.values()):
        return None
    rows = []
    for key, (place, item) in arrived.items():
        source_id = batches[place].source.pk
        cell, refusal = traffic_cell(item, source_id), refusal_cell(item)
        rows.append(
            (
                *_row(source_id, item, now, without_received=True),
                key,
                cell.bucket,
                cell_key(*cell),
                cell_key(*refusal) if refusal else None,
                item.event.code,
            )
        )
    return sql.record_plain(
        rows, earliest=min(floor_minute(a.item.event.occurred_at) for a in arrived.values()), now=now
    )


def _record(batches: Sequence[Batch], arrived: Mapping[uuid.UUID, _Arrived], now: datetime) -> set[uuid.UUID]:
    """Record by the long way, which takes everything; the keys that were new."""
    with transaction.atomic():
        new = sql.claim_receipts({key: batches[place].source.pk for key, (place, _) in arrived.items()}, now)
        if new:
            by_source: dict[int, list[Classified]] = defaultdict(list)
            for key, (place, item) in arrived.items():
                if key in new:
                    by_source[batches[place].source.pk].append(item)
            _store_and_count(by_source, now)
    return new


def _store_and_count(by_source: Mapping[int, Sequence[Classified]], now: datetime) -> None:
    sql.insert_events([_row(source_id, item, now) for source_id, items in by_source.items() for item in items])
    borders = horizons(now)
    fold = Fold()
    for source_id, items in by_source.items():
        fold.add(items, source_id, borders)
    for cell in deferrals.superseded_cells(by_source, now):
        fold.supersede(cell, borders)
    for level, increments in (("minute", fold.minute), ("hour", fold.hour), ("day", fold.day)):
        _add_increments(level, increments)
    sql.note_changed({item.event.sending_ip for items in by_source.values() for item in items}, now)


def _add_increments(level: str, increments: Increments) -> None:
    """Add folded increments to a level's two tables, one statement each."""
    if increments.traffic:
        latest = [(increments.last_delivered.get(cell),) if level == "minute" else () for cell in increments.traffic]
        sql.add_traffic(
            level,
            [
                (cell_key(*cell), *cell, *counts, *last)
                for (cell, counts), last in zip(increments.traffic.items(), latest, strict=True)
            ],
        )
    if increments.refusals:
        sql.add_refusals(level, [(cell_key(*cell), *cell, count) for cell, count in increments.refusals.items()])


def _classified(event: Event) -> Classified:
    refused = event.type in (EventType.BOUNCE, EventType.DEFER)
    provider = provider_of(event.mx_host, event.recipient_domain)
    return Classified(event=event, provider=provider, cause=cause_of(event, provider) if refused else "")


def _row(source_id: int, item: Classified, now: datetime, *, without_received: bool = False) -> tuple[object, ...]:
    event = item.event
    recipient, reply = _private(event)
    return (
        source_id,
        event.type.value,
        event.occurred_at,
        *(() if without_received else (now,)),
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


def _after_commit(
    batches: Sequence[Batch], results: Sequence[BatchResult], failures: Mapping[EventType, int], now: datetime
) -> None:
    metrics.count_failures(failures)
    for batch, result in zip(batches, results, strict=True):
        metrics.count_batch(batch.source.name, batch.source.kind, result.recorded, result.duplicates)
    tick = time.monotonic()
    for source_id in {batch.source.pk for batch in batches if batch.events}:
        if tick - _touched.get(source_id, float("-inf")) < TOUCH_EVERY.total_seconds():
            continue
        _touched[source_id] = tick
        Source.objects.filter(pk=source_id).filter(
            Q(last_event_at__isnull=True) | Q(last_event_at__lt=now - TOUCH_EVERY)
        ).update(last_event_at=now)
