"""How lists of the API are cut into pages. A page that nobody can mean is refused: it must not look like the first."""

from __future__ import annotations

from typing import Any, NoReturn

from rest_framework.exceptions import NotFound, ValidationError
from rest_framework.pagination import CursorPagination, PageNumberPagination
from rest_framework.request import Request

PAGE_SIZE = 50
MOST_ROWS = 1000
# Past this no list has a page, and no database a row.
_HIGHEST = 10**9


class Pages(PageNumberPagination):
    """``?page=2&page_size=100``; answers count, next, previous, results."""

    page_size = PAGE_SIZE
    page_size_query_param = "page_size"
    max_page_size = MOST_ROWS

    def get_page_size(self, request: Request) -> int:
        """Rows a page. Raises 400."""
        return _number(request, "page_size", MOST_ROWS) or PAGE_SIZE

    def get_page_number(self, request: Request, paginator: Any) -> int:
        """Which page, from 1. Raises 400; a page behind the last one is 404."""
        return _number(request, "page", _HIGHEST) or 1


class NewestFirst(CursorPagination):
    """Pages of rows that only grow: ``next`` and ``previous`` links, newest first, and no COUNT over millions."""

    # By id and not by time: thousands of rows may share a second, and a cursor must tell them apart.
    ordering = "-id"
    page_size = PAGE_SIZE
    page_size_query_param = "page_size"
    max_page_size = MOST_ROWS

    def get_page_size(self, request: Request) -> int:
        """Rows a page. Raises 400."""
        return _number(request, "page_size", MOST_ROWS) or PAGE_SIZE

    def decode_cursor(self, request: Request) -> Any:
        """The cursor of the request, if any. Raises 400 for one that we did not make."""
        if not request.query_params.get("cursor"):
            return None
        try:
            cursor = super().decode_cursor(request)
        except NotFound:
            _not_ours()
        position = "0" if cursor is None or cursor.position is None else str(cursor.position)
        if not (position.isascii() and position.isdecimal() and len(position) < 19):
            _not_ours()
        return cursor


def _not_ours() -> NoReturn:
    raise ValidationError({"cursor": ["Take it from the `next` or `previous` link of a page."]})


def _number(request: Request, name: str, most: int) -> int | None:
    """The number that a parameter gives, None where it is missing or empty. Raises 400."""
    given = request.query_params.get(name, "")
    if not given:
        return None
    if not (given.isascii() and given.isdecimal() and len(given) < 19 and 1 <= int(given) <= most):
        raise ValidationError({name: [f"Give a whole number from 1 to {most}."]})
    return int(given)
