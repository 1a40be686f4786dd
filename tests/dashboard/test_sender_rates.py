"""Rates over time on the pages of senders: each over its own denominator, none where the volume is unknown."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from dashboard.pages.rates import Rates, rates_of
from dashboard.ranges import BY_ID, RANGES
from dashboard.sender_filters import SenderFilters
from telemetry.counters import roll_up
from telemetry.domain.event import Event
from telemetry.domain.vocab import EventType, VolumeReporting
from telemetry.ingest import record_batch
from telemetry.models import Source
from tests.conftest import NOON
from tests.dashboard.test_pages import BAD, bad_day, mail, queries, refused, text

pytestmark = pytest.mark.django_db
Make = Callable[..., Event]
NOW = NOON + timedelta(minutes=20, seconds=30)
DOMAIN = "spam.example"
SENDER = {"sending_ip": BAD, "sending_domain": DOMAIN}
OUTLOOK = {"recipient_domain": "outlook.com"}
SENDERS = [("ip", BAD), ("domain", DOMAIN)]


def record(source: Source, events: list[Event]) -> None:
    record_batch(source, events, now=NOW)


def an_hour(make: Make, at: datetime) -> list[Event]:
    """90 delivered and 10 bounced at Gmail, 40 delivered and 2 complaints at Outlook."""
    given = {"occurred_at": at, **SENDER}
    return [
        *mail(make, NOW, 90, **given),
        *refused(make, NOW, 10, **given),
        *mail(make, NOW, 40, **given, **OUTLOOK),
        *mail(make, NOW, 2, **given, **OUTLOOK, type=EventType.COMPLAINT),
    ]


def rates(kind: str, name: str, now: datetime = NOW, **asked: str) -> Rates:
    return rates_of(kind, name, SenderFilters.read(asked), now=now)


@pytest.mark.parametrize("chosen", [entry.id for entry in RANGES])
@pytest.mark.parametrize(("kind", "name"), SENDERS)
def test_every_range_adds_up_and_ends_with_the_running_step(
    source: Source, make_event: Make, chosen: str, kind: str, name: str
) -> None:
    ages = [timedelta(minutes=3), timedelta(minutes=50), timedelta(hours=5), timedelta(hours=20), timedelta(days=5)]
    for age in (*ages, timedelta(days=25), timedelta(days=80)):
        record(source, an_hour(make_event, NOW - age))
    within = sum(
        age < BY_ID[chosen].count * BY_ID[chosen].step for age in (*ages, timedelta(days=25), timedelta(days=80))
    )
    before = rates(kind, name, range=chosen)
    roll_up(now=NOW)
    after = rates(kind, name, range=chosen)
    assert before == after
    assert len(after.steps) == BY_ID[chosen].count
    assert after.steps[0].start <= NOW < after.steps[0].start + BY_ID[chosen].step
    assert sum(step.rates.delivered for step in after.steps) == 130 * within
    assert sum(step.rates.bounced for step in after.steps) == 10 * within
    assert {step.rates.share for step in after.steps if step.rates.sent} == {10 / 140}
    assert {step.rates.bounce for step in after.steps if step.rates.final} == {10 / 140}
    assert {step.rates.complaint for step in after.steps if step.rates.delivered} == {2 / 130}
    everybody, gmail, outlook = after.providers
    assert (everybody.rates.delivered, gmail.rates.bounced, outlook.rates.complained) == (
        130 * within,
        10 * within,
        2 * within,
    )


def test_at_one_provider_only_its_mail_counts(source: Source, make_event: Make) -> None:
    record(source, an_hour(make_event, NOW - timedelta(minutes=3)))
    (gmail,) = {step.rates for step in rates("ip", BAD, provider="google").steps if step.rates.sent}
    assert (gmail.sent, gmail.rejected, gmail.share, gmail.complained) == (100, 10, 0.1, 0)
    (outlook,) = {
        step.rates for step in rates("domain", DOMAIN, provider="microsoft_consumer").steps if step.rates.sent
    }
    assert (outlook.delivered, outlook.bounce, outlook.complaint) == (40, 0.0, 0.05)
    none = rates("ip", BAD, provider="yahoo")
    assert all(not step.rates.sent for step in none.steps)
    assert [row.id for row in none.providers if row.is_chosen] == ["yahoo"], "the choice stays to be seen"


@pytest.mark.parametrize(("kind", "name"), SENDERS)
def test_only_failures_at_one_provider_are_all_refused_where_others_are_delivered(
    source: Source, make_event: Make, kind: str, name: str
) -> None:
    """What proves that a source reports deliveries need not be at the provider that is looked at."""
    at = {"occurred_at": NOW - timedelta(days=3), **SENDER}
    record(source, mail(make_event, NOW, 50, **at) + refused(make_event, NOW, 5, **at, **OUTLOOK))
    steps = rates(kind, name, provider="microsoft_consumer", range="7d").steps
    shown = [step.rates for step in steps if step.rates.rejected]
    assert [(line.sent, line.share, line.bounce) for line in shown] == [(5, 1.0, 1.0)]


@pytest.mark.parametrize(("kind", "name"), SENDERS)
def test_before_a_source_reported_deliveries_no_rate_is_made_up(
    source: Source, make_event: Make, kind: str, name: str
) -> None:
    record(source, refused(make_event, NOW, 7, occurred_at=NOW - timedelta(days=9), **SENDER))
    record(source, an_hour(make_event, NOW - timedelta(days=2)))
    old, new = [step.rates for step in reversed(rates(kind, name, range="30d").steps) if step.rates.rejected]
    assert (old.sent, old.share, old.bounce, old.rejected) == (None, None, None, 7)
    assert (new.sent, new.bounced) == (140, 10)
    assert rates(kind, name, range="30d").unknown
    assert "volume unknown" in "".join(bar.label for bar in rates(kind, name, range="30d").figures[0].chart.bars)
    assert not rates(kind, name, range="7d").unknown


def test_a_source_of_failures_only_adds_no_bounces_to_a_rate(source: Source, make_event: Make) -> None:
    failing = Source.objects.create(name="dsn", kind="generic", volume=VolumeReporting.FAILURES_ONLY)
    at = {"occurred_at": NOW - timedelta(minutes=3), **SENDER}
    record(source, mail(make_event, NOW, 50, **at))
    record(failing, refused(make_event, NOW, 20, **at))
    (line,) = {step.rates for step in rates("domain", DOMAIN).steps if step.rates.delivered}
    assert (line.bounced, line.final, line.bounce) == (20, 50, 0.0)
    (line,) = {step.rates for step in rates("ip", BAD).steps if step.rates.delivered}
    assert (line.sent, line.share) == (None, None)


def test_the_last_hour_of_an_ip_is_known_by_its_day(source: Source, make_event: Make) -> None:
    record(source, mail(make_event, NOW, 50, occurred_at=NOW - timedelta(hours=8), **SENDER))
    record(source, refused(make_event, NOW, 5, occurred_at=NOW - timedelta(minutes=3), **SENDER))
    (line,) = {step.rates for step in rates("ip", BAD, range="1h").steps if step.rates.rejected}
    assert (line.sent, line.share) == (5, 1.0)


def test_a_domain_that_everybody_refuses_is_known_by_its_neighbours(source: Source, make_event: Make) -> None:
    record(source, mail(make_event, NOW, 5, occurred_at=NOW - timedelta(hours=8), sending_domain="good.example"))
    record(source, refused(make_event, NOW, 5, occurred_at=NOW - timedelta(minutes=3), **SENDER))
    assert {step.rates.bounce for step in rates("domain", DOMAIN).steps if step.rates.rejected} == {1.0}
    assert {step.rates.share for step in rates("ip", BAD).steps if step.rates.rejected} == {None}, "of an IP: its own"


@pytest.mark.parametrize("path", [f"/ips/{BAD}/", f"/domains/{DOMAIN}/"])
def test_the_page_names_every_denominator_and_its_links_keep_the_other_filters(
    staff: Client, source: Source, make_event: Make, path: str
) -> None:
    bad_day(source, make_event, timezone.now())
    answer = staff.get(f"{path}?range=7d&provider=google&cause=content")
    html = answer.content.decode()
    assert 'href="?range=30d&amp;provider=google&amp;cause=content#gs-rates"' in html
    assert 'href="?provider=google&amp;cause=content#gs-rates"' in html, "24 hours need no mention"
    assert 'href="?range=7d&amp;provider=microsoft_consumer&amp;cause=content#gs-rates"' in html
    assert '<input type="hidden" name="range" value="7d">' in html
    assert re.search(r'aria-current="true">7 days</a>', html)
    shown = text(staff, f"{path}?range=7d&provider=google")
    told = ["refused / sent"] if "ips" in path else ["bounced / (delivered + bounced)", "complaints / delivered"]
    assert all(denominator in shown for denominator in told)
    assert "per 3 hours" in shown


@pytest.mark.parametrize("chosen", [entry.id for entry in RANGES])
@pytest.mark.parametrize(("kind", "name"), SENDERS)
def test_more_mail_costs_no_more_queries_in_any_range(
    source: Source, make_event: Make, chosen: str, kind: str, name: str
) -> None:
    def cost() -> int:
        with CaptureQueriesContext(connection) as seen:
            rates(kind, name, range=chosen, provider="google")
        return len(seen)

    record(source, an_hour(make_event, NOW - timedelta(minutes=3)))
    few = cost()
    for number in range(6):
        extra = {"occurred_at": NOW - timedelta(minutes=4 + number), **SENDER, "recipient_domain": f"x{number}.example"}
        record(source, mail(make_event, NOW, 3, **extra) + refused(make_event, NOW, 2, **extra))
        record(source, mail(make_event, NOW, 3, **{**extra, "sending_ip": f"198.51.100.{number}"}))
    assert cost() == few


@pytest.mark.parametrize("path", [f"/ips/{BAD}/", f"/domains/{DOMAIN}/"])
@pytest.mark.parametrize("query", ["?range=90d", "?range=1h&provider=google&code=5.7.1"])
def test_a_narrowed_page_costs_a_fixed_number_of_queries(
    staff: Client, source: Source, make_event: Make, path: str, query: str
) -> None:
    now = timezone.now()
    bad_day(source, make_event, now)
    staff.get(path + query)
    few = queries(staff, path + query)
    for number in range(8):
        sender: dict[str, Any] = {**SENDER, "sending_ip": BAD, "recipient_domain": f"x{number}.example"}
        record_batch(source, refused(make_event, now, 30, **sender, enhanced_code=f"5.7.{number + 2}"), now=now)
    assert queries(staff, path + query) == few
