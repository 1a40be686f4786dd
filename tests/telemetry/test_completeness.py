"""Servers' own counters beside what arrived: real pages on loopback, restarts, outages and hostile answers."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.db import connections
from django.test import Client

from telemetry import completeness
from telemetry.completeness import tick
from telemetry.completeness_lines import by_day, by_hour, last_day
from telemetry.domain.event import Event
from telemetry.domain.vocab import EventType
from telemetry.ingest import record_batch
from telemetry.models import CompletenessReading, MetricsWatch, Source
from telemetry.tasks import compare_with_servers
from telemetry.tokens import issue_api_token
from tests.telemetry.metrics_page import Page, reply, served

pytestmark = pytest.mark.django_db
Make = Callable[..., Event]
NOON = datetime.fromisoformat("2026-11-20T12:00:02+00:00")
MINUTE = timedelta(minutes=1)
IP = "192.0.2.10"


@pytest.fixture
def page(settings: Any) -> Iterator[Page]:
    settings.ALLOW_PRIVATE_URLS = True
    with served() as page:
        yield page


@pytest.fixture
def stalwart(db: Any, page: Page) -> Source:
    return Source.objects.create(name="mail-1", kind="stalwart", metrics_url=page.url)


def arrive(
    source: Source, make: Make, at: datetime, *, delivered: int = 0, bounced: int = 0, deferred: int = 0
) -> None:
    kinds = [EventType.DELIVERY] * delivered + [EventType.BOUNCE] * bounced + [EventType.DEFER] * deferred
    events = [
        make(type=kind, occurred_at=at, event_id=f"{at}-{index}", smtp_code=250 if kind == "delivery" else 550)
        for index, kind in enumerate(kinds)
    ]
    record_batch(source, events, now=at)


def told() -> list[tuple[int, int, int, int, int]]:
    """Every reading as (server delivered, refused, bounced, arrived delivered, failed), oldest first."""
    names = ("server_delivered", "server_refused", "server_bounced", "arrived_delivered", "arrived_failed")
    return list(CompletenessReading.objects.order_by("start").values_list(*names))


def test_the_first_reading_is_the_baseline_and_the_next_ones_tell_the_increase(
    stalwart: Source, page: Page, make_event: Make
) -> None:
    page.shows(delivered=1000, rcpt_to_rejected=50)
    assert tick(now=NOON) == {"read": 1, "failed": 0}
    assert told() == []
    page.shows(delivered=1010, rcpt_to_rejected=52, message_rejected=1, dsn_perm_fail=1)
    arrive(stalwart, make_event, NOON + timedelta(seconds=20), delivered=9, bounced=1, deferred=2)
    tick(now=NOON + MINUTE)
    assert told() == [(10, 3, 1, 9, 3)]
    tick(now=NOON + 2 * MINUTE)
    assert told()[1:] == [(0, 0, 0, 0, 0)]
    reading = CompletenessReading.objects.earliest("start")
    assert (reading.start, reading.end) == (NOON.replace(second=0), NOON.replace(second=0) + MINUTE)


def test_what_arrives_late_is_counted_to_its_minute(stalwart: Source, page: Page, make_event: Make) -> None:
    tick(now=NOON)
    page.shows(delivered=10)
    arrive(stalwart, make_event, NOON + timedelta(seconds=20), delivered=7)
    tick(now=NOON + MINUTE)
    arrive(stalwart, make_event, NOON + timedelta(seconds=30), delivered=2)
    tick(now=NOON + 2 * MINUTE)
    assert told()[0] == (10, 0, 0, 9, 0)
    lost = by_hour(stalwart.pk, now=NOON + 10 * MINUTE)[0]
    assert (lost.delivered_share, lost.missing) == (0.9, 1)
    # Hours later a log that lay there after an outage is read: the long look back finds it.
    arrive(stalwart, make_event, NOON + timedelta(seconds=40), delivered=1)
    tick(now=NOON + 5 * 60 * MINUTE)
    assert told()[0] == (10, 0, 0, 10, 0)


def test_events_of_another_source_are_not_this_servers(
    stalwart: Source, source: Source, page: Page, make_event: Make
) -> None:
    tick(now=NOON)
    page.shows(delivered=5)
    arrive(source, make_event, NOON + timedelta(seconds=5), delivered=5)
    tick(now=NOON + MINUTE)
    assert told() == [(5, 0, 0, 0, 0)]


def test_a_restart_counts_from_zero_and_is_marked(stalwart: Source, page: Page) -> None:
    page.shows(delivered=4_294_967_290, rcpt_to_rejected=9)
    tick(now=NOON)
    page.shows(delivered=4)
    tick(now=NOON + MINUTE)
    page.shows(delivered=6)
    tick(now=NOON + 2 * MINUTE)
    assert [row[0] for row in told()] == [4, 2]
    assert list(CompletenessReading.objects.order_by("start").values_list("restarted", flat=True)) == [True, False]


def test_an_outage_of_the_page_loses_no_count(stalwart: Source, page: Page) -> None:
    tick(now=NOON)
    page.answer = lambda handler: reply(handler, 500, b"no")
    page.shows(delivered=3)
    for minute in (1, 2):
        assert tick(now=NOON + minute * MINUTE) == {"read": 0, "failed": 1}
    watch = MetricsWatch.objects.get()
    assert (watch.failures, watch.error) == (2, "The page answered 500.")
    page.answer = None
    page.shows(delivered=5)
    tick(now=NOON + 3 * MINUTE)
    assert told() == [(5, 0, 0, 0, 0)]
    reading = CompletenessReading.objects.get()
    assert reading.end - reading.start == 3 * MINUTE
    watch.refresh_from_db()
    assert (watch.failures, watch.error) == (0, "")


def test_after_hours_without_a_page_the_comparison_begins_anew(stalwart: Source, page: Page) -> None:
    tick(now=NOON)
    page.shows(delivered=500)
    tick(now=NOON + timedelta(hours=3))
    assert told() == []
    page.shows(delivered=501)
    tick(now=NOON + timedelta(hours=3) + MINUTE)
    assert told() == [(1, 0, 0, 0, 0)]


def test_another_page_is_another_baseline(stalwart: Source, page: Page) -> None:
    page.shows(delivered=10)
    tick(now=NOON)
    stalwart.metrics_url = page.url + "?node=2"
    stalwart.save()
    page.shows(delivered=900)
    tick(now=NOON + MINUTE)
    assert told() == []


def test_a_tick_that_comes_twice_changes_nothing(stalwart: Source, page: Page) -> None:
    tick(now=NOON)
    page.shows(delivered=10)
    tick(now=NOON + MINUTE)
    page.shows(delivered=15)
    tick(now=NOON + MINUTE + timedelta(seconds=30))
    assert told() == [(10, 0, 0, 0, 0)]
    tick(now=NOON + 2 * MINUTE)
    assert told() == [(10, 0, 0, 0, 0), (5, 0, 0, 0, 0)]


@pytest.mark.django_db(transaction=True)
def test_two_workers_at_once_count_an_increase_once(stalwart: Source, page: Page) -> None:
    tick(now=NOON)
    page.shows(delivered=10)

    def work(_: int) -> None:
        try:
            tick(now=NOON + MINUTE)
        finally:
            connections.close_all()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(4)))
    assert told() == [(10, 0, 0, 0, 0)]


def test_one_broken_page_does_not_keep_the_others_from_being_read(stalwart: Source, page: Page) -> None:
    Source.objects.create(name="gone", kind="stalwart", metrics_url="http://127.0.0.1:1/metrics")
    Source.objects.create(name="off", kind="stalwart", metrics_url=page.url, is_active=False)
    assert tick(now=NOON) == {"read": 1, "failed": 1}
    assert set(MetricsWatch.objects.exclude(error="").values_list("source__name", flat=True)) == {"gone"}


def test_the_task_takes_its_turn(stalwart: Source, page: Page) -> None:
    compare_with_servers()
    assert MetricsWatch.objects.get().read_at is not None


def test_the_login_is_sent_kept_sealed_and_never_part_of_the_address(stalwart: Source, page: Page) -> None:
    stalwart.metrics_login = "prometheus:s3cret"
    stalwart.save()
    tick(now=NOON)
    assert base64.b64decode(page.asked[-1]["Authorization"].removeprefix("Basic ")) == b"prometheus:s3cret"
    assert "s3cret" not in Source.objects.get(pk=stalwart.pk).metrics_login_sealed
    stalwart.metrics_url = "http://prometheus:s3cret@127.0.0.1/"
    with pytest.raises(ValidationError, match="own field"):
        stalwart.full_clean()


@pytest.mark.parametrize("body", [b"<html>log in</html>", b"\xff\xfe\x00", b"delivery_delivered -1"])
def test_a_page_that_is_no_metrics_page_moves_nothing(stalwart: Source, page: Page, body: bytes) -> None:
    page.shows(delivered=10)
    tick(now=NOON)
    page.answer = lambda handler: reply(handler, 200, body)
    assert tick(now=NOON + MINUTE)["failed"] == 1
    assert "line 1" in MetricsWatch.objects.get().error
    assert MetricsWatch.objects.get().values == {"delivery_delivered": 10}


# --- reading it --------------------------------------------------------------------------------------------------


def test_hours_and_days_add_up_and_old_readings_are_folded(
    stalwart: Source, page: Page, make_event: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    for minute in range(91):
        page.shows(delivered=10 * minute)
        at = NOON + minute * MINUTE
        arrive(stalwart, make_event, at, delivered=9)
        tick(now=at)
    then = NOON + timedelta(hours=2)
    hours = by_hour(stalwart.pk, now=then)
    assert [(line.start.hour, line.server_delivered, line.arrived_delivered) for line in hours] == [
        (13, 300, 270),
        (12, 600, 540),
    ]
    day = last_day([stalwart.pk], now=then)[stalwart.pk]
    assert (day.server_delivered, day.arrived_delivered, day.delivered_share) == (900, 810, 0.9)
    before = by_day(stalwart.pk, now=then)
    assert CompletenessReading.objects.count() == 90
    tick(now=NOON + timedelta(hours=30))
    assert CompletenessReading.objects.filter(is_hour=True).count() == 2
    assert CompletenessReading.objects.count() == 2
    assert by_day(stalwart.pk, now=then + timedelta(hours=28)) == before
    tick(now=NOON + timedelta(days=91))
    assert not CompletenessReading.objects.exists(), "kept as long as reported volumes are"


def test_what_may_still_be_on_its_way_is_not_called_lost(stalwart: Source, page: Page) -> None:
    tick(now=NOON)
    page.shows(delivered=10)
    tick(now=NOON + MINUTE)
    assert last_day([stalwart.pk], now=NOON + 2 * MINUTE) == {}
    assert by_hour(stalwart.pk, now=NOON + 7 * MINUTE)[0].missing == 10


def test_the_api_tells_it(client: Client, stalwart: Source, page: Page, make_event: Make, monkeypatch: Any) -> None:
    monkeypatch.setattr("django.utils.timezone.now", lambda: NOON + 10 * MINUTE)
    tick(now=NOON)
    page.shows(delivered=1000, rcpt_to_rejected=4)
    arrive(stalwart, make_event, NOON + timedelta(seconds=9), delivered=992, bounced=4)
    tick(now=NOON + MINUTE)
    reader = User.objects.create_user("vera", is_staff=True)
    headers = {"Authorization": f"Bearer {issue_api_token(reader)}"}
    answer = client.get(f"/api/sources/{stalwart.pk}/completeness", headers=headers)
    assert answer.status_code == 200
    told = answer.json()
    assert (told["watched"], told["error"], told["volume_ip"]) == (True, "", None)
    assert told["hours"] == told["days"] == [told["last_24_hours"]]
    assert told["hours"][0] == {
        "from": "2026-11-20T12:00:00Z",
        "to": "2026-11-20T12:01:00Z",
        "server_delivered": 1000,
        "arrived_delivered": 992,
        "delivered_share": 0.992,
        "missing": 8,
        "server_refused": 4,
        "server_bounced": 0,
        "arrived_failed": 4,
        "restarted": False,
    }
    assert client.get("/api/sources/99999/completeness", headers=headers).status_code == 404
    assert client.get(f"/api/sources/{stalwart.pk}/completeness").status_code == 401


def test_reading_takes_a_fixed_number_of_queries(
    page: Page, db: Any, django_assert_max_num_queries: Any, make_event: Make
) -> None:
    for number in range(3):
        Source.objects.create(name=f"m{number}", kind="stalwart", metrics_url=f"{page.url}?{number}")
    tick(now=NOON)
    with django_assert_max_num_queries(8):
        completeness._count_arrived(list(Source.objects.values_list("pk", flat=True)), timedelta(hours=1), NOON)
