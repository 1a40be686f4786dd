"""Postfix lines into this installation's database: events, joins and position in one transaction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta, tzinfo
from pathlib import Path
from typing import Any

from django.db import transaction

from telemetry.domain.clean import ip as clean_ip
from telemetry.domain.postfix_joins import Key, Message, Setting, Tally, join, keys_of, records_of
from telemetry.following import CannotFollowError
from telemetry.growing_file import Position
from telemetry.ingest import record_batch
from telemetry.models import FollowedFile, PostfixQueueEntry, Source
from telemetry.secrets import digest

# Postfix gives a message up after five days (maximal_queue_lifetime); what was silent for longer has left unseen.
FORGET_AFTER = timedelta(days=7)
FORGET_EVERY = timedelta(hours=1)


class Database:
    """The ledger of this installation: events, joins and position in one transaction."""

    def __init__(self, source: Source, *, path: Path | None, zone: tzinfo, ip_map: Mapping[str, str]) -> None:
        self._source_id = source.pk
        self._path = str(path) if path is not None else None
        self._zone = zone
        self._ip_map = dict(ip_map)
        self._last: Position | None = None
        self._forgotten_at: datetime | None = None

    def begin(self) -> tuple[Position | None, datetime | None]:
        """Where the last one stopped, and when it stored that; (None, None) at the first time."""
        row = FollowedFile.objects.filter(source_id=self._source_id, path=self._path).first()
        self._last = _position(row) if row is not None else None
        return self._last, row.updated_at if row is not None else None

    def first_position(self, position: Position) -> None:
        """Store where reading begins, so that a restart does not begin elsewhere."""
        FollowedFile.objects.get_or_create(source_id=self._source_id, path=self._path, defaults=_columns(position))
        self._last = position

    def record(self, lines: Sequence[bytes], position: Position | None, *, now: datetime) -> Tally:
        """See `Ledger`. Raises CannotFollowError when somebody else follows the same file for the same source."""
        records, count = records_of(lines)
        with transaction.atomic():
            if position is not None and not self._move(position, now):
                return Tally(lines=count)
            source = Source.objects.get(pk=self._source_id)
            if not source.is_active:
                raise CannotFollowError(f"The source {source.name} is not active. Activate it in the admin.")
            stored = self._load(keys_of(records)) if records else {}
            messages = {key: Message(row.sender, dict(row.attempts)) for key, row in stored.items()}
            events, tally = join(records, messages, setting(self._zone, source.ip_map, self._ip_map), now=now)
            if events:
                record_batch(source, events, now=now)
            self._store(stored, messages, now)
            self._forget(now)
        self._last = position
        tally.lines = count
        return tally

    def _move(self, position: Position, now: datetime) -> bool:
        """Move the stored position; False when it is there already (a commit whose answer got lost)."""
        row = FollowedFile.objects.select_for_update().get(source_id=self._source_id, path=self._path)
        stored = _position(row)
        if stored == position != self._last:
            self._last = position
            return False
        if stored != self._last:
            raise CannotFollowError(f"Another follower reads {self._path} for the same source. Stop one of the two.")
        FollowedFile.objects.filter(pk=row.pk).update(**_columns(position), updated_at=now)
        return True

    def _load(self, keys: set[Key]) -> dict[Key, PostfixQueueEntry]:
        rows = PostfixQueueEntry.objects.filter(source_id=self._source_id, queue_id__in={key[1] for key in keys})
        return {(row.host, row.queue_id): row for row in rows if (row.host, row.queue_id) in keys}

    def _store(self, stored: Mapping[Key, PostfixQueueEntry], messages: Mapping[Key, Message], now: datetime) -> None:
        gone = [row.pk for key, row in stored.items() if key not in messages]
        if gone:
            PostfixQueueEntry.objects.filter(pk__in=gone).delete()
        changed = []
        for key, message in sorted(messages.items()):
            row = stored.get(key)
            if row is None or (row.sender, row.attempts) != (message.sender, message.attempts):
                entry = PostfixQueueEntry(source_id=self._source_id, host=key[0], queue_id=key[1], last_seen=now)
                entry.sender, entry.attempts = message.sender, message.attempts
                changed.append(entry)
        PostfixQueueEntry.objects.bulk_create(
            changed,
            update_conflicts=True,
            unique_fields=["source", "host", "queue_id"],
            update_fields=["sender", "attempts", "last_seen"],
            batch_size=500,
        )

    def _forget(self, now: datetime) -> None:
        if self._forgotten_at is None or now - self._forgotten_at >= FORGET_EVERY:
            self._forgotten_at = now
            PostfixQueueEntry.objects.filter(source_id=self._source_id, last_seen__lt=now - FORGET_AFTER).delete()


def setting(zone: tzinfo, *ip_maps: Mapping[str, str]) -> Setting:
    """How to read the log; later maps win. Raises ParseError for an IP that is none."""
    merged = {name: clean_ip(str(address), name) for ip_map in ip_maps for name, address in ip_map.items()}
    return Setting(zone, merged, lambda address: digest("postfix-recipient", address)[:16])


def _position(row: FollowedFile) -> Position:
    return Position(int(row.device), int(row.inode), row.offset, row.head_digest, row.head_length)


def _columns(position: Position) -> dict[str, Any]:
    return {name: getattr(position, name) for name in ("device", "inode", "offset", "head_digest", "head_length")}
