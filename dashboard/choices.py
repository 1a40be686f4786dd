"""Filters of lists as the address has them: what may be chosen, and what is."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from django.http import HttpRequest

# A longer text in a filter matches nothing, and would only fill the address.
LONGEST_TEXT = 255


@dataclass(frozen=True, slots=True)
class Choice:
    """One option of a filter; an empty value means "all"."""

    value: str
    title: str
    is_chosen: bool


def choices(options: Iterable[tuple[str, str]], chosen: str) -> tuple[Choice, ...]:
    """The options in their order, (value, title) each."""
    return tuple(Choice(value, title, value == chosen) for value, title in options)


def asked(request: HttpRequest, name: str, allowed: Sequence[str], default: str = "") -> str:
    """The chosen value of a filter; one that does not exist counts as not given."""
    value = request.GET.get(name, "")
    return value if value in allowed else default


def asked_text(request: HttpRequest, name: str) -> str:
    """A typed filter, without the blanks around it; a zero byte, which PostgreSQL refuses, is dropped."""
    return request.GET.get(name, "").replace("\x00", "").strip()[:LONGEST_TEXT]
