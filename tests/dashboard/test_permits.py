"""What permits hold back is on the overview, caps are on the pages of the sender, and a pool has a page of its own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from selenium.webdriver.common.by import By

from dashboard.pages.overview import fleet
from dashboard.pages.permits import ON_OVERVIEW_SHOWN, caps_now
from reputation import permits
from reputation.breaker_acts import open_by_hand
from reputation.domain.breaker_policy import Scope
from reputation.domain.permit import Ask
from reputation.domain.warmup import Schedule
from reputation.models import Pool, PoolDomain, SendingIP, SendingPolicy
from reputation.scores import score_senders
from reputation.sending_policies import change_sending_policy, new_policy
from reputation.standing import score_ips
from reputation.warmup_acts import start
from telemetry.domain.event import Event
from telemetry.models import Source
from tests.dashboard.test_browser import browser, log_in
from tests.dashboard.test_pages import text
from tests.reputation.test_breakers import DOMAIN, IP, Traffic

pytestmark = pytest.mark.django_db
OTHER = "2001:db8:1234:5678:9abc:def0:1234:5678"


@pytest.fixture
def page(client: Client, operator: User) -> Callable[[str], str]:
    client.force_login(operator)

    def read(url: str) -> str:
        permits.desk().books.forget()
        return text(client, url)

    return read


@pytest.fixture
def traffic(source: Source, make_event: Callable[..., Event]) -> Traffic:
    now = timezone.now()
    sends = Traffic(source, make_event)
    sends.record(60, now)
    score_ips(now=now)
    score_senders(now=now)
    return sends


def policy(**values: Any) -> None:
    row = SendingPolicy.objects.get(pool__is_default=True)
    change_sending_policy(row, values, user=None, reason="test")


def ask(*asks: Ask) -> None:
    permits.desk().books.forget()
    permits.ask(asks, now=timezone.now())
    permits.desk().write_down()


def test_where_nobody_asks_and_nothing_limits_the_pages_say_so(page: Any, traffic: Traffic) -> None:
    assert "default ○ observes nobody asked" in page("/")
    for url in (f"/ips/{IP}/", f"/domains/{DOMAIN}/"):
        assert "No cap is in force. It leaves by the pool default , which observes" in page(url)


def test_the_overview_tells_what_was_held_back_from_what_would_have_been(
    page: Any, traffic: Traffic, operator: User
) -> None:
    open_by_hand(Scope("domain", DOMAIN), reason="a bought list", user=operator, now=timezone.now())
    ask(Ask(f"x@{DOMAIN}", "a@gmail.com", recipients=12), Ask("x@other.example", "a@gmail.com", recipients=1300))
    shown = page("/overview/fleet")
    assert "default ○ observes 1 312 asked, 12 would have been held back" in shown
    assert "The record of permits" in shown
    policy(mode="enforce")
    ask(Ask(f"x@{DOMAIN}", "a@gmail.com", recipients=5))
    shown = page("/")
    assert "default ● enforces 1 317 asked, 5 held back, 12 would have been held back" in shown
    strict = Pool.objects.create(name="strict")
    change_sending_policy(new_policy(strict), {"mode": "warn"}, user=None, reason="test")
    ask(Ask("x@other.example", "a@gmail.com", pool="strict"))
    assert "strict ◐ warns 1 asked, nothing against any" in page("/")


def test_the_caps_of_a_sender_say_what_is_spent_until_when(page: Any, traffic: Traffic, operator: User) -> None:
    policy(provider_limits_on=True, domain_limit_per_hour=40, mode="enforce")
    start("ip", IP, Schedule((1000, 2000)), reason="a new machine", user=operator, now=timezone.now())
    ask(Ask(f"x@{DOMAIN}", "a@gmail.com", recipients=40, ip=IP))
    shown = page(f"/ips/{IP}/")
    assert "Today 100 of 1 000 by warm-up until" in shown, "60 were sent without asking"
    assert "This hour 40 of 500 at Google" in shown
    assert "This hour 0 of 200 at Yahoo" in shown
    assert "which enforces." in shown
    shown = page(f"/domains/{DOMAIN}/")
    assert "This hour 40 of 40 by its limit: ▲ spent until" in shown


def test_the_page_of_a_pool_says_who_takes_how_much_and_why_one_is_out(
    page: Any, traffic: Traffic, operator: User, client: Client
) -> None:
    pool = Pool.objects.create(name="news", description="Newsletters.")
    SendingIP.objects.update_or_create(ip=IP, defaults={"pool": pool, "weight": 300})
    SendingIP.objects.create(ip=OTHER, pool=pool, label="the new one")
    PoolDomain.objects.create(domain=DOMAIN, pool=pool)
    shown = page(f"/pools/{pool.pk}/")
    assert "By the default pool's sending policy" in shown.replace("&#x27;", "'")
    assert f"{IP} ● healthy takes 75 % : weight 300 (75 % by weight alone)" in shown
    assert f"{OTHER} ● healthy the new one takes 25 %" in shown
    assert DOMAIN in shown
    open_by_hand(Scope("ip", OTHER), reason="a bought list", user=operator, now=timezone.now())
    policy(mode="enforce")
    shown = page(f"/pools/{pool.pk}/")
    assert f"{IP} ● healthy takes 100 % : weight 300 " in shown
    assert "a bought list" in shown
    assert f"{OTHER} ● healthy the new one out : weight 100" in shown
    assert "No sending IP is in this pool" in page(f"/pools/{Pool.objects.get(is_default=True).pk}/")
    assert client.get("/pools/999999/").status_code == 404
    client.logout()
    assert client.get(f"/pools/{pool.pk}/").status_code == 302


def test_many_pools_and_caps_cost_no_more_queries_and_are_cut(traffic: Traffic, operator: User) -> None:
    policy(provider_limits_on=True)

    def queries() -> tuple[int, int]:
        counted = []
        for read in (lambda: fleet(now=timezone.now()), lambda: caps_now("ip", IP, now=timezone.now())):
            permits.desk().books.forget()
            with CaptureQueriesContext(connection) as captured:
                read()
            counted.append(len(captured))
        return counted[0], counted[1]

    ask(Ask(f"x@{DOMAIN}", "a@gmail.com", ip=IP))
    queries()
    few = queries()
    for number in range(ON_OVERVIEW_SHOWN + 3):
        new_policy(Pool.objects.create(name=f"pool{number}"))
        ask(Ask("x@other.example", "a@gmail.com", pool=f"pool{number}"))
        ask(Ask(f"x@{DOMAIN}", provider=f"p{number}.example", ip=IP))
    assert queries() == few
    shown = fleet(now=timezone.now())
    assert (len(shown.pools), shown.more_pools) == (ON_OVERVIEW_SHOWN, True)
    assert shown.pools[0].name == "default"
    assert caps_now("ip", IP, now=timezone.now()).more > 0


@pytest.mark.slow
@pytest.mark.one_database
@pytest.mark.django_db(transaction=True)
def test_a_phone_never_scrolls_sideways_and_scripts_are_not_needed(
    live_server: Any, operator: User, traffic: Traffic, tmp_path: Path
) -> None:
    now = timezone.now()
    pool = Pool.objects.create(name="n" * 100, description="w" * 300)
    SendingIP.objects.update_or_create(ip=IP, defaults={"pool": pool, "label": "l" * 200})
    SendingIP.objects.create(ip=OTHER, pool=pool)
    PoolDomain.objects.create(domain=f"{'d' * 60}.{'e' * 60}.example", pool=pool)
    open_by_hand(Scope("ip", OTHER), reason="w" * 300, user=operator, now=now)
    open_by_hand(Scope("ip", IP, "google"), reason="a block", user=operator, now=now)
    start("ip", IP, Schedule((10**9,)), reason="new", user=operator, now=now)
    policy(provider_limits_on=True, domain_limit_per_hour=10**9)
    ask(Ask(f"x@{DOMAIN}", "a@yahoo.com", recipients=10**6), Ask(f"x@{DOMAIN}", "a@gmail.com", ip=IP))
    paths = ("/", f"/ips/{IP}/", f"/domains/{DOMAIN}/", f"/pools/{pool.pk}/")
    with browser(tmp_path / "phone") as driver:
        log_in(driver, live_server.url, operator)
        driver.execute_cdp_cmd(
            "Emulation.setDeviceMetricsOverride", {"width": 360, "height": 740, "deviceScaleFactor": 1, "mobile": True}
        )
        for path in paths:
            driver.get(live_server.url + path)
            assert driver.execute_script("return document.documentElement.scrollWidth") == 360, path
    with browser(tmp_path / "plain", scripts=False) as driver:
        log_in(driver, live_server.url, operator)
        driver.get(f"{live_server.url}/pools/{pool.pk}/")
        assert "Who takes how much now" in driver.find_element(By.TAG_NAME, "main").text
