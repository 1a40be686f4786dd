"""The overview in a real browser: it lives by itself, and is readable without scripts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone
from selenium.common.exceptions import WebDriverException
from selenium.webdriver import Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

from reputation.standing import score_ips
from telemetry.domain.event import Event
from telemetry.ingest import record_batch
from telemetry.models import Source
from tests.dashboard.test_pages import BAD, GOOD, bad_day, mail

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.slow, pytest.mark.one_database]
Make = Callable[..., Event]
SWITCHES = (
    "--headless=new --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking"
    " --disable-component-update --disable-sync --disable-dev-shm-usage --window-size=1200,600"
)


def patiently(driver: Chrome, seconds: float) -> WebDriverWait[Chrome]:
    """Wait for a page that exchanges parts of itself: what was found may have gone a moment later.

    The driver calls that now a stale element, now an unknown error of the inspector.
    """
    return WebDriverWait(driver, seconds, ignored_exceptions=[WebDriverException])


@contextmanager
def browser(profile: Path, *, scripts: bool = True, performance: bool = False) -> Iterator[Chrome]:
    """Debian's Chromium with a profile of its own; never another one that a driver manager would fetch.

    With `performance` its log of every request is kept.
    """
    options = ChromeOptions()
    options.binary_location = "/usr/bin/chromium"
    for switch in SWITCHES.split():
        options.add_argument(switch)
    options.add_argument(f"--user-data-dir={profile}")
    if not scripts:
        options.add_experimental_option("prefs", {"profile.managed_default_content_settings.javascript": 2})
    if performance:
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = Chrome(options=options, service=Service("/usr/bin/chromedriver"))
    try:
        yield driver
    finally:
        driver.quit()


def log_in(driver: Chrome, url: str, operator: User) -> None:
    client = Client()
    client.force_login(operator)
    driver.get(f"{url}/healthz")
    driver.add_cookie({"name": settings.SESSION_COOKIE_NAME, "value": client.cookies["sessionid"].value, "path": "/"})


def test_a_new_ip_appears_by_itself_and_the_page_stays_where_it_was(
    live_server: Any, operator: User, source: Source, make_event: Make, tmp_path: Path
) -> None:
    now = timezone.now()
    bad_day(source, make_event, now)
    with browser(tmp_path) as driver:
        log_in(driver, live_server.url, operator)
        driver.get(live_server.url)
        assert BAD in driver.find_element(By.ID, "gs-fleet").text
        driver.execute_script("window.scrollTo(0, 150); window.gsSamePage = true")
        record_batch(source, mail(make_event, now, 10, sending_ip="192.0.2.77"), now=now)
        score_ips(now=now)
        patiently(driver, 15).until(lambda page: "192.0.2.77" in page.find_element(By.ID, "gs-fleet").text)
        assert driver.execute_script("return [window.scrollY, window.gsSamePage]") == [150, True]
        # Somebody is logged out elsewhere: the page does not sit there with former numbers.
        operator.is_active = False
        operator.save()
        patiently(driver, 15).until(lambda page: "/admin/login/" in page.current_url)


@pytest.mark.parametrize(
    ("path", "told"),
    [("/", "■ quarantine"), (f"/ips/{BAD}/", "Take this IP out of rotation"), ("/domains/spam.example/", "90 of 100")],
)
def test_a_phone_never_scrolls_sideways_and_scripts_are_not_needed(
    live_server: Any, operator: User, source: Source, make_event: Make, tmp_path: Path, path: str, told: str
) -> None:
    bad_day(source, make_event, timezone.now())
    with browser(tmp_path / "plain", scripts=False) as driver:
        log_in(driver, live_server.url, operator)
        driver.get(live_server.url + path)
        assert told in driver.find_element(By.TAG_NAME, "main").text
    with browser(tmp_path / "phone") as driver:
        log_in(driver, live_server.url, operator)
        driver.execute_cdp_cmd(
            "Emulation.setDeviceMetricsOverride", {"width": 360, "height": 740, "deviceScaleFactor": 1, "mobile": True}
        )
        driver.get(live_server.url + path)
        assert driver.execute_script("return document.documentElement.scrollWidth") == 360


def test_a_lost_server_is_said(
    live_server: Any, operator: User, source: Source, make_event: Make, tmp_path: Path
) -> None:
    bad_day(source, make_event, timezone.now())
    with browser(tmp_path) as driver:
        log_in(driver, live_server.url, operator)
        driver.get(live_server.url)
        assert GOOD in driver.find_element(By.ID, "gs-fleet").text
        assert not driver.find_element(By.ID, "gs-lost").is_displayed()
        driver.set_network_conditions(offline=True, latency=0, download_throughput=0, upload_throughput=0)
        patiently(driver, 15).until(lambda page: page.find_element(By.ID, "gs-lost").is_displayed())
        driver.set_network_conditions(offline=False, latency=0, download_throughput=-1, upload_throughput=-1)
        patiently(driver, 15).until(lambda page: not page.find_element(By.ID, "gs-lost").is_displayed())
