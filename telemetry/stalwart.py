"""Stalwart's webhook from its body to recorded events: parse, join by span, record; hold what cannot be joined yet.

All state is in the database and changes in the transaction that records: a request that was answered 200 is stored,
joined or not, and a worker may die anywhere. A source's batches and ticks take turns (a lock on the source's row), so
that a connection and its outcome never miss each other in two transactions. Stalwart sends one batch at a time anyway.

Exactly once: an event's id is made of attempt and recipient (`stalwart_joins`), so receipts recognise it however often,
in whichever company and by whichever way (joined, or after its time) it comes again.
"""

from __future__ import annotations

import hashlib
import logging
import uuid
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, TypeVar

import msgspec
from django.db import transaction
from django.db.models import F

from telemetry import sql
from telemetry.domain.clean import ip as clean_ip
from telemetry.domain.clean import text
from telemetry.domain.errors import ParseError
from telemetry.domain.event import Event, event_key
from telemetry.domain.stalwart_joins import (
    Complaint,
    Connect,
    Held,
    Ignored,
    Note,
    Outcome,
    Setting,
    Verdict,
    attempt_ids,
    judge,
)
from telemetry.ingest import BatchResult, record_batch
from telemetry.intake import Intake, Rejection, keep_rejected
from telemetry.models import Receipt, Source, StalwartConnect, StalwartHeld, UnusedEventType
from telemetry.parsers.base import Parser
from telemetry.parsers.stalwart import NAME, parse
from telemetry.secrets import digest

log = logging.getLogger(__name__)

# How long a connection can be joined to. The notices of an attempt come at its end, and an attempt at many domains
# whose hosts time out (five minutes each) lasts for hours.
CONNECTS_KEPT = timedelta(hours=6)
# Spans that one tick's transaction settles, and rows that it looks at in all before it leaves the rest to the next.
SPANS_AT_ONCE = 500
MOST_PER_TICK = 50_000
CLEANED_AT_ONCE = 2_000
# Values in one IN list; SQLite takes at most 32,766 parameters.
_AT_ONCE = 1_000
# Rows for unused types that one source can make; further names share one.
MOST_UNUSED_TYPES = 200
OTHER_TYPES = "(other)"

T = TypeVar("T")
_OUTCOME = msgspec.json.Decoder(Outcome)


@dataclass(frozen=True, slots=True)
class Taken:
    """What became of a body; "processed" is whatever is stored or joined, and what was passed over."""

    total: int
    held: int
    intake: Intake

    def as_answer(self) -> dict[str, Any]:
        """The documented answer. Stalwart reads nothing of it but the status."""
        answer = self.intake.as_answer()
        failed = answer["failed"]
        processed = self.total - failed
        return answer | {
            "status": "success" if not failed else "partial" if processed else "failed",
            "processed": processed,
            "total": self.total,
            "recorded": self.intake.recorded,
            "held": self.held,
            "ignored": self.intake.ignored,
        }


def take_in(source: Source, raw_events: Sequence[bytes], *, now: datetime) -> Taken:
    """Take a batch: what can be recorded is, the rest is held, and what cannot be read is kept. One transaction.

    Raises the database's errors; nothing was stored then.
    """
    notes: list[Note] = []
    rejections: list[Rejection] = []
    for index, raw in enumerate(raw_events):
        try:
            notes.append(parse(raw, now))
        except ParseError as error:
            rejections.append(Rejection(index, text(error.field, longest=200), text(error.message, longest=500), raw))
    unused = Counter(note.name for note in notes if isinstance(note, Ignored))
    with transaction.atomic():
        result, held = _take(source, notes, now)
        _count_unused(source, unused, now)
        keep_rejected(source, Parser(NAME, _nothing), rejections, now=now)
    intake = Intake(result.recorded, result.duplicates, unused.total(), tuple(rejections))
    return Taken(len(raw_events), held, intake)


def take_again(source: Source, raw: bytes, *, now: datetime) -> None:
    """Take one event that was kept as rejected, and perhaps mended. Raises ParseError."""
    note = parse(raw, now)
    with transaction.atomic():
        _take(source, [note], now)


def settle_due(*, now: datetime) -> dict[str, int]:
    """Record what has waited long enough, and forget old connections; how many of each. May be stopped at any point."""
    recorded = looked_at = 0
    while looked_at < MOST_PER_TICK:
        due = list(
            StalwartHeld.objects.filter(due_at__lte=now)
            .order_by("due_at")
            .values_list("source", "span")[:SPANS_AT_ONCE]
        )
        if not due:
            break
        looked_at += len(due)
        by_source: dict[int, set[str]] = defaultdict(set)
        for source_id, span in due:
            by_source[source_id].add(span)
        for source_id, spans in sorted(by_source.items()):
            try:
                with transaction.atomic():
                    recorded += _settle(_in_turn(source_id), spans, {}, [], now)[0].recorded
            except Source.DoesNotExist:
                # Deleted together with all that it reported.
                StalwartHeld.objects.filter(source=source_id).delete()
    forgotten = 0
    while removed := sql.delete_some(
        "telemetry_stalwartconnect", "received_at < %s", [now - CONNECTS_KEPT], CLEANED_AT_ONCE
    ):
        forgotten += removed
        if removed < CLEANED_AT_ONCE or forgotten >= MOST_PER_TICK:
            break
    return {"recorded": recorded, "looked_at": looked_at, "connects_forgotten": forgotten}


def _nothing(raw: bytes, now: datetime) -> Event | None:
    """Rejected events name their format by a parser; this one's are read by `take_again`."""
    raise ParseError("event", "is read by telemetry.stalwart.take_again")


def _in_turn(source_id: int) -> Source:
    """The source, whose batches and ticks wait for each other from here to the end of the transaction.

    The lock lets other tables refer to the row meanwhile. On SQLite the whole database is ours since BEGIN IMMEDIATE.
    """
    return Source.objects.select_for_update(no_key=sql.on_postgres()).get(pk=source_id)


def _take(source: Source, notes: Iterable[Note], now: datetime) -> tuple[BatchResult, int]:
    connects: dict[str, Connect] = {}
    outcomes: dict[str, Held] = {}
    complaints: list[Event] = []
    for note in notes:
        if isinstance(note, Connect):
            connects.setdefault(note.key, note)
        elif isinstance(note, Outcome):
            outcomes.setdefault(note.key, Held(note, now))
        elif isinstance(note, Complaint):
            complaints += note.events
    if not connects and not outcomes and not complaints:
        return BatchResult(0, 0), 0
    source = _in_turn(source.pk)
    StalwartConnect.objects.bulk_create(
        [_connect_row(source.pk, one, now) for one in sorted(connects.values(), key=lambda one: one.key)],
        ignore_conflicts=True,
        batch_size=_AT_ONCE,
    )
    spans = {one.span for one in connects.values()} | {held.outcome.span for held in outcomes.values()}
    return _settle(source, spans, outcomes, connects.values(), now, complaints)


def _settle(
    source: Source,
    spans: set[str],
    new: Mapping[str, Held],
    connects: Iterable[Connect],
    now: datetime,
    also: Sequence[Event] = (),
) -> tuple[BatchResult, int]:
    """Judge these spans by what is new and what is stored, and store what comes of it; with it other events."""
    by_span: dict[str, dict[str, Held]] = defaultdict(dict)
    stored: dict[str, datetime] = {}
    for row in _of_spans(StalwartHeld.objects.all(), source, spans):
        outcome = _OUTCOME.decode(row.outcome)
        by_span[row.span][outcome.key] = Held(outcome, row.received_at)
        stored[outcome.key] = row.due_at
    for key, held in new.items():
        by_span[held.outcome.span].setdefault(key, held)
    opened: dict[str, dict[str, Connect]] = defaultdict(dict)
    for connect in connects:
        opened[connect.span][connect.key] = connect
    for known in _of_spans(StalwartConnect.objects.all(), source, {span for span in by_span if span}):
        opened[known.span].setdefault(known.key, _connect_of(known))
    setting = _setting(source)
    verdict = Verdict()
    for span, outcomes in by_span.items():
        one = judge(list(outcomes.values()), opened[span].values(), setting, now=now)
        verdict.certain += one.certain
        verdict.presumed += one.presumed
        verdict.done |= one.done
        verdict.due |= one.due
    open_ones = _undecided(source, verdict.presumed)
    # One batch for all of it: a batch locks its counters in order, and two in a transaction could cross another's.
    events = [*also, *verdict.certain, *open_ones]
    result = record_batch(source, events, now=now) if events else BatchResult(0, 0)
    _hold(source, new, stored, verdict)
    return result + BatchResult(0, len(verdict.presumed) - len(open_ones)), len(verdict.due.keys() & new.keys())


def _undecided(source: Source, presumed: Sequence[Event]) -> list[Event]:
    """Those of whose attempt and recipient nothing was recorded yet."""
    keys = {
        event_key(source.pk, replace(event, event_id=one)): event.event_id
        for event in presumed
        for one in attempt_ids(event)
    }
    decided = {
        keys[found]
        for some in _slices(sorted(keys))
        for found in Receipt.objects.filter(pk__in=some).values_list("pk", flat=True)
    }
    return [event for event in presumed if event.event_id not in decided]


def _hold(source: Source, new: Mapping[str, Held], stored: Mapping[str, datetime], verdict: Verdict) -> None:
    """Store what waits, under the time of the next look, and delete what waits no more."""
    for some in _slices(sorted(_id(source.pk, key) for key in verdict.done if key in stored)):
        StalwartHeld.objects.filter(pk__in=some).delete()
    rows = [
        StalwartHeld(
            id=_id(source.pk, key),
            source=source,
            span=held.outcome.span,
            outcome=msgspec.json.encode(held.outcome).decode(),
            received_at=held.received_at,
            due_at=verdict.due[key],
        )
        for key, held in sorted(new.items())
        if key in verdict.due and key not in stored
    ]
    StalwartHeld.objects.bulk_create(rows, ignore_conflicts=True, batch_size=_AT_ONCE)
    moved: dict[datetime, list[uuid.UUID]] = defaultdict(list)
    for key, when in verdict.due.items():
        if key in stored and stored[key] != when:
            moved[when].append(_id(source.pk, key))
    for when, ids in sorted(moved.items()):
        for some in _slices(ids):
            StalwartHeld.objects.filter(pk__in=some).update(due_at=when)


def _setting(source: Source) -> Setting:
    ip_map = {}
    for name, address in source.ip_map.items():
        try:
            ip_map[name] = clean_ip(str(address), "ip_map")
        except ParseError:
            # The admin and the API refuse such an entry; one that is there all the same must not stop the events.
            log.warning("an IP mapping is no address", extra={"source": source.name, "mapped_name": name})
    return Setting(ip_map, source.node, lambda recipient: digest("stalwart-recipient", recipient)[:24])


def _id(source_id: int, key: str) -> uuid.UUID:
    return uuid.UUID(bytes=hashlib.blake2b(f"{source_id}:{key}".encode(), digest_size=16).digest())


def _connect_row(source_id: int, one: Connect, now: datetime) -> StalwartConnect:
    return StalwartConnect(
        id=_id(source_id, one.key),
        source_id=source_id,
        span=one.span,
        key=one.key,
        mx_host=one.mx_host,
        domain=one.domain,
        local_ip=one.local_ip,
        occurred_at=one.occurred_at,
        received_at=now,
    )


def _connect_of(row: StalwartConnect) -> Connect:
    return Connect(row.key, row.span, row.mx_host, row.domain, str(row.local_ip), row.occurred_at)


def _of_spans(rows: Any, source: Source, spans: set[str]) -> Iterator[Any]:
    for some in _slices(sorted(spans)):
        yield from rows.filter(source=source, span__in=some)


def _slices(values: Sequence[T]) -> Iterator[Sequence[T]]:
    for start in range(0, len(values), _AT_ONCE):
        yield values[start : start + _AT_ONCE]


def _count_unused(source: Source, counts: Mapping[str, int], now: datetime) -> None:
    if not counts:
        return
    known = set(UnusedEventType.objects.filter(source=source).values_list("name", flat=True))
    totals: Counter[str] = Counter()
    for name, count in counts.items():
        if name not in known and len(known) >= MOST_UNUSED_TYPES:
            name = OTHER_TYPES  # noqa: PLW2901 - the count goes to the shared row
        known.add(name)
        totals[name] += count
    rows = [UnusedEventType(source=source, name=name, first_at=now, last_at=now) for name in sorted(totals)]
    UnusedEventType.objects.bulk_create(rows, ignore_conflicts=True)
    # In the order of their names, so that two batches never wait for each other in a ring.
    for name, count in sorted(totals.items()):
        UnusedEventType.objects.filter(source=source, name=name).update(count=F("count") + count, last_at=now)
