"""Reading a growing log file so that no line is lost or read twice, whatever rotation does to it.

A position is a file (by device and inode, and by a digest of its first bytes) and an offset behind the last complete
line that was read. Whoever stores the position with what the lines meant can stop at any moment and go on.

Renamed away, the old file is read to its end before the new one, and so are the files that came and went between the
two. Truncated after a copy was made (copytruncate), the rest is read from the copy. A line counts once its newline is
there.
"""

from __future__ import annotations

import logging
import os
import re
from contextlib import suppress
from datetime import datetime
from pathlib import Path

from telemetry.growing_file import GrowingFile, Identity, Position, RewrittenError, open_regular

log = logging.getLogger(__name__)

# What logrotate (mail.log.1, mail.log-20261120) and Postfix itself (maillog.20261120-150019) append.
_ROTATED = re.compile(r"[.-](\d[\dT._-]*)")

# A file system's clock may be behind ours by a tick; reading a line twice does no harm.
CLOCK_SLACK = 1.0


class LogFile:
    """A log that is followed by its path, from one thread."""

    ended = False  # a file may always grow

    def __init__(
        self, path: Path, position: Position | None = None, *, stored_at: datetime | None = None, at_end: bool = False
    ) -> None:
        """Go on at the position, which was stored at `stored_at`.

        Without one begin at the file's start, or (`at_end`) behind its last complete line; then the file must exist
        (FileNotFoundError).
        """
        self.path = path
        self.lost = False
        """Whether the position's file is nowhere to be found, so that lines are missing. Reading goes on after it."""
        self._file: GrowingFile | None
        if position is None:
            self._file = GrowingFile(path)
            if at_end:
                self._file.to_the_end()
            return
        since = int((stored_at.timestamp() - CLOCK_SLACK) * 1e9) if stored_at is not None else None
        self._file = self._find(position)
        if self._file is None:
            self.lost = True
            log.error(
                "the file that was being read is gone (deleted or compressed); lines of it may be missing, and can be "
                "given to this command on standard input",
                extra={"file": str(path), "offset": position.offset},
            )
            self._file = self._first_since(since)
        elif position.head_length == 0 and since is not None and self._written_since(since):
            # It was empty then, so nothing tells whether the file was copied and truncated since. It was.
            self._file.close()
            self._file = self._first_since(since)

    def __enter__(self) -> LogFile:
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()

    @property
    def position(self) -> Position | None:
        """Behind the last line that `read` returned; None while there is no file."""
        return self._file.position if self._file is not None else None

    @property
    def behind(self) -> int:
        """How many bytes of the file in hand are not read yet."""
        return max(0, self._file.size - self._file.offset) if self._file is not None else 0

    def held(self, most: int) -> list[bytes]:
        """Nothing: what was not recorded is read again the next time."""
        return []

    def read(self, most: int) -> list[bytes]:
        """The next complete lines without their newlines, at most that many and all of one file; [] when none now."""
        if self._file is None:
            self._file = self._first_since(None)
        while self._file is not None:
            try:
                lines = self._file.lines(most)
            except RewrittenError:
                self._begin_anew(self._file)
                continue
            following = None if lines else self._next(self._file)
            if following is None:
                return lines
            # The writer has begun another file, so this one is complete: look once more, then leave it.
            last = self._file.lines(most) or self._file.unfinished()
            if last:
                following.close()
                return last
            self._file.close()
            self._file = following
        return []

    # --- finding files ----------------------------------------------------------------------------------------------

    def _find(self, position: Position) -> GrowingFile | None:
        """The file of a position, under whatever name it has now, opened there."""
        identity = (position.device, position.inode)
        with suppress(FileNotFoundError):
            by_inode = [Path(entry) for entry in os.scandir(self.path.parent) if entry.inode() == position.inode]
            # A copy (copytruncate) is another file with the same beginning.
            by_name = [self.path, *self._rotated()] if position.head_length else []
            for path in [*by_inode, *by_name]:
                file = open_regular(path)
                if file is None:
                    continue
                if (position.head_length or file.identity == identity) and file.go_to(position):
                    return file
                file.close()
        return None

    def _begin_anew(self, file: GrowingFile) -> None:
        """The file in hand was cut off. What was not read of its old content may be in a copy; else it starts again."""
        copy = self._find(file.position) if file.head else None
        if copy is not None:
            log.info("the log was truncated; reading the rest from its copy", extra={"file": str(self.path)})
            file.close()
            self._file = copy
            return
        log.warning("the log was truncated; reading it from its start", extra={"file": str(self.path)})
        file.to_the_start()

    def _next(self, file: GrowingFile) -> GrowingFile | None:
        """The file in which the log went on, once something is in it; None while the one in hand is the current one."""
        named = self._named()
        current = named.get(self.path)
        if current is None or current == file.identity:
            return None
        newer = self._newer(file, named)
        path = newer[0] if newer else self.path
        following = open_regular(path)
        if following is None:
            return None
        # A rotation renames several files, one after the other; what was seen half-way is not to be relied on.
        if following.identity != named.get(path) or named != self._named() or not (newer or following.size):
            following.close()
            return None
        return following

    def _newer(self, file: GrowingFile, named: dict[Path, Identity]) -> list[Path]:
        """Rotated files that were begun after the one in hand, oldest first."""
        rotated = [path for path in self._rotated() if path in named]
        for place, path in enumerate(rotated):
            if named[path] == file.identity:
                return rotated[place + 1 :]
        # It was deleted or moved to another folder: what was written to later came after it.
        return self._written_since(file.written_at)

    def _first_since(self, moment: int | None) -> GrowingFile | None:
        """Where to begin without a position: the oldest rotated file written since then, else the current one."""
        older = self._written_since(moment) if moment is not None else []
        return open_regular([*older, self.path][0])

    def _written_since(self, moment: int) -> list[Path]:
        found = []
        for path in self._rotated():
            with suppress(FileNotFoundError):
                if path.stat().st_mtime_ns >= moment:
                    found.append(path)
        return found

    def _rotated(self) -> list[Path]:
        """Older files of this log that are not compressed, oldest first by what their names say."""
        found = []
        for path in self.path.parent.iterdir():
            match = _ROTATED.fullmatch(path.name, len(self.path.name)) if path.name.startswith(self.path.name) else None
            if match is not None:
                # mail.log.2 is older than mail.log.1; with dates it is the other way round.
                counted = match[1].isdigit() and len(match[1]) <= 4
                found.append((counted, -int(match[1]) if counted else 0, match[1], path))
        return [path for *_, path in sorted(found)]

    def _named(self) -> dict[Path, Identity]:
        """Which file is behind each name of this log."""
        found = {}
        for path in [self.path, *self._rotated()]:
            with suppress(FileNotFoundError):
                status = path.stat()
                found[path] = (status.st_dev, status.st_ino)
        return found
