"""The documented webhook and /api/events as a sender meets them."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from typing import Any

import pytest
from django.test import Client

from telemetry.domain.vocab import SourceKind
from telemetry.models import RejectedEvent, SendingEvent, Source
from telemetry.tokens import issue_token

pytestmark = pytest.mark.django_db
WEBHOOK = "/api/webhooks/stalwart/delivery-failure"


def failure(event_id: str = "evt-1", **data: Any) -> dict[str, Any]:
    return {
        "id": event_id,
        "createdAt": "2026-11-20T12:00:00Z",
        "type": "smtp.delivery.failure",
        "data": {
            "ip": "192.0.2.10",
            "recipient": "someone@gmail.com",
            "smtp_code": 550,
            "enhanced_code": "5.7.1",
            "reason": "550 5.7.1 refused",
            "mx": "gmail-smtp-in.l.google.com",
            "attempt_number": 1,
        }
        | data,
    }


def post(client: Client, token: str, body: Any, url: str = WEBHOOK, **more: Any) -> Any:
    data = body if isinstance(body, bytes | str) else json.dumps(body)
    options = {"content_type": "application/json", "headers": {"Authorization": f"Bearer {token}"}} | more
    return client.post(url, data=data, **options)


def test_a_documented_batch_is_answered_as_documented(client: Client, token: str) -> None:
    answer = post(client, token, {"events": [failure("1"), failure("2", smtp_code=451, enhanced_code="4.7.1")]})
    assert answer.status_code == 200
    assert answer.json() == {
        "status": "success", "processed": 2, "failed": 0, "total": 2, "duplicates": 0, "errors": []
    }  # fmt: skip
    assert list(SendingEvent.objects.order_by("id").values_list("type", flat=True)) == ["bounce", "defer"]


def test_a_success_event_is_a_delivery(client: Client, token: str) -> None:
    event = failure() | {"type": "smtp.delivery.success"}
    assert post(client, token, {"events": [event]}).json()["processed"] == 1
    assert SendingEvent.objects.get().type == "delivery"


def test_a_good_event_is_kept_beside_a_bad_one_and_the_bad_one_is_named(client: Client, token: str) -> None:
    answer = post(client, token, {"events": [failure("1"), failure("2", ip="not-an-ip"), failure("3", smtp_code="x")]})
    assert answer.status_code == 200
    body = answer.json()
    assert (body["status"], body["processed"], body["failed"]) == ("partial", 1, 2)
    assert [(entry["index"], entry["field"]) for entry in body["errors"]] == [(1, "data.ip"), (2, "data.smtp_code")]
    assert SendingEvent.objects.get().event_id == "1"
    assert RejectedEvent.objects.count() == 2


def test_a_bad_event_sent_again_is_one_rejected_row(client: Client, token: str) -> None:
    for _ in range(3):
        post(client, token, {"events": [failure("2", ip="not-an-ip")]})
    assert RejectedEvent.objects.get().times == 3


@pytest.mark.parametrize(
    ("body", "field"),
    [(b'{"events": [{"id"', "body"), (b"{}", "events"), (b'{"events": 3}', "events"), (b"\xff\xfe", "body")],
)
def test_a_body_that_is_no_batch_is_refused_with_the_field(client: Client, token: str, body: bytes, field: str) -> None:
    answer = post(client, token, body)
    assert answer.status_code == 400
    assert answer.json()["errors"][0]["field"] == field


def test_who_is_refused(client: Client, source: Source, token: str) -> None:
    body = {"events": [failure()]}
    assert client.post(WEBHOOK, json.dumps(body), content_type="application/json").status_code == 401
    assert post(client, "gs_abcdefghijkl_" + "x" * 43, body).status_code == 401
    assert post(client, token, body, content_type="text/plain").status_code == 415
    source.is_active = False
    source.save()
    assert post(client, token, body).status_code == 403
    assert not SendingEvent.objects.exists()


def test_a_body_over_the_limit_is_refused(client: Client, token: str, settings: Any) -> None:
    settings.MAX_BODY_BYTES = 2000
    answer = post(client, token, {"events": [failure(reason="x" * 3000)]})
    assert answer.status_code == 413


def test_a_signed_source_takes_only_signed_bodies(client: Client, source: Source, token: str) -> None:
    source.hmac_key = "shared key"
    source.save()
    body = json.dumps({"events": [failure()]}).encode()
    signature = base64.b64encode(hmac.new(b"shared key", body, hashlib.sha256).digest()).decode()

    def signed(data: bytes, value: str) -> int:
        headers = {"Authorization": f"Bearer {token}", "X-Signature": value}
        return int(post(client, token, data, headers=headers).status_code)

    assert post(client, token, body).status_code == 401
    assert signed(body + b" ", signature) == 401
    assert signed(body, signature) == 200
    source.refresh_from_db()
    assert "shared key" not in source.hmac_key_sealed


def test_generic_events_as_array_and_as_lines(client: Client, token: str) -> None:
    event = {
        "type": "delivery",
        "occurred_at": 1795176000,
        "sending_ip": "2001:DB8::1",
        "recipient": "a@bücher.example",
    }
    assert post(client, token, [event], url="/api/events").json()["processed"] == 1
    lines = json.dumps(event | {"event_id": 7}) + "\n\n{broken\n" + json.dumps(event)
    answer = post(client, token, lines, url="/api/events", content_type="application/x-ndjson").json()
    assert (answer["processed"], answer["duplicates"], answer["failed"]) == (2, 1, 1)
    stored = SendingEvent.objects.order_by("id")[0]
    assert (stored.sending_ip, stored.recipient_domain) == ("2001:db8::1", "xn--bcher-kva.example")


def test_a_token_of_one_source_works_as_basic_password_too(client: Client, token: str) -> None:
    basic = base64.b64encode(f"any:{token}".encode()).decode()
    answer = post(client, token, {"events": [failure()]}, headers={"Authorization": f"Basic {basic}"})
    assert answer.status_code == 200


def test_volume_reports_replace_the_same_stretch_and_refuse_overlaps(client: Client, token: str) -> None:
    one = {"ip": "192.0.2.10", "sent": 100, "from": "2026-11-20T12:00:00Z", "to": "2026-11-20T12:05:00Z"}
    assert post(client, token, one, url="/api/volumes").json() == {"status": "success", "stored": 1}
    assert post(client, token, [one | {"sent": 120}], url="/api/volumes").status_code == 200
    overlap = post(client, token, one | {"to": "2026-11-20T12:06:00Z"}, url="/api/volumes")
    assert (overlap.status_code, overlap.json()["errors"][0]["field"]) == (400, "from")
    assert post(client, token, one | {"from": "2026-11-20T12:00:30Z"}, url="/api/volumes").status_code == 400
    assert Source.objects.get().volumereport_set.get().sent == 120


def test_a_kind_of_source_changes_nothing_at_the_documented_url(client: Client) -> None:
    source = Source.objects.create(name="other", kind=SourceKind.DOCUMENTED)
    assert post(client, issue_token(source), {"events": [failure()]}).status_code == 200
