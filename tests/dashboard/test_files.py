"""The lists of the console as files: whole, safe to open, and for staff only."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone

from dashboard.files import FILES
from reputation.models import Blocklist, Listing
from telemetry.domain.event import Event
from telemetry.models import Source
from tests.dashboard.test_pages import BAD, GOOD, bad_day

pytestmark = pytest.mark.django_db


@pytest.fixture
def staff(client: Client, django_user_model: type[User]) -> Client:
    client.force_login(django_user_model.objects.create_user("vera", is_staff=True))
    return client


def read(client: Client, what: str) -> list[dict[str, str]]:
    answer = client.get(f"/files/{what}.csv")
    assert answer.status_code == 200
    assert answer.headers["Content-Type"].startswith("text/csv")
    content: Any = answer
    return list(csv.DictReader(b"".join(content.streaming_content).decode().splitlines()))


def test_each_list_is_there_as_a_file(staff: Client, source: Source, make_event: Callable[..., Event]) -> None:
    now = timezone.now()
    bad_day(source, make_event, now)
    Source.objects.update(last_event_at=now)
    psbl = Blocklist.objects.get(name="psbl")
    Listing.objects.create(
        kind="ip", subject=BAD, blocklist=psbl, state="listed", since=now, due_at=now, shard=0, sublists=["a", "b"]
    )
    ips = read(staff, "ips")
    assert [(row["ip"], row["status"], row["sent"], row["refused"]) for row in ips] == [
        (BAD, "quarantine", "400", "20"),
        (GOOD, "healthy", "100", "0"),
    ]
    assert ips[0]["refused_share_of_sent"] == "0.05"
    domains = {row["domain"]: row for row in read(staff, "domains")}
    assert (domains["spam.example"]["delivered"], domains["spam.example"]["bounced"]) == ("380", "20")
    assert [(row["ip"], row["previous"], row["new"]) for row in read(staff, "changes")] == [
        (BAD, "healthy", "quarantine")
    ]
    assert sum(int(row["delivered"]) for row in read(staff, "hours")) == 480
    assert [(row["subject"], row["blocklist"], row["sublists"]) for row in read(staff, "listings")] == [
        (BAD, "psbl", "a, b")
    ]
    assert {row["blocklist"] for row in read(staff, "blocklists")} >= {"psbl", "spamhaus_zen"}
    assert [(row["source"], row["delivered_24h"], row["missing"]) for row in read(staff, "sources")] == [
        ("mta-1", "480", "")
    ]


def test_each_file_is_linked_from_a_page(staff: Client, source: Source, make_event: Callable[..., Event]) -> None:
    now = timezone.now()
    bad_day(source, make_event, now)
    psbl = Blocklist.objects.get(name="psbl")
    Listing.objects.create(kind="ip", subject=BAD, blocklist=psbl, state="listed", since=now, due_at=now, shard=0)
    pages = "".join(staff.get(path).content.decode() for path in ("/", "/blocklists/", "/sources/"))
    assert set(re.findall(r'href="/files/(\w+)\.csv"', pages)) == set(FILES)


def test_nobody_but_staff_gets_a_file_and_an_unknown_one_is_not_there(client: Client, django_user_model: Any) -> None:
    assert client.get("/files/ips.csv").status_code == 302
    client.force_login(django_user_model.objects.create_user("sam"))
    assert client.get("/files/ips.csv").status_code == 302
    client.force_login(django_user_model.objects.create_user("vera", is_staff=True))
    assert client.get("/files/events.csv").status_code == 404
