"""Day partitions of the raw events: ingest never fails for want of one, and what people read does not change.

Every claim holds on SQLite too, where the table is plain; what only PostgreSQL has is asked for on top.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import psycopg
import pytest
from django.core.checks import run_checks
from django.db import connection
from django.utils import timezone

from telemetry import partitions, sql
from telemetry.checks import tomorrows_partition
from telemetry.domain.cells import floor_day
from telemetry.domain.clean import FUTURE_TOLERANCE, moment, received_from
from telemetry.domain.event import Event
from telemetry.domain.vocab import EventType
from telemetry.ingest import record_batch
from telemetry.models import SendingEvent, Source
from telemetry.queries import failures
from telemetry.retention import clean_up
from tests.conftest import NOON

pytestmark = pytest.mark.django_db
Make = Callable[..., Event]
DAY = timedelta(days=1)
KINDS = (EventType.DELIVERY, EventType.DEFER, EventType.BOUNCE, EventType.COMPLAINT)


def partitioned() -> bool:
    """Whether this run has partitions; on PostgreSQL it must."""
    found = sql.are_partitioned()
    assert found == (connection.vendor == "postgresql")
    return found


def tables() -> set[str]:
    """What the partitions with bounds are made of, without the common beginning of their names."""
    found = sql.parts() if partitioned() else []
    names = {part.name for part in found} | {part.leaf(kind) for part in found for kind in part.leaves}
    return {name.removeprefix("telemetry_sendingevent_") for name in names}


def where(event_id: str) -> str:
    """The table in which an event lies."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT tableoid::regclass::text FROM telemetry_sendingevent WHERE event_id = %s", [event_id])
        return str(cursor.fetchone()[0]).removeprefix("telemetry_sendingevent_")


def store(source: Source, make_event: Make, now: datetime, mark: str = "") -> None:
    """One event of each kind."""
    events = [make_event(type=kind, event_id=f"{mark}{kind}", smtp_code=550, occurred_at=now) for kind in KINDS]
    record_batch(source, events, now=now)


def kinds() -> list[str]:
    """The types of all stored events."""
    return sorted(SendingEvent.objects.values_list("type", flat=True))


def test_a_week_ahead_is_made_once(source: Source) -> None:
    far = NOON + 400 * DAY
    made = partitions.create_ahead(now=far)
    assert made == (8 if partitioned() else 0)
    assert partitions.create_ahead(now=far) == 0
    if partitioned():
        assert {"d20271225", "d20271225_passing", "d20271225_failing", "d20280101"} <= tables()


def test_an_event_without_a_partition_is_taken_found_and_moved_to_its_day_later(
    source: Source, make_event: Make
) -> None:
    past = NOON - 300 * DAY
    store(source, make_event, past)
    assert kinds() == sorted(KINDS)
    if partitioned():
        assert {where(kind) for kind in KINDS} == {"rest"}
    before = list(SendingEvent.objects.order_by("id").values())
    partitions.create_ahead(now=NOON)
    if partitioned():
        assert where("delivery") == where("defer") == "d20260124_passing"
        assert where("bounce") == where("complaint") == "d20260124_failing"
    assert list(SendingEvent.objects.order_by("id").values()) == before


def test_more_than_may_move_at_once_stay_where_they_are(
    source: Source, make_event: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(partitions, "MOST_MOVED", 3)
    store(source, make_event, NOON - 300 * DAY)
    partitions.create_ahead(now=NOON)
    assert "d20260124" not in tables()
    assert kinds() == sorted(KINDS)
    clean_up(now=NOON)
    assert kinds() == [], "what lies in the default goes in batches"


def test_a_day_goes_as_a_whole_deliveries_before_failures(source: Source, make_event: Make) -> None:
    midnight = floor_day(NOON)
    partitions.create_ahead(now=NOON - 2 * DAY)
    store(source, make_event, NOON)
    removed = clean_up(now=midnight + 31 * DAY - timedelta(seconds=1))
    assert kinds() == (sorted(KINDS) if partitioned() else ["bounce", "complaint"]), "up to a day longer"

    removed = clean_up(now=midnight + 31 * DAY)
    assert removed["events_passing"] == (2 if partitioned() else 0)
    assert kinds() == ["bounce", "complaint"]
    if partitioned():
        assert tables() & {"d20261120", "d20261120_passing", "d20261120_failing"} == {"d20261120", "d20261120_failing"}

    removed = clean_up(now=midnight + 91 * DAY)
    assert removed["events_failing"] == 2
    assert kinds() == []
    assert not tables() & {"d20261120", "d20261120_failing"}


def test_failures_may_go_before_deliveries(source: Source, make_event: Make) -> None:
    from telemetry.models import RetentionPolicy

    RetentionPolicy.objects.filter(pk="events_failing").update(keep=DAY)
    partitions.create_ahead(now=NOON - 2 * DAY)
    store(source, make_event, NOON)
    assert clean_up(now=NOON + 3 * DAY)["events_failing"] == 2
    assert kinds() == ["defer", "delivery"]
    store(source, make_event, NOON, "again")
    assert len(kinds()) == 6


def test_a_day_whose_deliveries_are_gone_still_takes_what_a_wrong_clock_dates(source: Source, make_event: Make) -> None:
    partitions.create_ahead(now=NOON - 2 * DAY)
    store(source, make_event, NOON)
    clean_up(now=NOON + 40 * DAY)
    store(source, make_event, NOON, "again")
    assert len(kinds()) == 6
    clean_up(now=NOON + 100 * DAY)
    assert kinds() == []


def test_a_table_of_an_older_version_is_cleaned_up_row_by_row_and_dropped_at_its_end(
    source: Source, make_event: Make
) -> None:
    if partitioned():
        with connection.cursor() as cursor:
            cursor.execute(
                "CREATE TABLE telemetry_sendingevent_until_20260301 (LIKE telemetry_sendingevent INCLUDING DEFAULTS)"
            )
            cursor.execute(
                "ALTER TABLE telemetry_sendingevent ATTACH PARTITION telemetry_sendingevent_until_20260301 "
                "FOR VALUES FROM (MINVALUE) TO ('2026-03-01T00:00:00Z')"
            )
    last = datetime.fromisoformat("2026-02-28T12:00:00+00:00")
    for days in range(3):
        store(source, make_event, last - 20 * days * DAY, str(days))
    if partitioned():
        assert {where(f"{days}delivery") for days in range(3)} == {"until_20260301"}
        assert not partitions._covered(datetime.fromisoformat("2026-03-01T00:00:00+00:00"), sql.parts())
    removed = clean_up(now=last + 32 * DAY)
    assert (removed["events_passing"], removed["events_failing"]) == (6, 0)
    removed = clean_up(now=last + 60 * DAY)
    assert (removed["events_passing"], removed["events_failing"]) == (0, 2)
    removed = clean_up(now=last + 100 * DAY)
    assert (removed["events_passing"], removed["events_failing"]) == (0, 4)
    assert "until_20260301" not in tables()


def test_looking_at_the_last_day_opens_the_last_days_partitions_only(source: Source, make_event: Make) -> None:
    for days in (40, 20, 0):
        partitions.create_ahead(now=NOON - days * DAY)
    store(source, make_event, NOON)
    rows = failures(start=NOON - DAY, end=NOON + DAY, sending_ip="192.0.2.10")
    assert len(rows) == 3
    if partitioned():
        plan = rows.explain()
        assert "d20261120_failing" in plan
        assert not {name for name in tables() if name < "d20261119" and name in plan}


@pytest.mark.parametrize("ahead", [timedelta(0), FUTURE_TOLERANCE, FUTURE_TOLERANCE + timedelta(seconds=1), 9 * DAY])
def test_no_event_is_received_earlier_than_its_readers_look(ahead: timedelta) -> None:
    occurred_at, _ = moment(NOON + ahead, "time", now=NOON)
    assert received_from(occurred_at) <= NOON


def test_a_missing_tomorrow_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not partitions.missing(now=timezone.now())
    assert tomorrows_partition(databases=["default"]) == []
    assert not [message for message in run_checks(databases=["default"]) if message.id == "good_standing.W005"]
    assert partitions.missing(now=NOON + 400 * DAY) == partitioned()
    monkeypatch.setattr(timezone, "now", lambda: NOON + 400 * DAY)
    found = [message.id for message in tomorrows_partition(databases=["default"])]
    assert found == (["good_standing.W005"] if partitioned() else [])
    assert tomorrows_partition(databases=None) == []


@pytest.mark.django_db(transaction=True)
def test_who_reads_all_day_keeps_neither_ingest_nor_the_rest_of_the_clean_up_waiting(
    source: Source, make_event: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    partitions.create_ahead(now=NOON - 2 * DAY)
    store(source, make_event, NOON)
    monkeypatch.setattr(partitions, "TRIES", 2)
    monkeypatch.setattr(partitions, "PAUSE_SECONDS", 0.0)
    if not partitioned():
        clean_up(now=NOON + 100 * DAY)
        assert kinds() == []
        return
    with psycopg.connect(**_parameters()) as reader:
        reader.execute("SELECT count(*) FROM telemetry_sendingevent")
        removed = clean_up(now=NOON + 100 * DAY)
        assert removed["events_passing"] == 0
        assert removed["receipts"] == 4
        partitions.create_ahead(now=NOON + 500 * DAY)
        store(source, make_event, NOON, "again")
        assert len(kinds()) == 8
        reader.rollback()
        assert clean_up(now=NOON + 100 * DAY)["events_passing"] == 4
    assert kinds() == []


@pytest.mark.django_db(transaction=True)
def test_a_day_gets_its_partition_when_nobody_writes_into_it(
    source: Source, make_event: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    past = NOON - 300 * DAY
    monkeypatch.setattr(partitions, "TRIES", 2)
    monkeypatch.setattr(partitions, "PAUSE_SECONDS", 0.0)
    store(source, make_event, past, "first")
    if partitioned():
        with psycopg.connect(**_parameters()) as writer:
            writer.execute("LOCK TABLE telemetry_sendingevent_rest IN ROW EXCLUSIVE MODE")  # as an INSERT does
            partitions.create_ahead(now=NOON)
            assert where("firstbounce") == "rest", "it waits for writers, but for a moment only"
    partitions.create_ahead(now=NOON)
    assert kinds() == sorted(KINDS)
    if partitioned():
        assert where("firstbounce") == "d20260124_failing"


def test_the_models_own_key_is_enough(source: Source, make_event: Make) -> None:
    store(source, make_event, NOON)
    row = SendingEvent.objects.get(type="bounce")
    row.cause = "policy"
    row.save()
    assert SendingEvent.objects.get(pk=row.pk).cause == "policy"
    assert SendingEvent.objects.filter(pk=row.pk).delete()[0] == 1
    made = SendingEvent.objects.create(source=source, type="bounce", occurred_at=NOON, received_at=NOON, provider="x")
    assert made.pk > row.pk


def _parameters() -> dict[str, Any]:
    settings = connection.settings_dict
    return {
        "host": settings["HOST"],
        "port": settings["PORT"],
        "user": settings["USER"],
        "password": settings["PASSWORD"],
        "dbname": settings["NAME"],
    }
