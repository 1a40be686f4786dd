"""What `record_batch` promises: each event stored and counted once, whatever is repeated, reordered or late."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from telemetry.counters import roll_up
from telemetry.domain.event import Event
from telemetry.domain.vocab import EventType
from telemetry.ingest import record_batch
from telemetry.models import (
    MessageState,
    Receipt,
    RefusalDay,
    RefusalHour,
    RefusalMinute,
    SendingEvent,
    Source,
    TrafficDay,
    TrafficHour,
    TrafficMinute,
)
from tests.conftest import NOON

pytestmark = pytest.mark.django_db
Make = Callable[..., Event]
MEASURES = ("delivered", "bounced", "deferred", "superseded", "complained")


def totals(table: Any = TrafficMinute) -> tuple[int, ...]:
    rows = list(table.objects.values_list(*MEASURES))
    return tuple(sum(row[position] for row in rows) for position in range(len(MEASURES)))


def test_a_batch_is_stored_and_counted(source: Source, make_event: Make) -> None:
    refused = {"type": EventType.BOUNCE, "smtp_code": 550, "enhanced_code": "5.7.1", "reply": "550 5.7.1 no"}
    result = record_batch(
        source,
        [make_event(event_id="1"), make_event(event_id="2", **refused), make_event(event_id="3", **refused)],
        now=NOON,
    )
    assert (result.recorded, result.duplicates) == (3, 0)
    assert SendingEvent.objects.count() == Receipt.objects.count() == 3
    assert totals() == (1, 2, 0, 0, 0)
    refusal = RefusalMinute.objects.get()
    assert (refusal.code, refusal.count, refusal.recipient_domain, refusal.provider) == (
        "5.7.1",
        2,
        "gmail.com",
        "google",
    )
    assert refusal.bucket == NOON - timedelta(minutes=1)


def test_a_retried_batch_changes_no_counter(source: Source, make_event: Make) -> None:
    events = [make_event(event_id=str(number)) for number in range(5)]
    record_batch(source, events, now=NOON)
    again = record_batch(source, [*events, make_event(event_id="new")], now=NOON)
    assert (again.recorded, again.duplicates) == (1, 5)
    assert totals() == (6, 0, 0, 0, 0)


def test_the_same_event_twice_in_one_batch_counts_once(source: Source, make_event: Make) -> None:
    result = record_batch(source, [make_event(event_id="1"), make_event(event_id="1")], now=NOON)
    assert (result.recorded, result.duplicates) == (1, 1)
    assert totals() == (1, 0, 0, 0, 0)


def test_without_an_id_the_content_decides(source: Source, make_event: Make) -> None:
    record_batch(source, [make_event(), make_event(recipient="else@gmail.com")], now=NOON)
    assert record_batch(source, [make_event()], now=NOON).duplicates == 1
    assert totals()[0] == 2


def test_two_sources_may_use_the_same_id(source: Source, make_event: Make) -> None:
    other = Source.objects.create(name="mta-2")
    record_batch(source, [make_event(event_id="1")], now=NOON)
    assert record_batch(other, [make_event(event_id="1")], now=NOON).recorded == 1


def test_an_event_before_the_mark_counts_at_every_level(source: Source, make_event: Make) -> None:
    record_batch(source, [make_event(event_id="1")], now=NOON)
    assert totals(TrafficHour) == (0,) * 5
    roll_up(now=NOON + timedelta(minutes=5))
    assert totals(TrafficHour) == totals(TrafficDay) == (1, 0, 0, 0, 0)
    record_batch(source, [make_event(event_id="late")], now=NOON + timedelta(minutes=6))
    assert totals(TrafficMinute) == totals(TrafficHour) == totals(TrafficDay) == (2, 0, 0, 0, 0)
    roll_up(now=NOON + timedelta(minutes=10))
    assert totals(TrafficMinute) == totals(TrafficHour) == totals(TrafficDay) == (2, 0, 0, 0, 0)


def test_a_very_late_event_counts_only_where_its_bucket_is_kept(source: Source, make_event: Make) -> None:
    roll_up(now=NOON)
    long_ago = {"occurred_at": NOON - timedelta(days=100), "type": EventType.BOUNCE, "smtp_code": 550}
    record_batch(source, [make_event(event_id="1", **long_ago)], now=NOON)
    assert totals(TrafficMinute) == totals(TrafficHour) == (0,) * 5
    assert totals(TrafficDay) == (0, 1, 0, 0, 0)
    assert RefusalDay.objects.get().code == "550"
    assert not RefusalHour.objects.exists()


def test_retried_deferrals_of_one_message_stand_once(source: Source, make_event: Make) -> None:
    def attempt(number: int, minute: int, kind: EventType = EventType.DEFER) -> Event:
        return make_event(
            type=kind,
            attempt_number=number,
            message_id="q1",
            event_id=f"{number}",
            occurred_at=NOON - timedelta(minutes=minute),
        )

    events = [attempt(1, 10), attempt(2, 6), attempt(3, 2)]
    record_batch(source, events, now=NOON)
    assert totals() == (0, 0, 3, 2, 0)
    record_batch(source, [attempt(4, 1, EventType.DELIVERY)], now=NOON)
    assert totals() == (1, 0, 3, 3, 0)


@pytest.mark.parametrize("order", [(0, 1, 2, 3), (3, 2, 1, 0), (3, 0, 2, 1), (2, 3, 0, 1)])
def test_the_order_of_attempts_does_not_matter(source: Source, make_event: Make, order: tuple[int, ...]) -> None:
    kinds = [EventType.DEFER, EventType.DEFER, EventType.DEFER, EventType.DELIVERY]
    events = [
        make_event(
            type=kind,
            attempt_number=number + 1,
            message_id="q1",
            event_id=str(number),
            occurred_at=NOON - timedelta(minutes=9 - number),
        )
        for number, kind in enumerate(kinds)
    ]
    for position in order:
        record_batch(source, [events[position]], now=NOON)
    cells = sorted(TrafficMinute.objects.values_list("bucket", *MEASURES))
    assert [row[1:] for row in cells] == [(0, 0, 1, 1, 0)] * 3 + [(1, 0, 0, 0, 0)]
    assert MessageState.objects.get().final


def test_untracked_deferrals_count_as_attempts(source: Source, make_event: Make) -> None:
    record_batch(source, [make_event(type=EventType.DEFER, event_id=str(number)) for number in range(3)], now=NOON)
    assert totals() == (0, 0, 3, 0, 0)


def test_recipients_are_kept_as_the_operator_chose(source: Source, make_event: Make, settings: Any) -> None:
    bounce = {"type": EventType.BOUNCE, "reply": "550 <Someone@gmail.com> unknown", "recipient": "someone@gmail.com"}
    record_batch(source, [make_event(event_id="1"), make_event(event_id="2", **bounce)], now=NOON)
    assert list(SendingEvent.objects.order_by("event_id").values_list("recipient", flat=True)) == [
        "",
        "someone@gmail.com",
    ]
    settings.RECIPIENTS_OF_FAILURES = "hashed"
    record_batch(source, [make_event(event_id="3", **bounce)], now=NOON)
    hashed = SendingEvent.objects.get(event_id="3")
    assert len(hashed.recipient) == 64
    assert hashed.reply == "550 <[recipient]> unknown"
