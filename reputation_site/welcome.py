"""What `serve` prints when it serves: where to look and what to do next."""

from __future__ import annotations

import json
import shlex
from datetime import UTC, datetime

from django.conf import settings

from reputation_site.first_start import ADMIN, FIRST_SOURCE, FirstStart
from reputation_site.probe import local_address

PLACEHOLDER = "$TOKEN"


def base_url() -> str:
    """Where a browser on this machine finds us."""
    host = local_address()
    return f"http://{f'[{host}]' if ':' in host else host}:{settings.LISTEN_PORT}"


def welcome(made: FirstStart) -> str:
    """The text; secrets appear in it only when they were made just now."""
    lines = ["", f"Good Standing serves at {base_url()}/  (Ctrl-C stops it; data in {settings.DATA_DIR})"]
    if made.password:
        lines += ["", f"  Log in as      {ADMIN}", f"  Password       {made.password}   (shown only now)"]
    if made.token:
        lines += ["", f"  Source         {FIRST_SOURCE}", f"  Its token      {made.token}   (shown only now)"]
    lines += ["", "Next step: report a refused message, then look at the console.", "", _curl(made.token), ""]
    if not made.token:
        lines += [f"{PLACEHOLDER} is a source's token. Make a new one with:"]
        lines += [f"  python manage.py bootstrap --new-token {FIRST_SOURCE}", ""]
    return "\n".join(lines)


def _curl(token: str | None) -> str:
    event = {
        "id": "first-1",
        "createdAt": datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
        "type": "smtp.delivery.failure",
        "data": {
            "ip": "192.0.2.10",
            "recipient": "someone@gmail.com",
            "smtp_code": 550,
            "enhanced_code": "5.7.1",
            "reason": "Our system has detected that this message is likely unsolicited mail",
            "mx": "gmail-smtp-in.l.google.com",
            "attempt_number": 1,
        },
    }
    body = json.dumps({"events": [event]}, separators=(",", ":"))
    return (
        f"curl {base_url()}/api/webhooks/stalwart/delivery-failure \\\n"
        f'  -H "Authorization: Bearer {token or PLACEHOLDER}" -H "Content-Type: application/json" \\\n'
        f"  -d {shlex.quote(body)}"
    )
