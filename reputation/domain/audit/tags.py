"""Lists of tags such as ``v=DMARC1; p=none`` (RFC 6376 section 3.2), which four kinds of records are made of."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9_]*")


class TagError(Exception):
    """The text is no list of tags; the message says where."""


def tags(text: str) -> dict[str, str]:
    """The tags in their order, names in lower case. Raises TagError for a part without "=" or one given twice."""
    found: dict[str, str] = {}
    parts = text.split(";")
    for number, part in enumerate(parts):
        name, equals, value = part.partition("=")
        name = name.strip().lower()
        if not part.strip() and number == len(parts) - 1:
            continue
        if not equals or not _NAME.fullmatch(name):
            raise TagError(f"“{part.strip()[:60]}” is not of the form tag=value")
        if name in found:
            raise TagError(f"the tag {name} is there twice")
        found[name] = value.strip()
    return found


def with_tag(text: str, name: str, value: str) -> str:
    """The list with one tag set to a value (where it stood, else at the end)."""
    return _join({**tags(text), name: value})


def without_tag(text: str, name: str) -> str:
    """The list without one tag."""
    return _join({key: value for key, value in tags(text).items() if key != name})


def _join(found: Mapping[str, str]) -> str:
    return "; ".join(f"{name}={value}" for name, value in found.items())
