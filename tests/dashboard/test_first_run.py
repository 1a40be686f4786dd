"""An empty installation, as a newcomer meets it: three steps that tick themselves, and nothing blank."""

from __future__ import annotations

import json
import re
import shlex
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone
from selenium.webdriver.common.by import By

from dashboard.pages.sources import send_test_event
from reputation.standing import score_ips
from reputation_site.first_start import FIRST_SOURCE, make_first_things
from telemetry.domain.vocab import SourceKind
from telemetry.models import SendingEvent, Source
from tests.dashboard.test_browser import browser, log_in, patiently

pytestmark = pytest.mark.django_db
KINDS = [kind for kind in SourceKind if kind is not SourceKind.SELF_TEST]


def text(client: Client, path: str = "/") -> str:
    return " ".join(re.sub(r"<[^>]*>", " ", client.get(path).content.decode()).split())


def test_without_a_source_each_kind_leads_to_its_form(staff: Client) -> None:
    shown = staff.get("/").content.decode()
    assert "Connect a source ○ to do" in text(staff)
    assert "This needs an active source first" in text(staff)
    for kind in KINDS:
        assert f"/admin/telemetry/source/add/?kind={kind.value}" in shown
    form = staff.get("/admin/telemetry/source/add/?kind=postfix").content.decode()
    assert re.search(r'<option value="postfix" selected', form)


@pytest.mark.parametrize("kind", KINDS)
def test_a_kind_that_is_connected_leads_to_its_set_up(staff: Client, kind: SourceKind) -> None:
    Source.objects.create(name="mine", kind=kind)
    shown = staff.get("/").content.decode()
    assert f"?kind={kind.value}" not in shown
    assert "set-up of mine" in shown
    assert "Connect a source ✓ done" in text(staff)


def test_a_test_event_ticks_two_steps_and_brings_no_blank_chart(staff: Client, source: Source) -> None:
    response = staff.post("/sources/mta-1/test", {"back": "overview"}, follow=True)
    assert response.redirect_chain == [("/", 302)]
    shown = text(staff)
    assert "Send a test event ✓ done" in shown
    assert "See it appear ✓ done" in shown
    assert "The test event of mta-1 came in" in shown
    assert "The last 24 hours" not in shown
    assert "class='gs-counts'" not in response.content.decode()


def test_who_may_not_change_sources_sees_the_steps_without_the_buttons(
    client: Client, source: Source, django_user_model: type[User]
) -> None:
    client.force_login(django_user_model.objects.create_user("sam", is_staff=True))
    shown = client.get("/").content.decode()
    assert "gs-first-test" not in shown
    assert "/admin/telemetry/source/add/" not in shown
    assert "Who may change sources finds a button here" in shown


def test_an_inactive_source_sends_no_test(staff: Client, source: Source) -> None:
    Source.objects.update(is_active=False)
    assert "gs-first-test" not in staff.get("/").content.decode()
    assert send_test_event(source, now=timezone.now())  # the page does not offer it, and refuses it too
    staff.post("/sources/mta-1/test", {"back": "overview"})
    assert SendingEvent.objects.count() == 1


@pytest.mark.django_db(transaction=True)
@pytest.mark.slow
@pytest.mark.one_database
def test_a_newcomer_is_led_from_nothing_to_the_fleet(live_server: Any, operator: User, tmp_path: Path) -> None:
    token = make_first_things().token
    with browser(tmp_path) as driver:
        log_in(driver, live_server.url, operator)
        driver.get(live_server.url)
        wait: Callable[[str, str], Any] = lambda place, told: patiently(driver, 15).until(  # noqa: E731
            lambda page: told in page.find_element(By.ID, place).text
        )
        wait("gs-step-send", "to do")
        # What is marked for copying is not taken away by the next look.
        driver.find_element(By.CSS_SELECTOR, "#gs-first-command summary").click()
        command = driver.find_element(By.CSS_SELECTOR, "#gs-first-command pre")
        driver.execute_script("getSelection().selectAllChildren(arguments[0]); window.gsLooks = 0;", command)
        driver.execute_script("document.addEventListener('htmx:afterRequest', () => window.gsLooks++)")
        patiently(driver, 20).until(lambda page: page.execute_script("return window.gsLooks") > 1)
        assert driver.execute_script("return String(getSelection())").strip() == command.text.strip()
        driver.execute_script("getSelection().removeAllRanges()")
        line = shlex.split(command.text.replace("\\\n", " "))
        driver.find_element(By.ID, "gs-first-test").click()
        wait("gs-step-send", "done")
        wait("gs-step-see", f"The test event of {FIRST_SOURCE} came in")
        driver.execute_script("window.gsSamePage = true")
        # Now the line from the page, as a shell would run it.
        sent = urllib.request.Request(line[1], data=line[line.index("-d") + 1].encode())
        for index, word in enumerate(line):
            if word == "-H":
                name, _, value = line[index + 1].partition(": ")
                sent.add_header(name, value.replace("$TOKEN", str(token)))
        with urllib.request.urlopen(sent, timeout=20) as answer:
            assert json.load(answer)["processed"] == 1
        score_ips(now=timezone.now())
        wait("gs-fleet", "192.0.2.10")
        patiently(driver, 15).until(lambda page: page.find_elements(By.ID, "gs-day"))
