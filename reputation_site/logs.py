"""Structured logs: one event a line, as text for people or JSON for machines; fields come from ``extra``."""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime

# What the logging module itself puts on a record; everything else came in through `extra` and is a field.
_OWN = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
# Frameworks put live objects there; they are not ours to print.
_NOT_FIELDS = frozenset({"request", "server_time", "data"})


def _fields(record: logging.LogRecord) -> dict[str, object]:
    return {
        name: value
        for name, value in vars(record).items()
        if name not in _OWN and name not in _NOT_FIELDS and isinstance(value, str | int | float | bool | None)
    }


def _one_line(text: str) -> str:
    """The text without line breaks, so that what a stranger sent us cannot forge a line of the log."""
    return "".join(letter if letter.isprintable() else letter.encode("unicode_escape").decode() for letter in text)


def _word(value: object) -> str:
    """The value as one word; a text with blanks or quotes is put into quotes."""
    text = str(value)
    return text if text.isprintable() and text and not {" ", '"', "="} & set(text) else json.dumps(text)


def _moment(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, tz=UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class TextFormatter(logging.Formatter):
    """``2026-11-20T12:00:00.000Z INFO telemetry.ingest batch stored source=mta-1 new=10``."""

    def format(self, record: logging.LogRecord) -> str:
        """The record as a line, its fields at the end as name=value."""
        words = [_moment(record), record.levelname, record.name, _one_line(record.getMessage())]
        words += [f"{name}={_word(value)}" for name, value in _fields(record).items()]
        line = " ".join(words)
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


class JsonFormatter(logging.Formatter):
    """One JSON object a line: at, level, logger, message, the fields, and the traceback as `error`."""

    def format(self, record: logging.LogRecord) -> str:
        """The record as a JSON object."""
        entry: dict[str, object] = {
            "at": _moment(record),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            **_fields(record),
        }
        if record.exc_info:
            entry["error"] = self.formatException(record.exc_info)
        return json.dumps(entry, ensure_ascii=False)
