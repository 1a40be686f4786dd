"""An audit asked for over HTTP of the running web process, with a real name server."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests import dns_servers
from tests.dns_servers import Knot
from tests.e2e.house import house, until

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(dns_servers.why_not("knotd")), reason=dns_servers.why_not("knotd")),
]
TOKENS = """
from django.contrib.auth.models import User
from telemetry.models import Source
from telemetry.tokens import issue_api_token, issue_token
root = User.objects.create_superuser("root", "root@shop.test", "correct horse battery")
print(issue_token(Source.objects.create(name="mta-1")), issue_api_token(root))
"""
ZONES = {
    "test": 'shop TXT "v=spf1 ip4:198.51.100.1 -all"\nshop MX 10 mx.shop\nmx.shop A 192.0.2.25\n',
    "2.0.192.in-addr.arpa": "10 PTR mail.shop.test.\n",
}


def test_refused_mail_an_audit_and_the_record_to_publish(tmp_path: Path) -> None:
    with Knot(ZONES) as knot, house(tmp_path) as home:
        reporting, asking = home.manage("shell", "--no-imports", "-c", TOKENS).split()
        home.start("web", GS_DNS_SERVERS=f"127.0.0.1:{knot.port}")
        until(home.answers, seconds=60, what=f"the web process did not answer\n{home.logs()}")
        at = (datetime.now(UTC) - timedelta(minutes=1)).isoformat()
        refused = {"type": "bounce", "occurred_at": at, "sending_ip": "192.0.2.10", "sending_domain": "shop.test"}
        said = {"smtp_code": 550, "enhanced_code": "5.7.23", "reply": "550 5.7.23 SPF validation failed"}
        events = [{**refused, **said, "recipient": "a@receiver.test", "event_id": str(n)} for n in range(5)]
        assert home.post("/api/events", reporting, events)[0] == 200

        status, told = home.post("/api/audits", asking, {"sending_domain": "shop.test"})
        assert status == 201, told
        wrong = {entry["check"]: entry for entry in told["findings"] if entry["result"] == "problem"}
        assert set(wrong) == {"spf", "dkim", "dmarc", "forward_confirmed", "mta_sts"}
        assert told["score"] == 100 - 20 - 20 - 15 - 10 - 5
        assert wrong["spf"]["publish"] == ['shop.test. IN TXT "v=spf1 ip4:198.51.100.1 ip4:192.0.2.10 -all"']
        assert wrong["forward_confirmed"]["publish"] == ["mail.shop.test. IN A 192.0.2.10"]
        assert told["diagnosis"]["title"] == "DNS, not reputation"
        status, told = home.post("/api/audits", asking, {"sending_ip": "192.0.2.10"})
        assert (status, told["score"]) == (201, 100 - 20 - 10)
        assert set(home.stop().values()) == {0}, home.logs()
