"""Times in the viewer's zone: rewritten by the script, UTC in the title, UTC for who prefers it or has no scripts."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from django.contrib.auth.models import User
from django.utils import timezone
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By

from telemetry.domain.event import Event
from telemetry.models import Source
from tests.dashboard.test_browser import browser, log_in, patiently
from tests.dashboard.test_pages import BAD, bad_day

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.slow, pytest.mark.one_database]
Make = Callable[..., Event]
# Never UTC, never a whole hour: what is shown cannot be right by chance.
KOLKATA = ZoneInfo("Asia/Kolkata")


def shown(driver: Chrome) -> list[tuple[datetime, str, str]]:
    """Each moment of the page with its text and its title."""
    told = driver.execute_script(
        "return [...document.querySelectorAll('main time')].filter(one => /\\d\\d:\\d\\d/.test(one.textContent))"
        ".map(one => [one.dateTime, one.textContent, one.title])"
    )
    assert told
    return [(datetime.fromisoformat(at), text, title) for at, text, title in told]


def assert_local(driver: Chrome) -> None:
    for at, text, title in shown(driver):
        assert f"{at.astimezone(KOLKATA):%H:%M}" in text, (at, text)
        assert "UTC" not in text
        assert title.startswith(f"{at.astimezone(UTC):%Y-%m-%d %H:%M}")
        assert title.endswith("UTC")


def assert_utc(driver: Chrome) -> None:
    for at, text, _ in shown(driver):
        assert f"{at.astimezone(UTC):%H:%M}" in text, (at, text)


def subheader(driver: Chrome) -> str:
    return driver.find_element(By.CSS_SELECTOR, "#nav-sidebar [data-gs-zone]").text


def test_times_are_in_the_viewers_zone_until_one_prefers_utc(
    live_server: Any, operator: User, source: Source, make_event: Make, tmp_path: Path
) -> None:
    bad_day(source, make_event, timezone.now())
    with browser(tmp_path) as driver:
        driver.set_window_size(1400, 900)
        log_in(driver, live_server.url, operator)
        driver.execute_cdp_cmd("Emulation.setTimezoneOverride", {"timezoneId": KOLKATA.key})
        driver.get(live_server.url)
        assert_local(driver)
        zone = driver.execute_script("return Intl.DateTimeFormat().resolvedOptions().timeZone")
        assert subheader(driver) == f"Times are in {zone}"
        # A part that is fetched anew is rewritten too.
        driver.execute_script("document.querySelector('#gs-fleet .gs-asof').dataset.old = 1")
        patiently(driver, 15).until(
            lambda page: not page.find_elements(By.CSS_SELECTOR, "#gs-fleet .gs-asof[data-old]")
        )
        assert_local(driver)
        button = driver.find_element(By.ID, "gs-zone")
        assert button.text == "Show UTC"
        button.click()
        assert_utc(driver)
        assert subheader(driver) == "All times are UTC"
        driver.get(f"{live_server.url}/ips/{BAD}/")
        assert_utc(driver)
        driver.find_element(By.ID, "gs-zone").click()
        assert_local(driver)
        hour = timezone.now().astimezone(KOLKATA)
        hints = driver.execute_script(
            "return [...document.querySelectorAll('main svg title')].map(one => one.textContent)"
        )
        assert any(hint.startswith(f"{hour - timedelta(hours=3):%H}:30") for hint in hints)
        assert "From (local)" in driver.find_element(By.TAG_NAME, "main").get_attribute("textContent")
        # The admin writes its times in UTC and says so.
        driver.get(f"{live_server.url}/admin/reputation/ipstanding/")
        assert subheader(driver) == "All times are UTC"


def test_in_utc_there_is_nothing_to_choose(live_server: Any, operator: User, tmp_path: Path) -> None:
    with browser(tmp_path / "utc") as driver:
        driver.execute_cdp_cmd("Emulation.setTimezoneOverride", {"timezoneId": "UTC"})
        log_in(driver, live_server.url, operator)
        driver.get(f"{live_server.url}/blocklists/")
        assert not driver.find_element(By.ID, "gs-zone").is_displayed()


def test_without_scripts_times_are_utc_and_say_so(
    live_server: Any, operator: User, source: Source, make_event: Make, tmp_path: Path
) -> None:
    bad_day(source, make_event, timezone.now())
    with browser(tmp_path / "plain", scripts=False) as driver:
        driver.set_window_size(1400, 900)
        log_in(driver, live_server.url, operator)
        driver.get(live_server.url)
        assert subheader(driver) == "All times are UTC"
        assert " UTC" in driver.find_element(By.CSS_SELECTOR, "#gs-fleet .gs-asof time").text
        assert not driver.find_element(By.ID, "gs-zone").is_displayed()
