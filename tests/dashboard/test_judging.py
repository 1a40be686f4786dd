"""On the page of a sender each automatic change can be marked right or a false alarm, and taken back."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from dashboard.pages.overview import fleet
from reputation.breaker_acts import open_by_hand
from reputation.domain.breaker_policy import Scope
from reputation.models import AuditEntry, Judgement
from telemetry.domain.event import Event
from telemetry.models import Source
from tests.dashboard.test_pages import BAD, bad_day, text

pytestmark = pytest.mark.django_db
Make = Callable[..., Event]


@pytest.fixture
def entry(source: Source, make_event: Make) -> AuditEntry:
    bad_day(source, make_event, timezone.now())
    return AuditEntry.objects.get(action="status_change", sending_ip=BAD)


def say(client: Client, entry: AuditEntry, verdict: str, note: str = "", back: str = f"/ips/{BAD}/?range=7d") -> str:
    answer = client.post(f"/changes/{entry.pk}/judgement", {"verdict": verdict, "note": note, "next": back})
    assert answer.status_code == 302
    return answer.headers["Location"]


def test_a_false_alarm_is_marked_shown_counted_and_taken_back(staff: Client, entry: AuditEntry) -> None:
    assert "was judged yet" in text(staff, "/")
    assert "Was it right?" in text(staff, f"/ips/{BAD}/")
    assert say(staff, entry, "false_alarm", "a test run") == f"/ips/{BAD}/?range=7d"
    shown = text(staff, f"/ips/{BAD}/")
    assert "Judged false alarm by olga" in shown
    assert "“a test run”" in shown
    assert "Judged by olga The status change of" in shown, "the marking is in the log"
    assert "False alarms of the judged changes of 30 days: status changed 1 of 1 (100 %)." in text(staff, "/")
    say(staff, entry, "")
    assert not Judgement.objects.exists()
    assert "Was it right?" in text(staff, f"/ips/{BAD}/")


def test_only_those_who_may_act_are_asked(client: Client, entry: AuditEntry) -> None:
    client.force_login(User.objects.create_user("reader", password="correct horse battery", is_staff=True))
    assert "Was it right?" not in text(client, f"/ips/{BAD}/")
    assert client.post(f"/changes/{entry.pk}/judgement", {"verdict": "right"}).status_code == 403
    assert not Judgement.objects.exists()


def test_acts_of_people_are_not_asked_about(staff: Client, operator: User, entry: AuditEntry) -> None:
    open_by_hand(Scope("domain", "spam.example"), reason="looked at", user=operator, now=timezone.now())
    shown = text(staff, "/domains/spam.example/")
    assert "Breaker opened by olga" in shown
    assert "Was it right?" not in shown
    by_hand = AuditEntry.objects.get(action="breaker_opened")
    say(staff, by_hand, "right")
    assert not Judgement.objects.exists()


@pytest.mark.parametrize("back", ["https://evil.example/", "//evil.example", "javascript:alert(1)", ""])
def test_the_way_back_never_leads_elsewhere(staff: Client, entry: AuditEntry, back: str) -> None:
    assert say(staff, entry, "right", back=back) == "/"


def test_a_domains_page_tells_what_was_done_about_it_and_its_breakers(
    staff: Client, operator: User, entry: AuditEntry
) -> None:
    now = timezone.now()
    for scope in (Scope("domain", "spam.example"), Scope("domain", "spam.example", "google")):
        open_by_hand(scope, reason="looked at", user=operator, now=now)
    open_by_hand(Scope("domain", "other.example"), reason="nothing of this", user=operator, now=now)
    AuditEntry.objects.create(
        at=now, subject="spam.example", action="warmup_stepped_back", reason="half the day", triggered_by="automated"
    )
    shown = text(staff, "/domains/spam.example/")
    for expected in ("spam.example: looked at", "spam.example at google: looked at", "Warm-up a day back by automated"):
        assert expected in shown
    assert "nothing of this" not in shown
    assert "Was it right?" in shown


def test_verdicts_cost_the_overview_no_more_queries(staff: Client, entry: AuditEntry) -> None:
    def queries() -> int:
        with CaptureQueriesContext(connection) as seen:
            fleet(now=timezone.now())
        return len(seen)

    say(staff, entry, "right")
    few = queries()
    for number in range(6):
        more = AuditEntry.objects.create(
            at=timezone.now() - timedelta(hours=number),
            sending_ip=BAD,
            action="status_change",
            triggered_by="automated",
        )
        say(staff, more, "false_alarm")
    assert queries() == few
