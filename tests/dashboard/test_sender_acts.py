"""Whoever sees that a sender is in trouble acts on its page: two clicks and a reason, by the rules of the services."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.http import HttpResponse
from django.test import Client
from django.utils import timezone
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By

from dashboard.sender_acts import ACTS
from reputation.models import AuditEntry, AuditReport, AuditTarget, Blocklist, Breaker, IpStanding, Override
from telemetry.domain.event import Event
from telemetry.models import Source
from tests.dashboard.test_browser import browser, log_in, patiently
from tests.dashboard.test_pages import BAD, bad_day, text
from tests.dns_servers import Scripted, listing, servfail
from tests.reputation.blocklist_rig import TABLE, quick

pytestmark = pytest.mark.django_db
Make = Callable[..., Event]
NEW = "198.51.100.77"
REASON = "Gmail refuses it since noon"


@pytest.fixture
def bad(source: Source, make_event: Make) -> None:
    bad_day(source, make_event, timezone.now())


def act(client: Client, name: str, **given: Any) -> HttpResponse:
    return client.post(f"/ips/{BAD}/acts/{name}", given)


def told(answer: HttpResponse) -> list[str]:
    return [str(message) for message in answer.context["messages"]]


@pytest.mark.parametrize(
    ("name", "given", "status", "lasts"),
    [
        ("quarantine", {"end": ""}, "quarantine", None),
        ("quarantine", {"end": "4"}, "quarantine", timedelta(hours=4)),
        ("release", {"end": "24"}, "healthy", timedelta(hours=24)),
        ("override", {"end": "168", "status": "warning"}, "warning", timedelta(days=7)),
    ],
)
def test_a_word_on_the_status_is_in_force_at_once_with_its_end_and_in_the_log(
    staff: Client, bad: None, name: str, given: dict[str, str], status: str, lasts: timedelta | None
) -> None:
    answer = act(staff, name, reason=REASON, **given)
    assert (answer.status_code, answer.headers["Location"]) == (302, f"/ips/{BAD}/")
    assert IpStanding.objects.get(pk=BAD).status == status
    placed = Override.objects.get()
    assert (placed.kind, placed.created_by.username, placed.reason) == (name, "olga", REASON)
    assert (placed.expires_at - placed.created_at if placed.expires_at else None) == lasts
    assert AuditEntry.objects.get(action=name).triggered_by == "olga"
    shown = text(staff, f"/ips/{BAD}/")
    assert f"Set by olga ({name}" in shown
    assert REASON in shown


def test_the_page_says_what_was_done_and_the_override_can_be_lifted(staff: Client, bad: None) -> None:
    assert 'id="act-lift"' not in staff.get(f"/ips/{BAD}/").content.decode()
    act(staff, "release", reason=REASON, end="1")
    page = staff.get(f"/ips/{BAD}/")
    assert re.match(rf"{BAD} is released until 20\d\d-\d\d-\d\d \d\d:\d\d UTC\.", told(page)[0])
    assert 'id="act-lift"' in page.content.decode()
    assert "Its status is healthy now and becomes quarantine." in page.content.decode()
    act(staff, "lift", reason="looked again")
    assert f"By the automation {BAD} is quarantine." in told(staff.get(f"/ips/{BAD}/"))[0]
    assert not Override.objects.filter(ended_at=None).exists()


def test_without_a_reason_nothing_is_done_and_what_was_chosen_comes_back(staff: Client, bad: None) -> None:
    answer = act(staff, "override", reason="  ", status="warning", end="168")
    html = answer.content.decode()
    assert answer.status_code == 400
    form = html[html.index('id="act-override"') :].split("</details>")[0]
    assert form.startswith('id="act-override" open')
    assert "This field is required." in form
    assert '<option value="warning" selected>' in form
    assert '<option value="168" selected>' in form
    assert html.count("<details id=") - html.count(" open>") > 3, "the other acts stay closed"
    assert not Override.objects.exists()


@pytest.mark.parametrize(
    ("name", "given", "says"),
    [
        ("lift", {}, "There is no override in force for this IP."),
        ("quarantine", {"end": "5000000"}, "Select a valid choice."),
        ("release", {"end": ""}, "This field is required."),
        ("override", {"status": "burnt", "end": ""}, "Select a valid choice."),
        ("close-breaker", {"breaker": "1", "end": "1"}, "Select a valid choice."),
        ("open-breaker", {"provider": "nobody", "end": ""}, "Select a valid choice."),
    ],
)
def test_what_cannot_be_done_is_said_beside_the_reason_that_was_typed(
    staff: Client, bad: None, name: str, given: dict[str, str], says: str
) -> None:
    answer = act(staff, name, reason=REASON, **given)
    assert answer.status_code == 400
    assert says in answer.content.decode()
    assert REASON in answer.content.decode()
    assert not Override.objects.exists()
    assert not Breaker.objects.exclude(state="closed").exists()


@pytest.mark.parametrize("offered", ACTS, ids=lambda entry: entry.name)
def test_an_act_is_shown_to_those_who_may_and_refused_to_others(client: Client, bad: None, offered: Any) -> None:
    person = User.objects.create_user("reader", password="correct horse battery", is_staff=True)
    client.force_login(person)
    assert 'class="gs-acts"' not in client.get(f"/ips/{BAD}/").content.decode()
    assert act(client, offered.name, reason=REASON, end="1", provider="").status_code == 403
    assert not AuditEntry.objects.exclude(triggered_by="automated").exists()
    person.user_permissions.add(Permission.objects.get(codename=offered.permission.partition(".")[2]))
    client.force_login(User.objects.get(pk=person.pk))
    shown = set(re.findall(r'<details id="act-([\w-]+)"', client.get(f"/ips/{BAD}/").content.decode()))
    may = {entry.name for entry in ACTS if entry.permission == offered.permission}
    assert shown == may - {"lift", "close-breaker"}


def test_acts_are_posts_of_their_own_kind_of_sender(staff: Client, bad: None) -> None:
    assert staff.get(f"/ips/{BAD}/acts/quarantine").status_code == 405
    assert staff.post(f"/ips/{BAD}/acts/burn", {"reason": REASON}).status_code == 404
    assert staff.post("/domains/spam.example/acts/quarantine", {"reason": REASON}).status_code == 404
    assert staff.post("/ips/0.0.0.0/acts/quarantine", {"reason": REASON}).status_code == 404
    strict = Client(enforce_csrf_checks=True)
    strict.force_login(User.objects.get())
    assert strict.post(f"/ips/{BAD}/acts/quarantine", {"reason": REASON}).status_code == 403
    assert not Override.objects.exists()


def test_an_ip_never_seen_can_be_quarantined_and_has_a_page_then(staff: Client) -> None:
    assert staff.get(f"/ips/{NEW}/").status_code == 404
    answer = staff.post(f"/ips/{NEW}/acts/quarantine", {"reason": "not ours yet", "end": ""})
    assert answer.headers["Location"] == f"/ips/{NEW}/"
    assert "not ours yet" in text(staff, f"/ips/{NEW}/")


@pytest.mark.parametrize("sender", [f"/ips/{BAD}/", "/domains/spam.example/"])
def test_a_breaker_is_opened_at_one_provider_and_closed_again(staff: Client, bad: None, sender: str) -> None:
    staff.post(f"{sender}acts/open-breaker", {"reason": REASON, "provider": "google", "end": "4"})
    row = Breaker.objects.get()
    assert (row.state, row.provider, row.held_until is None, row.held_by) == ("open", "google", False, "olga")
    page = staff.get(sender)
    assert "The breaker of" in told(page)[0]
    assert "at Google (Gmail and Workspace) is open until" in told(page)[0]
    assert "at Google (Gmail and Workspace) (open)" in page.content.decode()
    staff.post(f"{sender}acts/close-breaker", {"reason": "mended", "breaker": row.pk, "end": "24"})
    row.refresh_from_db()
    assert (row.state, row.held) == ("closed", True)
    assert "Breaker opened" in text(staff, sender)
    assert "Breaker closed" in text(staff, sender)


def test_a_breaker_of_somebody_else_cannot_be_closed_here(staff: Client, bad: None) -> None:
    staff.post("/domains/spam.example/acts/open-breaker", {"reason": REASON, "provider": "", "end": ""})
    answer = act(staff, "close-breaker", reason=REASON, breaker=Breaker.objects.get().pk, end="1")
    assert answer.status_code == 400
    assert Breaker.objects.get().state == "open"


@pytest.fixture
def lists() -> Iterator[None]:
    """One list that lists the bad IP, one that does not, one whose server is broken."""
    rules = {"major.test": listing("66.2.0.192"), "quiet.test": listing(), "broken.test": servfail}
    with Scripted(rules) as server, quick():
        Blocklist.objects.update(is_enabled=False)
        for name in ("major", "quiet", "broken"):
            Blocklist.objects.create(
                name=name,
                zone=f"{name}.test",
                listed=TABLE,
                resolver=server.address[0],
                resolver_port=server.port,
                tier="A",
                queries_per_second=1000,
            )
        yield


def test_a_look_up_says_who_answered_what_was_seen_and_who_said_nothing(staff: Client, bad: None, lists: None) -> None:
    act(staff, "look-up")
    first = told(staff.get(f"/ips/{BAD}/"))
    assert "2 lists answered. Nothing changed. Seen listed once, to be confirmed by a second look: major." in first
    assert "1 said nothing: broken." in first


def test_a_look_up_without_lists_says_what_to_do(staff: Client, bad: None) -> None:
    Blocklist.objects.update(is_enabled=False)
    act(staff, "look-up")
    assert told(staff.get(f"/ips/{BAD}/")) == [
        "No blocklist is asked. Switch some on, or mend what keeps them from being believed."
    ]


def test_a_private_ip_is_known_to_no_list(staff: Client) -> None:
    staff.post("/ips/10.0.0.1/acts/quarantine", {"reason": REASON, "end": ""})
    answer = staff.post("/ips/10.0.0.1/acts/look-up", {})
    assert answer.status_code == 400
    assert "it is not public" in answer.content.decode()


def test_an_audit_is_made_and_named_with_its_problems(staff: Client, bad: None, settings: Any) -> None:
    with Scripted({"test": servfail}) as server:
        settings.DNS_SERVERS = (server.address,)
        settings.DNS_TIMEOUT = timedelta(seconds=0.2)
        answer = act(staff, "audit")
        assert answer.status_code == 302
        report = AuditReport.objects.get()
        assert (report.asked_by, report.why) == ("olga", "asked")
        page = staff.get(f"/ips/{BAD}/")
    assert "Nothing could be checked. Does DNS answer?" in told(page)[0]


def test_two_people_do_not_audit_at_once(staff: Client, bad: None) -> None:
    now = timezone.now()
    AuditTarget.objects.create(kind="ip", name=BAD, due_at=now, claimed_until=now + timedelta(minutes=1))
    answer = act(staff, "audit")
    assert answer.status_code == 400
    assert f"{BAD} is being audited right now." in answer.content.decode()


def after(driver: Chrome, done: str) -> str:
    """What the page shows once its timeline says what was done."""
    patiently(driver, 10).until(lambda page: done in page.find_element(By.ID, "gs-timeline").text)
    return driver.find_element(By.TAG_NAME, "body").text


@pytest.mark.django_db(transaction=True)
@pytest.mark.slow
@pytest.mark.one_database
@pytest.mark.parametrize("scripts", [True, False])
def test_from_the_overview_to_a_quarantine_and_back_in_a_real_browser(
    live_server: Any, operator: User, source: Source, make_event: Make, tmp_path: Path, scripts: bool
) -> None:
    bad_day(source, make_event, timezone.now())
    with browser(tmp_path, scripts=scripts) as driver:
        log_in(driver, live_server.url, operator)
        driver.get(live_server.url)
        driver.find_element(By.CSS_SELECTOR, ".gs-ips > li:first-child a.gs-ip").click()
        patiently(driver, 15).until(lambda page: page.current_url == f"{live_server.url}/ips/{BAD}/")
        # Two clicks and a reason.
        box = driver.find_element(By.ID, "act-quarantine")
        assert "taken out of rotation" not in box.text
        box.find_element(By.TAG_NAME, "summary").click()
        assert "taken out of rotation" in box.text
        box.find_element(By.NAME, "reason").send_keys(REASON)
        box.find_element(By.CSS_SELECTOR, "button[type=submit]").click()
        assert f"{BAD} is quarantined." in after(driver, "Quarantined by hand")
        assert f"“{REASON}”" in driver.find_element(By.TAG_NAME, "main").text
        box = driver.find_element(By.ID, "act-release")
        box.find_element(By.TAG_NAME, "summary").click()
        box.find_element(By.NAME, "reason").send_keys("the provider confirmed a mistake")
        box.find_element(By.CSS_SELECTOR, "button[type=submit]").click()
        assert f"{BAD} is released until" in after(driver, "Released by hand")
    assert [row.action for row in AuditEntry.objects.filter(user=operator).order_by("id")] == ["quarantine", "release"]
