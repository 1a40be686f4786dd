"""Who warms up is on the overview and on the pages of the sender, with how far it is."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from dashboard.pages.overview import fleet
from dashboard.pages.warmups import ON_OVERVIEW_SHOWN
from reputation import warmups
from reputation.domain.warmup import Schedule, Unit
from reputation.domain.warmup_policy import State, Step
from reputation.scores import score_senders
from reputation.standing import score_ips
from reputation.warmup_acts import cancel, start
from reputation.warmup_moves import Change, Plan, begin
from telemetry.domain.event import Event
from telemetry.models import Source
from tests.dashboard.test_browser import browser, log_in
from tests.reputation.test_breakers import DOMAIN, IP, Traffic

pytestmark = pytest.mark.django_db
SCHEDULE = Schedule((100, 1000, 2000))


@pytest.fixture
def page(client: Client, operator: User) -> Callable[[str], str]:
    client.force_login(operator)

    def read(url: str) -> str:
        response = client.get(url)
        assert response.status_code == 200
        return re.sub(r"\s+", " ", response.content.decode())

    return read


@pytest.fixture
def traffic(source: Source, make_event: Callable[..., Event]) -> Traffic:
    now = timezone.now()
    sends = Traffic(source, make_event)
    sends.record(60, now)
    score_ips(now=now)
    score_senders(now=now)
    return sends


def propose(sender: str, kind: Any = "domain") -> None:
    change = Change(Step.PROPOSED, "It had sent nothing for 30 days.", State.PROPOSED, 1, plan=Plan(SCHEDULE, "UTC"))
    assert begin(kind, sender, change, now=timezone.now(), found="idle_domain") is not None


def test_without_warm_ups_the_pages_say_so(page: Any, traffic: Traffic) -> None:
    assert "New sending IPs and cold domains are looked for daily" in page("/")
    assert "It never warmed up here" in page(f"/ips/{IP}/")
    assert "It never warmed up here" in page(f"/domains/{DOMAIN}/")


def test_progress_is_shown_with_the_window_and_the_days_behind(page: Any, traffic: Traffic, operator: User) -> None:
    now = timezone.now()
    row = start("ip", IP, SCHEDULE, reason="a new machine", user=operator, now=now, day=2)
    start("domain", DOMAIN, Schedule((50, 60), Unit.HOUR), reason="a new brand", user=operator, now=now)
    for url in ("/", "/overview/fleet", f"/ips/{IP}/"):
        shown = page(url)
        assert "Day 2 of 3: <b>60</b> of 1 000 used" in shown
        assert "a new machine" in shown
    assert "<b>60</b> of 50 used this hour" in page(f"/domains/{DOMAIN}/")
    warmups.tick(now=now + timedelta(days=1, minutes=10))
    shown = page(f"/ips/{IP}/")
    assert "healthy, held" in shown
    assert "→ 2" in shown
    cancel(row, reason="sold", user=operator, now=now)
    assert "cancelled" in page(f"/ips/{IP}/")
    assert "Warm-up cancelled" in page(f"/ips/{IP}/")


def test_a_proposal_can_be_confirmed_from_where_it_is_seen(page: Any, traffic: Traffic) -> None:
    propose(DOMAIN)
    for url in ("/", f"/domains/{DOMAIN}/"):
        shown = page(url)
        assert "proposed" in shown
        assert "3 days, from 100 recipients a day" in shown
        link = re.search(r'href="([^"]+)">Confirm', shown)
        assert link is not None
        assert "Confirm the warm-up" in page(link[1])


def test_many_warm_ups_cost_no_more_queries_and_are_cut(traffic: Traffic, operator: User) -> None:
    def queries() -> int:
        with CaptureQueriesContext(connection) as captured:
            shown = fleet(now=timezone.now())
        assert len(shown.warmups) <= ON_OVERVIEW_SHOWN
        return len(captured)

    start("ip", IP, SCHEDULE, reason="x", user=operator, now=timezone.now())
    few = queries()
    for number in range(12):
        propose(f"d{number}.example")
        start("ip", f"198.51.100.{number}", SCHEDULE, reason="x", user=operator, now=timezone.now())
    assert queries() == few
    shown = fleet(now=timezone.now())
    assert shown.more_warmups
    assert all(line.is_running for line in shown.warmups)


@pytest.mark.slow
@pytest.mark.one_database
@pytest.mark.django_db(transaction=True)
def test_a_phone_never_scrolls_sideways(live_server: Any, operator: User, traffic: Traffic, tmp_path: Path) -> None:
    start("ip", IP, Schedule(tuple(range(10**9, 10**9 + 20))), reason="w" * 300, user=operator, now=timezone.now())
    propose(DOMAIN)
    with browser(tmp_path) as driver:
        log_in(driver, live_server.url, operator)
        driver.execute_cdp_cmd(
            "Emulation.setDeviceMetricsOverride", {"width": 360, "height": 740, "deviceScaleFactor": 1, "mobile": True}
        )
        for path in ("/", f"/ips/{IP}/", f"/domains/{DOMAIN}/"):
            driver.get(live_server.url + path)
            driver.execute_script("document.querySelectorAll('details').forEach(entry => { entry.open = true })")
            assert driver.execute_script("return document.documentElement.scrollWidth") == 360
