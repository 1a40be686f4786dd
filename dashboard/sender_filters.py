"""What the page of a sender is narrowed to, as its address says it. A value that means nothing is told and left out."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from urllib.parse import urlencode

from django.db.models import Q

from dashboard.ranges import BY_ID, DEFAULT, Range
from telemetry.domain import clean
from telemetry.domain.causes import Category
from telemetry.domain.cells import MINUTE, floor_minute
from telemetry.domain.errors import ParseError
from telemetry.domain.vocab import EventType

NO_CODE = "none"
"""Asks for refusals that came without a code."""
TYPES = tuple(word.value for word in EventType if word.is_failure)
CAUSES = tuple(word.value for word in Category)
_PROVIDER = re.compile(r"[a-z0-9][a-z0-9._-]{0,59}")
_CODE = re.compile(r"[245]\.\d{1,5}\.\d{1,5}|[2-5]\d\d|none")


@dataclass(frozen=True, slots=True)
class SenderFilters:
    """Empty: not narrowed."""

    range: Range = DEFAULT
    provider: str = ""
    code: str = ""
    cause: str = ""
    to: str = ""
    """The recipient domain."""
    type: str = ""
    """Of failures only; refusals are counted without it."""
    wrong: tuple[str, ...] = ()
    """What was asked and means nothing, one sentence each."""

    def stretch(self, now: datetime) -> tuple[datetime, datetime]:
        """The moments that are looked at: from the first step on, to the end of the running minute."""
        return self.range.begin(now), floor_minute(now) + MINUTE

    @property
    def narrows_refusals(self) -> bool:
        """Whether anything but the range and the provider is asked for."""
        return any((self.code, self.cause, self.to, self.type))

    @property
    def of_refusals(self) -> dict[str, str]:
        """As columns of the refusal counters."""
        columns = {"provider": self.provider, "cause": self.cause, "recipient_domain": self.to}
        given = {name: value for name, value in columns.items() if value}
        if self.code:
            given["code"] = "" if self.code == NO_CODE else self.code
        return given

    @property
    def of_failures(self) -> Q:
        """As a condition on raw events."""
        columns = {"provider": self.provider, "cause": self.cause, "recipient_domain": self.to, "type": self.type}
        asked = Q(**{name: value for name, value in columns.items() if value})
        if self.code == NO_CODE:
            return asked & Q(enhanced_code="", smtp_code=None)
        if "." in self.code:
            return asked & Q(enhanced_code=self.code)
        return asked & Q(enhanced_code="", smtp_code=int(self.code)) if self.code else asked

    @property
    def values(self) -> dict[str, str]:
        """As they stand in an address, without those that are not given."""
        given = {
            "range": self.range.id if self.range is not DEFAULT else "",
            "provider": self.provider,
            "code": self.code,
            "cause": self.cause,
            "to": self.to,
            "type": self.type,
        }
        return {name: value for name, value in given.items() if value}

    def address(self, **changes: str) -> str:
        """The query string with some of them changed; "" takes one away."""
        asked = {**self.values, **changes}
        if asked.get("range") == DEFAULT.id:
            del asked["range"]
        # Never an empty one: the address of the page itself, relative to the page, would keep the query that it has.
        return "?" + urlencode({name: value for name, value in asked.items() if value})

    @classmethod
    def read(cls, query: Mapping[str, Any]) -> SenderFilters:
        """What an address asks for; whatever it says, the page can be shown."""
        wrong: list[str] = []

        def one(name: str, known: Any, what: str) -> str:
            value = str(query.get(name, "")).strip()
            if value and not known(value):
                wrong.append(f"“{value[:60]}” is no {what}; it was left out.")
                return ""
            return value

        asked = one("range", BY_ID.__contains__, "range")
        found = cls(
            range=BY_ID[asked] if asked else DEFAULT,
            provider=one("provider", _PROVIDER.fullmatch, "mailbox provider"),
            code=one("code", _CODE.fullmatch, "code such as 5.7.1 or 550"),
            cause=one("cause", CAUSES.__contains__, "cause"),
            to=_domain(one("to", _is_domain, "domain name")),
            type=one("type", TYPES.__contains__, "kind of failure"),
        )
        return replace(found, wrong=tuple(wrong))


def _is_domain(value: str) -> bool:
    try:
        clean.domain(value, "to")
    except ParseError:
        return False
    return True


def _domain(value: str) -> str:
    return clean.domain(value, "to") if value else ""
