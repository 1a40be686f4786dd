"""The search: whatever spelling leads to the page, ids to events, parts of names to short lists."""

from __future__ import annotations

import html as html_text
import re
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
from selenium.webdriver.common.keys import Keys

from dashboard.pages import search as searches
from dashboard.search_queries import events_of_message
from reputation.models import Pool, SenderScore, SendingIP
from telemetry.domain.event import Event
from telemetry.ingest import record_batch
from telemetry.models import SendingEvent, Source
from tests.dashboard.test_browser import browser, log_in, patiently
from tests.dashboard.test_pages import BAD, bad_day, mail, refused

pytestmark = pytest.mark.django_db
Make = Callable[..., Event]
V6 = "2001:db8::25"


def text(client: Client, query: str) -> str:
    response = client.get("/search/", {"q": query})
    assert response.status_code == 200, query
    main = response.content.decode().partition("<main")[2]
    return html_text.unescape(" ".join(re.sub(r"<[^>]*>", " ", main).split())).replace("\u202f", " ")


@pytest.mark.parametrize(
    ("query", "page"),
    [
        (V6, f"/ips/{V6}/"),
        (" 2001:DB8:0:0:0:0:0:25 ", f"/ips/{V6}/"),
        ("[IPv6:2001:db8::0025]", f"/ips/{V6}/"),
        (BAD, f"/ips/{BAD}/"),
        (f"::ffff:{BAD}", f"/ips/{BAD}/"),
        ("Spam.Example.", "/domains/spam.example/"),
    ],
)
def test_any_spelling_leads_to_the_page(staff: Client, source: Source, make_event: Make, query: str, page: str) -> None:
    bad_day(source, make_event, timezone.now())
    SendingIP.objects.create(ip=V6)
    response = staff.get("/search/", {"q": query})
    assert (response.status_code, response.headers.get("Location")) == (302, page)


def test_a_part_finds_addresses_labels_domains_pools_and_sources(
    staff: Client, source: Source, make_event: Make
) -> None:
    bad_day(source, make_event, timezone.now())
    pool = Pool.objects.create(name="Newsletters", description="what spammy marketing sends")
    SendingIP.objects.filter(pk=BAD).update(label="Spam cannon", pool=pool)
    Source.objects.create(name="spam-trap", kind="generic")
    assert f"{BAD} ■ quarantine Spam cannon pool Newsletters" in text(staff, "CANNON")
    shown = text(staff, "spam")
    for found in (BAD, "spam.example score", "Newsletters what spammy", "spam-trap generic"):
        assert found in shown
    assert "good.example" not in shown
    assert BAD in text(staff, ".2.6")


def test_a_message_leads_to_its_events_and_no_recipient_is_shown(
    staff: Client, source: Source, make_event: Make
) -> None:
    now = timezone.now()
    events = refused(make_event, now, 1, message_id="4XyZ99", recipient="secret@gmail.com", sending_ip=BAD)
    events += mail(make_event, now, 1, message_id="4XyZ99", attempt_number=2, sending_ip=BAD)
    events += mail(make_event, now, 1, message_id="<20261121.7@good.example>")
    events += mail(make_event, now, 1, message_id="other1")
    record_batch(source, events, now=now)
    shown = text(staff, "4XyZ99")
    assert "bounce 5.7.1 at gmail.com" in shown
    assert "delivery at gmail.com" in shown
    assert "secret@" not in shown
    assert shown.count("reported by mta-1") == 2
    one = SendingEvent.objects.filter(message_id="4XyZ99").first()
    assert one is not None
    assert f"/admin/telemetry/sendingevent/{one.pk}/change/" in staff.get("/search/?q=4XyZ99").content.decode()
    assert text(staff, "20261121.7@good.example").count("reported by") == 1


def test_the_admin_is_not_linked_for_who_may_not_look(
    client: Client, source: Source, make_event: Make, django_user_model: type[User]
) -> None:
    record_batch(source, mail(make_event, timezone.now(), 1, message_id="4XyZ99"), now=timezone.now())
    client.force_login(django_user_model.objects.create_user("sam", is_staff=True))
    shown = client.get("/search/?q=4XyZ99").content.decode()
    assert "Events of this message" in shown
    assert "/admin/telemetry/sendingevent/" not in shown


@pytest.mark.parametrize(
    "query", ["", " ", "nothing", "12345", "a\x00b1234", "%", "_____1", "'\"<b>1", "é" * 600, "::", "0.0.0.0"]
)
def test_nothing_and_nonsense_are_answered_calmly(staff: Client, query: str) -> None:
    shown = text(staff, query)
    assert ("What are you looking for?" in shown) is (not query.strip())


def test_an_unknown_ip_is_said_to_be_unknown(staff: Client) -> None:
    assert "No mail from 192.0.2.200 has been reported yet." in text(staff, "192.0.2.200")


def test_lists_are_short_and_the_page_costs_the_same_for_many(staff: Client, source: Source, make_event: Make) -> None:
    record_batch(source, mail(make_event, timezone.now(), 3, message_id="sender1"), now=timezone.now())

    def cost() -> int:
        with CaptureQueriesContext(
            connection,
        ) as asked:
            text(staff, "sender1")
        return len(asked)

    def add(first: int, last: int) -> None:
        now = timezone.now()
        for number in range(first, last):
            SendingIP.objects.create(ip=f"198.51.100.{number}", label=f"sender1 {number}")
            SenderScore.objects.create(
                kind="domain", name=f"sender1{number}.example", window_start=now, window_end=now, computed_at=now
            )
            Pool.objects.create(name=f"sender1 {number}")
            Source.objects.create(name=f"sender1{number}")

    add(1, 3)
    few = cost()
    add(3, 40)
    assert cost() == few
    found = searches.find("sender1", now=timezone.now())
    assert [len(rows) for rows in (found.ips, found.domains, found.pools, found.sources)] == [20] * 4
    assert found.is_more
    assert "There is more than is shown here" in text(staff, "sender1")


def test_events_are_looked_for_by_their_key_and_never_through_the_whole_table(source: Source, make_event: Make) -> None:
    record_batch(source, mail(make_event, timezone.now(), 3, message_id="4XyZ99"), now=timezone.now())
    with CaptureQueriesContext(connection) as asked:
        events_of_message(["4XyZ99"], 10)
    told = asked.captured_queries[-1]["sql"]
    assert '"telemetry_sendingevent"."id" >' in told
    assert "LIKE" not in told.upper()


@pytest.mark.django_db(transaction=True)
@pytest.mark.slow
@pytest.mark.one_database
def test_a_key_leads_to_the_box_from_the_console_and_from_the_admin(
    live_server: Any, operator: User, tmp_path: Path
) -> None:
    SendingIP.objects.create(ip=V6)
    with browser(tmp_path) as driver:
        log_in(driver, live_server.url, operator)
        for path in ("/blocklists/", "/admin/"):
            driver.get(live_server.url + path)
            driver.find_element(By.TAG_NAME, "body").send_keys("/")
            box = driver.switch_to.active_element
            assert (box.get_attribute("id"), box.get_attribute("value")) == ("gs-search", "")
            box.send_keys("2001:db8:0::25/", Keys.BACKSPACE, Keys.ENTER)
            patiently(driver, 10).until(lambda page: page.current_url.endswith(f"/ips/{V6}/"))
