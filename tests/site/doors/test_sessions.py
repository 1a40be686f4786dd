"""Sessions end after a while without requests, and when the password changes."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.contrib.sessions.models import Session
from django.test import Client
from django.utils import timezone

from reputation_site.tasks import clean_up_doors
from telemetry.models import AccessRecord
from tests.site.doors.conftest import PASSWORD, logged

pytestmark = pytest.mark.django_db
Try = Callable[..., Any]


def age(client: Client, *, hours: float) -> None:
    """Make the session as it is some hours after its last request."""
    session = client.session
    session["renewed_at"] -= int(hours * 3600)
    session.save()
    row = Session.objects.get(pk=session.session_key)
    Session.objects.filter(pk=row.pk).update(expire_date=row.expire_date - timedelta(hours=hours))


def hours_left(client: Client) -> float:
    row = Session.objects.get(pk=client.session.session_key)
    return (row.expire_date - timezone.now()).total_seconds() / 3600


def test_a_request_puts_the_end_off_and_few_requests_write(client: Client, try_login: Try, vera: User) -> None:
    try_login("vera", PASSWORD, client=client)
    assert hours_left(client) == pytest.approx(72, abs=0.1)
    age(client, hours=0.05)
    client.get("/second-factor/")  # writes the session for its own reason; the next ones shall not
    age(client, hours=0.05)
    before = hours_left(client)
    client.get("/blocklists/")
    assert hours_left(client) == pytest.approx(before, abs=0.01)
    age(client, hours=50)
    assert client.get("/blocklists/").status_code == 200
    assert hours_left(client) == pytest.approx(72, abs=0.1)
    age(client, hours=73)
    assert client.get("/blocklists/").status_code == 302


def test_ended_sessions_are_cleaned_up(client: Client, try_login: Try, vera: User) -> None:
    try_login("vera", PASSWORD, client=client)
    try_login("vera", PASSWORD)
    age(client, hours=73)
    clean_up_doors()
    assert Session.objects.count() == 1


def test_a_new_password_ends_the_other_sessions(client: Client, try_login: Try, vera: User) -> None:
    elsewhere = Client()
    for one in (client, elsewhere):
        try_login("vera", PASSWORD, client=one)
    new = "another horse 7 battery"
    form = {"old_password": PASSWORD, "new_password1": new, "new_password2": new}
    assert client.post("/admin/password_change/", form).status_code == 302
    assert logged()[-1] == ("password_changed", "vera", "127.0.0.1")
    assert client.get("/").status_code == 200
    assert elsewhere.get("/").status_code == 302


def test_whose_password_somebody_else_set_is_written_down_with_both_names(
    client: Client, olga: User, vera: User, settings: Any
) -> None:
    client.force_login(olga)
    new = {"password1": "another horse 7 battery", "password2": "another horse 7 battery"}
    assert client.post(f"/admin/auth/user/{vera.pk}/password/", new).status_code == 302
    record = AccessRecord.objects.get(kind="password_changed")
    assert (record.who, record.detail, record.address) == ("vera", "by olga", "127.0.0.1")
    # A hash that is renewed at a login is no new password.
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.PBKDF2PasswordHasher", *settings.PASSWORD_HASHERS]
    form = {"username": "vera", "password": "another horse 7 battery", "next": "/"}
    assert Client().post("/admin/login/", form).status_code == 302
    vera.refresh_from_db()
    assert vera.password.startswith("pbkdf2")
    assert AccessRecord.objects.filter(kind="password_changed").count() == 1


@pytest.mark.parametrize("weak", ["short1!", "password1234", "vera@example.com"])
def test_a_weak_password_is_refused(client: Client, try_login: Try, vera: User, weak: str) -> None:
    try_login("vera", PASSWORD, client=client)
    form = {"old_password": PASSWORD, "new_password1": weak, "new_password2": weak}
    assert client.post("/admin/password_change/", form).status_code == 200
    vera.refresh_from_db()
    assert vera.check_password(PASSWORD)
