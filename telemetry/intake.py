"""From a request's body to recorded events: split, parse each, record the good, keep the bad.

Good events never suffer from a bad neighbour: each is parsed by itself. What was recorded and what was kept is
committed before the answer, so an answer of 200 means that everything in it is stored.
"""

from __future__ import annotations

import dataclasses
import hashlib
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import msgspec
from django.db import DataError, IntegrityError, transaction
from django.db.models import F
from django.utils.module_loading import import_string

from telemetry import metrics
from telemetry.domain.clean import text
from telemetry.domain.errors import ParseError
from telemetry.domain.event import Event
from telemetry.ingest import BatchResult, record_batch
from telemetry.models import RejectedEvent, Source
from telemetry.parsers.base import Parser, decode
from telemetry.parsers.registry import PARSERS

log = logging.getLogger(__name__)

# An event whose text is longer than this is kept cut off; it can be looked at but not replayed.
LONGEST_PAYLOAD = 64 * 1024
# A body of thousands of bad events tells its sender about the first ones; all of them are kept.
MOST_ERRORS_ANSWERED = 100
# Rejected rows written by one statement.
AT_ONCE = 500
# Events recorded by one transaction: a body of ten thousand keeps neither its neighbours nor a roll-up waiting.
AT_A_TIME = 1_000
# Formats whose events are joined before they are recorded have a way in of their own; by name, as it imports this one.
JOINED_BY = {"stalwart": "telemetry.stalwart.take_again"}


class _Events(msgspec.Struct):
    events: list[msgspec.Raw]


_ENVELOPE = msgspec.json.Decoder(_Events)
_ARRAY = msgspec.json.Decoder(list[msgspec.Raw])


@dataclass(frozen=True, slots=True)
class Rejection:
    """One event that was not taken: its place in the body, the field and what is wrong with it."""

    index: int
    field: str
    message: str
    payload: bytes = dataclasses.field(repr=False, default=b"")


@dataclass(frozen=True, slots=True)
class Intake:
    """What became of a body."""

    recorded: int
    duplicates: int
    ignored: int
    rejections: tuple[Rejection, ...]

    def __add__(self, other: Intake) -> Intake:
        return Intake(
            self.recorded + other.recorded,
            self.duplicates + other.duplicates,
            self.ignored + other.ignored,
            self.rejections + other.rejections,
        )

    def as_answer(self) -> dict[str, Any]:
        """The documented answer. `processed` counts every event that is stored, known before or not."""
        failed = len(self.rejections)
        processed = self.recorded + self.duplicates + self.ignored
        return {
            "status": "success" if not failed else "partial" if processed else "failed",
            "processed": processed,
            "failed": failed,
            "total": processed + failed,
            "duplicates": self.duplicates,
            "errors": [
                {"index": entry.index, "field": entry.field, "message": entry.message}
                for entry in self.rejections[:MOST_ERRORS_ANSWERED]
            ],
        }


def split_envelope(body: bytes) -> list[bytes]:
    """The events of ``{"events": [...]}`` as JSON texts. Raises ParseError when the body is not that."""
    return [bytes(raw) for raw in _decode(_ENVELOPE, body, "events").events]


def split_array(body: bytes) -> list[bytes]:
    """The events of a JSON array, or one JSON object, as JSON texts. Raises ParseError when the body is neither."""
    if body.lstrip()[:1] == b"{":
        _decode(msgspec.json.Decoder(dict[str, Any]), body, "body")
        return [body]
    return [bytes(raw) for raw in _decode(_ARRAY, body, "body")]


def split_lines(body: bytes) -> list[bytes]:
    """The events of NDJSON: one JSON text a line, blank lines skipped. A broken line is one broken event."""
    return [line for line in body.splitlines() if line.strip()]


def _decode(decoder: msgspec.json.Decoder[Any], body: bytes, name: str) -> Any:
    try:
        return decode(decoder, body)
    except msgspec.ValidationError as error:
        raise ParseError(name, str(error)) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ParseError("body", f"is not valid JSON: {error}") from None
    except RecursionError:
        raise ParseError("body", "is nested too deeply") from None


@dataclass(frozen=True, slots=True)
class Reading:
    """What the events of a body say: events to record, how many say nothing, and those that cannot be taken."""

    events: list[Event]
    ignored: int
    rejections: list[Rejection]


def read(
    parser: Parser, raw_events: Sequence[bytes], *, ip_map: Mapping[str, str], now: datetime, first: int = 0
) -> Reading:
    """Parse each event by itself. `first` is the place of the first one in its body."""
    reading = Reading([], 0, [])
    ignored = 0
    for index, raw in enumerate(raw_events, first):
        try:
            found = parser.events(raw, now, ip_map)
        except ParseError as error:
            reading.rejections.append(
                Rejection(index, text(error.field, longest=200), text(error.message, longest=500), raw)
            )
            continue
        ignored += not found
        reading.events.extend(found)
    return replace(reading, ignored=ignored)


def store(source: Source, parser: Parser, reading: Reading, *, now: datetime) -> Intake:
    """Record what was read and keep what cannot be taken, in one transaction. Raises the database's errors."""
    with transaction.atomic():
        result = record_batch(source, reading.events, now=now) if reading.events else BatchResult(0, 0)
        keep_rejected(source, parser, reading.rejections, now=now)
    return Intake(result.recorded, result.duplicates, reading.ignored, tuple(reading.rejections))


def take_in(source: Source, parser: Parser, raw_events: Sequence[bytes], *, now: datetime, first: int = 0) -> Intake:
    """Parse, record and keep what cannot be recorded, in transactions of at most AT_A_TIME events.

    Raises the database's errors. What was stored before is recognised when the body is sent again.
    """
    taken = Intake(0, 0, 0, ())
    for start in range(0, len(raw_events), AT_A_TIME):
        some = raw_events[start : start + AT_A_TIME]
        reading = read(parser, some, ip_map=source.ip_map, now=now, first=first + start)
        try:
            taken += store(source, parser, reading, now=now)
        except (DataError, IntegrityError):
            log.warning("a batch holds what the database refuses; its events are taken one by one", exc_info=True)
            for index, raw in enumerate(some, first + start):
                taken += _take_one(source, parser, raw, now=now, index=index)
    return taken


def _take_one(source: Source, parser: Parser, raw: bytes, *, now: datetime, index: int) -> Intake:
    """Record one event; one that passed the parser and that the database refuses is kept like any other bad one."""
    try:
        return store(source, parser, read(parser, [raw], ip_map=source.ip_map, now=now, first=index), now=now)
    except (DataError, IntegrityError) as error:
        what = f"cannot be stored ({type(error).__name__})"
        return store(source, parser, Reading([], 0, [Rejection(index, "event", what, raw)]), now=now)


def keep_rejected(source: Source, parser: Parser, rejections: Iterable[Rejection], *, now: datetime) -> None:
    """Keep rejected events, one row per distinct text; one that is sent again is counted on its row."""
    by_digest = {
        hashlib.sha256(parser.name.encode() + b"\0" + entry.payload).hexdigest(): entry for entry in rejections
    }
    if not by_digest:
        return
    # In the order of their digests, locked before they change: two retries of one bad batch must not deadlock.
    rows = [
        RejectedEvent(
            source=source,
            parser=parser.name,
            digest=digest,
            payload=text(entry.payload.decode("utf-8", "replace"), longest=LONGEST_PAYLOAD),
            field=entry.field,
            message=entry.message,
            times=0,
            received_at=now,
            last_received_at=now,
        )
        for digest, entry in sorted(by_digest.items())
    ]
    log.info("events kept as rejected", extra={"source": source.name, "events": len(rows)})
    RejectedEvent.objects.bulk_create(rows, ignore_conflicts=True, batch_size=AT_ONCE)
    for start in range(0, len(rows), AT_ONCE):
        digests = [row.digest for row in rows[start : start + AT_ONCE]]
        found = RejectedEvent.objects.filter(source=source, digest__in=digests).order_by("digest")
        keys = list(found.select_for_update().values_list("pk", flat=True))
        RejectedEvent.objects.filter(pk__in=keys).update(times=F("times") + 1, last_received_at=now)
    transaction.on_commit(lambda: metrics.count_rejected(source.kind, len(rows)))


def replay(rejected: RejectedEvent, *, now: datetime) -> Rejection | None:
    """Read a kept event again (its payload may have been mended) and record it; None when it was taken.

    Otherwise the row says what is wrong now. Replaying twice records once, as sending twice would.
    """
    try:
        with transaction.atomic():
            _take_again(rejected, now)
            rejected.replayed_at = now
            rejected.save(update_fields=["payload", "replayed_at"])
    except ParseError as error:
        rejected.field, rejected.message = text(error.field, longest=200), text(error.message, longest=500)
        rejected.save(update_fields=["payload", "field", "message"])
        return Rejection(0, rejected.field, rejected.message)
    return None


def _take_again(rejected: RejectedEvent, now: datetime) -> None:
    raw = rejected.payload.encode("utf-8", "surrogatepass")
    if rejected.parser in JOINED_BY:
        import_string(JOINED_BY[rejected.parser])(rejected.source, raw, now=now)
    elif events := PARSERS[rejected.parser].events(raw, now, rejected.source.ip_map):
        record_batch(rejected.source, events, now=now)
