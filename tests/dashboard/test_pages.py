"""The pages as staff see them: empty, full, and never slower for more rows."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from dashboard.pages.ip import ip_page
from dashboard.pages.overview import day, fleet
from reputation import overrides, permits
from reputation.domain.policy import Status
from reputation.models import AuditEntry, Blocklist, IpStanding, Listing
from reputation.scores import score_senders
from reputation.standing import score_ips
from telemetry.causes import classifier
from telemetry.counters import roll_up
from telemetry.domain.event import Event
from telemetry.domain.vocab import EventType, VolumeReporting
from telemetry.ingest import record_batch
from telemetry.mailbox_providers import directory
from telemetry.models import CompletenessReading, Source

pytestmark = pytest.mark.django_db
Make = Callable[..., Event]
GOOD, BAD, QUIET = "192.0.2.10", "192.0.2.66", "2001:db8::25"
PAGES = ["/", "/overview/fleet", "/overview/day", f"/ips/{BAD}/", "/domains/spam.example/"]


def mail(make: Make, now: datetime, number: int, **fields: Any) -> list[Event]:
    """That many events a minute ago; ids differ between kinds, senders and providers."""
    defaults = {"occurred_at": now - timedelta(minutes=1)} | fields
    name = "-".join(str(value) for value in defaults.values())
    return [make(event_id=f"{name}-{index}", **defaults) for index in range(number)]


def refused(make: Make, now: datetime, number: int, **fields: Any) -> list[Event]:
    return mail(make, now, number, **({"type": EventType.BOUNCE, "smtp_code": 550, "enhanced_code": "5.7.1"} | fields))


def bad_day(source: Source, make: Make, now: datetime) -> None:
    """A good sender, and a spammer that two providers refuse: 20 of 400."""
    good = {"sending_ip": GOOD, "sending_domain": "good.example"}
    bad = {"sending_ip": BAD, "sending_domain": "spam.example"}
    events = mail(make, now, 100, **good) + mail(make, now, 380, **bad)
    events += refused(make, now, 12, reply="Blocked <b>as spam</b>", **bad)
    events += refused(make, now, 8, recipient_domain="outlook.com", **bad)
    record_batch(source, events, now=now)
    score_ips(now=now)
    score_senders(now=now)


def text(client: Client, path: str) -> str:
    response = client.get(path)
    assert response.status_code == 200, path
    return " ".join(re.sub(r"<[^>]*>", " ", response.content.decode()).split()).replace("\u202f", " ")


def test_without_mail_the_overview_says_the_three_steps_and_a_curl_line(staff: Client, source: Source) -> None:
    shown = text(staff, "/")
    assert "Connect a source ✓ done" in shown
    assert "Send a test event ○ to do" in shown
    assert "curl http://testserver/api/events" in shown
    assert "mta-1" in shown


def test_the_first_report_replaces_the_three_steps(
    staff: Client, source: Source, make_event: Make, django_capture_on_commit_callbacks: Any
) -> None:
    now = timezone.now()
    with django_capture_on_commit_callbacks(execute=True):
        record_batch(source, refused(make_event, now, 1), now=now)
    assert "Events have arrived" in text(staff, "/overview/fleet")
    score_ips(now=now)
    assert GOOD in text(staff, "/overview/fleet")


def test_the_worst_ip_comes_first_with_its_numbers(staff: Client, source: Source, make_event: Make) -> None:
    bad_day(source, make_event, timezone.now())
    shown = text(staff, "/")
    listed = shown[shown.index("Sending IPs, worst first") :]
    assert listed.index(BAD) < listed.index(GOOD)
    assert "■ quarantine 5 % refused: 20 of 400 sent" in listed
    assert "0 % refused: 0 of 100 sent" in listed
    assert "● healthy → ■ quarantine by automated" in listed
    assert "0 ✖ blacklisted 1 ■ quarantine 0 ▲ warning 1 ● healthy" in shown


def test_ips_of_one_status_are_ordered_by_ratio_and_unknown_volume_comes_last(
    source: Source, make_event: Make, operator: User
) -> None:
    now = timezone.now()
    failing = Source.objects.create(name="failures", kind="generic", volume=VolumeReporting.FAILURES_ONLY)
    for ip, number in (("192.0.2.1", 2), ("192.0.2.2", 4)):
        events = mail(make_event, now, 100 - number, sending_ip=ip)
        events += refused(make_event, now, number, sending_ip=ip, enhanced_code="5.1.1")
        record_batch(source, events, now=now)
    record_batch(failing, refused(make_event, now, 5, sending_ip=QUIET), now=now)
    score_ips(now=now)
    assert [(row.ip, row.status.word) for row in fleet(now=now).ips] == [
        ("192.0.2.2", "warning"),
        ("192.0.2.1", "warning"),
        (QUIET, "warning"),
    ]


def test_an_unknown_volume_is_said_and_shows_no_ratio(staff: Client, source: Source, make_event: Make) -> None:
    now = timezone.now()
    record_batch(source, refused(make_event, now, 40, sending_ip=BAD), now=now)
    score_ips(now=now)
    assert "40 refused, volume unknown" in text(staff, "/")
    shown = text(staff, f"/ips/{BAD}/")
    assert "Refused share volume unknown 40 refused" in shown
    page = ip_page(BAD, now=now)
    assert page is not None
    assert page.rates.figures[0].chart.is_empty
    assert [step.rates.sent for step in page.rates.steps if step.rates.rejected] == [None]


def test_an_override_stands_beside_what_the_automation_says(
    staff: Client, source: Source, make_event: Make, operator: User
) -> None:
    now = timezone.now()
    bad_day(source, make_event, now)
    overrides.release(BAD, reason="a false alarm", user=operator, now=now)
    for path in ("/", f"/ips/{BAD}/"):
        shown = text(staff, path)
        assert "Set by olga (release" in shown
        assert "“a false alarm”" in shown
        assert "The automation alone says ■ quarantine" in shown
    assert "Released by hand: ■ quarantine → ● healthy by olga" in text(staff, f"/ips/{BAD}/")


def test_an_ip_without_mail_in_its_window_is_shown_as_of_then(source: Source, make_event: Make) -> None:
    now = timezone.now()
    bad_day(source, make_event, now - timedelta(hours=2))
    rows = fleet(now=now).ips
    assert all(row.last_window is not None and row.last_window < now - timedelta(hours=1) for row in rows)
    assert all(row.last_window is None for row in fleet(now=now - timedelta(hours=2)).ips)


def test_the_ip_page_says_why_what_next_and_what_was_answered(staff: Client, source: Source, make_event: Make) -> None:
    bad_day(source, make_event, timezone.now())
    shown = text(staff, f"/ips/{BAD}/")
    for expected in (
        IpStanding.objects.get(pk=BAD).why,
        "Take this IP out of rotation",
        "20 of 400 sent",
        "major: gmail.com, outlook.com",
        "Google (Gmail and Workspace) 5.7.1 content 12",
        "Blocked &lt;b&gt;as spam&lt;/b&gt;",
        "Status changed: ● healthy → ■ quarantine by automated",
    ):
        assert expected in shown
    assert GOOD not in shown


def test_a_reply_text_cannot_write_html(staff: Client, source: Source, make_event: Make) -> None:
    bad_day(source, make_event, timezone.now())
    for path in (f"/ips/{BAD}/", "/domains/spam.example/"):
        assert b"<b>as spam</b>" not in staff.get(path).content


def test_the_domain_page_names_each_denominator_and_penalty(staff: Client, source: Source, make_event: Make) -> None:
    bad_day(source, make_event, timezone.now())
    shown = text(staff, "/domains/spam.example/")
    assert "90 of 100" in shown
    assert "bounce 5 % 20 of 400 delivered + bounced" in shown
    assert "complaint 0 % 0 of 380 delivered" in shown
    assert "−5 bounce rate above 2 % −5 delivery rate not above 95 %" in shown
    assert "Outlook.com / Hotmail / Live" in shown


def test_a_domain_without_deliveries_gets_no_made_up_score(staff: Client, source: Source, make_event: Make) -> None:
    now = timezone.now()
    record_batch(source, refused(make_event, now, 50, sending_domain="silent.example"), now=now)
    score_senders(now=now)
    assert "no score yet" in text(staff, "/domains/silent.example/")


def test_hours_add_up_to_what_was_counted_before_and_after_the_roll_up(source: Source, make_event: Make) -> None:
    now = timezone.now()
    for hours in (0, 1, 5, 20):
        at = now - timedelta(hours=hours, minutes=1)
        events = mail(make_event, now, 90, sending_ip=BAD, occurred_at=at)
        events += refused(make_event, now, 10, sending_ip=BAD, occurred_at=at)
        record_batch(source, events, now=now)
    score_ips(now=now)
    before = ip_page(BAD, now=now)
    roll_up(now=now)
    after = ip_page(BAD, now=now)
    assert before is not None
    assert before == after
    assert sum(step.rates.sent or 0 for step in before.rates.steps) == 400
    assert [entry.count for entry in before.refusals.lines] == [40]
    assert {step.rates.share for step in before.rates.steps} == {None, 0.1}
    total = day(now=now).total
    assert (total.delivered, total.bounced) == (360, 40)


def test_a_source_that_fell_silent_is_pointed_out(staff: Client, source: Source, make_event: Make) -> None:
    bad_day(source, make_event, timezone.now())
    assert "silent for" not in text(staff, "/overview/fleet")
    Source.objects.update(last_event_at=timezone.now() - timedelta(hours=3, minutes=1))
    assert "silent for 3 h" in text(staff, "/overview/fleet")


def test_the_overview_has_the_last_hours_of_each_ip_in_words_too(
    staff: Client, source: Source, make_event: Make
) -> None:
    now = timezone.now()
    bad_day(source, make_event, now)
    record_batch(source, mail(make_event, now - timedelta(hours=3), 50, sending_ip=BAD), now=now)
    record_batch(source, mail(make_event, now - timedelta(hours=30), 70, sending_ip=BAD), now=now)
    roll_up(now=now)
    page = staff.get("/overview/fleet").content.decode()
    assert 'aria-label="Last 12 hours: 430 delivered, 20 refused"' in page
    assert 'aria-label="Last 12 hours: 100 delivered, 0 refused"' in page
    spark = next(row.spark for row in fleet(now=now).ips if row.ip == BAD)
    assert spark is not None
    assert sum(bool(bar.parts and any(part.height for part in bar.parts)) for bar in spark.chart.bars) in (2, 3)


def test_the_overview_says_who_is_listed_and_what_is_missing(staff: Client, source: Source, make_event: Make) -> None:
    now = timezone.now()
    bad_day(source, make_event, now)
    assert "No sending IP and no sending domain is believed to be listed." in text(staff, "/overview/fleet")
    psbl = Blocklist.objects.get(name="psbl")
    Listing.objects.create(kind="ip", subject=BAD, blocklist=psbl, state="listed", since=now, due_at=now, shard=0)
    start = now - timedelta(hours=2)
    CompletenessReading.objects.create(
        source=source, start=start, end=start + timedelta(minutes=1), server_delivered=200, arrived_delivered=196
    )
    shown = text(staff, "/overview/fleet")
    assert f"listed {BAD} on psbl" in shown
    assert "98 % arrived, 4 missing" in shown


def test_a_change_of_yesterday_is_no_news(source: Source) -> None:
    now = timezone.now()
    for hours in (1, 23, 25):
        AuditEntry.objects.create(at=now - timedelta(hours=hours), sending_ip=GOOD, action="lift", reason=str(hours))
    assert [change.reason for change in fleet(now=now).changes] == ["1", "23"]


@pytest.mark.parametrize("path", PAGES)
def test_more_rows_cost_no_more_queries(
    staff: Client, source: Source, make_event: Make, operator: User, path: str
) -> None:
    now = timezone.now()
    bad_day(source, make_event, now)
    overrides.override(BAD, Status.WARNING, reason="looked at", user=operator, now=now)
    staff.get(path)
    few = queries(staff, path)
    for index in range(12):
        Source.objects.create(name=f"mta-{index + 2}", kind="generic", last_event_at=now)
        sender = {"sending_ip": f"198.51.100.{index}", "sending_domain": f"d{index}.example"}
        events = mail(make_event, now, 60, **sender) + refused(make_event, now, 5, **sender)
        events += refused(
            make_event, now, 3, sending_ip=BAD, sending_domain="spam.example", enhanced_code=f"5.7.{index}"
        )
        events += mail(
            make_event, now, 2, sending_ip=BAD, sending_domain="spam.example", recipient_domain=f"x{index}.example"
        )
        record_batch(source, events, now=now)
    score_ips(now=now)
    score_senders(now=now)
    for index in range(12):
        overrides.quarantine(f"198.51.100.{index}", reason="all of them", user=operator, now=now)
    assert queries(staff, path) == few


def queries(client: Client, path: str) -> int:
    permits.desk().books.forget()  # what permits know is read anew once a second
    # These are looked at every so many seconds; not while we count.
    classifier()
    directory()
    with CaptureQueriesContext(connection) as seen:
        assert client.get(path).status_code == 200
    return len(seen)


@pytest.mark.parametrize("path", PAGES)
def test_nobody_but_staff_sees_a_page(client: Client, source: Source, make_event: Make, path: str) -> None:
    bad_day(source, make_event, timezone.now())
    for person in (None, User.objects.create_user("visitor", password="correct horse battery")):
        if person is not None:
            client.force_login(person)
        response = client.get(path)
        assert response.status_code == 302
        assert response.headers["Location"] == f"/admin/login/?next={path}"
        fetched = client.get(path, headers={"HX-Request": "true"})
        assert (fetched.status_code, fetched.content, fetched.headers["HX-Refresh"]) == (401, b"", "true")


def test_links_into_the_admin_are_for_those_who_may_look_there(
    client: Client, operator: User, source: Source, make_event: Make
) -> None:
    bad_day(source, make_event, timezone.now())
    client.force_login(User.objects.create_user("reader", password="correct horse battery", is_staff=True))
    shown = client.get("/").content.decode() + client.get(f"/ips/{BAD}/").content.decode()
    assert not re.search(r'href="/admin/(telemetry|reputation)/', shown)
    client.force_login(operator)
    assert f"/admin/reputation/ipstanding/?q={BAD}" in client.get(f"/ips/{BAD}/").content.decode()
    assert f"/admin/telemetry/source/{source.pk}/change/" in client.get("/").content.decode()
    assert client.get(f"/admin/reputation/ipstanding/?q={BAD}").status_code == 200


@pytest.mark.parametrize("path", ["/ips/nonsense/", f"/ips/{GOOD}/", "/domains/no..name/", "/domains/new.example/"])
def test_what_nobody_heard_of_is_a_page_that_says_so(staff: Client, path: str) -> None:
    response = staff.get(path)
    assert response.status_code == 404
    assert "Back to the overview" in response.content.decode()


@pytest.mark.parametrize(
    ("asked", "canonical"),
    [("/ips/2001:DB8:0::25/", "/ips/2001:db8::25/"), ("/domains/Good.Example/", "/domains/good.example/")],
)
def test_another_spelling_leads_to_the_canonical_page(staff: Client, asked: str, canonical: str) -> None:
    assert staff.get(asked).headers["Location"] == canonical


@pytest.mark.parametrize("path", PAGES)
def test_a_page_asks_no_outside_host_and_brings_no_script_of_its_own_inline(
    staff: Client, source: Source, make_event: Make, path: str
) -> None:
    bad_day(source, make_event, timezone.now())
    html = staff.get(path).content.decode()
    outside = re.findall(r"""(?:src|href|action|hx-get)=["'](?:https?:)?//[^"']*""", html)
    assert outside == []
    main = html[html.find('<main class="gs"') : html.find("</main>")] if "<main" in html else html
    assert not re.search(r"<script|<style|\son\w+=|\sstyle=", main)


def test_status_is_always_a_word_beside_its_colour(staff: Client, source: Source, make_event: Make) -> None:
    bad_day(source, make_event, timezone.now())
    html = staff.get("/").content.decode()
    marks = re.findall(r'class="gs-status gs-(\w+)"><span aria-hidden="true">.</span> ([^<]+)</span>', html)
    assert len(marks) >= 4 + 2 + 2
    assert all(status == word for status, word in marks)
