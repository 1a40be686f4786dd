"""The short form of `make torture`: under load the parts are killed, stopped and starved; nothing is lost or doubled."""

from __future__ import annotations

import os

import pytest

from tests.torture.run import torture

pytestmark = pytest.mark.slow

HARM = (
    "kill -9 web, worker and beat",
    "kill -9 Valkey, empty one",
    "kill -9 PostgreSQL",
    "full disk",
    "SIGSTOP of PostgreSQL",
    "clock 1 h forward and back",
)


def test_whatever_dies_what_was_acknowledged_is_stored_and_counted_once_and_the_rest_comes_back_by_itself() -> None:
    database = "postgres" if "TESTS_DATABASE_URL" in os.environ else "sqlite"
    told: list[str] = []
    result = torture(database, names=HARM, audit_each=False, tell=told.append)
    report = "\n".join([*result.faults, result.table(), *told])
    assert not result.faults, report
    assert result.rows[-1].acknowledged > 0, report
