"""From refused mail to a webhook: real web process, worker and two beats, a real receiver."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.e2e.house import house, until
from tests.reputation.alert_rig import web

pytestmark = pytest.mark.slow
BAD = "192.0.2.66"
MADE = """
from reputation.models import AlertChannel
from telemetry.models import Source
from telemetry.tokens import issue_token
row = AlertChannel(name="ops")
row.url = "{url}"
row.save()
print(issue_token(Source.objects.create(name="mta-1")))
"""


def test_a_sending_ip_that_is_refused_is_told_once_though_two_beats_tick(tmp_path: Path) -> None:
    with web() as hook, house(tmp_path) as home:
        home.environment["GS_ALLOW_PRIVATE_URLS"] = "on"
        token = home.manage("shell", "--no-imports", "-c", MADE.format(url=hook.url)).strip()
        home.start("web")
        home.start("worker")
        home.start("worker", "worker-2")
        home.start("beat")
        home.start("beat", "beat-2", GS_DATA_DIR=str(tmp_path / "beat-2"))
        until(home.answers, seconds=60, what=f"the web process did not answer\n{home.logs()}")
        at = (datetime.now(UTC) - timedelta(minutes=1)).isoformat()
        sent = {"occurred_at": at, "sending_ip": BAD, "sending_domain": "shop.test"}
        events = [{**sent, "type": "delivery", "recipient": "a@gmail.com", "event_id": f"d{n}"} for n in range(100)]
        for number in range(30):
            domain = ("gmail.com", "outlook.com", "yahoo.com")[number % 3]
            refused = {"type": "bounce", "smtp_code": 550, "enhanced_code": "5.7.1", "event_id": f"b{number}"}
            events.append({**sent, **refused, "recipient": f"victim@{domain}"})
        assert home.post("/api/events", token, events)[0] == 200

        def statuses() -> list[str]:
            return [entry["sentence"] for got in hook.got for entry in got.json["alerts"] if entry["kind"] == "status"]

        until(statuses, seconds=60, what=f"nobody was told\n{home.logs()}")
        assert statuses()[0].startswith(f"{BAD} went from healthy to blacklisted.")
        # Further ticks of both beats tell nothing again.
        runs = "from telemetry.models import Lease; print(Lease.objects.get(pk='raise alerts').runs)"
        before = int(home.manage("shell", "--no-imports", "-c", runs))
        until(
            lambda: int(home.manage("shell", "--no-imports", "-c", runs)) >= before + 3,
            seconds=120,
            what=f"no further ticks\n{home.logs()}",
        )
        told = [(entry["id"], entry["news"]) for got in hook.got for entry in got.json["alerts"]]
        assert len(told) == len(set(told)), told
        assert "victim" not in str([got.body for got in hook.got])
        assert set(home.stop().values()) == {0}, home.logs()
