"""From the first mail of an IP to its listing: real worker, real beat, a real list, and the same over HTTP."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests import dns_servers
from tests.dns_servers import Rbldnsd
from tests.e2e.house import house, until

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(dns_servers.why_not("rbldnsd")), reason=dns_servers.why_not("rbldnsd")),
]
BAD = "192.0.2.66"
MADE = """
from django.contrib.auth.models import User
from reputation.models import Blocklist
from telemetry.models import Source
from telemetry.tokens import issue_api_token, issue_token
Blocklist.objects.update(is_enabled=False)
Blocklist.objects.create(name="own", zone="bl.test", tier="A", resolver="127.0.0.1", resolver_port={port},
                         listed={{"127.0.0.2": {{"meaning": "spam source", "severity": "high"}}}})
root = User.objects.create_superuser("root", "root@shop.test", "correct horse battery")
print(issue_token(Source.objects.create(name="mta-1")), issue_api_token(root))
"""
SAID = """
import json
from reputation.models import Listing
print(json.dumps(list(Listing.objects.values_list("subject", "result", "state", "pending"))))
"""


def test_an_ip_that_begins_to_send_is_looked_up_by_itself(tmp_path: Path) -> None:
    data = f":127.0.0.2:listed, see $\n{BAD}\n127.0.0.2"
    with Rbldnsd({"bl.test": ("ip4set", data)}) as server, house(tmp_path) as home:
        script = MADE.format(port=server.port)
        reporting, asking = home.manage("shell", "--no-imports", "-c", script).split()
        for line in ("web", "worker", "beat"):
            home.start(line)
        until(home.answers, seconds=60, what=f"the web process did not answer\n{home.logs()}")
        at = (datetime.now(UTC) - timedelta(minutes=1)).isoformat()
        sent = {"type": "delivery", "occurred_at": at, "sending_ip": BAD, "sending_domain": "shop.test"}
        events = [{**sent, "recipient": "a@receiver.test", "event_id": str(number)} for number in range(5)]
        assert home.post("/api/events", reporting, events)[0] == 200

        def said() -> list[list[str]]:
            found: list[list[str]] = json.loads(home.manage("shell", "--no-imports", "-c", SAID))
            return found

        # Planned every minute, asked at once; seen once is not yet believed.
        until(
            lambda: said() == [[BAD, "listed", "unknown", "listed"]],
            seconds=150,
            what=f"the IP was not looked up\n{home.logs()}",
        )
        # Within the answer's TTL nothing is asked again: two looks at one answer confirm nothing.
        queries = server.queries()["bl.test"]
        status, told = home.post(f"/api/ips/{BAD}/dnsbl-check", asking, {})
        assert (status, told["complete"], told["listed"]) == (200, True, ["own"])
        assert told["took"] < 5
        assert server.queries()["bl.test"] == queries
        assert set(home.stop().values()) == {0}, home.logs()
