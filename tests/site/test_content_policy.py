"""The Content-Security-Policy in a real browser: nothing on our pages breaks it, and everything still works."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db.models import Model
from django.test import Client
from django.utils import timezone
from django_otp.plugins.otp_totp.models import TOTPDevice
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support import expected_conditions as until

from reputation.models import AlertRule, Blocklist, BreakerPolicy, Policy, SendingPolicy
from reputation_site.doors.second_factor import new_key
from telemetry.domain.event import Event
from telemetry.models import Source
from tests.dashboard.test_browser import browser, log_in, patiently
from tests.dashboard.test_every_page import violations
from tests.dashboard.test_pages import BAD, bad_day
from tests.site.doors.conftest import code_of

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.slow, pytest.mark.one_database]
LISTENER = """
    window.gsViolations = [];
    document.addEventListener("securitypolicyviolation", event => {
        window.gsViolations.push(`${event.violatedDirective}: ${event.blockedURI} ${event.sample} ${event.sourceFile}`);
    });
"""


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chrome]:
    with browser(tmp_path_factory.mktemp("profile") / "profile", performance=True) as started:
        size = {"width": 1400, "height": 900, "deviceScaleFactor": 1, "mobile": False}
        started.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        started.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": LISTENER})
        yield started


@pytest.fixture
def olga(django_user_model: type[User]) -> User:
    return django_user_model.objects.create_superuser("olga", "olga@example.com", "correct horse battery")


@pytest.fixture
def visit(driver: Chrome, live_server: Any, olga: User, make_event: Callable[..., Event]) -> Callable[[str], None]:
    bad_day(Source.objects.create(name="mta-1", kind="generic"), make_event, timezone.now())
    driver.delete_all_cookies()
    log_in(driver, live_server.url, olga)

    def go(path: str) -> None:
        driver.get_log("browser")
        driver.get(live_server.url + path)
        patiently(driver, 10).until(lambda page: page.execute_script("return document.readyState") == "complete")

    return go


def troubles(driver: Chrome) -> list[str]:
    """What the policy refused and what the page complained about."""
    errors = [entry["message"] for entry in driver.get_log("browser") if entry["level"] == "SEVERE"]
    return [*driver.execute_script("return window.gsViolations"), *errors]


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/admin/",
        "/admin/reputation/ipstanding/",
        f"/admin/reputation/ipstanding/{BAD}/change/",
        "/admin/reputation/auditentry/",
        "/admin/reputation/policy/",
        "/admin/reputation/policy/{policy}/change/",
        "/admin/reputation/policy/{policy}/history/",
        "/admin/reputation/breakerpolicy/{breakerpolicy}/change/",
        "/admin/reputation/sendingpolicy/{sendingpolicy}/change/",
        "/admin/reputation/blocklist/{blocklist}/change/",
        "/admin/reputation/alertrule/{alertrule}/change/",
        "/admin/telemetry/source/{source}/change/",
        "/admin/telemetry/source/{source}/make_token/",
        "/admin/auth/user/{user}/change/",
        "/admin/auth/user/{user}/password/",
        "/admin/auth/user/{user}/delete/",
        "/admin/reputation/pool/add/",
        "/admin/reputation/alertchannel/add/",
        "/admin/reputation/warmuptemplate/add/",
        "/admin/reputation/ipstanding/scenarios/",
        "/admin/telemetry/source/",
        "/admin/telemetry/source/add/",
        "/admin/telemetry/sendingevent/",
        "/admin/telemetry/retentionpolicy/",
        "/admin/auth/user/",
        "/admin/auth/user/add/",
        "/admin/auth/group/add/",
        "/admin/password_change/",
        "/api/docs",
    ],
)
def test_no_page_of_ours_breaks_the_policy(path: str, visit: Callable[[str], None], driver: Chrome) -> None:
    models: tuple[type[Model], ...] = (Policy, BreakerPolicy, SendingPolicy, Blocklist, AlertRule, Source, User)
    rows = {model.__name__.lower(): model._default_manager.values_list("pk", flat=True).first() for model in models}
    path = path.format(**rows)
    visit(path)
    assert driver.current_url.endswith(path)  # the admin leads away from a row that is not there
    if path == "/api/docs":
        patiently(driver, 10).until(lambda page: page.find_elements(By.CSS_SELECTOR, ".opblock"))
    assert troubles(driver) == []


def test_the_doors_break_the_policy_neither_and_keep_nobody_out(
    visit: Callable[[str], None], driver: Chrome, olga: User, live_server: Any
) -> None:
    def type_in(**values: str) -> None:
        for name, value in values.items():
            driver.find_element(By.NAME, name).clear()
            driver.find_element(By.NAME, name).send_keys(value)
        button = driver.find_element(By.CSS_SELECTOR, "main form [type=submit], #login-form [type=submit]")
        button.click()
        loaded(button)

    def loaded(before: WebElement) -> None:
        patiently(driver, 20).until(until.staleness_of(before))
        patiently(driver, 20).until(lambda page: page.execute_script("return document.readyState") == "complete")

    def is_fine(*, status: str = "") -> None:
        # A page that says 400 or 429 is told as an error too.
        assert [trouble for trouble in troubles(driver) if not status or status not in trouble] == []
        assert violations(driver) == []

    device = TOTPDevice.objects.create(user=olga, name="Authenticator app", key=new_key())
    driver.delete_all_cookies()
    visit("/admin/login/?next=/blocklists/")
    is_fine()
    toggle = driver.find_element(By.CSS_SELECTOR, "[x-on\\:click='openTheme = !openTheme']")
    toggle.click()
    dark = (By.CSS_SELECTOR, "[x-on\\:click=\"adminTheme = 'dark'\"]")
    patiently(driver, 10).until(lambda page: page.find_element(*dark).is_displayed())
    driver.find_element(*dark).click()
    patiently(driver, 10).until(lambda page: page.find_element(By.TAG_NAME, "html").get_attribute("class") == "dark")
    is_fine()
    type_in(username="olga", password="correct horse battery")
    assert driver.current_url.startswith(f"{live_server.url}/second-factor/code")
    is_fine()
    type_in(code="wrong")
    assert "not right" in driver.find_element(By.TAG_NAME, "main").text
    is_fine(status="400")
    device.refresh_from_db()
    device.throttle_reset()
    type_in(code=code_of(device))
    assert driver.current_url == f"{live_server.url}/blocklists/"
    driver.execute_script("document.querySelector('#logout-form [name=csrfmiddlewaretoken]').value = 'forged'")
    form = driver.find_element(By.ID, "logout-form")
    driver.execute_script("arguments[0].submit()", form)
    loaded(form)
    assert "Nothing was done" in driver.title
    is_fine(status="403")
    driver.delete_all_cookies()
    for number in range(5):
        visit("/admin/login/")
        type_in(username="olga", password=f"guess {number}")
    assert "Try again in" in driver.find_element(By.ID, "locked-out").text
    is_fine(status="429")


def test_scripts_that_somebody_smuggled_in_do_not_run(visit: Callable[[str], None], driver: Chrome) -> None:
    visit("/blocklists/")
    assert troubles(driver) == []
    driver.execute_script(
        "const script = document.createElement('script'); script.textContent = 'window.gsHacked = 1';"
        "document.body.append(script);"
        "document.body.insertAdjacentHTML('beforeend', '<img src=data:, onerror=\"window.gsHacked = 2\">');"
    )
    patiently(driver, 10).until(lambda page: len(page.execute_script("return window.gsViolations")) == 2)
    assert driver.execute_script("return window.gsHacked") is None
    refused = driver.execute_script("return window.gsViolations")
    assert sorted(one.split(":")[0] for one in refused) == ["script-src-attr", "script-src-elem"]
    # Not even text that a script of the page would make a function of.
    driver.execute_script(
        "const link = document.createElement('a'); link.setAttribute('x-data', '{}');"
        "link.setAttribute('x-init', \"''.constructor.constructor('window.gsHacked = 3')()\"); document.body.append(link);"
    )
    patiently(driver, 10).until(lambda page: any("not for expressions" in one for one in troubles(page)))
    assert driver.execute_script("return window.gsHacked") is None


def test_theme_and_side_bar_still_answer(visit: Callable[[str], None], driver: Chrome) -> None:
    for path in ("/blocklists/", "/admin/reputation/policy/"):
        visit(path)
        driver.find_element(By.CSS_SELECTOR, "[x-on\\:click='openUserLinks = !openUserLinks']").click()
        for word in ("dark", "light"):
            patiently(driver, 10).until(lambda page, word=word: theme_button(page, word).is_displayed())
            theme_button(driver, word).click()
            patiently(driver, 10).until(
                lambda page, word=word: page.find_element(By.TAG_NAME, "html").get_attribute("class") == word
            )
        bar = driver.find_element(By.ID, "nav-sidebar")
        toggle = "[x-on\\:click^='sidebarDesktopOpen']"
        shown = bar.is_displayed()
        for wanted in (not shown, shown):
            driver.find_element(By.CSS_SELECTOR, toggle).click()
            patiently(driver, 10).until(lambda _, bar=bar, wanted=wanted: bar.is_displayed() is wanted)
        assert troubles(driver) == []


def theme_button(driver: Chrome, word: str) -> WebElement:
    return driver.find_element(By.CSS_SELECTOR, f"[x-on\\:click=\"switchTheme('{word}')\"]")


def test_the_parts_of_the_overview_fetch_themselves_anew(visit: Callable[[str], None], driver: Chrome) -> None:
    visit("/")
    driver.execute_script("document.querySelector('#gs-fleet').firstElementChild.dataset.old = 'yes'")
    patiently(driver, 15).until(lambda page: not page.find_elements(By.CSS_SELECTOR, "#gs-fleet [data-old]"))
    assert troubles(driver) == []


def test_filters_date_pickers_and_bulk_acts_of_the_admin_still_answer(
    visit: Callable[[str], None], driver: Chrome
) -> None:
    visit("/admin/reputation/ipstanding/")
    driver.find_element(By.CSS_SELECTOR, "[x-on\\:click='filterOpen = true']").click()
    close = (By.CSS_SELECTOR, "[x-on\\:click='filterOpen = false']")
    patiently(driver, 10).until(lambda page: page.find_element(*close).is_displayed())
    driver.find_element(*close).click()
    patiently(driver, 10).until(lambda page: not page.find_element(*close).is_displayed())
    box = driver.find_element(By.CSS_SELECTOR, f"input.action-select[value='{BAD}']")
    box.click()
    action = (By.CSS_SELECTOR, "select[name=action]")
    patiently(driver, 10).until(lambda page: page.find_element(*action).is_displayed())
    driver.find_element(By.CSS_SELECTOR, "select[name=action] option[value=quarantine_selected]").click()
    run = (By.CSS_SELECTOR, "#changelist-actions-wrapper button")
    patiently(driver, 10).until(lambda page: page.find_element(*run).is_displayed())
    assert troubles(driver) == []
    driver.find_element(*run).click()
    patiently(driver, 10).until(lambda page: page.find_elements(By.ID, "confirm-form"))
    calendar = (By.CSS_SELECTOR, ".datetimeshortcuts a[id^=calendarlink]")
    patiently(driver, 10).until(lambda page: page.find_elements(*calendar))
    driver.find_element(*calendar).click()
    day = (By.CSS_SELECTOR, ".calendarbox tbody td a")
    patiently(driver, 10).until(lambda page: page.find_element(*day).is_displayed())
    driver.find_element(*day).click()
    assert any(field.get_attribute("value") for field in driver.find_elements(By.CSS_SELECTOR, ".vDateField"))
    assert troubles(driver) == []


@pytest.mark.django_db
def test_every_answer_says_what_a_page_may_do(client: Client, olga: User) -> None:
    client.force_login(olga)
    for path in ("/", "/admin/", "/admin/login/", "/api/docs", "/nowhere", "/healthz"):
        headers = client.get(path).headers
        policy = dict(part.strip().split(" ", 1) for part in headers["Content-Security-Policy"].split(";"))
        assert policy["default-src"] == policy["script-src"] == policy["connect-src"] == "'self'"
        assert policy["frame-ancestors"] == policy["object-src"] == policy["base-uri"] == "'none'"
        assert policy["form-action"] == "'self'"
        assert "unsafe" not in policy["script-src"]
        assert policy["style-src"] == ("'self' 'unsafe-inline'" if path == "/api/docs" else "'self'")
        assert ("style-src-attr" in policy) is path.startswith("/admin/")
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["X-Frame-Options"] == "DENY"
        assert headers["Referrer-Policy"] == "same-origin"
        assert headers["Cross-Origin-Opener-Policy"] == "same-origin"
        assert "camera=()" in headers["Permissions-Policy"]
