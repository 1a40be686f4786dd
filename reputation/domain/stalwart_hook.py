"""Stalwart's MTA hook: what it asks at each stage of a session, and what it is answered.

It sends its fields in two spellings (those of its code and those of its documentation), and reads answers in either;
both are taken, and both are sent. Of a message only the envelope is read: the contents, which may be large, come last.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from telemetry.domain.errors import ParseError

LONGEST_MESSAGE = 400
_ACCEPT = "accept"


class Stage(StrEnum):
    """Where a session stands."""

    CONNECT = "connect"
    EHLO = "ehlo"
    AUTH = "auth"
    MAIL = "mail"
    RCPT = "rcpt"
    DATA = "data"


class Count(StrEnum):
    """The one stage whose permits are counted; at the others nothing is."""

    RCPT = "rcpt"
    DATA = "data"


# Nobody has said yet what is to be sent.
_EARLY = frozenset({Stage.CONNECT, Stage.EHLO, Stage.AUTH})


@dataclass(frozen=True, slots=True)
class HookCall:
    """What a hook is asked about."""

    stage: Stage | None
    """None: one that we do not know."""
    sender: str = ""
    """The envelope sender; empty: the null sender."""
    recipients: tuple[str, ...] = ()
    """At stage rcpt the one that was named last, at stage data all."""

    @property
    def asks(self) -> bool:
        """Whether there is anything to ask a permit for."""
        return self.stage is not None and self.stage not in _EARLY


def parse(body: bytes) -> HookCall:
    """Read a request's body, or as much of it as there is before the message. Raises ParseError naming the field."""
    members = _members(body, wanted={"context", "envelope"})
    context = members.get("context")
    if not isinstance(context, dict):
        raise ParseError("context", "is missing or not an object")
    word = context.get("stage")
    if not isinstance(word, str):
        raise ParseError("context.stage", "is missing or not a string")
    stage = Stage(word.lower()) if word.lower() in set(Stage) else None
    if stage is None or stage in _EARLY:
        return HookCall(stage)
    envelope = members.get("envelope")
    if not isinstance(envelope, dict):
        raise ParseError("envelope", "is missing or not an object")
    sender = _address(envelope.get("from"), "envelope.from")
    recipients = tuple(_recipients(envelope.get("to"))) if stage is not Stage.MAIL else ()
    if stage is not Stage.MAIL and not recipients:
        raise ParseError("envelope.to", "names no recipient")
    return HookCall(stage, "" if sender == "<>" else sender, recipients[-1:] if stage is Stage.RCPT else recipients)


def _address(value: Any, field: str) -> str:
    """An address, whether as an object or as it stands; none is the null sender."""
    found = value.get("address") if isinstance(value, dict) else value
    if found is None:
        return ""
    if not isinstance(found, str):
        raise ParseError(f"{field}.address", "is not a string")
    return found.strip()


def _recipients(value: Any) -> Iterator[str]:
    if not isinstance(value, list):
        raise ParseError("envelope.to", "is missing or not an array")
    for index, entry in enumerate(value):
        found = _address(entry, f"envelope.to[{index}]")
        if not found:
            raise ParseError(f"envelope.to[{index}].address", "is missing")
        yield found


def _members(body: bytes, *, wanted: set[str]) -> dict[str, Any]:
    """The wanted members of a JSON object; reading stops when it has them all."""
    text = body.decode(errors="replace")
    decoder = json.JSONDecoder()
    found: dict[str, Any] = {}
    try:
        at = _past(text, _blank(text, 0), "{")
        while not wanted <= found.keys():
            at = _blank(text, at)
            if text[at] == "}":
                break
            name, at = decoder.raw_decode(text, at)
            value, at = decoder.raw_decode(text, _blank(text, _past(text, _blank(text, at), ":")))
            if isinstance(name, str) and name in wanted:
                found[name] = value
            at = _blank(text, at)
            if text[at] != "}":
                at = _past(text, at, ",")
    except (ValueError, IndexError, RecursionError):
        raise ParseError("body", "is not a JSON object") from None
    return found


def _blank(text: str, at: int) -> int:
    while text[at] in " \t\r\n":
        at += 1
    return at


def _past(text: str, at: int, sign: str) -> int:
    if text[at] != sign:
        raise ValueError
    return at + 1


def accepted() -> dict[str, Any]:
    """The answer that lets mail through."""
    return {"action": _ACCEPT, "modifications": []}


def held_back(reason: str, *, for_ever: bool) -> dict[str, Any]:
    """The answer that holds mail back: for now, or for ever where asking again is no use."""
    status, code = (550, "5.7.1") if for_ever else (451, "4.7.1")
    # An SMTP reply is one line of ASCII.
    plain = " ".join(reason.split()).encode("ascii", "replace").decode()
    message = "".join(letter for letter in plain if letter.isprintable())[:LONGEST_MESSAGE] or "Sending is paused."
    response = {
        "status": status,
        "enhanced_status": code,
        "enhancedStatus": code,
        "message": message,
        "disconnect": False,
    }
    return {"action": "reject", "response": response, "modifications": []}
