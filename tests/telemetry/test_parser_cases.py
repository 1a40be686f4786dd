"""Our own two formats, and Stalwart's where one event says all, stand what every format must."""

from __future__ import annotations

from typing import Any

import pytest

from telemetry import intake
from telemetry.models import SendingEvent
from telemetry.parsers.base import Parser
from telemetry.parsers.documented import DOCUMENTED
from telemetry.parsers.generic import GENERIC
from telemetry.parsers.stalwart import NAME
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


class TestStalwart(ParserCase):
    """Events without a span, as servers before 0.10.7 send them: nothing waits for its connection.

    What waits and is joined is in test_stalwart.py.
    """

    url = "/api/webhooks/stalwart"
    kind = "stalwart"
    parser = Parser(NAME, lambda raw, now: None)
    types = {
        "delivery.delivered": "delivery",
        "delivery.dsn-perm-fail": "bounce",
        "delivery.rcpt-to-failed": "defer",
        "incoming-report.abuse-report": "complaint",
        "delivery.connect": None,
        "queue.queue-message": None,
    }
    bad_field = "data.to"

    def event(self, number: int, kind: str | None = None) -> dict[str, Any]:
        name = kind or "delivery.dsn-perm-fail"
        if name.startswith("incoming-report."):
            data = {"domain": ["good.example"], "remoteIp": "192.0.2.10", "total": 1, "details": [f"case {number}"]}
        else:
            data = {
                "queueId": 212008089975525120 + number,
                "from": "news@good.example",
                "to": f"someone{number}@gmail.com",
                "hostname": "mx.example",
                "code": 250 if name.endswith("delivered") else 451 if name.endswith("rcpt-to-failed") else 550,
                "details": "5.7.1 not now",
            }
        return {"id": str(number), "createdAt": "2026-11-20T12:00:00Z", "type": name, "data": data}

    def bad(self) -> dict[str, Any]:
        event = self.event(99)
        event["data"]["to"] = "nobody"
        return event

    def body(self, events: list[Any]) -> Any:
        return {"events": events}

    def test_the_parser_is_known_by_its_name(self) -> None:
        # Its events are joined before they are recorded, so it is none of those that are read one by one.
        assert NAME in intake.JOINED_BY

    @pytest.mark.parametrize("name", ["MAX_BODY_BYTES", "MAX_EVENTS_PER_REQUEST"])
    def test_a_batch_over_a_limit_is_answered_with_what_to_set(self, name: str, settings: Any) -> None:
        setattr(settings, name, 1)
        answer = self.post(self.body([self.event(1), self.event(2)]))
        assert answer.status_code == 413
        assert f"raise GS_{name} " in answer.json()["detail"]
        assert not SendingEvent.objects.exists()
