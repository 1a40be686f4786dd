"""Lists on pages: paging keeps the filters, and a CSV file is safe to open."""

from __future__ import annotations

import csv
from datetime import UTC, datetime, timedelta, timezone

import pytest
from django.test import RequestFactory

from dashboard.tables import csv_answer, table_page, wants_csv


@pytest.mark.parametrize(
    ("asked", "rows", "before", "after"),
    [
        ("", range(10), "", "?page=2"),
        ("status=warning&page=2&q=&format=csv", range(10, 20), "?status=warning&page=1", "?status=warning&page=3"),
        ("page=99", range(20, 25), "?page=2", ""),
        ("page=none", range(10), "", "?page=2"),
    ],
)
def test_a_page_keeps_the_filters_and_is_never_an_error(asked: str, rows: range, before: str, after: str) -> None:
    page = table_page(RequestFactory().get(f"/?{asked}"), list(range(25)), size=10)
    assert page.rows == list(rows)
    assert (page.before, page.after) == (before, after)
    assert (page.first_row, page.last_row, page.total, page.last) == (rows.start + 1, rows.stop, 25, 3)


def test_an_empty_list_is_a_page_too() -> None:
    page = table_page(RequestFactory().get("/"), [])
    assert (page.rows, page.first_row, page.last_row, page.before, page.after) == ([], 0, 0, "", "")


def test_csv_has_no_formula_and_times_are_utc() -> None:
    assert wants_csv(RequestFactory().get("/?format=csv"))
    berlin = datetime(2026, 11, 21, 13, 0, tzinfo=timezone(timedelta(hours=1)))
    rows = [("=HYPERLINK()", -5, berlin, None), ('a "quoted", word\nand a line', 0.5, berlin.astimezone(UTC), True)]
    answer = csv_answer("ips", ["name", "n", "at", "none"], rows)
    read = list(csv.reader(b"".join(answer).decode().splitlines(keepends=True)))
    assert read == [
        ["name", "n", "at", "none"],
        ["'=HYPERLINK()", "-5", "2026-11-21T12:00:00Z", ""],
        ['a "quoted", word\nand a line', "0.5", "2026-11-21T12:00:00Z", "True"],
    ]
    assert answer.headers["Content-Disposition"] == 'attachment; filename="ips.csv"'
