"""One file that a writer appends lines to: reading complete lines, and noticing when it is no longer the same file."""

from __future__ import annotations

import hashlib
import logging
import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

log = logging.getLogger(__name__)

# Postfix cuts its lines at 2,000 octets or a little more; what is longer than this without a newline is no log line.
LONGEST_LINE = 256 * 1024
# Enough to hold a time and an id that no other log begins with; little enough to be read at every look.
HEAD = 1024

Identity = tuple[int, int]
"""Device and inode: what a file keeps when it is renamed."""


@dataclass(frozen=True, slots=True)
class Position:
    """How far a file was read: `offset` in bytes, always at the beginning of a line."""

    device: int
    inode: int
    offset: int = 0
    head_digest: str = ""
    head_length: int = 0
    """How many of the first bytes the digest is of: those that were there, as a log only grows."""


class RewrittenError(Exception):
    """The file no longer holds what was read of it."""


class GrowingFile:
    """One open file, its first bytes, and how far it was read."""

    def __init__(self, path: Path) -> None:
        self.fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        self._searched = 0  # of an over-long line, so that it is not searched again at every look
        self.to_the_start()

    def close(self) -> None:
        """Give the file back."""
        os.close(self.fd)

    def to_the_start(self) -> None:
        """Read it from its start."""
        self.offset = self._searched = 0
        self.head = os.pread(self.fd, HEAD, 0)
        """The first bytes, at least those that were read: a file that begins otherwise is another one."""

    def to_the_end(self) -> None:
        """Behind the last complete line."""
        size = self.size
        begin = max(0, size - LONGEST_LINE)
        self._advance(begin + os.pread(self.fd, size - begin, begin).rfind(b"\n") + 1)

    def go_to(self, position: Position) -> bool:
        """Take up a stored position; False when this file does not hold what was read then."""
        head = os.pread(self.fd, position.head_length, 0)
        if self.size < position.offset or (head and _digest(head) != position.head_digest):
            return False
        self.offset, self.head = position.offset, head
        return len(head) == position.head_length

    @property
    def identity(self) -> Identity:
        """Device and inode."""
        status = os.fstat(self.fd)
        return status.st_dev, status.st_ino

    @property
    def written_at(self) -> int:
        """When it was last written to, nanoseconds."""
        return os.fstat(self.fd).st_mtime_ns

    @property
    def size(self) -> int:
        """Bytes in it now."""
        return os.fstat(self.fd).st_size

    @property
    def position(self) -> Position:
        """Behind the last line that was read."""
        return Position(*self.identity, self.offset, _digest(self.head) if self.head else "", len(self.head))

    def lines(self, most: int) -> list[bytes]:
        """The next complete lines, at most that many; raises RewrittenError when the file is another one now."""
        found: list[bytes] = []
        at = self.offset
        for line in self._complete_lines():
            found.append(line)
            at += len(line) + 1
            if len(found) == most:
                break
        # Checked after reading: what was read before the file was cut off is what was there.
        if self.size < self.offset or os.pread(self.fd, len(self.head), 0) != self.head:
            raise RewrittenError
        if found:
            if len(self.head) < min(HEAD, at):
                # From what was read, not from the file: that may be another one by now.
                self.head = (self.head + b"\n".join([*found, b""])[len(self.head) - self.offset :])[:HEAD]
            self.offset = at
        elif self._skip_long_line():
            return self.lines(most)
        return found

    def unfinished(self) -> list[bytes]:
        """The last line of a file that nobody writes to any more, though its newline is missing."""
        left = os.pread(self.fd, LONGEST_LINE, self.offset)
        self._advance(self.size)
        return [left] if left else []

    def _complete_lines(self) -> Iterator[bytes]:
        at = self.offset
        while True:
            chunk = os.pread(self.fd, LONGEST_LINE, at)
            end = chunk.rfind(b"\n") + 1
            if not end:
                return
            # Not splitlines: a lone carriage return ends no line here.
            yield from chunk[: end - 1].split(b"\n")
            at += end

    def _skip_long_line(self) -> bool:
        """Step over a line that is too long; False while its end is not there. Until then the offset stays put."""
        at = max(self._searched, self.offset)
        while chunk := os.pread(self.fd, LONGEST_LINE, at):
            end = chunk.find(b"\n") + 1
            if end and at + end - self.offset > LONGEST_LINE:
                log.warning("skipped an over-long line", extra={"bytes": at + end - self.offset})
                self._advance(at + end)
                return True
            if end:
                return False  # complete since we looked; it is read the next time
            at += len(chunk)
        self._searched = at
        return False

    def _advance(self, offset: int) -> None:
        self.offset = offset
        if len(self.head) < HEAD:
            self.head = os.pread(self.fd, min(HEAD, offset), 0)


def _digest(head: bytes) -> str:
    return hashlib.sha256(head).hexdigest()


def open_regular(path: Path) -> GrowingFile | None:
    """The file opened, or None for what is gone or no regular file."""
    with suppress(FileNotFoundError):
        if stat.S_ISREG(path.stat().st_mode):
            return GrowingFile(path)
    return None
