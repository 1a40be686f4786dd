"""What an installation has after some days, written once: so that ids exist, and every list has rows."""

from __future__ import annotations

import json
import os
import sys
from datetime import timedelta
from typing import Any

IP, COLD_IP, DOMAIN = "192.0.2.10", "192.0.2.66", "shop.example"


def seed() -> dict[str, str]:
    """Write it through the product's own functions and URLs; the tokens, and the ids of the two sources."""
    from django.contrib.auth.models import User
    from django.test import Client
    from django.utils import timezone

    from reputation import alerts, breakers, scores, standing
    from reputation.models import Pool, PoolDomain, SendingIP
    from telemetry.models import Source
    from telemetry.tokens import issue_api_token, issue_token
    from tests.reputation.alert_rig import signal

    now = timezone.now()
    admin = User.objects.create_superuser("admin")
    # Of the one kind that an endpoint asks for; the others take reports of any.
    reporter = Source.objects.create(name="mta-1", kind="stalwart")
    tokens = {
        "API_TOKEN": issue_api_token(admin),
        "SOURCE_TOKEN": issue_token(reporter),
        "SOURCE_ID": str(reporter.pk),
    }
    client = Client(SERVER_NAME="localhost", headers={"Authorization": f"Bearer {tokens['API_TOKEN']}"})
    as_source = {"Authorization": f"Bearer {tokens['SOURCE_TOKEN']}"}

    def post(path: str, body: Any = None, **headers: str) -> Any:
        answer = client.post(path, body, content_type="application/json", headers=headers or None)
        assert answer.status_code in (200, 201, 204), (path, answer.status_code, answer.content)
        return answer.json() if answer.content else None

    def event(number: int, kind: str, minutes: int, ip: str = IP, **fields: Any) -> dict[str, Any]:
        at = (now - timedelta(minutes=minutes)).isoformat()
        return {
            "type": kind,
            "occurred_at": at,
            "sending_ip": ip,
            "sending_domain": DOMAIN,
            "recipient": "someone@gmail.com",
            "event_id": f"seed-{number}",
            **fields,
        }

    refusal = {"smtp_code": 550, "enhanced_code": "5.7.1", "reply": "550 5.7.1 refused"}
    events = [event(n, "delivery", 90 - n % 80) for n in range(120)]
    events += [event(1000 + n, "bounce", n, COLD_IP, **refusal) for n in range(40)]
    post("/api/events", [*events, {"type": "nonsense"}], **as_source)
    hour = (now - timedelta(days=1)).replace(minute=0, second=0, microsecond=0)
    stretch = {"from": hour.isoformat(), "to": (hour + timedelta(hours=1)).isoformat()}
    post("/api/volumes", {"ip": IP, "sent": 500, **stretch}, **as_source)
    standing.score_ips(now=now)
    scores.score_senders(now=now)
    breakers.check_all(now=now)

    pool = Pool.objects.create(name="second", description="for newsletters")
    SendingIP.objects.filter(ip=COLD_IP).update(pool=pool)
    alerts.take([signal(now, COLD_IP), signal(now, IP)], now=now)
    post("/api/breakers/open", {"sending_domain": DOMAIN, "provider": "google", "reason": "a bought list"})
    post("/api/warmups/start", {"sending_ip": COLD_IP, "amounts": [100, 200, 300], "reason": "a new machine"})
    post(f"/api/ips/{COLD_IP}/quarantine", {"reason": "refused since noon"})
    post("/api/permits", {"sending_domain": DOMAIN, "recipient": "someone@gmail.com", "sending_ip": IP})
    post("/api/audits", {"sending_domain": DOMAIN})
    post(f"/api/ips/{IP}/dnsbl-check")
    spare = post("/api/sources", {"name": "mta-2", "kind": "kumomta"})
    post(f"/api/sources/{spare['id']}/tokens", {"label": "spare"})
    tokens["SPARE_SOURCE_ID"] = str(spare["id"])
    channel = post("/api/alert-channels", {"name": "hook", "url": "https://hooks.example/alerts"})
    post("/api/alert-rules", {"name": "everything", "channels": [channel["id"]]})
    post(
        "/api/enforcement/kumomta/servers", {"name": "kumo-1", "url": "http://kumo.example:8000", "source": spare["id"]}
    )
    post("/api/warmup-templates", {"name": "short", "amounts": [50, 100, 200]})
    PoolDomain.objects.create(domain=DOMAIN, pool=pool)
    return tokens


def main() -> None:
    """Print the tokens as one JSON object."""
    import django

    django.setup()
    json.dump(seed(), sys.stdout)


if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "reputation_site.settings")
    main()
