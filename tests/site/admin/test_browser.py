"""The admin in a real browser: what only a browser does, which is scripts, layout and the clipboard field."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.urls import reverse
from django.utils import timezone
from selenium import webdriver
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.support import expected_conditions as until
from selenium.webdriver.support.ui import WebDriverWait

from reputation.models import AuditEntry, IpStanding
from reputation.standing import score_ips
from telemetry.domain.event import Event
from telemetry.ingest import record_batch
from telemetry.models import Source
from telemetry.tokens import find_source_token
from tests.dashboard.test_browser import patiently

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.slow]
FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--window-size=1400,1000",
)
PASSWORD = "correct horse battery"
IP = "192.0.2.10"


@pytest.fixture
def browser(tmp_path: Any) -> Iterator[webdriver.Chrome]:
    driver = shutil.which("chromedriver")
    if driver is None or shutil.which("chromium") is None:
        pytest.skip("needs Debian's chromium and chromium-driver")
    options = Options()
    for flag in (*FLAGS, f"--user-data-dir={tmp_path / 'profile'}"):
        options.add_argument(flag)
    started = webdriver.Chrome(options=options, service=Service(driver))
    yield started
    started.quit()


@pytest.fixture
def visit(browser: webdriver.Chrome, live_server: Any, django_user_model: type[User]) -> Callable[[str], None]:
    """Go to a page, logged in as a superuser."""
    django_user_model.objects.create_superuser("root", "root@example.com", PASSWORD)
    browser.get(f"{live_server.url}{reverse('admin:login')}")
    browser.find_element(By.NAME, "username").send_keys("root")
    browser.find_element(By.NAME, "password").send_keys(PASSWORD)
    browser.find_element(By.CSS_SELECTOR, "form [type=submit]").click()
    wait(browser).until(until.url_changes(f"{live_server.url}{reverse('admin:login')}"))
    return lambda path: browser.get(f"{live_server.url}{path}")


def wait(browser: webdriver.Chrome) -> WebDriverWait[webdriver.Chrome]:
    return patiently(browser, 20)


def test_an_operator_quarantines_an_ip_from_the_list(
    browser: webdriver.Chrome, visit: Callable[[str], None], source: Source, make_event: Callable[..., Event]
) -> None:
    now = timezone.now()
    record_batch(source, [make_event(sending_ip=IP, occurred_at=now, event_id="1")], now=now)
    score_ips(now=now)
    visit(reverse("admin:reputation_ipstanding_changelist"))
    browser.find_element(By.CSS_SELECTOR, f"input.action-select[value='{IP}']").click()
    action = wait(browser).until(until.visibility_of_element_located((By.CSS_SELECTOR, "select[name=action]")))
    action.find_element(By.CSS_SELECTOR, "option[value=quarantine_selected]").click()
    run = wait(browser).until(until.element_to_be_clickable((By.CSS_SELECTOR, "#changelist-actions-wrapper button")))
    run.click()
    reason = wait(browser).until(until.visibility_of_element_located((By.NAME, "reason")))
    reason.send_keys("seen in the logs")
    browser.find_element(By.CSS_SELECTOR, "#confirm-form button[type=submit]").click()
    wait(browser).until(until.text_to_be_present_in_element((By.TAG_NAME, "body"), f"Quarantined: {IP}"))
    assert IpStanding.objects.get(pk=IP).status == "quarantine"
    assert AuditEntry.objects.get(action="quarantine").reason == "seen in the logs"


def test_a_new_token_stands_in_a_field_that_can_be_copied(
    browser: webdriver.Chrome, visit: Callable[[str], None], source: Source
) -> None:
    visit(reverse("admin:telemetry_source_make_token", args=[source.pk]))
    browser.find_element(By.CSS_SELECTOR, "#confirm-form button[type=submit]").click()
    field = wait(browser).until(until.visibility_of_element_located((By.ID, "new-token")))
    clear = str(field.get_attribute("value"))
    found = find_source_token(clear, now=timezone.now())
    assert found is not None
    copy = browser.find_element(By.XPATH, "//button[contains(., 'Copy')]")
    copy.click()
    wait(browser).until(until.text_to_be_present_in_element((By.XPATH, "//button[contains(., 'Cop')]"), "Copied"))


@pytest.mark.parametrize("name", ["reputation_ipstanding_changelist", "telemetry_source_add", "reputation_scenarios"])
def test_pages_fit_a_narrow_screen_and_load_nothing_from_elsewhere(
    name: str, browser: webdriver.Chrome, visit: Callable[[str], None], live_server: Any
) -> None:
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride", {"width": 360, "height": 740, "deviceScaleFactor": 1, "mobile": True}
    )
    visit(reverse(f"admin:{name}"))
    assert browser.execute_script("return document.documentElement.scrollWidth") == 360
    loaded = browser.execute_script("return performance.getEntriesByType('resource').map(entry => entry.name)")
    assert [url for url in loaded if not url.startswith((live_server.url, "data:"))] == []
