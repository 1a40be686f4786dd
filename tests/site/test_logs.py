"""One event, one line, its fields beside it."""

from __future__ import annotations

import json
import logging
import sys

from reputation_site.logs import JsonFormatter, TextFormatter


def record(**extra: object) -> logging.LogRecord:
    entry = logging.getLogger("telemetry.ingest").makeRecord(
        "telemetry.ingest", logging.INFO, __file__, 1, "batch %s", ("stored",), None, extra=extra
    )
    entry.created = 1_763_640_000.25
    return entry


def test_a_text_line_ends_with_the_fields() -> None:
    line = TextFormatter().format(record(source="mta-1", new=10))
    assert line == "2025-11-20T12:00:00.250Z INFO telemetry.ingest batch stored source=mta-1 new=10"


def test_a_json_line_is_one_object_with_the_fields_beside_the_message() -> None:
    line = JsonFormatter().format(record(source="mta-1\nnext", new=10))
    assert "\n" not in line
    assert json.loads(line) == {
        "at": "2025-11-20T12:00:00.250Z",
        "level": "INFO",
        "logger": "telemetry.ingest",
        "message": "batch stored",
        "source": "mta-1\nnext",
        "new": 10,
    }


def test_live_objects_of_frameworks_are_not_printed() -> None:
    entry = json.loads(JsonFormatter().format(record(request=object(), server_time="now", thing=object())))
    assert set(entry) == {"at", "level", "logger", "message"}


def test_a_text_field_cannot_forge_a_line() -> None:
    line = TextFormatter().format(record(source="mta-1\n2026-11-20T12:00:00.000Z ERROR forged"))
    assert "\n" not in line


def test_an_exception_keeps_its_traceback() -> None:
    entry = record()
    try:
        raise ValueError("broken")
    except ValueError:
        entry.exc_info = sys.exc_info()
    assert "ValueError: broken" in json.loads(JsonFormatter().format(entry))["error"]
    assert "ValueError: broken" in TextFormatter().format(entry)
