"""/readyz and the doctor: what stops requests, what runs late, and how to mend it."""

from __future__ import annotations

import json
import subprocess
import urllib.request
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.test import Client
from django.utils import timezone

from reputation_site import readiness
from telemetry.domain.event import Event
from telemetry.ingest import record_batch
from telemetry.models import Lease, RollupMark, Source
from tests.dns_servers import Scripted, answering
from tests.e2e.house import House, own_database, until
from tests.servers import free_port, valkey


@pytest.fixture(autouse=True)
def _forget_migrations(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readiness, "_migrated", False)


def readyz() -> tuple[int, str, list[str]]:
    """The status, its word, and what the reasons are about."""
    answer = Client().get("/readyz")
    told = answer.json()
    return answer.status_code, told["status"], [reason["what"] for reason in told["reasons"]]


@pytest.mark.django_db
def test_late_tasks_and_counters_are_told_and_do_not_send_traffic_away(
    settings: Any, source: Source, make_event: Callable[..., Event]
) -> None:
    now = timezone.now()
    record_batch(source, [make_event(occurred_at=now - timedelta(minutes=30))], now=now)
    with valkey() as url:
        settings.REDIS_URL = url
        RollupMark.objects.update(rolled_up_to=now)
        assert readyz() == (200, "degraded", ["tasks"]), "no task has ever finished"
        Lease.objects.create(name="poll", last_finished_at=now)
        assert readyz() == (200, "ready", [])
        Lease.objects.update(last_finished_at=now - timedelta(minutes=3))
        RollupMark.objects.update(rolled_up_to=now - timedelta(hours=1))
        assert readyz() == (200, "degraded", ["tasks", "counters"])
    assert readyz() == (200, "degraded", ["broker", "counters"]), "without a broker no task can run"


def test_with_worker_and_beat_it_becomes_ready_by_itself(tmp_path: Path) -> None:
    with own_database(tmp_path) as database_url, valkey() as redis_url:
        home = House(tmp_path, database_url, redis_url)
        try:
            for line in ("web", "worker", "beat"):
                home.start(line)
            until(home.answers, seconds=60, what="web answers")

            def is_ready() -> bool:
                with urllib.request.urlopen(home.url("/readyz"), timeout=10) as answer:
                    return bool(json.load(answer)["status"] == "ready")

            until(is_ready, seconds=60, what="ready")
        finally:
            home.stop()


def test_without_its_database_or_its_migrations_it_is_not_ready_and_the_doctor_says_so(tmp_path: Path) -> None:
    def told(database_url: str) -> tuple[dict[str, Any], subprocess.CompletedProcess[str]]:
        home = House(tmp_path, database_url, "redis://127.0.0.1:9/0")
        ask = "Client(headers={'host': '127.0.0.1'}).get('/readyz')"
        shell = f"from django.test import Client; a = {ask}; print(a.status_code, a.content.decode())"
        status, _, body = home.manage("shell", "--no-imports", "-c", shell).strip().splitlines()[-1].partition(" ")
        assert status == "503"
        command = home.command("doctor", "--no-dns")
        return json.loads(body), subprocess.run(
            command, env=home.environment, check=False, capture_output=True, text=True
        )

    away = f"postgresql://user:hunter2@127.0.0.1:{free_port()}/standing"
    ready, doctor = told(away)
    assert [reason["what"] for reason in ready["reasons"]] == ["database"]
    assert doctor.returncode == 1
    assert "wrong    database: The database does not answer (OperationalError)." in doctor.stdout
    assert "hunter2" not in doctor.stdout + doctor.stderr + str(ready)
    with own_database(tmp_path, empty=True) as empty:
        ready, doctor = told(empty)
    assert (ready["status"], [reason["what"] for reason in ready["reasons"]]) == ("not ready", ["migrations"])
    assert "→ Run: manage.py migrate" in doctor.stdout


@pytest.mark.django_db
def test_the_doctor_says_what_to_mend_and_ends_well_where_nothing_is_wrong(settings: Any, capsys: Any) -> None:
    now = timezone.now()
    RollupMark.objects.update(rolled_up_to=now)
    Lease.objects.create(name="poll", last_finished_at=now)
    settings.DATA_DIR.chmod(0o700)
    with valkey() as url, Scripted({"": answering({"": {"NS": ["a.root."]}})}) as server:
        settings.REDIS_URL, settings.DNS_SERVERS = url, (server.address,)
        call_command("doctor")
        assert "caution  sources: No mail server reports here." in capsys.readouterr().out
        Source.objects.create(name="mta-1", kind="generic")
        call_command("doctor")
        told = capsys.readouterr().out
        assert "note     source mta-1: Nothing of it has ever arrived." in told
        assert "note     pool default: Permits observe: nothing is held back." in told
        assert "DNS" not in told
        Source.objects.update(last_event_at=now)
        call_command("doctor")
        assert "mta-1" not in capsys.readouterr().out
        settings.DNS_SERVERS = (("127.0.0.1", 9),)
        call_command("doctor")
        assert "caution  DNS: The root zone cannot be looked up: network" in capsys.readouterr().out
