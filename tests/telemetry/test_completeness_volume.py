"""The volume of a server that reports failures only, from its own counters: where it is known, and where it is not."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from itertools import pairwise
from typing import Any

import pytest

from telemetry import volumes
from telemetry.completeness import tick
from telemetry.domain.event import Event
from telemetry.domain.vocab import EventType, VolumeReporting
from telemetry.ingest import record_batch
from telemetry.models import CompletenessReading, Source, VolumeReport
from telemetry.queries import ip_windows
from tests.telemetry.metrics_page import Page, served
from tests.telemetry.test_completeness import MINUTE, NOON, arrive

pytestmark = pytest.mark.django_db
Make = Callable[..., Event]
IP = "192.0.2.10"


@pytest.fixture
def page(settings: Any) -> Iterator[Page]:
    settings.ALLOW_PRIVATE_URLS = True
    with served() as page:
        yield page


@pytest.fixture
def failing(db: Any, page: Page) -> Source:
    """A server with one sending IP that reports failures only."""
    return Source.objects.create(
        name="mail-1",
        kind="stalwart",
        metrics_url=page.url,
        volume=VolumeReporting.FAILURES_ONLY,
        ip_map={"node-1": IP},
    )


def run(page: Page, minutes: int, *, per_minute: int = 20, first: int = 0, late: timedelta = timedelta(0)) -> None:
    """So many minutes, each with the same number of deliveries."""
    for minute in range(first, first + minutes + 1):
        page.shows(delivered=1000 + per_minute * minute)
        tick(now=NOON + minute * MINUTE + late)


def test_the_only_sending_ip_of_a_server_gets_its_volume(failing: Source, page: Page, make_event: Make) -> None:
    for minute in range(20):
        arrive(failing, make_event, NOON + minute * MINUTE, bounced=1)
    run(page, 20)
    reports = VolumeReport.objects.order_by("start")
    assert {(str(report.sending_ip), report.sent) for report in reports} == {(IP, 21)}, "20 delivered, one refused"
    assert all(first.end == second.start for first, second in pairwise(reports))
    windows = ip_windows([IP], length=timedelta(minutes=15), now=NOON + 20 * MINUTE)[IP]
    assert windows.current.total_sent is None
    assert windows.covered is not None
    assert (windows.covered.total_sent, windows.covered.total_rejected) == (15 * 21, 15)


def test_volume_of_two_ips_is_never_spread(failing: Source, page: Page, make_event: Make) -> None:
    arrive(failing, make_event, NOON - timedelta(hours=3), bounced=1)
    record_batch(
        failing,
        [make_event(type=EventType.BOUNCE, sending_ip="192.0.2.11", occurred_at=NOON - timedelta(hours=3))],
        now=NOON,
    )
    run(page, 3)
    assert not VolumeReport.objects.exists()
    assert CompletenessReading.objects.count() == 3


def test_mail_under_the_unknown_ip_may_be_another_ips(failing: Source, page: Page, make_event: Make) -> None:
    event = make_event(type=EventType.DEFER, sending_ip="0.0.0.0", occurred_at=NOON)
    record_batch(failing, [event], now=NOON)
    run(page, 2)
    assert VolumeReport.objects.count() == 2, "a deferral there may be a test event"
    event = make_event(type=EventType.BOUNCE, sending_ip="0.0.0.0", occurred_at=NOON + 2 * MINUTE)
    record_batch(failing, [event], now=NOON + 2 * MINUTE)
    run(page, 2, first=3)
    assert VolumeReport.objects.count() == 2


@pytest.mark.parametrize(
    ("volume", "delivers", "known"),
    [("auto", False, True), ("auto", True, False), ("complete", False, False), ("failures_only", True, True)],
)
def test_only_a_source_that_reports_failures_alone_needs_it(
    failing: Source, page: Page, make_event: Make, volume: str, delivers: bool, known: bool
) -> None:
    failing.volume = volume
    failing.save()
    arrive(failing, make_event, NOON - timedelta(hours=2), bounced=1, delivered=int(delivers))
    run(page, 2)
    assert VolumeReport.objects.exists() is known


def test_after_a_restart_no_volume_is_made_up(failing: Source, page: Page) -> None:
    run(page, 2)
    page.shows(delivered=1)
    tick(now=NOON + 3 * MINUTE)
    page.shows(delivered=2)
    tick(now=NOON + 4 * MINUTE)
    stretches = [((row.start - NOON) // MINUTE + 1, row.sent) for row in VolumeReport.objects.order_by("start")]
    assert stretches == [(0, 20), (1, 20), (3, 1)], "the third minute has a gap"


def test_a_reading_in_the_middle_of_a_minute_waits_for_a_full_one(failing: Source, page: Page) -> None:
    run(page, 1)
    run(page, 1, first=2, late=timedelta(seconds=40))
    page.shows(delivered=1000 + 20 * 4)
    tick(now=NOON + 4 * MINUTE)
    assert [row.sent for row in VolumeReport.objects.order_by("start")] == [20, 60]
    assert VolumeReport.objects.latest("start").end == NOON.replace(second=0) + 4 * MINUTE


def test_what_the_operator_reports_comes_first(failing: Source, page: Page) -> None:
    start = NOON.replace(second=0)
    own = volumes.Volume(IP, 7, start, start + 2 * MINUTE)
    volumes.report(failing, [own], now=NOON)
    run(page, 3)
    assert [row.sent for row in VolumeReport.objects.order_by("start")] == [7, 20]
    assert CompletenessReading.objects.count() == 3
