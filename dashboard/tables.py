"""Lists on pages: a page of them, the address of the next one with its filters, and the whole list as CSV."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from django.core.paginator import Paginator
from django.http import HttpRequest, StreamingHttpResponse

PAGE_SIZE = 50
_NOT_IN_A_NAME = re.compile(r"[^A-Za-z0-9._-]")
# A spreadsheet must not take what a mail server wrote for a formula (OWASP, "CSV injection").
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


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


def csv_answer(name: str, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> StreamingHttpResponse:
    """A CSV file (RFC 4180, UTF-8), streamed. Times are written in UTC (RFC 3339), nothing as an empty field."""

    def lines() -> Iterator[str]:
        writer = csv.writer(_Echo())
        yield writer.writerow(header)
        for row in rows:
            yield writer.writerow([_cell(value) for value in row])

    answer = StreamingHttpResponse(lines(), content_type="text/csv; charset=utf-8")
    answer.headers["Content-Disposition"] = f'attachment; filename="{_NOT_IN_A_NAME.sub("-", name)}.csv"'
    answer.headers["Cache-Control"] = "no-store"
    return answer


class _Echo:
    """What the writer writes to: it hands the line back."""

    def write(self, line: str) -> str:
        return line


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    if isinstance(value, int | float):
        return str(value)
    text = str(value)
    return f"'{text}" if text.startswith(_FORMULA) else text
