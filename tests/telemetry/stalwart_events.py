"""Stalwart's events as its code builds them (v0.16): the server's own sample, and spans made to order."""

from __future__ import annotations

import itertools
import json
from typing import Any

SPAN, QUEUE = 212008089975525379, 212008089975525120
MX = "gmail-smtp-in.l.google.com"
_ids = itertools.count(1763640000412257)


def event(kind: str, data: dict[str, Any], at: str = "2026-11-20T12:00:00Z") -> dict[str, Any]:
    """One event; its id is new each time, as at each of Stalwart's retries."""
    return {"id": str(next(_ids)), "createdAt": at, "type": kind, "data": data}


def again(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The same events as a retry sends them: with new ids."""
    return [one | {"id": str(next(_ids))} for one in events]


def body(events: list[dict[str, Any]]) -> bytes:
    return json.dumps({"events": events}).encode()


class Attempt:
    """The events of one delivery attempt (span)."""

    def __init__(
        self,
        number: int = 0,
        to: tuple[str, ...] = ("a@gmail.com", "b@gmail.com"),
        sender: str = "news@example.com",
        **inherited: Any,
    ) -> None:
        self.span = {"spanId": SPAN + number}
        # The span's own keys stand behind the event's.
        self.inherited = {
            "queueId": QUEUE + number,
            "queueName": "remote",
            "from": sender,
            "to": list(to),
            "size": 48211,
            "total": len(to),
        } | inherited

    def event(self, kind: str, at: str = "2026-11-20T12:00:00Z", **own: Any) -> dict[str, Any]:
        return event(f"delivery.{kind}", self.inherited | self.span | own, at)

    def connect(
        self, ip: str = "203.0.113.10", host: str = MX, domain: str = "gmail.com", **more: Any
    ) -> dict[str, Any]:
        own = {"remoteIp": "142.250.110.26", "remotePort": 25, "elapsed": 41}
        return self.event("connect", hostname=host, domain=domain, localIp=ip, **own | more)

    def delivered(self, to: str = "a@gmail.com", host: str = MX, **more: Any) -> dict[str, Any]:
        said = {"code": 250, "details": "OK 1763640001 x-gsmtp", "elapsed": 512}
        return self.event("delivered", hostname=host, to=to, **said | more)

    def rejected(self, to: str = "b@gmail.com", host: str = MX, code: int = 550, **more: Any) -> dict[str, Any]:
        said = {"details": "The email account that you tried to reach does not exist.", "elapsed": 88}
        return self.event("rcpt-to-rejected", hostname=host, to=to, code=code, **said | more)

    def notice(
        self, to: str = "b@gmail.com", host: str = MX, details: str | None = None, **more: Any
    ) -> dict[str, Any]:
        words = (
            f"Unexpected response for RCPT TO:<{to}>: Code: 550, Enhanced code: 5.1.1, "
            "Message: The email account that you tried to reach does not exist."
        )
        return self.event("dsn-perm-fail", hostname=host, to=to, details=details or words, **{"total": 0} | more)

    def refused(self, kind: str, host: str = MX, **more: Any) -> dict[str, Any]:
        """An event about the whole session or host: `to` is the inherited array."""
        return self.event(kind, hostname=host, **more)


def caused(code: int | None, reason: str) -> dict[str, Any]:
    """The nested error of the events that have no code of their own."""
    data: dict[str, Any] = {"details": "Unexpected SMTP Response", "reason": reason}
    return {"type": "smtp.error", "data": data | ({"code": code} if code else {})}


BLOCKED = (
    "Unfortunately, messages from [203.0.113.10] weren't sent. Please contact your Internet service provider since part "
    "of their network is on our block list (S3150)."
)


def sample() -> list[dict[str, Any]]:
    """One message at two recipients, one refused at MAIL FROM, one complaint: Stalwart's kinds of everything."""
    google, outlook = Attempt(), Attempt(21, to=("c@outlook.com",), size=2211)
    host = "outlook-com.olc.protection.outlook.com"
    return [
        google.connect(),
        google.rejected(),
        google.delivered(at="2026-11-20T12:00:01Z"),
        google.notice(at="2026-11-20T12:00:01Z"),
        outlook.refused("mail-from-rejected", host, at="2026-11-20T12:00:02Z", causedBy=caused(550, BLOCKED)),
        event(
            "incoming-report.abuse-report",
            {
                "rangeFrom": "2026-11-20T11:58:00Z",
                "domain": ["example.com"],
                "hostname": "mx.example.net",
                "url": [],
                "remoteIp": "203.0.113.10",
                "total": 1,
                "result": "Unspecified",
                "details": [],
            },
            "2026-11-20T12:00:03Z",
        ),
    ]
