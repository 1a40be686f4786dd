"""The pages of sources: what to paste works, what came is seen, what is missing is said."""

from __future__ import annotations

import html as html_text
import json
import re
import shlex
import tomllib
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.core.management import call_command, get_commands
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone
from selenium.webdriver.common.by import By
from selenium.webdriver.support import expected_conditions as until

from dashboard.pages.setup import steps
from reputation.models import IpStanding, SenderScore
from reputation.scores import score_senders
from reputation.standing import score_ips
from telemetry import intake
from telemetry.domain.cells import floor_minute
from telemetry.domain.event import Event
from telemetry.domain.vocab import EventType, SourceKind
from telemetry.ingest import record_batch
from telemetry.models import CompletenessReading, MetricsWatch, RejectedEvent, SendingEvent, Source, TrafficMinute
from telemetry.parsers.documented import DOCUMENTED
from telemetry.tokens import issue_token
from tests.dashboard.test_browser import browser, log_in, patiently

pytestmark = pytest.mark.django_db
Make = Callable[..., Event]
KINDS = [kind.value for kind in SourceKind]


@pytest.fixture
def reader(django_user_model: type[User]) -> Client:
    """Staff who may look at sources and change nothing."""
    user = django_user_model.objects.create_user("vera", "vera@example.com", "correct horse battery", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__startswith="view_"))
    client = Client()
    client.force_login(user)
    return client


def text(client: Client, path: str) -> str:
    response = client.get(path)
    assert response.status_code == 200, path
    main = response.content.decode()
    main = main[main.find('<main class="gs"') :] if "<main" in main else main
    return html_text.unescape(" ".join(re.sub(r"<[^>]*>", " ", main).split())).replace("\u202f", " ")


def compared(
    source: Source, *, delivered: int = 1000, arrived: int = 992, ago: timedelta = timedelta(minutes=30)
) -> None:
    start = floor_minute(timezone.now() - ago)
    CompletenessReading.objects.create(
        source=source,
        start=start,
        end=start + timedelta(minutes=1),
        server_delivered=delivered,
        arrived_delivered=arrived,
        server_refused=7,
    )


def test_without_a_source_the_list_says_what_one_is(staff: Client) -> None:
    assert "Nobody reports yet" in text(staff, "/sources/")


def test_the_list_says_who_is_silent_what_came_and_how_complete_it_is(
    staff: Client, source: Source, make_event: Make
) -> None:
    now = timezone.now()
    record_batch(source, [make_event(occurred_at=now, event_id=str(index)) for index in range(3)], now=now)
    record_batch(source, [make_event(occurred_at=now, type=EventType.BOUNCE)], now=now)
    Source.objects.filter(pk=source.pk).update(last_event_at=now, metrics_url="http://mta-1/")
    Source.objects.create(name="mta-2", last_event_at=now - timedelta(hours=3, minutes=1))
    Source.objects.create(name="mta-3", is_active=False)
    compared(source)
    shown = text(staff, "/sources/")
    assert "mta-1 generic 0 s ago 3 1 99.2 % (8 missing)" in shown
    assert "mta-2 documented ▲ silent for 3 h 0 0 not known" in shown
    assert "mta-3 documented not active" in shown


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_source_has_its_steps(staff: Client, source: Source, kind: str) -> None:
    Source.objects.filter(pk=source.pk).update(kind=kind)
    shown = text(staff, "/sources/mta-1/")
    assert "Connect it" in shown
    assert "No event yet." in shown
    assert "This source has no token yet" in shown
    source.refresh_from_db()
    assert steps(source, "https://standing.example.com", now=timezone.now())


@pytest.mark.parametrize("kind", ["documented", "generic"])
def test_the_curl_line_is_taken_as_it_stands(client: Client, source: Source, kind: str) -> None:
    source.kind = kind
    command = steps(source, "http://testserver", now=timezone.now())[0].code.replace("\\\n", " ")
    words = shlex.split(command.replace("$TOKEN", issue_token(source)))
    headers = dict(words[at + 1].split(": ", 1) for at, word in enumerate(words) if word == "-H")
    answer = client.post(
        words[1].removeprefix("http://testserver"),
        words[words.index("-d") + 1],
        content_type=headers["Content-Type"],
        headers=headers,
    )
    assert (answer.status_code, answer.json()["status"], answer.json()["processed"]) == (200, "success", 1)


@pytest.mark.parametrize("kind", ["postfix", "powermta", "report_mail"])
def test_the_commands_shown_exist_with_their_options(source: Source, kind: str) -> None:
    source.kind = kind
    shown = [step.code for step in steps(source, "http://testserver", now=timezone.now())]
    commands = [code.replace("\\\n", " ") for code in shown if code.startswith("python manage.py")]
    assert commands
    for command in commands:
        name = shlex.split(command)[2]
        assert name in get_commands()
        options = re.findall(r"(--[a-z-]+)", command)
        with pytest.raises(SystemExit) as ended:
            call_command(name, "--help")
        assert ended.value.code == 0
        assert options


def test_the_options_shown_are_in_the_help(source: Source, capsys: Any) -> None:
    for kind in ("postfix", "powermta", "report_mail"):
        source.kind = kind
        for step in steps(source, "http://testserver", now=timezone.now()):
            if step.code.startswith("python manage.py"):
                with pytest.raises(SystemExit):
                    call_command(shlex.split(step.code.replace("\\\n", " "))[2], "--help")
                told = capsys.readouterr().out
                assert all(option in told for option in re.findall(r"(--[a-z-]+)", step.code)), step.code


def test_what_stalwart_gets_is_the_configuration_of_its_command(source: Source, capsys: Any) -> None:
    source.kind = "stalwart"
    source.save()
    shown = [step.code for step in steps(source, "https://standing.example.com", now=timezone.now())]
    for hook in (None, "data"):
        call_command("stalwart_config", "mta-1", url="https://standing.example.com", format="both", hook=hook)
    printed = capsys.readouterr().out
    assert all(code.strip() in printed for code in shown if code)
    assert json.loads(shown[0])["methodCalls"]
    assert tomllib.loads(shown[1])["webhook"]["good-standing"]["url"].startswith("https://standing.example.com/")
    hook, hook_toml = shown[-2:]
    assert "x:MtaHook/set" in hook
    assert tomllib.loads(hook_toml)["session"]["hook"]["good-standing"]["stages"] == ["data"]


def test_what_kumomta_gets_is_the_policy_of_its_command(source: Source, capsys: Any) -> None:
    source.kind = "kumomta"
    source.save()
    call_command("kumomta_config", "mta-1", url="https://standing.example.com")
    shown = steps(source, "https://standing.example.com", now=timezone.now())
    assert shown[1].code.strip() in capsys.readouterr().out
    assert f"https://standing.example.com{reverse('kumo-shaping')}" in shown[3].code


def test_every_address_of_an_esp_is_one_of_ours(client: Client, source: Source) -> None:
    source.kind = "esp"
    addresses = " ".join(step.code for step in steps(source, "http://testserver", now=timezone.now()))
    paths = re.findall(r"testserver(/api/\S+)", addresses)
    assert len(paths) == 13
    assert {client.get(path).status_code for path in paths} == {200}


def test_whoever_connects_reports_by_mail_is_told_not_to_count_a_refusal_twice(staff: Client, source: Source) -> None:
    Source.objects.filter(pk=source.pk).update(kind="report_mail")
    assert "not the notices (DSNs) of your own server" in text(staff, "/sources/mta-1/")


# --- the test event ----------------------------------------------------------------------------------------------


def test_a_test_event_goes_the_whole_way_and_is_seen(staff: Client, source: Source) -> None:
    answer = staff.post("/sources/mta-1/test", follow=True)
    assert answer.redirect_chain == [("/sources/mta-1/", 302)]
    assert "The test event was read, stored and counted" in answer.content.decode()
    event = SendingEvent.objects.get()
    assert (event.source, event.recipient_domain, event.classification) == (source, "test.invalid", "test event")
    assert TrafficMinute.objects.get().deferred == 1
    assert "defer at test.invalid from an unknown IP ○ test event" in text(staff, "/sources/mta-1/live")


def test_test_events_sway_no_standing_and_no_score(staff: Client, source: Source) -> None:
    for _ in range(60):
        staff.post("/sources/mta-1/test")
    assert SendingEvent.objects.count() == 60
    score_ips(now=timezone.now())
    score_senders(now=timezone.now())
    assert not IpStanding.objects.exists()
    assert not SenderScore.objects.exists()


def test_a_test_event_needs_the_permission_a_post_and_an_active_source(
    staff: Client, reader: Client, source: Source, operator: User
) -> None:
    assert reader.post("/sources/mta-1/test").status_code == 403
    assert staff.get("/sources/mta-1/test").status_code == 405
    strict = Client(enforce_csrf_checks=True)
    strict.force_login(operator)
    assert strict.post("/sources/mta-1/test").status_code == 403
    assert "Send a test event" not in text(reader, "/sources/mta-1/")
    assert staff.post("/sources/nobody/test").status_code == 404
    Source.objects.update(is_active=False)
    assert "is not active" in staff.post("/sources/mta-1/test", follow=True).content.decode()
    assert not SendingEvent.objects.exists()


# --- what came ---------------------------------------------------------------------------------------------------


def test_the_newest_events_of_this_source_alone_are_listed(staff: Client, source: Source, make_event: Make) -> None:
    now = timezone.now()
    other = Source.objects.create(name="mta-2")
    record_batch(other, [make_event(sending_ip="192.0.2.99", occurred_at=now)], now=now)
    refused = make_event(type=EventType.BOUNCE, enhanced_code="5.7.1", reply="no <b>spam</b>", occurred_at=now)
    record_batch(source, [refused], now=now)
    page = staff.get("/sources/mta-1/live").content.decode()
    assert "192.0.2.99" not in page
    assert "no &lt;b&gt;spam&lt;/b&gt;" in page
    assert "bounce 5.7.1 at gmail.com from 192.0.2.10" in text(staff, "/sources/mta-1/")


def test_rejected_events_are_linked_for_those_who_may_see_them(staff: Client, source: Source) -> None:
    now = timezone.now()
    intake.take_in(source, DOCUMENTED, [b'{"id": 1}', b'{"id": 2}'], now=now)
    intake.take_in(Source.objects.create(name="mta-2"), DOCUMENTED, [b'{"id": 3}'], now=now)
    page = staff.get("/sources/mta-1/").content.decode()
    assert "2 events of this source could not be read" in " ".join(page.split())
    found = re.search(r'href="(/admin/telemetry/rejectedevent/[^"]+)"', page)
    assert found
    listed = staff.get(html_text.unescape(found[1]))
    assert {row.source for row in listed.context["cl"].result_list} == {source}
    assert RejectedEvent.objects.count() == 3


def test_completeness_is_said_in_a_sentence_and_by_hour(staff: Client, source: Source) -> None:
    Source.objects.update(kind="stalwart", metrics_url="http://mta-1/metrics")
    assert "Nothing to compare yet" in text(staff, "/sources/mta-1/")
    compared(source)
    MetricsWatch.objects.create(source=source, error="The page answered 500.", failures=3, volume_ip="192.0.2.10")
    shown = text(staff, "/sources/mta-1/")
    assert "the server counted 1 000 deliveries; 992 arrived: 99.2 % . 8 are missing." in shown
    assert "could not be read 3 times in a row: The page answered 500." in shown
    assert "the volume of its only sending IP, 192.0.2.10" in shown
    assert "99.2 % 8 1 000 992 7 0 0" in shown


def test_where_nothing_can_be_compared_no_number_is_made_up(staff: Client, source: Source) -> None:
    assert "Did everything arrive? Not known." in text(staff, "/sources/mta-1/")
    assert "%" not in text(staff, "/sources/mta-1/").split("Did everything arrive?")[1]


PAGES = ["/sources/", "/sources/mta-1/", "/sources/mta-1/live"]


@pytest.mark.parametrize("path", PAGES)
def test_more_rows_cost_no_more_queries(staff: Client, source: Source, make_event: Make, path: str) -> None:
    now = timezone.now()
    Source.objects.update(kind="stalwart", metrics_url="http://mta-1/metrics", last_event_at=now)

    def fill(number: int) -> None:
        named = Source.objects.create(name=f"mta-x{number}", metrics_url="http://x/", last_event_at=now)
        compared(named)
        compared(source, ago=timedelta(minutes=10 + number))
        MetricsWatch.objects.create(source=named, error="gone")
        issue_token(source)
        record_batch(source, [make_event(event_id=f"e{number}", occurred_at=now)], now=now)
        intake.take_in(source, DOCUMENTED, [b'{"id": %d}' % number], now=now)

    fill(0)
    staff.get(path)
    few = queries(staff, path)
    for number in range(1, 12):
        fill(number)
    assert queries(staff, path) == few <= 20


def queries(client: Client, path: str) -> int:
    with CaptureQueriesContext(connection) as seen:
        assert client.get(path).status_code == 200
    return len(seen)


@pytest.mark.parametrize("path", PAGES)
def test_nobody_but_staff_sees_a_page_and_it_asks_no_outside_host(
    client: Client, staff: Client, source: Source, path: str
) -> None:
    html = staff.get(path).content.decode()
    assert re.findall(r"""(?:src|href|action|hx-get)=["'](?:https?:)?//[^"']*""", html) == []
    main = html[html.find('<main class="gs"') : html.find("</main>")] if "<main" in html else html
    assert not re.search(r"<script|<style|\son\w+=|\sstyle=", main)
    stranger = Client()
    assert stranger.get(path).status_code == 302
    assert stranger.get(path, headers={"HX-Request": "true"}).status_code == 401


def test_a_reader_sees_no_links_to_what_is_not_theirs(reader: Client, source: Source) -> None:
    page = reader.get("/sources/mta-1/").content.decode()
    assert "make-token" not in page
    assert "Look in the admin" in " ".join(page.split())


def test_a_source_that_nobody_heard_of_is_a_page_that_says_so(staff: Client) -> None:
    for path in ("/sources/nobody/", "/sources/nobody/live"):
        assert staff.get(path).status_code == 404


@pytest.mark.django_db(transaction=True)
@pytest.mark.slow
@pytest.mark.one_database
def test_the_first_event_shows_by_itself_and_a_phone_never_scrolls_sideways(
    live_server: Any, operator: User, source: Source, make_event: Make, tmp_path: Path
) -> None:
    Source.objects.update(kind="stalwart", metrics_url="http://mta-1/metrics")
    compared(source)
    with browser(tmp_path / "plain", scripts=False) as driver:
        log_in(driver, live_server.url, operator)
        driver.get(f"{live_server.url}/sources/mta-1/")
        assert "No event yet." in driver.find_element(By.TAG_NAME, "main").text
        driver.find_element(By.XPATH, "//button[contains(., 'Send a test event')]").click()
        patiently(driver, 15).until(until.text_to_be_present_in_element((By.ID, "gs-source-live"), "test event"))
    with browser(tmp_path / "phone") as driver:
        log_in(driver, live_server.url, operator)
        driver.execute_cdp_cmd(
            "Emulation.setDeviceMetricsOverride", {"width": 360, "height": 740, "deviceScaleFactor": 1, "mobile": True}
        )
        for path in ("/sources/", "/sources/mta-1/"):
            driver.get(live_server.url + path)
            assert driver.execute_script("return document.documentElement.scrollWidth") == 360, path
        now = timezone.now()
        record_batch(source, [make_event(sending_ip="192.0.2.77", occurred_at=now)], now=now)
        patiently(driver, 15).until(lambda page: "192.0.2.77" in page.find_element(By.ID, "gs-source-live").text)
