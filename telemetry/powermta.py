"""PowerMTA's accounting files into events: importing finished ones, following those that grow."""

from __future__ import annotations

import gzip
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import BinaryIO, cast

from django.db import transaction
from django.utils import timezone

from telemetry import intake
from telemetry.accounting_files import MOST_LINES, join_lines
from telemetry.domain.postfix_joins import Tally
from telemetry.following import CannotFollowError
from telemetry.growing_file import LONGEST_LINE, Position
from telemetry.intake import Intake, Rejection
from telemetry.models import FollowedFile, Source
from telemetry.parsers.powermta import POWERMTA, Columns

# Of an import's rejected rows, how many are told at once; all of them are kept.
MOST_TOLD = 20


@dataclass(slots=True)
class Imported:
    """How far an import is, and what became of the rows so far."""

    rows: int = 0
    new: int = 0
    known: int = 0
    """Recorded before, by this import or by whoever else reads the file."""
    ignored: int = 0
    """Rows that say nothing about a delivery (tq, r, rs, deliveries to a file)."""
    rejected: int = 0
    share: float = 0.0
    """Of the file's bytes, 0 to 1."""
    told: list[Rejection] = field(default_factory=list)
    """The first rejected rows; `index` is the row's place in the file, from 1, headers not counted."""

    def add(self, taken: Intake, rows: int) -> None:
        """Count what became of a batch."""
        self.told += [
            Rejection(self.rows + entry.index + 1, entry.field, entry.message)
            for entry in taken.rejections[: MOST_TOLD - len(self.told)]
        ]
        self.rows += rows
        self.new += taken.recorded
        self.known += taken.duplicates
        self.ignored += taken.ignored
        self.rejected += len(taken.rejections)


def import_file(
    source: Source, path: Path, columns: Columns, *, batch: int, progress: Callable[[Imported], None]
) -> Imported:
    """Record every row of a finished file (.gz too); a second import changes nothing.

    Each batch is a transaction, so an import that was cut off is simply started again. Raises OSError.
    """
    done = Imported()
    size = path.stat().st_size or 1
    with path.open("rb") as raw:
        unpacked = cast(BinaryIO, gzip.GzipFile(fileobj=raw)) if path.suffix == ".gz" else raw
        lines = iter(lambda: unpacked.readline(LONGEST_LINE), b"")
        for records in _records(lines, max(batch, MOST_LINES)):
            rows = rows_of(records, columns)
            done.add(intake.take_in(source, POWERMTA, rows, now=timezone.now()), len(rows))
            done.share = min(raw.tell() / size, 1.0)
            progress(done)
    done.share = 1.0
    return done


def _records(lines: Iterator[bytes], batch: int) -> Iterator[list[bytes]]:
    held: list[bytes] = []
    while chunk := [line.rstrip(b"\r\n") for line in islice(lines, batch)]:
        records, unfinished = join_lines(held + chunk)
        held = (held + chunk)[-unfinished:] if unfinished else []
        if records:
            yield records
    if held:
        yield held


def rows_of(records: Sequence[bytes], columns: Columns) -> list[bytes]:
    """The records as JSON objects by column name; headers are taken in and left out."""
    return [row for record in records if (row := columns.row(record)) is not None]


class Database:
    """Where a follower records: rows, rejected rows and position in one transaction (a `following.Ledger`)."""

    def __init__(self, source: Source, pattern: str, columns: Columns) -> None:
        self._source_id = source.pk
        self._pattern = pattern
        self._columns = columns

    def begin(self) -> Position | None:
        """Where the last follower of this pattern stopped; None at the first time."""
        row = FollowedFile.objects.filter(source_id=self._source_id, path=self._pattern).first()
        if row is None:
            return None
        return Position(int(row.device), int(row.inode), row.offset, row.head_digest, row.head_length)

    def record(self, lines: Sequence[bytes], position: Position | None, *, now: datetime) -> Tally:
        """See `Ledger`; `lines` are whole records. Raises CannotFollowError for an inactive source."""
        names = self._columns.names
        try:
            with transaction.atomic():
                source = Source.objects.get(pk=self._source_id)
                if not source.is_active:
                    raise CannotFollowError(f"The source {source.name} is not active. Activate it in the admin.")
                taken = intake.take_in(source, POWERMTA, rows_of(lines, self._columns), now=now)
                if position is not None:
                    self._store(position, now)
        except BaseException:
            # The same records may be tried again, and the first of them stand under the header before.
            self._columns.names = names
            raise
        return Tally(lines=len(lines), events=taken.recorded + taken.duplicates, unreadable=len(taken.rejections))

    def _store(self, position: Position, now: datetime) -> None:
        FollowedFile.objects.update_or_create(
            source_id=self._source_id, path=self._pattern, defaults=asdict(position) | {"updated_at": now}
        )
