"""Rejected events in the admin: mended, replayed, counted once."""

from __future__ import annotations

import json

import pytest
from django.test import Client
from django.utils import timezone

from telemetry import intake
from telemetry.models import (
    RejectedEvent,
    SendingEvent,
    Source,
)
from telemetry.parsers.documented import DOCUMENTED
from tests.site.admin.conftest import (
    BAD,
    change,
    changelist,
    messages_of,
)

pytestmark = pytest.mark.django_db


def refusal(**data: object) -> bytes:
    known: dict[str, object] = {"ip": BAD, "recipient": "someone@gmail.com", "smtp_code": 550}
    now = timezone.now().isoformat()
    return json.dumps({"id": "e1", "createdAt": now, "type": "smtp.delivery.failure", "data": known | data}).encode()


@pytest.fixture
def rejected(source: Source) -> RejectedEvent:
    intake.take_in(source, DOCUMENTED, [refusal(ip="not an address")], now=timezone.now())
    return RejectedEvent.objects.get()


def test_a_rejected_event_is_mended_and_replayed_and_counts_once(as_root: Client, rejected: RejectedEvent) -> None:
    still_wrong = as_root.post(
        change(rejected),
        {"payload": rejected.payload, "telemetry_rejectedevent_save_and_replay": "1"},
        follow=True,
    )
    assert "Still wrong: data.ip" in " ".join(messages_of(still_wrong))
    assert not SendingEvent.objects.exists()
    mended = {
        "payload": rejected.payload.replace("not an address", BAD),
        "telemetry_rejectedevent_save_and_replay": "1",
    }
    for _ in range(2):
        as_root.post(change(rejected), mended)
    assert SendingEvent.objects.get().sending_ip == BAD
    rejected.refresh_from_db()
    assert rejected.replayed_at is not None


def test_saving_a_mended_event_without_replay_records_nothing(as_root: Client, rejected: RejectedEvent) -> None:
    as_root.post(change(rejected), {"payload": rejected.payload.replace("not an address", BAD), "_save": "1"})
    assert BAD in RejectedEvent.objects.get().payload
    assert not SendingEvent.objects.exists()


def test_bulk_replay_takes_the_good_and_says_what_is_wrong_with_the_others(
    as_root: Client, source: Source, rejected: RejectedEvent
) -> None:
    intake.take_in(source, DOCUMENTED, [b"{}"], now=timezone.now())
    rejected.payload = rejected.payload.replace("not an address", BAD)
    rejected.save()
    keys = [str(row.pk) for row in RejectedEvent.objects.all()]
    response = as_root.post(
        changelist(RejectedEvent), {"action": "replay_selected", "_selected_action": keys}, follow=True
    )
    told = " ".join(messages_of(response))
    assert "Replayed: 1." in told
    assert "Still wrong: 1." in told
    assert SendingEvent.objects.count() == 1


def test_who_may_only_look_replays_nothing(as_viewer: Client, rejected: RejectedEvent) -> None:
    mended = rejected.payload.replace("not an address", BAD)
    RejectedEvent.objects.update(payload=mended)
    as_viewer.post(changelist(RejectedEvent), {"action": "replay_selected", "_selected_action": [str(rejected.pk)]})
    url, given = change(rejected), {"payload": mended, "telemetry_rejectedevent_save_and_replay": "1"}
    assert as_viewer.post(url, given).status_code == 403
    assert not SendingEvent.objects.exists()
