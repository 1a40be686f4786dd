"""The counters of one sender over time: the same sums at every resolution, before, amid and after a roll-up."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from telemetry.counters import roll_up
from telemetry.domain.cells import floor_day, floor_hour, floor_minute
from telemetry.domain.event import Event
from telemetry.domain.vocab import EventType
from telemetry.ingest import record_batch
from telemetry.models import Source, TrafficMinute
from telemetry.queries_over_time import Level, sender_counters, sources_that_deliver
from tests.conftest import NOON

pytestmark = pytest.mark.django_db
Make = Callable[..., Event]
IP, OTHER, DOMAIN = "192.0.2.10", "192.0.2.11", "good.example"
NOW = NOON + timedelta(minutes=37, seconds=20)
END = floor_minute(NOW) + timedelta(minutes=1)
FLOORS = {Level.MINUTE: floor_minute, Level.HOUR: floor_hour, Level.DAY: floor_day}
AGES = (0, 1, 40, 75, 300, 1500, 2800)  # minutes


def record(source: Source, make: Make, ages: tuple[int, ...] = AGES, **fields: object) -> None:
    """One delivery by each of two IPs and one bounce, at each age; and the neighbour's mail beside them."""
    events = []
    for age in ages:
        at = NOW - timedelta(minutes=age)
        kind = {"occurred_at": at, **fields}
        refused = {"type": EventType.BOUNCE, "smtp_code": 550, "enhanced_code": "5.7.1"}
        events += [
            make(event_id=f"{age}a{fields}", **kind),
            make(event_id=f"{age}b{fields}", **kind, sending_ip=OTHER),
            make(event_id=f"{age}c{fields}", **{**kind, "recipient_domain": "outlook.com"}, **refused),
            make(event_id=f"{age}d{fields}", occurred_at=at, sending_ip="192.0.2.99", sending_domain="other.example"),
        ]
    record_batch(source, events, now=NOW)


def start_of(level: Level, age: int) -> datetime:
    return FLOORS[level](NOW - timedelta(minutes=age))


@pytest.mark.parametrize("rolled", [None, 90, 5, 0])
@pytest.mark.parametrize(("kind", "name", "delivered"), [("ip", IP, 1), ("domain", DOMAIN, 2)])
@pytest.mark.parametrize(("level", "age"), [(Level.MINUTE, 59), (Level.HOUR, 1500), (Level.DAY, 2800)])
def test_sums_are_the_same_wherever_the_roll_up_is(
    source: Source, make_event: Make, level: Level, age: int, kind: str, name: str, delivered: int, rolled: int | None
) -> None:
    record(source, make_event)
    if rolled is not None:
        roll_up(now=NOW - timedelta(minutes=rolled))
    start = start_of(level, age)
    counters = sender_counters(kind, name, level, start=start, end=END)
    times = sum(NOW - timedelta(minutes=at) >= start for at in AGES)
    by_bucket = counters.by_bucket()
    assert sum(sums.outcomes.delivered for sums in by_bucket.values()) == times * delivered
    assert sum(sums.outcomes.bounced for sums in by_bucket.values()) == times
    assert counters.refusals(("provider", "code")) == {("microsoft_consumer", "5.7.1"): times}
    assert {provider for provider, _ in counters.by_provider()} == {"google", "microsoft_consumer"}
    at_google = counters.by_bucket("google").values()
    assert sum(sums.outcomes.delivered for sums in at_google) == times * delivered
    assert sum(sums.outcomes.bounced for sums in at_google) == 0
    assert sum(sums.overall.bounced for sums in at_google) == times


def test_an_ip_that_began_to_send_a_domain_since_the_roll_up_counts(source: Source, make_event: Make) -> None:
    record(source, make_event, ages=(30,))
    roll_up(now=NOW)
    record_batch(source, [make_event(event_id="new", occurred_at=NOW, sending_ip="192.0.2.200")], now=NOW)
    counters = sender_counters("domain", DOMAIN, Level.MINUTE, start=start_of(Level.MINUTE, 59), end=END)
    assert sum(sums.outcomes.delivered for sums in counters.by_bucket().values()) == 3


@pytest.mark.parametrize(("level", "age"), [(Level.HOUR, 1500), (Level.DAY, 2800)])
def test_a_roll_up_between_two_statements_counts_nothing_twice(
    source: Source, make_event: Make, level: Level, age: int
) -> None:
    record(source, make_event)
    roll_up(now=NOW - timedelta(minutes=20))
    counters = sender_counters("domain", DOMAIN, level, start=start_of(level, age), end=END)
    before = sum(sums.outcomes.delivered for sums in counters.by_bucket().values())
    roll_up(now=NOW + timedelta(minutes=5))
    assert sum(sums.outcomes.delivered for sums in counters.by_bucket().values()) == before


def test_days_outlive_their_minutes(source: Source, make_event: Make) -> None:
    record(source, make_event)
    roll_up(now=NOW)
    TrafficMinute.objects.filter(bucket__lt=NOW - timedelta(hours=2)).delete()
    counters = sender_counters("domain", DOMAIN, Level.DAY, start=start_of(Level.DAY, 2800), end=END)
    assert sum(sums.outcomes.delivered for sums in counters.by_bucket().values()) == 2 * len(AGES)


@pytest.mark.parametrize("level", list(Level))
@pytest.mark.parametrize(("kind", "name"), [("ip", IP), ("domain", DOMAIN)])
def test_more_mail_costs_no_more_queries(source: Source, make_event: Make, kind: str, name: str, level: Level) -> None:
    def queries() -> int:
        with CaptureQueriesContext(connection) as seen:
            counters = sender_counters(kind, name, level, start=start_of(level, 59), end=END)
            counters.by_bucket("google")
            counters.by_provider()
            counters.refusals(("code",))
        return len(seen)

    record(source, make_event, ages=(30,))
    roll_up(now=NOW - timedelta(minutes=5))
    few = queries()
    record(source, make_event, ages=(0, 1, 2, 40, 50), sending_domain=DOMAIN)
    for number in range(5):
        other = Source.objects.create(name=f"mta-x{number}", kind="generic")
        record(other, make_event, ages=(10, 0), sending_domain=DOMAIN, message_id=str(number))
    assert queries() == few


def test_who_delivers_is_told_by_ip_or_by_anybody(source: Source, make_event: Make) -> None:
    silent = Source.objects.create(name="silent", kind="generic")
    record_batch(source, [make_event(event_id="d", occurred_at=NOW - timedelta(hours=20))], now=NOW)
    sources = [source.pk, silent.pk]
    for _ in range(2):
        since = NOW - timedelta(hours=24)
        assert sources_that_deliver(sources, since=since) == {source.pk}
        assert sources_that_deliver(sources, since=since, ip=IP) == {source.pk}
        assert sources_that_deliver(sources, since=since, ip=OTHER) == set()
        roll_up(now=NOW)
    assert sources_that_deliver(sources, since=NOW - timedelta(hours=2)) == set()
