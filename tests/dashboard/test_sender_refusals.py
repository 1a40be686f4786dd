"""Refusals and failures of a sender: narrowed by the address, in pages, as files without personal data."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable
from datetime import timedelta

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client
from django.utils import timezone

from telemetry.domain.event import Event
from telemetry.domain.vocab import EventType
from telemetry.ingest import record_batch
from telemetry.models import Source
from tests.dashboard.test_pages import BAD, bad_day, mail, refused, text

pytestmark = pytest.mark.django_db
Make = Callable[..., Event]
SENDER = {"sending_ip": BAD, "sending_domain": "spam.example"}
PLACES = [f"/ips/{BAD}/", "/domains/spam.example/"]


@pytest.fixture
def bad(source: Source, make_event: Make) -> None:
    """12 spam refusals at Gmail, 8 at Outlook, a throttling, an unknown user, one without a code, a complaint."""
    now = timezone.now()
    bad_day(source, make_event, now)
    throttled = {"type": EventType.DEFER, "smtp_code": 421, "enhanced_code": "4.7.28", "reply": "Slow down"}
    unknown = {"enhanced_code": "5.1.1", "reply": "No such user", "recipient_domain": "example.org"}
    nothing = {"type": EventType.DEFER, "smtp_code": None, "enhanced_code": "", "reply": "connection lost"}
    complaint = {"type": EventType.COMPLAINT, "recipient_domain": "yahoo.com"}
    three_digits = {"smtp_code": 552, "enhanced_code": "", "reply": "552 too large", "recipient_domain": "example.net"}
    for fields in (throttled, unknown, nothing, three_digits):
        record_batch(source, refused(make_event, now, 1, **SENDER, **fields), now=now)
    record_batch(source, mail(make_event, now, 1, **SENDER, **complaint), now=now)


def rows(client: Client, path: str) -> list[dict[str, str]]:
    answer = client.get(path)
    assert answer.status_code == 200
    assert answer.headers["Content-Type"].startswith("text/csv")
    content = b"".join(answer.streaming_content).decode()  # type: ignore[attr-defined]
    return list(csv.DictReader(content.splitlines()))


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize(
    ("query", "failures", "attempts"),
    [
        ("", 25, 24),
        ("provider=google", 14, 14),
        ("code=5.7.1", 20, 20),
        ("code=552", 1, 1),
        ("code=none", 2, 1),
        ("cause=unknown_user", 1, 1),
        ("to=Outlook.com", 8, 8),
        ("to=outlook.com&code=4.7.28", 0, 0),
        ("type=complaint", 1, 24),
        ("type=defer&provider=google", 2, 14),
        ("range=1h&code=5.1.1", 1, 1),
    ],
)
def test_the_address_narrows_both_lists_and_their_files(
    staff: Client, bad: None, place: str, query: str, failures: int, attempts: int
) -> None:
    found = rows(staff, f"{place}failures/?{query}&format=csv")
    assert len(found) == failures
    assert sum(int(row["attempts"]) for row in rows(staff, f"{place}refusals/?{query}&format=csv")) == attempts
    shown = text(staff, f"{place}failures/?{query}")
    assert (f"of {failures} " in shown) is bool(failures)
    assert ("Nothing failed that way" in shown) is (not failures)


@pytest.mark.parametrize("place", PLACES)
def test_the_page_shows_ten_failures_with_their_replies_and_leads_to_the_rest(
    staff: Client, bad: None, place: str
) -> None:
    html = staff.get(f"{place}?type=bounce").content.decode()
    assert html.count('<q class="gs-reply">') <= 10
    failed = html[html.index('<ol class="gs-failures">') :].split("</ol>")[0]
    assert failed.count("<li>") == 10
    assert f'href="{place}failures/?type=bounce"' in html
    first, second = (staff.get(f"{place}failures/?page={page}").content.decode() for page in (1, 2))
    assert first.count('<span class="gs-when">') == 20
    assert second.count('<span class="gs-when">') == 5
    assert "552 too large" in first + second
    assert 'href="?page=1"' in second


def test_twenty_refusals_are_shown_and_the_rest_is_pages_on(staff: Client, source: Source, make_event: Make) -> None:
    now = timezone.now()
    bad_day(source, make_event, now)
    for number in range(30):
        record_batch(source, refused(make_event, now, 1, **SENDER, enhanced_code=f"5.6.{number}"), now=now)
    html = staff.get(f"/ips/{BAD}/").content.decode()
    table = html[html.index('aria-label="Refusals by provider, code and cause"') :].split("</table>")[0]
    assert table.count("<tr>") == 1 + 20
    assert "12 more</a>" in html
    assert "21–32 of 32" in text(staff, f"/ips/{BAD}/refusals/?page=2")


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize(
    ("query", "told"),
    [
        ("range=forever", "“forever” is no range"),
        ("provider=<b>", "“&lt;b&gt;” is no mailbox provider"),
        ("provider=g%00", "is no mailbox provider"),
        ("code=five", "“five” is no code"),
        ("code=5.7.1%00", "is no code"),
        ("cause=bad+luck", "“bad luck” is no cause"),
        ("to=no..name", "“no..name” is no domain name"),
        ("to=%00", "is no domain name"),
        ("type=delivery", "“delivery” is no kind of failure"),
    ],
)
def test_what_means_nothing_is_said_and_left_out(staff: Client, bad: None, place: str, query: str, told: str) -> None:
    for path in (place, f"{place}failures/", f"{place}refusals/"):
        assert told in text(staff, f"{path}?{query}"), path
    assert len(rows(staff, f"{place}failures/?{query}&format=csv")) == 25


def test_each_word_of_the_table_leads_to_the_list_narrowed_to_it(staff: Client, bad: None) -> None:
    html = staff.get(f"/ips/{BAD}/?range=6h").content.decode()
    table = html[html.index('aria-label="Refusals by provider, code and cause"') :].split("</table>")[0]
    links = set(re.findall(r'href="([^"]+)"', table))
    assert {"?range=6h&amp;provider=google#gs-refusals", "?range=6h&amp;code=none#gs-refusals"} <= links
    for link in links:
        assert staff.get(f"/ips/{BAD}/{link.replace('&amp;', '&').partition('#')[0]}").status_code == 200


def test_recipients_are_for_those_who_may_see_events(client: Client, bad: None) -> None:
    person = User.objects.create_user("reader", password="correct horse battery", is_staff=True)
    path = f"/ips/{BAD}/failures/?format=csv"
    client.force_login(person)
    found = rows(client, path)
    assert len(found) == 25
    assert all("recipient" not in row and "someone" not in "".join(row.values()) for row in found)
    assert {row["recipient_domain"] for row in found} >= {"gmail.com", "outlook.com"}
    person.user_permissions.add(Permission.objects.get(codename="view_sendingevent"))
    assert {row["recipient"] for row in rows(client, path)} >= {"someone@gmail.com", "someone@outlook.com"}


def test_names_of_files_tell_the_sender_and_never_a_recipient(staff: Client, source: Source, make_event: Make) -> None:
    now = timezone.now()
    record_batch(source, refused(make_event, now, 1, sending_ip="2001:db8::25"), now=now)
    for table in ("failures", "refusals", "scores", "rates"):
        name = staff.get(f"/ips/2001:db8::25/{table}/?format=csv&to=secret.example").headers["Content-Disposition"]
        assert re.search(rf'filename="{table}[\w-]*-2001-db8--25\.csv"', name), name


@pytest.mark.parametrize("place", PLACES)
def test_scores_and_rates_are_files_too(staff: Client, bad: None, place: str) -> None:
    scores = {row["provider"]: row for row in rows(staff, f"{place}scores/?format=csv")}
    assert scores["all"]["bounced"] == "20"
    assert len(scores) == 3
    steps = rows(staff, f"{place}rates/?format=csv&range=1h")
    assert len(steps) == 60
    assert sum(int(row["delivered"]) for row in steps) == 380
    assert staff.get(f"{place}scores/").headers["Location"] == place
    assert staff.get(f"{place}secrets/").status_code == 404


@pytest.mark.parametrize("table", ["failures", "refusals", "scores", "rates"])
def test_lists_are_for_staff(client: Client, bad: None, table: str) -> None:
    assert client.get(f"/ips/{BAD}/{table}/?format=csv").status_code == 302


def test_a_failure_of_yesterday_is_in_the_longer_range(staff: Client, source: Source, make_event: Make) -> None:
    now = timezone.now()
    bad_day(source, make_event, now)
    old = refused(make_event, now, 1, **SENDER, occurred_at=now - timedelta(days=3), reply="Three days ago")
    record_batch(source, old, now=now)
    assert "Three days ago" not in text(staff, f"/ips/{BAD}/failures/?page=2")
    assert "Three days ago" in text(staff, f"/ips/{BAD}/failures/?range=7d&page=2")
