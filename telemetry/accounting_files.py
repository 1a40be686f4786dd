"""Reading PowerMTA's accounting files while they grow, are finished, renamed and moved away.

PowerMTA begins a new file (acct-2026-11-20-0001.csv) beside the old one instead of renaming it, so what is followed is
a pattern. Every record has a key of its own and counts once, so reading one a second time costs time and nothing else;
what matters here is that none is passed over.
"""

from __future__ import annotations

import glob
import logging
import re
import stat
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from telemetry.growing_file import GrowingFile, Identity, Position, RewrittenError, open_regular
from telemetry.parsers.powermta import Columns

log = logging.getLogger(__name__)

# A reply is quoted with its line ends, so a record may have several lines. A longer one is no record but a stray quote.
MOST_LINES = 60
# A finished file may get its last rows when its successor has begun. After a restart files that were written to within
# this time (nanoseconds) of the one in hand are read again; what is known of them counts once.
LATE_ROWS = 3600 * 10**9
_BEGINS = re.compile(rb'"?(?:type|[dbtrf]|tq|rb|rs)"?,')


def join_lines(lines: Sequence[bytes]) -> tuple[list[bytes], int]:
    """CSV records of these lines, and how many of the last lines begin a record whose end is not there yet."""
    records: list[bytes] = []
    at = 0
    while at < len(lines):
        end = _end_of_record(lines, at)
        if end is None:
            return records, len(lines) - at
        records.append(b"\n".join(lines[at:end]))
        at = end
    return records, 0


def _end_of_record(lines: Sequence[bytes], at: int) -> int | None:
    quotes = lines[at].count(b'"')
    for end in range(at + 1, min(len(lines), at + MOST_LINES)):
        # A line that begins a record ends a quote that nobody closed.
        if quotes % 2 == 0 or _BEGINS.match(lines[end]):
            return end if quotes % 2 == 0 else at + 1
        quotes += lines[end].count(b'"')
    if quotes % 2 == 0:
        return min(len(lines), at + MOST_LINES)
    return at + 1 if len(lines) - at >= MOST_LINES else None


class AccountingFiles:
    """The records of all files that match a pattern, oldest file first; a `Feed` of `telemetry.following`."""

    ended = False  # another file may always come

    def __init__(self, pattern: str, columns: Columns, position: Position | None = None, *, at_end: bool = False):
        """Go on at the position; without one begin with the oldest file, or (`at_end`) with what comes from now on."""
        self._pattern = pattern
        self._columns = columns
        self._file: GrowingFile | None = None
        self._read: dict[Identity, _Read] = {}
        """How far each file was read; one that was written to since has something new, or is another file."""
        if position is not None:
            self._go_on(position)
        elif at_end:
            self._skip_what_is_there()

    def __enter__(self) -> AccountingFiles:
        return self

    def __exit__(self, *_: object) -> None:
        self._leave()

    @property
    def position(self) -> Position | None:
        """In the file that was read last."""
        return self._file.position if self._file is not None else None

    @property
    def behind(self) -> int:
        """Bytes that are there and not read yet."""
        held = max(0, self._file.size - self._file.offset) if self._file is not None else 0
        return held + sum(max(0, found.size - self._offset(found)) for found in self._others())

    def held(self, most: int) -> list[bytes]:
        """Nothing: what was not recorded is read again the next time."""
        return []

    def read(self, most: int) -> list[bytes]:
        """The next complete records, about that many and all of one file; [] when there are none now."""
        found = self._records(most)
        if found:
            return found
        for other in self._others():
            file = open_regular(Path(other.name)) if self._has_news(other) else None
            if file is None:
                continue
            self._leave()
            known = self._read.get(file.identity)
            self._open(file, known.position if known is not None else None)
            found = self._records(most)
            if found:
                return found
        return []

    def _records(self, most: int) -> list[bytes]:
        if self._file is None:
            return []
        try:
            lines = self._file.lines(max(most, MOST_LINES))
        except RewrittenError:
            log.warning("an accounting file was cut off or rewritten; reading it from its start")
            self._file.to_the_start()
            return []
        records, unfinished = join_lines(lines)
        if unfinished:
            self._file.offset -= sum(len(line) + 1 for line in lines[-unfinished:])
        return records

    def _open(self, file: GrowingFile, position: Position | None) -> None:
        self._file = file
        if position is not None and not file.go_to(position):
            file.to_the_start()  # another file in the place of one that was deleted
        for header in _headers(file):
            self._columns.row(header)

    def _leave(self) -> None:
        if self._file is not None:
            self._note(self._file)
            self._file.close()
            self._file = None

    def _go_on(self, position: Position) -> None:
        """Open the position's file; those that were last written to well before it have been read."""
        there = self._matching()
        # Under its inode first; a copy of it in another place has the same beginning.
        for found in sorted(there, key=lambda found: found.identity != (position.device, position.inode)):
            file = open_regular(Path(found.name))
            if file is not None and file.go_to(position):
                self._open(file, position)
                self._skip(other for other in there if found.written_at - other.written_at > LATE_ROWS)
                return
            if file is not None:
                file.close()
        log.warning("the accounting file that was read last is gone; reading all that match, which doubles nothing")

    def _skip_what_is_there(self) -> None:
        there = self._matching()
        self._skip(there)
        newest = open_regular(Path(there[-1].name)) if there else None
        if newest is not None:
            newest.to_the_end()
            self._open(newest, newest.position)

    def _skip(self, files: Iterable[_Found]) -> None:
        for found in files:
            file = open_regular(Path(found.name))
            if file is not None:
                file.to_the_end()
                self._note(file)
                file.close()

    def _note(self, file: GrowingFile) -> None:
        self._read[file.identity] = _Read(file.position, file.written_at)

    def _has_news(self, found: _Found) -> bool:
        known = self._read.get(found.identity)
        return known is None or (known.position.offset, known.written_at) != (found.size, found.written_at)

    def _offset(self, found: _Found) -> int:
        known = self._read.get(found.identity)
        return known.position.offset if known is not None else 0

    def _others(self) -> list[_Found]:
        """The files that match, but for the one in hand."""
        current = self._file.identity if self._file is not None else None
        there = self._matching()
        # A file that has gone is forgotten, so that a new one in its place is not taken for it.
        present = {found.identity for found in there}
        self._read = {identity: known for identity, known in self._read.items() if identity in present}
        return [found for found in there if found.identity != current]

    def _matching(self) -> list[_Found]:
        """The files that match, by when they were last written to."""
        there = []
        for name in glob.glob(self._pattern, recursive=True):  # noqa: PTH207 - absolute, may span folders
            with suppress(FileNotFoundError):
                status = Path(name).stat()
                if stat.S_ISREG(status.st_mode) and not name.endswith(".gz"):
                    there.append(_Found(status.st_mtime_ns, name, (status.st_dev, status.st_ino), status.st_size))
        return sorted(there)


class _Read(NamedTuple):
    """How far a file was read that is not in hand, and when it had last been written to then (nanoseconds)."""

    position: Position
    written_at: int


class _Found(NamedTuple):
    """A file that matches; ordered by when it was last written to (nanoseconds)."""

    written_at: int
    name: str
    identity: Identity
    size: int


def _headers(file: GrowingFile) -> list[bytes]:
    """The header lines before the offset of a file that is taken up in its middle; the last one counts."""
    found = []
    place, file.offset = file.offset, 0
    try:
        # A file that was cut off meanwhile is noticed at the next read, too.
        while file.offset < place:
            lines = file.lines(1000)
            if not lines:
                break
            passed = file.offset - sum(len(line) + 1 for line in lines)
            for line in lines:
                if passed < place and line[:6].strip(b'"\xef\xbb\xbf').lower().startswith(b"type"):
                    found.append(line)
                passed += len(line) + 1
    except RewrittenError:
        found.clear()
    finally:
        file.offset = place
    return found
