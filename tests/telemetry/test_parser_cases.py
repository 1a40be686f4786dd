"""Our own two formats stand what every format must."""

from __future__ import annotations

from typing import Any

from telemetry.parsers.documented import DOCUMENTED
from telemetry.parsers.generic import GENERIC
from tests.telemetry.parser_cases import ParserCase


class TestDocumented(ParserCase):
    url = "/api/webhooks/stalwart/delivery-failure"
    kind = "documented"
    parser = DOCUMENTED
    types = {"smtp.delivery.failure": "bounce", "smtp.delivery.success": "delivery"}
    unknown_is_kept = True
    bad_field = "data.ip"

    def event(self, number: int, kind: str | None = None) -> dict[str, Any]:
        return {
            "id": f"evt-{number}",
            "createdAt": "2026-11-20T12:00:00Z",
            "type": kind or "smtp.delivery.failure",
            "data": {"ip": "192.0.2.10", "recipient": f"someone{number}@gmail.com", "smtp_code": 550},
        }

    def bad(self) -> dict[str, Any]:
        event = self.event(99)
        event["data"]["ip"] = "192.0.2.999"
        return event

    def body(self, events: list[Any]) -> Any:
        return {"events": events}


class TestGeneric(ParserCase):
    url = "/api/events"
    kind = "generic"
    parser = GENERIC
    types = {"delivery": "delivery", "bounce": "bounce", "defer": "defer", "complaint": "complaint"}
    unknown_is_kept = True
    bad_field = "recipient"

    def event(self, number: int, kind: str | None = None) -> dict[str, Any]:
        return {
            "type": kind or "bounce",
            "occurred_at": "2026-11-20T12:00:00Z",
            "sending_ip": "192.0.2.10",
            "sender": "news@good.example",
            "recipient": f"someone{number}@gmail.com",
            "smtp_code": 550,
            "message_id": f"m{number}",
            "attempt_number": 1,
        }

    def bad(self) -> dict[str, Any]:
        return self.event(99) | {"recipient": "nobody"}

    def body(self, events: list[Any]) -> Any:
        return events
