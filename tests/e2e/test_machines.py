"""Several web and worker processes on one database: every event counts once, whichever of them took it how often."""

from __future__ import annotations

import json
import random
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.house import House, house, until
from tests.e2e.test_live import MAKE_TOKEN
from tests.servers import free_port

pytestmark = pytest.mark.slow

WEBS = ("web1", "web2", "web3")
BATCHES, SIZE = 40, 25
DOCUMENTED = "/api/webhooks/stalwart/delivery-failure"
COUNTS = """
import json
from django.db.models import Sum
from reputation.models import IpStanding
from telemetry.models import RefusalMinute, SendingEvent, TrafficMinute
sums = TrafficMinute.objects.aggregate(delivered=Sum("delivered"), bounced=Sum("bounced"))
print(json.dumps({
    "stored": SendingEvent.objects.count(),
    "ids": SendingEvent.objects.values("event_id").distinct().count(),
    **sums,
    "refused": RefusalMinute.objects.aggregate(sum=Sum("count"))["sum"],
    "judged": {row.sending_ip: [row.total_sent, row.total_rejected] for row in IpStanding.objects.all()},
}))
"""


def batch(number: int, at: datetime) -> dict[str, Any]:
    """Events of two sending IPs that all batches share, so that every transaction meets the others' counters."""
    events = []
    for position in range(SIZE):
        refused = position % 5 == 0
        data = {
            "ip": f"192.0.2.{1 + position % 2}",
            "recipient": f"someone{position}@gmail.com",
            "smtp_code": 550 if refused else 250,
            "enhanced_code": "5.7.1" if refused else "2.0.0",
            "reason": "refused" if refused else "ok",
            "mx": "mx.example",
            "attempt_number": 1,
        }
        kind = "smtp.delivery.failure" if refused else "smtp.delivery.success"
        events.append({"id": f"{number}-{position}", "createdAt": at.isoformat(), "type": kind, "data": data})
    return {"events": events}


def counts(home: House) -> dict[str, Any]:
    return json.loads(home.manage("shell", "--no-imports", "-c", COUNTS))


def test_each_event_counts_once_whichever_processes_take_it_and_however_often(tmp_path: Path) -> None:
    with house(tmp_path) as home:
        token = home.manage("shell", "--no-imports", "-c", MAKE_TOKEN).strip()
        ports = {web: free_port() for web in WEBS}
        for web, port in ports.items():
            home.start("web", web, GS_PORT=str(port))
        for number in (1, 2):
            home.start("worker", f"worker{number}")
            home.start("beat", f"beat{number}", GS_DATA_DIR=str(tmp_path / f"beat{number}"))
        for port in ports.values():
            home.port = port
            until(home.answers, seconds=120, what=f"a web process did not answer\n{home.logs()}")

        at = datetime.now(UTC) - timedelta(seconds=30)
        new = dict.fromkeys(WEBS, 0)
        one_goes = threading.Event()

        def deliver(web: str) -> None:
            """Send every batch in an order of this process's own; what it does not acknowledge goes to another one."""
            order = random.Random(web).sample(range(BATCHES), BATCHES)
            for position, number in enumerate(order):
                if web == WEBS[0] and position == BATCHES // 2:
                    one_goes.set()
                body, tries = batch(number, at), iter(())
                while True:
                    target = next(tries, None)
                    if target is None:
                        tries = iter((web, *(other for other in WEBS if other != web)))
                        continue
                    status, answer = post(home, ports[target], token, body)
                    if status == 200:
                        assert (answer["processed"], answer["failed"]) == (SIZE, 0)
                        new[web] += SIZE - answer["duplicates"]
                        break

        with ThreadPoolExecutor(len(WEBS)) as senders:
            running = [senders.submit(deliver, web) for web in WEBS]
            assert one_goes.wait(300)
            # Without a word: what it was recording is rolled back or stays unacknowledged, and is sent again.
            home.processes["web2"].kill()
            for sender in running:
                sender.result(300)

        found = counts(home)
        whole = BATCHES * SIZE
        assert (found["stored"], found["ids"]) == (whole, whole)
        assert (found["delivered"], found["bounced"], found["refused"]) == (whole * 4 // 5, whole // 5, whole // 5)
        # Each was new to one process only; what the killed one stored without a word was new to nobody.
        assert whole - SIZE * len(WEBS) <= sum(new.values()) <= whole
        share = {f"192.0.2.{1 + odd}": sum(1 for at in range(SIZE) if at % 2 == odd) * BATCHES for odd in (0, 1)}
        refused = {
            f"192.0.2.{1 + odd}": sum(1 for at in range(0, SIZE, 5) if at % 2 == odd) * BATCHES for odd in (0, 1)
        }
        expected = {ip: [share[ip], refused[ip]] for ip in share}
        until(lambda: counts(home)["judged"] == expected, seconds=120, what=f"the standing\n{home.logs()}")


def post(home: House, port: int, token: str, body: dict[str, Any]) -> tuple[int, Any]:
    """Post to one of the web processes; status 0 when nothing came back."""
    try:
        return House.post(_at(home, port), DOCUMENTED, token, body)
    except OSError:
        return 0, None


def _at(home: House, port: int) -> Any:
    """The house as seen through one of its doors; posts may run side by side."""

    class Door:
        def url(self, path: str) -> str:
            return f"http://127.0.0.1:{port}{path}"

    return Door()
