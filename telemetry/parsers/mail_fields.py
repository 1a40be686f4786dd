"""Values in reports by mail and from ESPs: addresses, names, times and replies, clean or empty. Nothing here raises."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from telemetry.domain import clean
from telemetry.domain.errors import ParseError
from telemetry.domain.vocab import UNKNOWN_IP
from telemetry.parsers.mail_parts import Fields, address_in

_REPLY_CODE = re.compile(r"(?<![\d.])([45]\d\d)(?:[ -]+#?([245]\.\d{1,3}\.\d{1,5})(?![\d.]))?(?![\d.])")
_DIAGNOSTIC_TYPE = re.compile(r"^\s*[A-Za-z][\w.-]{0,39}\s*;\s*")
ENHANCED = re.compile(r"(?<![\d.])([245]\.\d{1,3}\.\d{1,5})(?![\d.])")


@dataclass(frozen=True, slots=True)
class Answer:
    """What a receiving server answered: its codes where it gave any, and the words."""

    code: int | None
    enhanced: str
    text: str


def answer(diagnostic: str, status: str = "") -> Answer:
    """Read a refusal such as ``smtp; 550 5.1.1 no such user``, and the status that is stated beside it.

    The codes of the reply itself go before the status, which is often a general one.
    """
    reply = _DIAGNOSTIC_TYPE.sub(
        "", " ".join(diagnostic[: 4 * clean.LONGEST_REPLY].split())[: 2 * clean.LONGEST_REPLY], count=1
    )
    spoken = _REPLY_CODE.search(reply)
    if spoken and reply[spoken.end(1) :][:1] == "-":
        # A reply of several lines repeats its codes at each; as one text it reads better, and matches rules, without.
        reply = re.sub(rf"(?<=\S) {spoken[1]}[ -]#?(?:{re.escape(spoken[2] or '')} )?", " ", reply)
    within = ENHANCED.search(reply)
    stated = ENHANCED.search(status[:100])
    enhanced = (spoken[2] if spoken else None) or (within[1] if within else "")
    if not enhanced and stated and not (spoken and stated[1].endswith(".0.0")):
        enhanced = stated[1]
    apart = spoken or _REPLY_CODE.search(status[:100])
    return Answer(
        int(apart[1]) if apart else None,
        clean.enhanced_code(enhanced, "status"),
        clean.text(reply, longest=clean.LONGEST_REPLY),
    )


def recipient(*candidates: str) -> tuple[str, str]:
    """The first usable address with its domain; of a redacted one the domain alone. Empty where there is none."""
    for candidate in candidates:
        try:
            address, name = clean.recipient(address_in(candidate), "recipient")
        except ParseError:
            continue
        local = address[: -len(name) - 1].lower()
        hidden = "redacted" in local or not local.strip("x*.-_[]")
        return ("", name) if hidden else (address, name)
    return "", ""


def domain(*addresses: str) -> str:
    """The domain of the first address that has one."""
    for address in addresses:
        try:
            if "@" in address:
                return clean.domain(address.rpartition("@")[2], "sender")
        except ParseError:
            continue
    return ""


def ip(value: str) -> str:
    """An IP address, or the unknown one."""
    try:
        return clean.ip(value, "source-ip")
    except ParseError:
        return UNKNOWN_IP


def mapped(reporter: str, ip_map: Mapping[str, str]) -> str:
    """The sending IP that a source's IP mapping gives for a server's name."""
    names = {name.lower(): address for name, address in ip_map.items()}
    return ip(names.get(reporter, "")) if reporter else UNKNOWN_IP


def host(value: str) -> str:
    """The name in ``dns; mx.example.com (198.51.100.7)``."""
    name = (value.rpartition(";")[2].split() or [""])[0]
    return clean.host_name(clean.text(name, longest=clean.LONGEST_DOMAIN))


def message_id(original: Fields) -> str:
    """The Message-ID of the mail that a report is about."""
    return clean.text(original.first("message-id").strip("<> "), longest=clean.LONGEST_ID)


def moment(now: datetime, *candidates: datetime | None) -> tuple[datetime, bool]:
    """The first believable time, and whether it lay in the future and was replaced; the receive time where none is."""
    for candidate in candidates:
        if candidate is not None:
            try:
                return clean.moment(candidate, "date", now=now)
            except ParseError:
                continue
    return now, False
