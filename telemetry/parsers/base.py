"""What every parser shares: reading one event with a typed schema, and the shape of a parser."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

import msgspec

from telemetry.domain.errors import ParseError
from telemetry.domain.event import Event

T = TypeVar("T")

# msgspec ends its message with the path: "Expected `int`, got `str` - at `$.data.smtp_code`".
_PATH = re.compile(r"^(?P<what>.*?)(?: - at `\$\.?(?P<path>[^`]*)`)?$", re.DOTALL)


Parsed = Event | Sequence[Event] | None
Parse = Callable[[bytes, datetime], Parsed]


@dataclass(frozen=True, slots=True)
class Parser:
    """A format: its name, and how one event of it is read.

    `parse` gets the JSON text of one event and the receive time. It returns what happened, several events where one
    record speaks of several recipients, and None for a kind of record that says nothing about delivery; it raises
    ParseError for one that cannot be taken.
    """

    name: str
    parse: Parse
    with_ip_map: Callable[[Mapping[str, str]], Parse] | None = None
    """For formats that may name the sending IP instead of giving it: `parse` with a source's IP mapping."""

    def events(self, raw: bytes, now: datetime, ip_map: Mapping[str, str]) -> Sequence[Event]:
        """What one record says, read with the source's IP mapping; empty when it says nothing. Raises ParseError."""
        parse = self.with_ip_map(ip_map) if self.with_ip_map is not None and ip_map else self.parse
        parsed = parse(raw, now)
        if parsed is None:
            return ()
        return (parsed,) if isinstance(parsed, Event) else parsed


def decode(decoder: msgspec.json.Decoder[T], raw: bytes) -> T:
    """Decode JSON strictly; where that fails for its characters alone, decode it with those replaced by U+FFFD.

    Servers put what a remote said into their events as it came: bytes that are not UTF-8, lone surrogates, raw control
    characters. None of that may cost an event, or its neighbours in the batch. Raises msgspec's errors.
    """
    try:
        return decoder.decode(raw)
    except msgspec.ValidationError:
        raise
    except (msgspec.DecodeError, UnicodeDecodeError):
        mended = _mended(raw)
        if mended is None:
            raise
        return decoder.decode(mended)


def _mended(raw: bytes) -> bytes | None:
    try:
        value = json.loads(raw.decode("utf-8", "replace"), strict=False, parse_int=_bounded_int)
        return json.dumps(value, ensure_ascii=False).encode("utf-8", "replace")
    except (ValueError, RecursionError):
        return None


def _bounded_int(digits: str) -> int | float:
    return int(digits) if len(digits) < 40 else float(digits)


def read(decoder: msgspec.json.Decoder[T], raw: bytes) -> T:
    """Decode one event by its schema; raises ParseError with the field's path."""
    try:
        return decode(decoder, raw)
    except msgspec.ValidationError as error:
        found = _PATH.match(str(error))
        what, path = (found["what"], found["path"] or "") if found else (str(error), "")
        missing = re.search(r"missing required field `([^`]+)`", what)
        if missing:
            path = f"{path}.{missing[1]}" if path else missing[1]
            raise ParseError(path, "is missing") from None
        raise ParseError(path or "event", what[:1].lower() + what[1:]) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ParseError("event", f"is not valid JSON: {error}") from None
    except RecursionError:
        raise ParseError("event", "is nested too deeply") from None
