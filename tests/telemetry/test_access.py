"""The access log: who may read it, what it never holds, how long it is kept."""

from __future__ import annotations

import csv
import io
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client, RequestFactory
from django.urls import reverse
from django.utils import timezone

from telemetry import access
from telemetry.client_address import address_of
from telemetry.domain.access import AccessKind
from telemetry.domain.addresses import networks
from telemetry.models import AccessRecord
from telemetry.retention import clean_up

pytestmark = pytest.mark.django_db


@pytest.fixture
def as_root(django_user_model: type[User]) -> Client:
    client = Client()
    client.force_login(django_user_model.objects.create_superuser("olga"))
    return client


def test_a_row_is_kept_for_400_days(as_root: Client) -> None:
    now = timezone.now()
    for days in (399, 401):
        access.record(AccessKind.LOGIN, who="vera", address="203.0.113.9", now=now - timedelta(days=days))
    assert clean_up(now=now)["access"] == 1
    assert AccessRecord.objects.get().at == now - timedelta(days=399)


def test_what_was_typed_is_written_down_only_when_it_is_a_users_name(django_user_model: type[User]) -> None:
    django_user_model.objects.create_user("vera")
    assert access.known_user("vera") == "vera"
    for typed in ("correct horse battery staple", "", "vera\x00", "v" * 1000):
        assert access.known_user(typed) == ""


def test_text_too_long_or_odd_is_no_crash() -> None:
    access.record(AccessKind.LOGOUT, who="x" * 1000, address="", now=timezone.now(), detail="a\x00b" * 200)
    row = AccessRecord.objects.get()
    assert (len(row.who), len(row.detail), row.address) == (150, 300, None)
    assert "\x00" not in row.detail


def test_the_api_lists_filters_and_pages(as_root: Client) -> None:
    now = timezone.now()
    for index in range(3):
        access.record(AccessKind.LOGIN, who=f"user{index}", address="203.0.113.9", now=now - timedelta(hours=index))
    access.record(AccessKind.TOKEN_USED, who="user0", address="2001:db8::1", now=now, token="abcdefghijkl")

    def names(query: str) -> list[str]:
        answer = as_root.get(f"/api/access{query}")
        assert answer.status_code == 200, answer.content
        return [row["who"] for row in answer.json()["results"]]

    assert names("") == ["user0", "user2", "user1", "user0"]
    assert names("?kind=login&who=user1") == ["user1"]
    assert names("?token=abcdefghijkl") == ["user0"]
    assert names("?address=2001:db8::1") == ["user0"]
    before = (now - timedelta(minutes=90)).isoformat().replace("+00:00", "Z")
    assert names(f"?to={before}") == ["user2"]
    for wrong in ("?kind=nonsense", "?address=nonsense", "?colour=red"):
        assert as_root.get(f"/api/access{wrong}").status_code == 400


def test_nobody_edits_the_log_and_it_goes_out_as_csv(as_root: Client) -> None:
    access.record(AccessKind.LOGIN, who="=HYPERLINK()", address="203.0.113.9", now=timezone.now())
    row = AccessRecord.objects.get()
    change = reverse("admin:telemetry_accessrecord_change", args=[row.pk])
    assert as_root.post(change, {"who": "somebody else"}).status_code == 403
    assert (
        as_root.post(reverse("admin:telemetry_accessrecord_delete", args=[row.pk]), {"post": "yes"}).status_code == 403
    )
    page = reverse("admin:telemetry_accessrecord_changelist")
    answer: Any = as_root.post(page, {"action": "download_selected", "_selected_action": [row.pk]})
    lines = list(csv.reader(io.StringIO(b"".join(answer.streaming_content).decode())))
    assert lines[0] == ["at", "kind", "who", "token", "address", "detail"]
    assert lines[1][1:5] == ["login", "'=HYPERLINK()", "", "203.0.113.9"]
    assert as_root.get(page, {"q": "203.0.113.9", "kind__exact": "login"}).status_code == 200


def test_an_address_behind_a_proxy_is_the_proxys_unless_it_is_trusted(settings: Any) -> None:
    request = RequestFactory().get("/", REMOTE_ADDR="10.0.0.1", headers={"X-Forwarded-For": "198.51.100.1"})
    assert address_of(request) == "10.0.0.1"
    settings.TRUSTED_PROXIES = networks(["10.0.0.0/8"])
    assert address_of(request) == "198.51.100.1"
    assert address_of(RequestFactory().get("/", REMOTE_ADDR="")) == ""
