"""What every parser shares: reading one event with a typed schema, and the shape of a parser."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

import msgspec

from telemetry.domain.errors import ParseError
from telemetry.domain.event import Event

T = TypeVar("T")

# msgspec ends its message with the path: "Expected `int`, got `str` - at `$.data.smtp_code`".
_PATH = re.compile(r"^(?P<what>.*?)(?: - at `\$\.?(?P<path>[^`]*)`)?$", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Parser:
    """A format: its name, and how one event of it is read.

    `parse` gets the JSON text of one event and the receive time. It returns None for a kind of event that is known but
    says nothing about delivery; it raises ParseError for one that cannot be taken.
    """

    name: str
    parse: Callable[[bytes, datetime], Event | None]


def read(decoder: msgspec.json.Decoder[T], raw: bytes) -> T:
    """Decode one event by its schema; raises ParseError with the field's path."""
    try:
        return decoder.decode(raw)
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
