"""Who is let in, through the real server with two processes: tokens, networks, limits, signatures, addresses."""

from __future__ import annotations

import base64
import hashlib
import hmac
import http.client
import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e.house import House, house, until

pytestmark = pytest.mark.slow

WEBHOOK = "/api/webhooks/stalwart/delivery-failure"
MAKE = """
from django.contrib.auth.models import User
from telemetry.models import Source
from telemetry.tokens import issue_api_token, issue_token
user = User.objects.create_superuser("olga", "olga@example.com")
source = Source.objects.create(name="mta-1", kind="stalwart")
print(source.pk, issue_token(source), issue_token(source), issue_api_token(user))
"""
STORED = "from telemetry.models import SendingEvent; print(SendingEvent.objects.count())"
LOG = """
import json
from telemetry.models import AccessRecord
rows = AccessRecord.objects.order_by("id").values("kind", "who", "address", "token")
print(json.dumps([row for row in rows if row["kind"] != "acted"]))
"""
# The first is taken by the fast way in, the second by Django.
WAYS = {"lane": WEBHOOK, "django": "/api/webhooks/stalwart"}


class Doors:
    """A house with two web processes, an administrator's token and a source with two tokens."""

    def __init__(self, home: House) -> None:
        self.home = home
        pk, self.token, self.spare, self.admin = self.shell(MAKE).split()
        self.source = f"/api/sources/{pk}"
        self.number = 0

    def shell(self, code: str) -> str:
        return self.home.manage("shell", "--no-imports", "-c", code).strip()

    def ask(self, method: str, path: str, token: str, body: bytes = b"", **headers: str) -> tuple[int, dict[str, Any]]:
        """Over a connection of its own, so that either process may get it."""
        connection = http.client.HTTPConnection("127.0.0.1", self.home.port, timeout=30)
        sent = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        try:
            connection.request(method, path, body, sent)
            answer = connection.getresponse()
            said = answer.read()
            told = json.loads(said) if said else {}
            return answer.status, told | {"Retry-After": answer.headers.get("Retry-After")}
        finally:
            connection.close()

    def report(self, path: str, *, token: str = "", body: bytes = b"", **headers: str) -> tuple[int, dict[str, Any]]:
        return self.ask("POST", path, token or self.token, body or self.body(path), **headers)

    def body(self, path: str) -> bytes:
        """One event that was not there before."""
        self.number += 1
        event: dict[str, Any] = {"id": f"evt-{self.number}", "createdAt": "2026-11-20T12:00:00Z"}
        if path == WEBHOOK:
            data = {"ip": "192.0.2.10", "recipient": "someone@gmail.com", "smtp_code": 550, "reason": "no"}
            event |= {"type": "smtp.delivery.failure", "data": data}
        else:
            event |= {"type": "queue.rescheduled", "data": {}}
        return json.dumps({"events": [event]}).encode()

    def change(self, **fields: Any) -> None:
        """Change the source over the API, as an administrator does."""
        status, answer = self.ask("PATCH", self.source, self.admin, json.dumps(fields).encode())
        assert status == 200, answer

    def everywhere(self, path: str, status: int) -> None:
        """Both processes answer so, at once and not after a while."""
        found = [self.report(path)[0] for _ in range(12)]
        assert found == [status] * 12, found

    def stored(self) -> int:
        return int(self.shell(STORED))


@pytest.fixture(scope="module")
def doors(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Doors]:
    with house(tmp_path_factory.mktemp("web")) as home:
        made = Doors(home)
        home.start("web", GS_WEB_WORKERS="2", GS_TRUSTED_PROXIES="127.0.0.2")
        until(home.answers, seconds=60, what=f"the web process did not answer\n{home.logs()}")
        yield made


@pytest.mark.parametrize("path", WAYS.values(), ids=WAYS)
def test_a_revoked_token_stops_at_once_and_the_other_goes_on(doors: Doors, path: str) -> None:
    token = doors.ask("POST", f"{doors.source}/tokens", doors.admin, b"{}")[1]["token"]
    before = doors.stored()
    for _ in range(12):  # both processes know it well, and have asked for it just now
        assert doors.report(path, token=token)[0] == 200
    assert doors.ask("POST", f"{doors.source}/tokens/{token.split('_')[1]}/revoke", doors.admin)[0] == 200
    answers = [doors.report(path, token=token) for _ in range(12)]
    assert [status for status, _ in answers] == [401] * 12
    assert answers[0][1]["title"] == "Authentication failed"
    assert doors.stored() == before + (12 if path == WEBHOOK else 0), "the other kind of event is no outcome"
    assert doors.report(path, token=doors.spare)[0] == 200


def test_a_revoked_api_token_stops_at_once(doors: Doors) -> None:
    mine = doors.shell(
        "from django.contrib.auth.models import User; from telemetry.tokens import issue_api_token; "
        "print(issue_api_token(User.objects.get(username='olga')))"
    )
    assert {doors.ask("GET", "/api/ips", mine)[0] for _ in range(12)} == {200}
    doors.home.manage("api_token", "olga", "--revoke", mine.split("_")[1])
    assert {doors.ask("GET", "/api/ips", mine)[0] for _ in range(12)} == {401}


@pytest.mark.parametrize("path", WAYS.values(), ids=WAYS)
def test_a_source_that_was_deactivated_reports_nothing_from_then_on(doors: Doors, path: str) -> None:
    doors.everywhere(path, 200)
    doors.change(is_active=False)
    doors.everywhere(path, 403)
    doors.change(is_active=True)
    doors.everywhere(path, 200)


@pytest.mark.parametrize("path", WAYS.values(), ids=WAYS)
def test_allowed_networks_hold_from_the_moment_they_are_set(doors: Doors, path: str) -> None:
    doors.everywhere(path, 200)
    doors.change(allowed_networks=["203.0.113.0/24"])
    doors.everywhere(path, 403)
    # Whoever connects from an address that is no trusted proxy may say what it likes.
    assert doors.report(path, X_Forwarded_For="203.0.113.7")[0] == 403
    doors.change(allowed_networks=["127.0.0.0/8"])
    doors.everywhere(path, 200)
    doors.change(allowed_networks=[])
    rows = json.loads(doors.shell(LOG))
    refused = [row for row in rows if row["kind"] == "refused_by_address"]
    assert {(row["who"], row["address"]) for row in refused} == {("mta-1", "127.0.0.1")}
    assert len(refused) <= 2, "once a day for each process that did not know of the other's row"
    used = {(row["who"], row["address"]) for row in rows if row["kind"] == "token_used"}
    assert {("mta-1", "127.0.0.1"), ("olga", "127.0.0.1")} <= used


@pytest.mark.parametrize("path", WAYS.values(), ids=WAYS)
def test_behind_a_trusted_proxy_the_client_is_who_the_proxy_names(doors: Doors, path: str) -> None:
    doors.change(allowed_networks=["203.0.113.0/24"])

    def from_proxy(forwarded: str) -> int:
        connection = http.client.HTTPConnection(
            "127.0.0.1", doors.home.port, timeout=30, source_address=("127.0.0.2", 0)
        )
        try:
            headers = {"Authorization": f"Bearer {doors.token}", "Content-Type": "application/json"}
            connection.request("POST", path, doors.body(path), headers | {"X-Forwarded-For": forwarded})
            answer = connection.getresponse()
            answer.read()
            return answer.status
        finally:
            connection.close()

    try:
        assert from_proxy("203.0.113.7") == 200
        assert from_proxy("198.51.100.1, 203.0.113.7") == 200
        assert from_proxy("203.0.113.7, 198.51.100.1") == 403
        assert from_proxy("198.51.100.1") == 403
    finally:
        doors.change(allowed_networks=[])


@pytest.mark.parametrize("path", WAYS.values(), ids=WAYS)
def test_both_processes_together_let_through_what_the_limit_says(doors: Doors, path: str) -> None:
    name = f"limited-{len(path)}"
    made = {"name": name, "kind": "stalwart", "requests_per_minute": 3}
    status, source = doors.ask("POST", "/api/sources", doors.admin, json.dumps(made).encode())
    assert status == 201
    token = doors.ask("POST", f"/api/sources/{source['id']}/tokens", doors.admin, b"{}")[1]["token"]
    answers = [doors.report(path, token=token) for _ in range(12)]
    statuses = [status for status, _ in answers]
    assert statuses[:3] == [200, 200, 200]
    # The bucket fills by one every twenty seconds. Two processes that counted for themselves would let through six.
    assert statuses.count(200) <= 4
    last = answers[-1][1]
    assert last["status"] == 429
    assert 1 <= int(last["Retry-After"]) <= 20
    assert "Nothing was stored" in last["detail"]


@pytest.mark.parametrize("path", WAYS.values(), ids=WAYS)
def test_a_replayed_signature_fails_with_another_body_and_changes_nothing_with_its_own(doors: Doors, path: str) -> None:
    key = "a key of thirty-two characters.."
    doors.change(hmac_key=key)
    try:
        body, other = doors.body(path), doors.body(path)
        signature = base64.b64encode(hmac.new(key.encode(), body, hashlib.sha256).digest()).decode()
        doors.everywhere(path, 401)
        before = doors.stored()
        assert doors.report(path, body=other, X_Signature=signature)[0] == 401
        assert doors.report(path, body=body + b" ", X_Signature=signature)[0] == 401
        assert doors.stored() == before
        assert doors.report(path, body=body, X_Signature=signature)[0] == 200
        after = doors.stored()
        status, answer = doors.report(path, body=body, X_Signature=signature)
        assert status == 200
        if path == WEBHOOK:
            assert (answer["total"], answer["duplicates"]) == (1, 1)
        assert doors.stored() == after
    finally:
        doors.change(hmac_key="")


def test_permits_hear_within_a_moment_of_what_was_revoked_or_moved(doors: Doors) -> None:
    token = doors.ask("POST", f"{doors.source}/tokens", doors.admin, b"{}")[1]["token"]
    question = json.dumps({"sender": "news@shop.example", "recipient": "someone@gmail.com"}).encode()

    def answers() -> set[int]:
        return {doors.ask("POST", "/api/permits", token, question)[0] for _ in range(6)}

    assert answers() == {200}
    doors.change(allowed_networks=["203.0.113.0/24"])
    try:
        until(lambda: answers() == {403}, seconds=10, what="permits for a source that is elsewhere")
    finally:
        doors.change(allowed_networks=[])
    until(lambda: answers() == {200}, seconds=10, what="no permits for a source that may report from anywhere")
    doors.ask("POST", f"{doors.source}/tokens/{token.split('_')[1]}/revoke", doors.admin)
    until(lambda: answers() == {401}, seconds=10, what="permits for a revoked token")
