"""How far an API token goes: its scope, and never further than its user."""

from __future__ import annotations

import json
from collections.abc import Callable
from io import StringIO
from typing import Any

import pytest
from django.contrib.auth.models import Group, User
from django.core.management import CommandError, call_command
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from reputation_site import groups
from telemetry.domain.access import AccessKind
from telemetry.domain.event import Event
from telemetry.domain.scopes import Scope
from telemetry.models import AccessRecord, ApiToken, Source, SourceToken
from telemetry.tokens import find_api_token, issue_api_token
from tests.dashboard.test_pages import BAD, bad_day

pytestmark = pytest.mark.django_db
READ, OPERATE, ADMIN = Scope
EVENT = {"type": "delivery", "occurred_at": "2026-11-20T12:00:01Z", "sending_ip": "192.0.2.10", "event_id": "1"}
# Method, path, body, the narrowest scope that will do.
NEEDS: list[tuple[str, str, Any, Scope]] = [
    ("GET", "/api/ips", None, READ),
    ("GET", "/api/access", None, READ),
    ("GET", "/api/sources", None, READ),
    ("OPTIONS", "/api/sources", None, READ),
    ("POST", f"/api/ips/{BAD}/quarantine", {"reason": "a test"}, OPERATE),
    ("POST", f"/api/ips/{BAD}/lift", {"reason": "a test"}, OPERATE),
    ("POST", "/api/breakers/check", {}, OPERATE),
    ("POST", "/api/warmups/detect", {}, OPERATE),
    ("POST", "/api/alerts/999/acknowledge", {}, OPERATE),
    ("POST", "/api/rejected-events/999/replay", {}, OPERATE),
    ("POST", "/api/permits", {"sender": "a@shop.example", "recipient": "b@gmail.com"}, OPERATE),
    ("PATCH", "/api/policies/1", {}, ADMIN),
    ("PATCH", "/api/retention/rejected", {"keep": "40 00:00:00"}, ADMIN),
    ("POST", "/api/sources", {"name": "mta-9"}, ADMIN),
    ("DELETE", "/api/sources/999", None, ADMIN),
    ("POST", "/api/alert-rules", {}, ADMIN),
    ("POST", "/api/testing/simulate-failures", {}, ADMIN),
]


def call(clear: str, method: str, path: str, body: Any = None) -> Any:
    data = "" if body is None else json.dumps(body)
    return Client().generic(
        method, path, data, content_type="application/json", headers={"Authorization": f"Bearer {clear}"}
    )


@pytest.fixture
def olga(django_user_model: type[User]) -> User:
    return django_user_model.objects.create_superuser("olga", "olga@example.com")


@pytest.fixture
def operator(django_user_model: type[User]) -> User:
    user = django_user_model.objects.create_user("omar", is_staff=True)
    user.groups.add(Group.objects.get(name=groups.OPERATOR))
    return user


@pytest.mark.parametrize(("method", "path", "body", "needed"), NEEDS, ids=lambda value: str(value)[:40])
def test_a_token_goes_as_far_as_its_scope(
    method: str,
    path: str,
    body: Any,
    needed: Scope,
    olga: User,
    source: Source,
    make_event: Callable[..., Event],
) -> None:
    bad_day(source, make_event, timezone.now())
    for scope in Scope:
        answer = call(issue_api_token(olga, scope=scope), method, path, body)
        if scope.covers(needed):
            assert answer.status_code not in (401, 403), (scope, answer.content)
            continue
        assert answer.status_code == 403, scope
        assert answer.headers["Content-Type"] == "application/problem+json"
        assert f"scope {needed};" in answer.json()["detail"]
        assert f"is {scope}." in answer.json()["detail"]


def test_a_token_never_may_more_than_its_user(operator: User) -> None:
    clear = issue_api_token(operator, scope=ADMIN)
    assert call(clear, "GET", "/api/ips").status_code == 200
    assert call(clear, "POST", "/api/sources", {"name": "mta-9"}).status_code == 403
    assert call(clear, "GET", "/api/access").status_code == 403
    assert not Source.objects.exists()
    operator.groups.clear()
    clear = issue_api_token(operator, scope=OPERATE)
    assert call(clear, "POST", f"/api/ips/{BAD}/quarantine", {"reason": "a test"}).status_code == 403


def test_a_scope_that_does_not_go_so_far_is_in_the_log_once_a_day(olga: User) -> None:
    clear = issue_api_token(olga, scope=READ)
    for _ in range(3):
        call(clear, "POST", "/api/sources", {"name": "mta-9"})
    row = AccessRecord.objects.get(kind=AccessKind.REFUSED_BY_SCOPE)
    assert (row.who, row.address, row.token) == ("olga", "127.0.0.1", ApiToken.objects.get().prefix)
    assert row.detail == "POST /api/sources needs admin."


def test_a_source_reports_and_reads_nothing_and_a_person_reports_nothing(
    olga: User, token: str, client: Client
) -> None:
    mine = issue_api_token(olga)
    assert call(token, "POST", "/api/events", [EVENT]).status_code == 200
    for method, path in (("GET", "/api/events"), ("GET", "/api/ips"), ("GET", "/api/sources"), ("GET", "/api/access")):
        assert call(token, method, path).status_code == 401, path
    assert call(token, "POST", f"/api/ips/{BAD}/quarantine", {"reason": "a test"}).status_code == 401
    for path in (
        *("/api/events", "/api/webhooks/stalwart/delivery-failure", "/api/webhooks/stalwart", "/api/webhooks/kumomta"),
        *("/api/volumes", "/api/reports/message", "/api/webhooks/esp/mta-1/postmark"),
    ):
        assert call(mine, "POST", path, [EVENT]).status_code == 401, path


@pytest.mark.parametrize("path", ["/", "/sources/", "/admin/", "/admin/telemetry/source/"])
def test_no_page_opens_to_a_token(path: str, olga: User, token: str) -> None:
    for clear in (issue_api_token(olga), token):
        answer = call(clear, "GET", path)
        assert answer.status_code == 302
        assert answer.headers["Location"].startswith("/admin/login/")


def test_a_user_who_was_deactivated_has_no_token_any_more(olga: User) -> None:
    clear = issue_api_token(olga)
    assert call(clear, "GET", "/api/ips").status_code == 200
    User.objects.update(is_active=False)
    assert call(clear, "GET", "/api/ips").status_code == 401


def test_the_use_of_a_token_is_in_the_log_once_a_day_for_each_address(olga: User, token: str) -> None:
    mine = issue_api_token(olga)
    for place in ("203.0.113.1", "203.0.113.1", "203.0.113.2"):
        for clear, path in ((mine, "/api/ips"), (token, "/api/permits")):
            Client(REMOTE_ADDR=place).get(path, headers={"Authorization": f"Bearer {clear}"})
    rows = AccessRecord.objects.filter(kind=AccessKind.TOKEN_USED).values_list("who", "address", "token")
    mine_prefix, its = ApiToken.objects.get().prefix, SourceToken.objects.get().prefix
    assert sorted(rows) == [
        *(("mta-1", f"203.0.113.{last}", its) for last in (1, 2)),
        *(("olga", f"203.0.113.{last}", mine_prefix) for last in (1, 2)),
    ]


def test_a_token_is_made_listed_rotated_and_revoked_by_command(olga: User) -> None:
    def run(*arguments: str) -> tuple[str, str]:
        out, words = StringIO(), StringIO()
        call_command("api_token", "olga", *arguments, stdout=out, stderr=words)
        return out.getvalue().strip(), words.getvalue()

    assert "no API token" in run("--list")[1]
    clear, words = run("--scope", "read", "--label", "grafana")
    assert "only reads" in words
    assert call(clear, "GET", "/api/ips").status_code == 200
    assert call(clear, "POST", "/api/sources", {"name": "mta-9"}).status_code == 403
    prefix = ApiToken.objects.get().prefix
    new, _ = run("--rotate", prefix)
    now = timezone.now()
    found = find_api_token(new, now=now)
    assert found is not None
    assert (found.scope, found.label) == ("read", "grafana")
    run("--revoke", f"gs_{prefix}_…")
    assert find_api_token(clear, now=now) is None
    listed = run("--list")[0].splitlines()
    assert [line.split()[:3] for line in listed] == [[prefix, "read", "revoked"], [found.prefix, "read", "usable"]]
    assert clear not in run("--list")[0]
    for wrong in (["--revoke", "nonsense"], ["--rotate", prefix], ["--list", "--scope", "read"]):
        with pytest.raises(CommandError):
            run(*wrong)
    kinds = set(AccessRecord.objects.values_list("kind", flat=True))
    assert {"token_issued", "token_rotated", "token_revoked"} <= kinds


def test_without_a_scope_a_token_may_what_its_user_may_and_says_so(olga: User) -> None:
    out, words = StringIO(), StringIO()
    call_command("api_token", "olga", stdout=out, stderr=words)
    assert "--scope read" in words.getvalue()
    assert call(out.getvalue().strip(), "POST", "/api/sources", {"name": "mta-9"}).status_code == 201


def test_the_form_asks_for_the_scope_and_offers_the_narrowest(olga: User, client: Client) -> None:
    client.force_login(olga)
    page = reverse("admin:telemetry_apitoken_make")
    assert client.get(page).context["form"]["scope"].value() == "read"
    client.post(page, {"user": olga.pk, "scope": "operate", "label": "cron"})
    assert ApiToken.objects.get().scope == "operate"
    assert client.post(page, {"user": olga.pk, "scope": "everything"}).context["form"].errors["scope"]


def test_the_document_says_which_scope_an_operation_needs(client: Client) -> None:
    paths = client.get("/api/schema", headers={"Accept": "application/json"}).json()["paths"]
    for path, method, scope in (
        ("/api/ips", "get", "read"),
        ("/api/ips/{ip}/quarantine", "post", "operate"),
        ("/api/permits", "post", "operate"),
        ("/api/retention/{what}", "patch", "admin"),
    ):
        assert f"Scope of the API token: `{scope}`." in paths[path][method]["description"], path
    assert "Scope of" not in paths["/api/events"]["post"]["description"]
