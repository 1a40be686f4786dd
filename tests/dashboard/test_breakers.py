"""What breakers hold back is on the overview and on the pages of the sender, with the reason and the next step."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from dashboard.pages.breakers import ON_OVERVIEW_SHOWN
from dashboard.pages.overview import fleet
from reputation import breakers
from reputation.breaker_acts import open_by_hand
from reputation.domain.breaker_policy import Scope
from reputation.models import Breaker
from reputation.scores import score_senders
from reputation.standing import score_ips
from telemetry.domain.event import Event
from telemetry.models import Source
from tests.reputation.test_breakers import DOMAIN, IP, REFUSED, Traffic

pytestmark = pytest.mark.django_db


@pytest.fixture
def page(client: Client, operator: User) -> Callable[[str], str]:
    client.force_login(operator)

    def read(url: str) -> str:
        response = client.get(url)
        assert response.status_code == 200
        return re.sub(r"\s+", " ", response.content.decode())

    return read


@pytest.fixture
def traffic(source: Source, make_event: Callable[..., Event]) -> Traffic:
    now = timezone.now()
    sends = Traffic(source, make_event)
    sends.record(60, now - timedelta(minutes=5))
    score_ips(now=now)
    score_senders(now=now)
    return sends


def test_without_breakers_the_pages_say_so(page: Any, traffic: Traffic) -> None:
    assert "mail of every sender flows in full" in page("/")
    assert "No breaker has ever held its mail back" in page(f"/ips/{IP}/")
    assert "No breaker has ever held its mail back" in page(f"/domains/{DOMAIN}/")


def test_an_open_breaker_is_shown_with_reason_and_next_probe(page: Any, traffic: Traffic) -> None:
    now = timezone.now()
    traffic.record(3, now, **REFUSED)
    traffic.check(now)
    for url in ("/", "/overview/fleet", f"/ips/{IP}/", f"/domains/{DOMAIN}/"):
        shown = page(url)
        assert "at Gmail" in shown or "at Google" in shown
        assert "■</span> open" in shown
        assert "refusals in a row" in shown
        assert "First probe" in shown


def test_a_half_open_one_says_which_step_and_a_held_one_who(page: Any, traffic: Traffic, operator: User) -> None:
    now = timezone.now()
    open_by_hand(Scope("ip", IP), reason="first look", user=operator, now=now, expires_at=now + timedelta(days=9))
    traffic.record(3, now, **REFUSED)
    traffic.check(now)
    breakers.tick(now=now + timedelta(hours=1))
    shown = page(f"/ips/{IP}/")
    assert "Step 1 of 3: 5 % of the normal limit, judged after 10 messages" in shown
    assert "Decided by olga; the automation waits until" in shown


def test_many_open_breakers_cost_no_more_queries_and_are_cut(traffic: Traffic, operator: User) -> None:
    def queries() -> int:
        with CaptureQueriesContext(connection) as captured:
            shown = fleet(now=timezone.now())
        assert len(shown.breakers) <= ON_OVERVIEW_SHOWN
        return len(captured)

    open_by_hand(Scope("ip", IP), reason="test", user=operator, now=timezone.now())
    few = queries()
    for number in range(20):
        open_by_hand(Scope("domain", f"d{number}.example"), reason="test", user=operator, now=timezone.now())
    assert queries() == few
    assert fleet(now=timezone.now()).more_breakers
    assert Breaker.objects.count() == 21
