"""Every page of the console in a real browser, full and empty: nobody is kept out, nothing comes from elsewhere.

A new page is added to `PAGES`; each claim then holds for it too.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.resources import files
from itertools import pairwise
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db.models import Model
from django.utils import timezone
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from reputation import alert_watch, warmup_acts
from reputation.breaker_acts import open_by_hand
from reputation.domain.breaker_policy import Scope
from reputation.models import Alert, Breaker, Pool, Warmup, WarmupTemplate
from reputation.models.warmup import DEFAULT_TEMPLATE
from telemetry.domain.event import Event
from telemetry.models import Source
from tests.dashboard.test_browser import browser, log_in
from tests.dashboard.test_pages import BAD, bad_day

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.slow, pytest.mark.one_database]
Make = Callable[..., Event]
AXE = (files("selenium_axe_python") / "axe-core" / "axe.min.js").read_text()
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]
# Rules that the frame breaks and we cannot mend, each with its reason. Empty is how it should stay.
KNOWN: dict[str, str] = {}
LOOKS = {"wide": ("light", 1400), "dark": ("dark", 1400), "phone": ("light", 360)}


@dataclass(frozen=True)
class Page:
    """A page of the console; `{pool}` stands for the pool's number."""

    path: str
    needs_data: bool = False
    """Without data there is no such page, and "not found" is tried once already."""


PAGES = (
    Page("/"),
    Page(f"/ips/{BAD}/", needs_data=True),
    Page("/domains/spam.example/", needs_data=True),
    Page("/pools/{pool}/", needs_data=True),
    Page("/alerts/"),
    Page("/providers/"),
    Page("/providers/google/", needs_data=True),
    Page("/breakers/"),
    Page("/breakers/{breaker}/", needs_data=True),
    Page("/warmups/"),
    Page("/warmups/{warmup}/", needs_data=True),
    Page("/alerts/{alert}/", needs_data=True),
    Page("/blocklists/"),
    Page("/sources/"),
    Page("/sources/mta-1/", needs_data=True),
    Page("/scenarios/"),
    Page("/second-factor/"),
    Page("/search/"),
    Page("/search/?q=2", needs_data=True),
    Page("/search/?q=4XyZ0123456789"),
    Page("/ips/192.0.2.250/"),
    Page("/admin/"),
    Page("/admin/reputation/ipstanding/"),
    Page("/admin/reputation/policy/"),
    Page("/admin/telemetry/source/add/"),
)


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chrome]:
    """One browser for all pages: starting one costs more than a page."""
    with browser(tmp_path_factory.mktemp("profile") / "profile", performance=True) as started:
        yield started


@pytest.fixture(params=["full", "empty"])
def visit(
    request: pytest.FixtureRequest, driver: Chrome, live_server: Any, operator: User, make_event: Make
) -> Callable[[Page, str], bool]:
    """Open a page in a look, logged in; False where it has nothing to show on an empty installation."""
    if request.param == "full":
        now = timezone.now()
        bad_day(Source.objects.create(name="mta-1", kind="generic"), make_event, now)
        open_by_hand(Scope("ip", BAD, "google"), reason="a bought list", user=operator, now=now)
        template = WarmupTemplate.objects.get(name=DEFAULT_TEMPLATE)
        warmup_acts.start("domain", "new.example", template, reason="a new brand", user=operator, now=now)
        alert_watch.tick(now=now)
    driver.get_log("browser")
    log_in(driver, live_server.url, operator)
    pool = Pool.objects.values_list("pk", flat=True).order_by("pk").first()

    def go(page: Page, look: str) -> bool:
        if page.needs_data and request.param == "empty":
            return False
        theme, width = LOOKS[look]
        scheme = [{"name": "prefers-color-scheme", "value": theme}]
        driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": scheme})
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 640}
        driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        for name in ("browser", "performance"):
            driver.get_log(name)
        driver.get(live_server.url + page.path.format(pool=pool, **first_rows()))
        return True

    return go


def first_rows() -> dict[str, int | None]:
    """The keys of one row of each list, where it has any."""
    lists: dict[str, type[Model]] = {"breaker": Breaker, "warmup": Warmup, "alert": Alert}
    return {
        name: model._default_manager.order_by("pk").values_list("pk", flat=True).first()
        for name, model in lists.items()
    }


def violations(driver: Chrome) -> list[str]:
    """What axe holds for serious or critical, with the places."""
    driver.execute_script(AXE)
    # Fading colours are measured half way otherwise.
    driver.execute_script("for (const one of document.getAnimations()) one.finish()")
    found = driver.execute_async_script(
        "const done = arguments[arguments.length - 1];"
        "axe.run(document, {runOnly: {type: 'tag', values: arguments[0]}, resultTypes: ['violations']})"
        ".then(done, error => done({violations: [{id: String(error), impact: 'critical', nodes: []}]}))",
        RULES,
    )
    return [
        f"{rule['id']}: {node['html'][:160]} {node.get('failureSummary', '')[:300]}"
        for rule in found["violations"]
        if rule["impact"] in ("serious", "critical") and rule["id"] not in KNOWN
        for node in rule["nodes"] or [{"html": ""}]
    ]


def elsewhere(driver: Chrome, base: str) -> list[str]:
    """Addresses that were asked for and are not ours."""
    messages = [json.loads(entry["message"])["message"] for entry in driver.get_log("performance")]
    asked = [told["params"]["request"]["url"] for told in messages if told["method"] == "Network.requestWillBeSent"]
    assert asked, "the log of requests is empty, so it proves nothing"
    return [url for url in asked if not url.startswith((base, "data:"))]


@pytest.mark.parametrize("look", LOOKS)
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.path)
def test_a_page_keeps_nobody_out(
    page: Page, look: str, visit: Callable[[Page, str], bool], driver: Chrome, live_server: Any
) -> None:
    if not visit(page, look):
        return
    assert violations(driver) == []
    errors = [entry for entry in driver.get_log("browser") if entry["level"] == "SEVERE"]
    # "Not found" is what that page is for, and Chromium tells it as an error.
    assert [entry["message"] for entry in errors if live_server.url + page.path not in entry["message"]] == []
    assert elsewhere(driver, live_server.url) == []
    width = LOOKS[look][1]
    assert driver.execute_script("return document.documentElement.scrollWidth") <= width
    assert outline_faults(driver) == []


def outline_faults(driver: Chrome) -> list[str]:
    """What is wrong with landmarks and headings: one main, one h1 before all others, no level left out."""
    told = driver.execute_script(
        "const seen = element => element.checkVisibility();"
        "return {mains: document.querySelectorAll('main, [role=main]').length, navs: document.querySelectorAll('nav').length,"
        " levels: [...document.querySelectorAll('h1, h2, h3, h4')].filter(seen).map(one => Number(one.tagName[1]))}"
    )
    faults = []
    if told["mains"] != 1:
        faults.append(f"{told['mains']} main landmarks")
    levels = told["levels"]
    if levels[:1] != [1] or levels.count(1) != 1:
        faults.append(f"headings begin with {levels[:3]}")
    faults += [f"h{after} after h{before}" for before, after in pairwise(levels) if after > before + 1]
    return faults


def test_the_first_key_skips_to_the_page_and_the_menu_opens_by_keyboard(
    visit: Callable[[Page, str], bool], driver: Chrome
) -> None:
    visit(Page("/blocklists/"), "phone")
    driver.find_element(By.TAG_NAME, "body").send_keys(Keys.TAB)
    skip = driver.switch_to.active_element
    assert skip.text == "Skip to the page"
    skip.send_keys(Keys.ENTER)
    assert driver.switch_to.active_element.get_attribute("id") == "gs-main"
    link = driver.find_element(By.CSS_SELECTOR, "#nav-sidebar a[href='/']")
    assert not link.is_displayed()
    toggles = driver.find_elements(By.CSS_SELECTOR, "#header-inner [aria-label='Show or hide the menu']")
    next(toggle for toggle in toggles if toggle.is_displayed()).send_keys(Keys.ENTER)
    assert link.is_displayed()


def test_the_side_bar_begins_with_the_console_and_opens_what_one_is_in(
    visit: Callable[[Page, str], bool], driver: Chrome
) -> None:
    visit(Page("/blocklists/"), "wide")
    assert driver.find_element(By.CSS_SELECTOR, "#nav-sidebar a[aria-current]").text.endswith("Blocklists")
    assert driver.find_elements(By.CSS_SELECTOR, "#nav-sidebar details[open]") == []
    standing = driver.find_element(By.XPATH, "//nav//summary[.='Standing']")
    standing.send_keys(Keys.ENTER)
    assert driver.find_element(By.CSS_SELECTOR, "#nav-sidebar a[href='/admin/reputation/ipstanding/']").is_displayed()
    visit(Page("/admin/reputation/pool/"), "wide")
    opened = driver.find_elements(By.CSS_SELECTOR, "#nav-sidebar details[open] summary")
    assert [summary.text for summary in opened] == ["Policy"]


def test_what_keeps_people_out_would_be_found(visit: Callable[[Page, str], bool], driver: Chrome) -> None:
    visit(Page("/blocklists/"), "wide")
    broken = "document.querySelector('main').insertAdjacentHTML('beforeend', arguments[0])"
    driver.execute_script(broken, "<button></button><p id='pale'>pale</p><h5>deep</h5>")
    # By a script, because the Content-Security-Policy refuses a style attribute.
    pale = "Object.assign(document.getElementById('pale').style, {color: '#999', background: '#aaa'})"
    driver.execute_script(pale)
    found = " ".join(violations(driver))
    assert "button-name" in found
    assert "color-contrast" in found


def test_the_icon_is_ours_everywhere(visit: Callable[[Page, str], bool], driver: Chrome, live_server: Any) -> None:
    for path in ("/blocklists/", "/admin/", "/admin/password_change/"):
        visit(Page(path), "wide")
        icon = driver.find_element(By.CSS_SELECTOR, "link[rel=icon]").get_attribute("href")
        assert icon == f"{live_server.url}/static/dashboard/icon.svg"
        driver.get(str(icon))
        assert driver.find_element(By.TAG_NAME, "svg")
    driver.get(f"{live_server.url}/favicon.ico")
    assert driver.current_url.endswith("/static/dashboard/icon.svg")
