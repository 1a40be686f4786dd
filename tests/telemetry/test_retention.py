"""Clean-up: bounded batches, nothing uncounted deleted, nothing kept too short."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.db import connection

from telemetry import sql
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
    RetentionPolicy,
    SendingEvent,
    Source,
    TrafficDay,
    TrafficHour,
    TrafficMinute,
)
from telemetry.retention import clean_up
from tests.conftest import NOON

pytestmark = pytest.mark.django_db
Make = Callable[..., Event]


def test_each_kind_goes_when_its_time_is_over(source: Source, make_event: Make) -> None:
    for kind in (EventType.DELIVERY, EventType.DEFER, EventType.BOUNCE, EventType.COMPLAINT):
        event = make_event(type=kind, event_id=kind, smtp_code=550, message_id="m", attempt_number=1)
        record_batch(source, [event], now=NOON)
    roll_up(now=NOON + timedelta(minutes=5))

    def left(after: timedelta) -> list[int]:
        clean_up(now=NOON + after)
        tables = (
            SendingEvent,
            Receipt,
            MessageState,
            TrafficMinute,
            RefusalMinute,
            TrafficHour,
            RefusalHour,
            TrafficDay,
            RefusalDay,
        )
        return [table.objects.count() for table in tables]

    assert left(timedelta(hours=47)) == [4, 4, 1, 1, 1, 1, 1, 1, 1]
    assert left(timedelta(hours=49)) == [4, 4, 1, 0, 0, 1, 1, 1, 1]
    assert left(timedelta(days=8)) == [4, 0, 0, 0, 0, 1, 1, 1, 1]
    assert left(timedelta(days=31)) == [2, 0, 0, 0, 0, 1, 1, 1, 1]
    assert left(timedelta(days=91)) == [0, 0, 0, 0, 0, 0, 0, 1, 1]
    assert left(timedelta(days=732)) == [0] * 9


def test_minutes_that_are_in_no_hour_yet_are_never_deleted(source: Source, make_event: Make) -> None:
    record_batch(source, [make_event(event_id="1")], now=NOON)
    clean_up(now=NOON + timedelta(days=5))
    assert TrafficMinute.objects.count() == 1
    roll_up(now=NOON + timedelta(days=5))
    clean_up(now=NOON + timedelta(days=5))
    assert (TrafficMinute.objects.count(), TrafficHour.objects.get().delivered) == (0, 1)


def test_no_statement_deletes_more_than_a_batch(
    source: Source, make_event: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    record_batch(source, [make_event(event_id=str(number)) for number in range(25)], now=NOON)
    gone: dict[str, list[int]] = defaultdict(list)

    def watched(delete: Callable[..., Any]) -> Callable[..., Any]:
        def work(table: str, *arguments: Any) -> Any:
            before = _count(table)
            result = delete(table, *arguments)
            gone[table].append(before - _count(table))
            return result

        return work

    for name in ("delete_some", "delete_in_order", "delete_blocks"):
        monkeypatch.setattr(sql, name, watched(getattr(sql, name)))
    removed = clean_up(now=NOON + timedelta(days=40), batch=10)
    assert removed["events_passing"] == removed["receipts"] == 25
    events = next(counts for table, counts in gone.items() if "event" in table and any(counts))
    for counts in (events, gone["telemetry_receipt"]):
        # How many it takes depends on the pages on which PostgreSQL put the rows.
        assert sum(counts) == 25
        assert 3 <= len([count for count in counts if count]) <= 5
        assert max(counts) == 10
    assert RetentionPolicy.objects.get(pk="events_passing").last_removed == 25


def _count(table: str) -> int:
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT count(*) FROM {table}")
        return int(cursor.fetchone()[0])


def test_an_operators_policy_counts(source: Source, make_event: Make) -> None:
    RetentionPolicy.objects.filter(pk="events_passing").update(keep=timedelta(days=1))
    record_batch(source, [make_event(event_id="1")], now=NOON)
    clean_up(now=NOON + timedelta(days=2))
    assert not SendingEvent.objects.exists()


def test_receipts_may_not_be_kept_shorter_than_the_longest_retry() -> None:
    policy = RetentionPolicy.objects.get(pk="receipts")
    policy.keep = timedelta(days=6)
    with pytest.raises(ValidationError):
        policy.full_clean()


def test_a_roll_up_that_was_away_for_days_catches_up_exactly(source: Source, make_event: Make) -> None:
    moments = [NOON - timedelta(hours=hours, minutes=3) for hours in range(60)]
    record_batch(source, [make_event(event_id=str(at), occurred_at=at) for at in moments], now=NOON)
    roll_up(now=NOON)
    roll_up(now=NOON)
    assert sum(TrafficHour.objects.values_list("delivered", flat=True)) == 60
    assert TrafficHour.objects.count() == 60
    assert sorted(TrafficDay.objects.values_list("delivered", flat=True)) == [12, 24, 24]
