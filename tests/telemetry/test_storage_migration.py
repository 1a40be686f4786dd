"""Migration 0008 on a database with rows from before: nothing is lost forward or backward, and writers go on."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.e2e.house import ROOT, own_database

ON_POSTGRES = "TESTS_DATABASE_URL" in os.environ
KINDS = ("delivery", "bounce", "defer", "complaint")
EVENT = """
INSERT INTO telemetry_sendingevent (source_id, type, occurred_at, received_at, sending_ip, sending_domain, recipient,
recipient_domain, provider, mx_host, enhanced_code, cause, reply, message_id, classification, node, event_id, future)
VALUES (1, '{kind}', '2026-11-20 12:00:00', {now}, '192.0.2.1', 'good.example', '', 'gmail.com', 'google', '', '', '',
'', '', '', '', '{number}', {no})
"""
TRAFFIC = """
INSERT INTO telemetry_trafficminute (id, bucket, sending_ip, sending_domain, provider, source_id, delivered, bounced,
deferred, superseded, complained) VALUES ('{key}', '2026-11-20 12:00:00', '192.0.2.1', 'good.example', 'google', 1,
{number}, 0, 0, 0, 0)
"""

MIGRATE = """
import os, sys, django
os.environ["DJANGO_SETTINGS_MODULE"] = "reputation_site.settings"
django.setup()
from django.db import connection
from django.db.migrations.executor import MigrationExecutor
MigrationExecutor(connection).migrate([("telemetry", sys.argv[1])])
"""


class Database:
    """A database of its own, with the commands of the product and plain SQL."""

    def __init__(self, url: str, folder: Path) -> None:
        self.url = url
        kept = {name: value for name, value in os.environ.items() if not name.startswith("GS_")}
        self.environment = kept | {"GS_DATA_DIR": str(folder), "DATABASE_URL": url, "GS_LOG_LEVEL": "ERROR"}

    def migrate(self, target: str) -> None:
        """Take the telemetry app forward or back, and nothing else: what follows a migration needs today's tables."""
        subprocess.run([sys.executable, "-c", MIGRATE, target], cwd=ROOT, env=self.environment, check=True)

    def connect(self) -> Any:
        """A connection that commits each statement."""
        if ON_POSTGRES:
            return psycopg.connect(self.url, autocommit=True)
        return sqlite3.connect(self.url.removeprefix("sqlite:///"), isolation_level=None, timeout=60)

    def run(self, *statements: str) -> None:
        """Run statements."""
        with closing(self.connect()) as connection:
            for statement in statements:
                connection.execute(statement)

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """What a query answers."""
        with closing(self.connect()) as connection:
            return list(connection.execute(query).fetchall())


def event(number: int) -> str:
    """An event as an older version stored it."""
    now, no = ("now()", "false") if ON_POSTGRES else ("strftime('%Y-%m-%d %H:%M:%S', 'now')", "0")
    return EVENT.format(kind=KINDS[number % 4], number=number, now=now, no=no)


def receipt(number: int) -> str:
    """The receipt of one."""
    now = "now()" if ON_POSTGRES else "strftime('%Y-%m-%d %H:%M:%S', 'now')"
    return f"INSERT INTO telemetry_receipt (key, source_id, received_at) VALUES ('{number:032x}', 1, {now})"


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    """A database as it was before."""
    with own_database(tmp_path, empty=True) as url:
        found = Database(url, tmp_path)
        found.migrate("0007_last_delivery")
        yield found


def test_rows_from_before_survive_the_way_forward_and_back(database: Database) -> None:
    database.run(*(make(number) for number in range(40) for make in (event, receipt)))
    database.run(TRAFFIC.format(key=f"{1:032x}", number=7))
    stored = "SELECT id, type, event_id, sending_domain FROM telemetry_sendingevent ORDER BY id"
    receipts = "SELECT replace(CAST(key AS char(36)), '-', '') FROM telemetry_receipt ORDER BY 1"
    before = database.rows(stored), database.rows(receipts)
    today = "floor(extract(epoch FROM now()) / 86400)" if ON_POSTGRES else "strftime('%s', 'now') / 86400"

    database.migrate("0008_storage")
    assert (database.rows(stored), database.rows(receipts)) == before
    assert database.rows(f"SELECT count(*) FROM telemetry_receipt WHERE {today} - received_on <= 1") == [(40,)]
    assert database.rows("SELECT delivered FROM telemetry_trafficminute") == [(7,)]
    database.run(event(40))
    assert database.rows("SELECT max(id) > 40 FROM telemetry_sendingevent") == [(1,)], "ids go on"

    database.migrate("0007_last_delivery")
    assert [row[:3] for row in database.rows(stored)][:40] == [row[:3] for row in before[0]]
    assert database.rows(receipts) == before[1]
    database.run(event(41), receipt(41))
    assert [row[2] for row in database.rows(stored)] == [str(number) for number in range(42)]

    database.migrate("0008_storage")
    assert [row[2] for row in database.rows(stored)] == [str(number) for number in range(42)]
    assert len(database.rows(receipts)) == 41


def test_events_stored_meanwhile_are_neither_refused_nor_lost(database: Database) -> None:
    database.run(*(event(number) for number in range(100)))
    done = threading.Event()
    stored = 100

    def go_on() -> None:
        nonlocal stored
        with closing(database.connect()) as connection:
            while not done.is_set():
                connection.execute(event(stored))
                stored += 1

    writer = threading.Thread(target=go_on)
    writer.start()
    try:
        database.migrate("0008_storage")
    finally:
        done.set()
        writer.join(60)
    assert stored > 100
    assert database.rows("SELECT count(DISTINCT event_id), count(*) FROM telemetry_sendingevent") == [(stored, stored)]
    if not ON_POSTGRES:
        return
    old = "SELECT relname FROM pg_class WHERE relname LIKE 'telemetry_sendingevent_until_%' AND relkind = 'r'"
    ((name,),) = database.rows(old)
    assert database.rows(f"SELECT count(*) FROM {name}") == [(stored,)], "no row has moved"
