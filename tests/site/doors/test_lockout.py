"""Who guesses passwords is locked out, and nobody else is."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from io import StringIO
from ipaddress import ip_network
from typing import Any

import pytest
from axes.models import AccessAttempt
from django.contrib.auth.models import User
from django.core.management import call_command
from django.test import Client
from django.utils import timezone

from reputation_site.tasks import clean_up_doors
from tests.site.doors.conftest import PASSWORD, logged

pytestmark = pytest.mark.django_db
Try = Callable[..., Any]


def is_in(response: Any) -> bool:
    return response.status_code == 302 and response.url == "/"


def test_brute_force_is_locked_even_with_the_right_password(try_login: Try, vera: User) -> None:
    answers = [try_login("vera", f"guess {number}").status_code for number in range(5)]
    assert answers == [200, 200, 200, 200, 429]
    locked = try_login("vera", PASSWORD)
    assert locked.status_code == 429
    text = locked.content.decode()
    assert "Try again in 15 minutes" in text
    assert "203.0.113.5" in text
    assert locked.headers["Retry-After"] == "900"
    assert not Client().get("/").wsgi_request.user.is_authenticated


def test_another_browser_does_not_help_and_another_address_is_not_locked(try_login: Try, vera: User) -> None:
    for number in range(5):
        try_login("vera", "a guess", headers={"User-Agent": f"browser {number}"})
    assert try_login("vera", PASSWORD, headers={"User-Agent": "a new one"}).status_code == 429
    assert is_in(try_login("vera", PASSWORD, address="198.51.100.7"))


def test_another_name_from_the_same_address_is_not_locked(try_login: Try, vera: User, olga: User) -> None:
    for _ in range(5):
        try_login("vera", "a guess")
    assert is_in(try_login("olga", PASSWORD))


def test_a_lock_ends_when_the_page_said_it_would_whatever_is_tried_meanwhile(try_login: Try, vera: User) -> None:
    for _ in range(5):
        try_login("vera", "a guess")
    AccessAttempt.objects.update(attempt_time=timezone.now() - timedelta(minutes=14))
    again = try_login("vera", PASSWORD)
    assert again.status_code == 429
    assert "Try again in 1 minute." in again.content.decode()
    AccessAttempt.objects.update(attempt_time=timezone.now() - timedelta(minutes=16))
    assert is_in(try_login("vera", PASSWORD))


def test_the_right_password_forgets_the_wrong_ones(try_login: Try, vera: User) -> None:
    for _ in range(2):
        for _ in range(4):
            try_login("vera", "a guess")
        assert is_in(try_login("vera", PASSWORD))


def test_a_name_that_nobody_has_is_locked_in_the_same_way_and_not_kept(try_login: Try, vera: User) -> None:
    answers = [try_login("my secret password", "oops") for _ in range(5)]
    assert [answer.status_code for answer in answers] == [200, 200, 200, 200, 429]
    assert "no such" not in answers[-1].content.decode()
    kept = AccessAttempt.objects.values().get()
    assert "my secret password" not in str(kept)
    assert "oops" not in str(kept)
    assert "my secret password" not in str(logged())


def test_behind_a_proxy_the_guesser_is_locked_and_not_the_proxy(try_login: Try, vera: User, settings: Any) -> None:
    settings.TRUSTED_PROXIES = (ip_network("10.0.0.0/8"),)
    for number in range(5):
        forged = {"X-Forwarded-For": f"192.0.2.{number}, 203.0.113.66"}
        try_login("vera", "a guess", address="10.0.0.1", headers=forged)
    # What a client writes before the proxy's entry is not believed.
    again = {"X-Forwarded-For": "192.0.2.99, 203.0.113.66"}
    assert try_login("vera", PASSWORD, address="10.0.0.1", headers=again).status_code == 429
    assert is_in(try_login("vera", PASSWORD, address="10.0.0.1", headers={"X-Forwarded-For": "203.0.113.67"}))


def test_logins_are_written_down_and_a_locked_door_fills_no_log(try_login: Try, vera: User) -> None:
    client = Client()
    try_login("vera", PASSWORD, client=client)
    client.post("/admin/logout/", REMOTE_ADDR="203.0.113.5")
    try_login("nobody", "a guess")
    for _ in range(9):
        try_login("vera", "a guess")
    assert logged() == [
        ("login", "vera", "203.0.113.5"),
        ("logout", "vera", "203.0.113.5"),
        ("login_failed", "", "203.0.113.5"),
        *[("login_failed", "vera", "203.0.113.5")] * 5,
        ("locked_out", "vera", "203.0.113.5"),
    ]


def test_a_command_and_a_superuser_unlock_at_once(try_login: Try, vera: User, olga: User) -> None:
    for _ in range(5):
        try_login("vera", "a guess")
    call_command("axes_reset_username", "vera", stdout=StringIO())
    assert is_in(try_login("vera", PASSWORD))
    for _ in range(5):
        try_login("vera", "a guess")
    client = Client()
    client.force_login(olga)
    listed = client.get("/admin/axes/accessattempt/")
    assert "vera" in listed.content.decode()
    row = AccessAttempt.objects.get()
    assert client.post(f"/admin/axes/accessattempt/{row.pk}/delete/", {"post": "yes"}).status_code == 302
    assert is_in(try_login("vera", PASSWORD))


def test_what_no_longer_counts_is_cleaned_up(try_login: Try, vera: User) -> None:
    try_login("vera", "a guess")
    try_login("vera", "a guess", address="198.51.100.7")
    AccessAttempt.objects.filter(ip_address="203.0.113.5").update(attempt_time=timezone.now() - timedelta(minutes=16))
    clean_up_doors()
    assert list(AccessAttempt.objects.values_list("ip_address", flat=True)) == ["198.51.100.7"]
