"""Lists on pages: a page of them, the address of the next one with its filters, and the whole list as CSV."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.core.paginator import Paginator
from django.http import HttpRequest

from telemetry.csv_files import csv_answer

__all__ = ["TablePage", "csv_answer", "table_page", "wants_csv"]

PAGE_SIZE = 50


@dataclass(frozen=True, slots=True)
class TablePage:
    """One page of a list."""

    rows: Sequence[Any]
    number: int
    last: int
    total: int
    first_row: int
    """Counted from 1; 0 for an empty list."""
    query: str
    """The filters as a query string, without the page; may be empty."""

    @property
    def last_row(self) -> int:
        """Counted from 1."""
        return self.first_row + len(self.rows) - 1 if self.rows else 0

    def address(self, number: int) -> str:
        """Where another page is, relative to this one."""
        return f"?{self.query}&page={number}" if self.query else f"?page={number}"

    @property
    def before(self) -> str:
        """Where the page before is; empty on the first."""
        return self.address(self.number - 1) if self.number > 1 else ""

    @property
    def after(self) -> str:
        """Where the next page is; empty on the last."""
        return self.address(self.number + 1) if self.number < self.last else ""

    @property
    def as_csv(self) -> str:
        """Where the whole list is as CSV, with the same filters."""
        return f"?{self.query}&format=csv" if self.query else "?format=csv"


def table_page(request: HttpRequest, rows: Any, size: int = PAGE_SIZE) -> TablePage:
    """The asked page of a sequence or queryset; a number that is none, or too high, gives the nearest there is."""
    found = Paginator(rows, size).get_page(request.GET.get("page"))
    filters = request.GET.copy()
    for name in ("page", "format"):
        filters.pop(name, None)
    for name in [name for name, value in filters.items() if not value]:
        del filters[name]
    return TablePage(
        rows=list(found.object_list),
        number=found.number,
        last=found.paginator.num_pages,
        total=found.paginator.count,
        first_row=found.start_index(),
        query=filters.urlencode(),
    )


def wants_csv(request: HttpRequest) -> bool:
    """Whether the list is asked for as CSV."""
    return request.GET.get("format") == "csv"
