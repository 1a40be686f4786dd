"""What is fuzzed: bytes as they come from outside, through everything that reads them up to the clean events.

A target may raise ParseError or return. It also looks at every event that comes out: one that the database could not
take would be the same failure a step later.
"""

from __future__ import annotations

import io
import json
from collections import defaultdict
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

from django.core.handlers.wsgi import WSGIRequest

from telemetry import intake
from telemetry.domain import clean, postfix_joins, stalwart_joins
from telemetry.domain.errors import ParseError
from telemetry.domain.event import Event, event_key
from telemetry.domain.stalwart_joins import Complaint, Connect, Held, Outcome
from telemetry.esp import sns
from telemetry.esp.bodies import NotGenuineError, check, records
from telemetry.esp.catalogue import ESPS
from telemetry.esp.parsers import ESP_PARSERS, parser_name
from telemetry.models import SendingEvent
from telemetry.parsers import report_mail, stalwart
from telemetry.parsers.powermta import Columns
from telemetry.parsers.registry import PARSERS
from tests.fuzz.seeds import RECORDS

NOW = datetime(2026, 11, 20, 12, 0, 30, tzinfo=UTC)
IP_MAP = {"ip-1": "203.0.113.9", "v": "203.0.113.8", "postfix-ip10": "203.0.113.7", "mx.example": "203.0.113.6"}
_LONGEST = {
    field.name: field.max_length
    for field in SendingEvent._meta.get_fields()
    if getattr(field, "max_length", None) is not None
}
_TEXTS = tuple(name for name, kind in Event.__annotations__.items() if kind == "str")


def look_at(events: Iterable[Event]) -> None:
    """Fail on an event that is not clean: text that UTF-8 or a column cannot hold, a code or time that is none."""
    for event in events:
        for name in _TEXTS:
            value = getattr(event, name)
            assert isinstance(value, str), f"{name} is {value!r}"
            assert "\x00" not in value, f"{name} holds NUL"
            value.encode()
            assert len(value) <= _LONGEST.get(name, len(value)), f"{name} does not fit its column"
        assert clean.ip(event.sending_ip, "sending_ip") == event.sending_ip
        assert event.smtp_code is None or 200 <= event.smtp_code <= 599
        assert event.attempt_number is None or 0 < event.attempt_number < 2**31
        assert event.occurred_at.utcoffset() == timedelta(0)
        assert clean.EARLIEST <= event.occurred_at <= NOW + clean.FUTURE_TOLERANCE
        event_key(1, event)


def _split(raw: bytes) -> Iterable[bytes]:
    """The records in a body, read in each way that an endpoint reads one."""
    yield raw
    for split in (intake.split_envelope, intake.split_array, intake.split_lines):
        try:
            yield from split(raw)[:50]
        except ParseError:
            continue


def _posted(name: str) -> Callable[[bytes], None]:
    def read(raw: bytes) -> None:
        for record in _split(raw):
            try:
                look_at(PARSERS[name].events(record, NOW, IP_MAP))
            except ParseError:
                continue

    return read


def _powermta(raw: bytes) -> None:
    columns = Columns()
    rows = raw.split(b"\n")[:50]
    # Lines of a file, and what is made of them, which is kept as JSON and may be mended by hand.
    mended = [row for row in rows if row[:1] == b"{"]
    for row in [raw, *mended, *(found for row in rows if (found := columns.row(row)) is not None)]:
        try:
            look_at(PARSERS["powermta"].events(row, NOW, IP_MAP))
        except ParseError:
            continue


def _stalwart(raw: bytes) -> None:
    held: dict[str, dict[str, Held]] = defaultdict(dict)
    connects: dict[str, list[Connect]] = defaultdict(list)
    for record in _split(raw):
        try:
            note = stalwart.parse(record, NOW)
        except ParseError:
            continue
        if isinstance(note, Complaint):
            look_at(note.events)
        elif isinstance(note, Connect):
            connects[note.span].append(note)
        elif isinstance(note, Outcome):
            held[note.span][note.key] = Held(note, NOW)
    setting = stalwart_joins.Setting({"bulk": "203.0.113.5", "*": "203.0.113.4"}, "n", lambda who: who[:10])
    for span, outcomes in held.items():
        for later in (timedelta(0), stalwart_joins.SETTLE_AFTER, stalwart_joins.GIVE_UP_AFTER):
            verdict = stalwart_joins.judge(list(outcomes.values()), connects[span], setting, now=NOW + later)
            look_at([*verdict.certain, *verdict.presumed])
        assert not verdict.due, "an outcome waits for ever"


def _postfix(raw: bytes) -> None:
    messages: dict[postfix_joins.Key, postfix_joins.Message] = {}
    setting = postfix_joins.Setting(UTC, IP_MAP, lambda who: who[:10])
    lines = raw.split(b"\n")[:100]
    for part in (lines[: len(lines) // 2], lines[len(lines) // 2 :]):
        found, _ = postfix_joins.records_of(part)
        look_at(postfix_joins.join(found, messages, setting, now=NOW)[0])


def _report_mail(raw: bytes) -> None:
    look_at(report_mail.read_mail(raw, NOW, IP_MAP).events)


def _esp(raw: bytes) -> None:
    head, _, body = raw.partition(b"\n")
    try:
        said = json.loads(head)
    except (ValueError, RecursionError):
        return
    slug = said.get("esp") if isinstance(said, dict) else None
    esp = ESPS.get(slug) if isinstance(slug, str) else None
    if esp is None:
        return
    key = said.get("key") if isinstance(said.get("key"), str) else ""
    try:
        check(esp, key, _request(said, body))
        if esp.slug == "amazon_ses":
            sns.subscribe_url(body)
    except (ParseError, NotGenuineError):
        pass
    try:
        found = records(esp, _request(said, body))
    except ParseError:
        found = [body]
    for record in found[:50]:
        try:
            look_at(ESP_PARSERS[parser_name(esp.slug)].events(record, NOW, IP_MAP))
        except ParseError:
            continue


def _request(said: dict[str, Any], body: bytes) -> WSGIRequest:
    headers = said.get("headers")
    environ: dict[str, Any] = {
        f"HTTP_{str(name)[:100].upper().replace('-', '_')}": _header(value)
        for name, value in (headers if isinstance(headers, dict) else {}).items()
    }
    return WSGIRequest(
        environ
        | {
            "REQUEST_METHOD": "POST",
            "PATH_INFO": "/",
            "SERVER_NAME": "standing.example.com",
            "SERVER_PORT": "443",
            "CONTENT_TYPE": _header(said.get("type")),
            "CONTENT_LENGTH": str(len(body)),
            "wsgi.input": io.BytesIO(body),
        }
    )


def _header(value: object) -> str:
    """A header as a web server hands it on: bytes as Latin-1, no line ends, 8 KB at most."""
    return str(value).encode("utf-8", "replace").decode("latin-1").replace("\r", "").replace("\n", "")[:8000]


TARGETS: dict[str, Callable[[bytes], None]] = {name: _posted(name) for name in RECORDS} | {
    "powermta": _powermta,
    "stalwart": _stalwart,
    "postfix": _postfix,
    "report_mail": _report_mail,
    "esp": _esp,
}


def read(name: str, raw: bytes) -> None:
    """Read the bytes as this format. Raises only what must not escape."""
    try:
        TARGETS[name](raw)
    except ParseError:
        return
