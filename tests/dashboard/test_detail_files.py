"""Every list on the page of one thing is a file too: linked beside it, whole, and not there for what does not exist."""

from __future__ import annotations

import csv
from collections.abc import Callable
from datetime import timedelta
from html.parser import HTMLParser
from typing import Any
from urllib.parse import urljoin

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone

from dashboard.detail_files import FILES
from reputation import alert_watch, warmup_acts
from reputation.breaker_acts import close_by_hand, open_by_hand
from reputation.domain.breaker_policy import Scope
from reputation.models import (
    Alert,
    AlertChannel,
    AlertDelivery,
    AlertEvent,
    Blocklist,
    Breaker,
    Listing,
    Pool,
    PoolDomain,
    Warmup,
    WarmupTemplate,
)
from reputation.models.warmup import DEFAULT_TEMPLATE
from telemetry.domain.event import Event
from telemetry.models import CompletenessReading, Source
from tests.dashboard.test_audits import SPF, report
from tests.dashboard.test_pages import BAD, GOOD, bad_day

pytestmark = pytest.mark.django_db
Make = Callable[..., Event]
ADDRESSES = {
    "ip": f"/ips/{BAD}/",
    "domain": "/domains/spam.example/",
    "pool": "/pools/{pool}/",
    "source": "/sources/mta-1/",
    "provider": "/providers/google/",
    "breaker": "/breakers/{breaker}/",
    "warmup": "/warmups/{warmup}/",
    "alert": "/alerts/{alert}/",
}


@pytest.fixture
def full(source: Source, make_event: Make, operator: User) -> dict[str, int]:
    """An installation in which every list has rows; the keys of what the addresses name by number."""
    now = timezone.now()
    bad_day(source, make_event, now)
    for kind, sender in (("ip", BAD), ("domain", "spam.example")):
        breaker = open_by_hand(Scope(kind, sender, "google"), reason="a bought list", user=operator, now=now)
        psbl = Blocklist.objects.filter(kind__endswith=kind).order_by("pk")[0]
        Listing.objects.create(
            kind=kind, subject=sender, blocklist=psbl, state="clean", result="clean", since=now, due_at=now, shard=0
        )
        template = WarmupTemplate.objects.get(name=DEFAULT_TEMPLATE)
        warmup = warmup_acts.start(kind, sender, template, reason="a new brand", user=operator, now=now)
        report(kind, sender, SPF)
    alert_watch.tick(now=now)
    pool = Pool.objects.get(is_default=True)
    PoolDomain.objects.create(pool=pool, domain="spam.example")
    CompletenessReading.objects.create(
        source=source,
        start=now - timedelta(hours=2),
        end=now - timedelta(hours=1),
        server_delivered=100,
        server_refused=3,
        server_bounced=2,
        arrived_delivered=99,
        arrived_failed=5,
    )
    alert = Alert.objects.order_by("pk")[0]
    channel = AlertChannel.objects.create(name="duty", scheme="webhook")
    event = AlertEvent.objects.filter(alert=alert).order_by("pk")[0]
    AlertDelivery.objects.create(event=event, alert=alert, channel=channel, kind=alert.kind, news=event.news)
    return {"pool": pool.pk, "breaker": breaker.pk, "warmup": warmup.pk, "alert": alert.pk}


def rows(answer: Any) -> list[dict[str, str]]:
    assert answer.status_code == 200
    assert answer.headers["Content-Type"].startswith("text/csv")
    return list(csv.DictReader(b"".join(answer.streaming_content).decode().splitlines()))


class Cards(HTMLParser):
    """For each card of a page: how many tables it has, and which files it links to."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.cards: list[dict[str, Any]] = []
        self._open: list[dict[str, Any]] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag == "section":
            self._open.append({"name": given.get("aria-labelledby"), "tables": 0, "files": []})
            self.cards.append(self._open[-1])
        for card in self._open[-1:]:
            card["tables"] += tag == "table"
            if tag == "a" and "download" in given:
                card["files"].append(given["href"])

    def handle_endtag(self, tag: str) -> None:
        if tag == "section":
            self._open.pop()


@pytest.mark.parametrize("kind", ADDRESSES)
def test_each_table_of_a_page_has_its_file_beside_it(staff: Client, full: dict[str, int], kind: str) -> None:
    page = ADDRESSES[kind].format(**full)
    html = staff.get(page).content.decode()
    cards = Cards(html).cards
    short = [card for card in cards if len(set(card["files"])) < card["tables"]]
    assert not short
    linked = {name for card in cards for name in card["files"]}
    for address in linked:
        assert rows(staff.get(urljoin(page, address))) is not None
    assert {f for f in FILES[kind] if any(f"/{f}.csv" in address for address in linked)} == set(FILES[kind])


def test_the_lists_of_a_sender_say_what_its_page_says(staff: Client, full: dict[str, int]) -> None:
    def of(kind: str, name: str, what: str) -> list[dict[str, str]]:
        return rows(staff.get(f"/files/{kind}/{name}/{what}.csv"))

    assert [(row["code"], row["attempts"]) for row in of("ip", BAD, "codes")] == [("5.7.1", "20")]
    assert {row["new"] for row in of("ip", BAD, "changes")} >= {"quarantine"}
    assert [row["state"] for row in of("ip", BAD, "blocklists")].count("clean") == 1
    assert {row["result"] for row in of("ip", BAD, "findings")} <= {"problem", "advice", "unchecked", "ok"}
    assert len(of("domain", "spam.example", "audits")) == 1
    assert [(row["provider"], row["state"]) for row in of("ip", BAD, "breakers")] == [("google", "open")]
    days = of("domain", "spam.example", "warm-up")
    assert [row["is_current"] for row in days][:2] == ["True", "False"]
    assert int(days[0]["planned"]) < int(days[-1]["planned"])
    (first, *_) = of("domain", "spam.example", "score-rates")
    assert (first["rate"], first["numerator"], first["denominator"]) == ("delivery", "380", "400")
    assert len(of("domain", "spam.example", "score-history")) == 1
    assert of("ip", BAD, "caps")


def test_the_lists_of_other_things_say_what_their_pages_say(staff: Client, full: dict[str, int]) -> None:
    def of(kind: str, what: str, name: object = None) -> list[dict[str, str]]:
        return rows(staff.get(f"/files/{kind}/{name or full[kind]}/{what}.csv"))

    assert {row["ip"] for row in of("pool", "members")} == {BAD, GOOD}
    assert of("pool", "domains") == [{"domain": "spam.example"}]
    (hour,) = of("source", "hours", "mta-1")
    assert (hour["missing"], hour["delivered_share"], hour["arrived_failed"]) == ("1", "0.99", "5")
    assert of("source", "days", "mta-1")
    assert {row["recipient_domain"] for row in of("source", "newest", "mta-1")} <= {"gmail.com", "outlook.com"}
    assert of("provider", "causes", "google")[0]["attempts"] == "12"
    assert [(row["from"], row["to"]) for row in of("breaker", "timeline")] == [("closed", "open")]
    assert len(of("warmup", "days")) == Warmup.objects.get(pk=full["warmup"]).days
    assert of("warmup", "timeline")[-1]["to_day"] == "1"
    assert len(of("alert", "timeline")) == AlertEvent.objects.filter(alert=full["alert"]).count() >= 1
    (told,) = of("alert", "deliveries")
    assert (told["channel"], told["rule"], told["state"]) == ("duty", "", "waiting")


def test_a_timeline_is_whole_where_the_page_shows_its_newest_lines(
    staff: Client, full: dict[str, int], operator: User
) -> None:
    now = timezone.now()
    for turn in range(30):
        at = now + timedelta(minutes=turn)
        close_by_hand(Breaker.objects.get(pk=full["breaker"]), reason="tried", user=operator, now=at)
        open_by_hand(Breaker.objects.get(pk=full["breaker"]).scope, reason="tried", user=operator, now=at)
    assert len(rows(staff.get(f"/files/breaker/{full['breaker']}/timeline.csv"))) == 61


@pytest.mark.parametrize(
    "address",
    [
        "pool/999999/members",
        "pool/x/members",
        "pool/99999999999999999999999/members",
        "pool/1/secrets",
        "user/1/list",
        "source/nobody/hours",
        "breaker/0/timeline",
        "warmup/0/days",
        "alert/0/deliveries",
        "ip/192.0.2.77/codes",
        "domain/nobody.example/score-rates",
    ],
)
def test_what_is_not_there_is_no_empty_file(staff: Client, address: str) -> None:
    assert staff.get(f"/files/{address}.csv").status_code == 404


def test_nobody_but_staff_gets_one(client: Client, full: dict[str, int], django_user_model: Any) -> None:
    address = f"/files/pool/{full['pool']}/members.csv"
    assert client.get(address).status_code == 302
    client.force_login(django_user_model.objects.create_user("sam"))
    assert client.get(address).status_code == 302
    client.force_login(django_user_model.objects.create_user("vera", is_staff=True))
    assert len(rows(client.get(address))) == 2


def test_the_rates_by_provider_are_a_file_of_all_providers(staff: Client, full: dict[str, int]) -> None:
    for place in (f"/ips/{BAD}/", "/domains/spam.example/"):
        found = {row["provider"]: row for row in rows(staff.get(f"{place}provider-rates/?format=csv&range=24h"))}
        assert found["all"]["bounced"] == "20"
        assert len(found) == 3
        assert staff.get(f"{place}provider-rates/").headers["Location"] == place


def test_the_results_of_the_scenarios_are_a_file(staff: Client) -> None:
    found = rows(staff.post("/scenarios/run", {"format": "csv"}))
    assert len(found) == 15
    assert {row["passed"] for row in found} == {"True"}
    assert all(row["expected"] == row["actual"] for row in found)
