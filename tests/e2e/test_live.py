"""Web, two workers and two beats as processes on a real broker: a refusal becomes a quarantine by itself."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.house import House, house, until

pytestmark = pytest.mark.slow

MAKE_TOKEN = """
from telemetry.models import Source
from telemetry.tokens import issue_token
print(issue_token(Source.objects.create(name="mta-1")))
"""
STANDING = """
from reputation.models import AuditEntry, IpStanding
from telemetry.models import ChangedSender, Lease
print(sorted(IpStanding.objects.values_list("sending_ip", "status")),
      AuditEntry.objects.count(), ChangedSender.objects.count(),
      sorted(Lease.objects.filter(failures__gt=0).values_list("name", flat=True)), sep="|")
"""


def event(number: int, *, refused: bool, ip: str) -> dict[str, Any]:
    at = datetime.now(UTC) - timedelta(seconds=number % 60)
    return {
        "id": f"{ip}-{number}",
        "createdAt": at.isoformat(),
        "type": "smtp.delivery.failure" if refused else "smtp.delivery.success",
        "data": {
            "ip": ip,
            "recipient": f"someone{number}@{'gmail.com' if number % 2 else 'outlook.com'}",
            "smtp_code": 550 if refused else 250,
            "enhanced_code": "5.7.1" if refused else "2.0.0",
            "reason": "refused" if refused else "ok",
            "mx": "mx.example",
            "attempt_number": 1,
        },
    }


def standing(home: House) -> list[str]:
    return home.manage("shell", "--no-imports", "-c", STANDING).strip().split("|")


def test_a_refusal_becomes_a_quarantine_within_seconds_with_two_workers_and_two_beats(tmp_path: Path) -> None:
    with house(tmp_path) as home:
        token = home.manage("shell", "--no-imports", "-c", MAKE_TOKEN).strip()
        home.start("web")
        for number in (1, 2):
            home.start("worker", f"worker{number}")
            home.start("beat", f"beat{number}", GS_DATA_DIR=str(tmp_path / f"beat{number}"))
        until(home.answers, seconds=60, what=f"the web process did not answer\n{home.logs()}")

        events = [event(number, refused=number < 10, ip="192.0.2.1") for number in range(100)]
        events += [event(number, refused=False, ip="192.0.2.2") for number in range(100)]
        status, answer = home.post("/api/webhooks/stalwart/delivery-failure", token, {"events": events})
        assert (status, answer["processed"]) == (200, 200)

        def judged() -> list[str] | None:
            found = standing(home)
            judged = found[0] == "[('192.0.2.1', 'quarantine'), ('192.0.2.2', 'healthy')]"
            # A full run may have judged them before the poll took its queue; the poll comes within seconds.
            queue_is_empty = found[2] == "0"
            return found if judged and queue_is_empty else None

        found = until(judged, seconds=60, what=f"no quarantine and empty queue\n{home.logs()}")
        # Two beats and two workers: one change, one audit row; no task has failed.
        assert (found[1], found[3]) == ("1", "[]")
        assert all(process.poll() is None for process in home.processes.values()), home.logs()
        assert set(home.stop().values()) == {0}, home.logs()
