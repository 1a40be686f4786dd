"""Reports the story's outcomes as a mail server would: over HTTP, in batches, again when it is told to come back."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

from reputation_site.demo.story import Outcome

TRY_AGAIN = (HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.TOO_MANY_REQUESTS)
GIVE_UP_AFTER = 60.0  # seconds without an answer


class RefusedError(Exception):
    """The product refused a report for good; the message holds its answer."""


class Reporter:
    """One mail server of the demo, with its token and one kept connection."""

    def __init__(self, host: str, port: int, host_name: str, token: str, *, documented: bool) -> None:
        self._connection = http.client.HTTPConnection(host, port, timeout=30)
        self._documented = documented
        self._headers = {"Authorization": f"Bearer {token}", "Host": host_name}

    def report(self, outcomes: Sequence[Outcome]) -> None:
        """Send the outcomes; returns when all are stored. Raises RefusedError when one was not taken."""
        # The documented webhook knows deliveries and failures only; complaints are events of our own words.
        complaints = [one for one in outcomes if one.reply.type == "complaint"]
        attempts = [one for one in outcomes if one.reply.type != "complaint"]
        if not self._documented:
            self._post_lines(outcomes)
            return
        if attempts:
            body = json.dumps({"events": [_documented(one) for one in attempts]})
            self._post("/api/webhooks/stalwart/delivery-failure", "application/json", body)
        if complaints:
            self._post_lines(complaints)

    def _post_lines(self, outcomes: Sequence[Outcome]) -> None:
        if outcomes:
            self._post("/api/events", "application/x-ndjson", "\n".join(json.dumps(_generic(one)) for one in outcomes))

    def _post(self, path: str, content_type: str, body: str) -> None:
        until = time.monotonic() + GIVE_UP_AFTER
        while True:
            try:
                self._connection.request("POST", path, body, {**self._headers, "Content-Type": content_type})
                answer = self._connection.getresponse()
                text = answer.read()
            except (OSError, http.client.HTTPException):
                # Also when the server closed the idle connection. What was stored already is a duplicate next time.
                self._connection.close()
                if time.monotonic() > until:
                    raise
                time.sleep(0.5)
                continue
            if answer.status in TRY_AGAIN and time.monotonic() < until:
                time.sleep(min(5.0, float(answer.headers.get("Retry-After", "1"))))
                continue
            if answer.status != HTTPStatus.OK or json.loads(text)["failed"]:
                raise RefusedError(f"{path} answered {answer.status}: {text[:500].decode(errors='replace')}")
            return


def _documented(one: Outcome) -> dict[str, Any]:
    outcome = "success" if one.reply.type == "delivery" else "failure"
    return {
        "id": one.id,
        "createdAt": one.at.isoformat(),
        "type": f"smtp.delivery.{outcome}",
        "data": {
            "ip": one.ip,
            "sender": f"news@{one.sending_domain}",
            "recipient": one.recipient,
            "mx": one.mx,
            "smtp_code": one.reply.smtp_code,
            "enhanced_code": one.reply.enhanced_code,
            "reason": one.reply.text,
            "attempt_number": one.attempt,
            "message_id": one.message_id,
        },
    }


def _generic(one: Outcome) -> dict[str, Any]:
    return {
        "event_id": one.id,
        "occurred_at": one.at.isoformat(),
        "type": one.reply.type,
        "sending_ip": one.ip,
        "sending_domain": one.sending_domain,
        "recipient": one.recipient,
        "mx_host": one.mx,
        "smtp_code": one.reply.smtp_code,
        "enhanced_code": one.reply.enhanced_code,
        "reply": one.reply.text,
        "attempt_number": one.attempt,
        "message_id": one.message_id,
    }
