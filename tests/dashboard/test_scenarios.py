"""The page of the scenarios: one button, each line as it is done, and a failure is seen."""

from __future__ import annotations

import html as html_text
import re
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import Group, User
from django.test import Client
from selenium.webdriver.common.by import By

from reputation.domain.policy import Status
from reputation.domain.scenarios import SCENARIOS
from reputation.models import IpStanding
from telemetry.models import SendingEvent, TrafficMinute
from tests.dashboard.test_browser import browser, log_in, patiently

pytestmark = pytest.mark.django_db


def text(response: Any) -> str:
    assert response.status_code == 200
    main = response.content.decode()
    main = main[main.find("<main") :] if "<main" in main else main
    return html_text.unescape(" ".join(re.sub(r"<[^>]*>", " ", main).split())).replace("\u202f", " ")


def test_all_fifteen_are_named_and_none_is_claimed_to_have_run(staff: Client) -> None:
    shown = text(staff.get("/scenarios/"))
    for scenario in SCENARIOS:
        assert scenario.name in shown
    assert shown.count("not run yet") == 15
    assert "passed" not in shown


def test_one_button_runs_all_and_leaves_nothing_behind(staff: Client) -> None:
    response = staff.post("/scenarios/run")
    shown = text(response)
    assert "● 15 of 15 passed" in shown
    assert shown.count("✓ passed") == 15
    assert "not run yet" not in shown
    for table in (SendingEvent, TrafficMinute, IpStanding):
        assert not table._default_manager.exists()


def test_one_can_be_run_alone_as_a_line_and_as_a_page(staff: Client) -> None:
    line = text(staff.post("/scenarios/4/run", headers={"HX-Request": "true"}))
    assert line.startswith("4 ")
    assert "✖ blacklisted ✖ blacklisted ✓ passed 7 % 35" in line
    page = text(staff.post("/scenarios/4/run"))
    assert "● 1 of 1 passed" in page
    assert page.count("not run yet") == 14
    assert staff.post("/scenarios/16/run").status_code == 404


def test_a_scenario_that_leads_elsewhere_is_seen(staff: Client) -> None:
    expected = SCENARIOS[0].expected
    object.__setattr__(SCENARIOS[0], "expected", Status.BLACKLISTED)
    try:
        shown = text(staff.post("/scenarios/run"))
    finally:
        object.__setattr__(SCENARIOS[0], "expected", expected)
    assert "✖ blacklisted ● healthy ✖ failed" in shown
    assert "✖ 14 of 15 passed : do not trust any standing" in shown


def test_only_superusers_see_and_run_them(client: Client, django_user_model: type[User]) -> None:
    user = django_user_model.objects.create_user("adam", is_staff=True)
    user.groups.add(Group.objects.get(name="admin"))
    client.force_login(user)
    assert 'href="/scenarios/"' not in client.get("/").content.decode()
    assert client.get("/scenarios/").status_code == 403
    assert client.post("/scenarios/run").status_code == 403
    assert client.post("/scenarios/1/run").status_code == 403


def test_switched_off_they_are_shown_and_not_run(staff: Client, settings: Any) -> None:
    settings.SELF_TEST_API = False
    response = staff.get("/scenarios/")
    assert "switched off here (GS_SELF_TEST_API)" in text(response)
    assert "/scenarios/run" not in response.content.decode()
    assert staff.post("/scenarios/run").status_code == 403
    assert staff.post("/scenarios/1/run").status_code == 403


def test_a_get_runs_nothing(staff: Client) -> None:
    assert staff.get("/scenarios/run").status_code == 405
    assert staff.get("/scenarios/1/run").status_code == 405


@pytest.mark.django_db(transaction=True)
@pytest.mark.slow
@pytest.mark.one_database
def test_the_lines_turn_green_one_by_one(live_server: Any, operator: User, tmp_path: Path) -> None:
    with browser(tmp_path) as driver:
        log_in(driver, live_server.url, operator)
        driver.get(f"{live_server.url}/scenarios/")
        driver.execute_script(
            "window.gsTold = []; new MutationObserver(() => window.gsTold.push("
            "document.getElementById('gs-progress-word').textContent))"
            ".observe(document.getElementById('gs-progress-word'), {childList: true})"
        )
        driver.find_element(By.CSS_SELECTOR, "#gs-run-all button").click()
        patiently(driver, 60).until(lambda page: "all 15 passed" in page.find_element(By.ID, "gs-progress-word").text)
        told = driver.execute_script("return window.gsTold.map(one => one.trim())")
        assert "◐ 0 of 15 run, 0 passed" in told
        assert "◐ 7 of 15 run, 7 passed" in told
        assert len(driver.find_elements(By.CSS_SELECTOR, "tr[data-passed=yes]")) == 15
        assert driver.execute_script("return document.getElementById('gs-progress').value") == 15
        # One alone, again.
        driver.execute_script("document.getElementById('gs-scenario-3').dataset.old = 1")
        driver.find_element(By.ID, "gs-run-3").click()
        patiently(driver, 15).until(lambda page: not page.find_elements(By.CSS_SELECTOR, "tr[data-old]"))
        assert "passed" in driver.find_element(By.ID, "gs-scenario-3").text
