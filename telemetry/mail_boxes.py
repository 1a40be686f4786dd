"""Mails one by one out of a Maildir, an mbox or a stream, each with bounded memory."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from telemetry.parsers.mail_parts import LONGEST_MAIL

# What the reader of reports looks at, with room for the line ends that it drops.
MOST_READ = 2 * LONGEST_MAIL
_LONGEST_LINE = 64 * 1024


class NoMailError(Exception):
    """There is no mail at this place; the message says why."""


def mails_in(path: Path) -> Iterator[bytes]:
    """The mails of a Maildir, of a folder of mails, of an mbox or of a file with one mail. Raises NoMailError."""
    try:
        if path.is_dir():
            yield from _in_folder(path)
        else:
            with path.open("rb") as file:
                yield from mails_of(file)
    except OSError as error:
        raise NoMailError(f"{path} cannot be read: {error.strerror}.") from None


def mails_of(stream: BinaryIO) -> Iterator[bytes]:
    """The mails of an mbox (it begins with "From "), else the whole stream as one mail."""
    first = stream.readline(_LONGEST_LINE)
    if first.startswith(b"From "):
        yield from _of_mbox(stream)
    elif first:
        yield first + stream.read(MOST_READ)
        while stream.read(1024 * 1024):  # whoever writes into a pipe must get rid of it all
            pass


def _of_mbox(stream: BinaryIO) -> Iterator[bytes]:
    lines: list[bytes] = []
    size = 0
    after_blank = at_line_start = True
    while line := stream.readline(_LONGEST_LINE):
        if at_line_start and after_blank and line.startswith(b"From "):
            yield b"".join(lines)
            lines, size = [], 0
        elif size < MOST_READ:
            lines.append(line)
            size += len(line)
        after_blank = at_line_start and not line.strip()
        at_line_start = line.endswith(b"\n")
    yield b"".join(lines)


def _in_folder(path: Path) -> Iterator[bytes]:
    maildir = [path / name for name in ("new", "cur") if (path / name).is_dir()]
    for folder in maildir or [path]:
        for file in sorted(folder.iterdir()):
            if file.name.startswith(".") or not file.is_file():
                continue
            try:
                with file.open("rb") as mail:
                    yield mail.read(MOST_READ)
            except FileNotFoundError:
                continue  # a mail program has renamed it meanwhile; the next run finds it
