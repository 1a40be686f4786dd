"""Every act of a person leaves a trace with that person's name: in the access log, a history or the admin's log."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import User
from django.db import DatabaseError
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver, reverse

from reputation.models import AlertRule, Blocklist, BreakerPolicy, Policy, SendingPolicy, WarmupPolicy
from telemetry import access
from telemetry.api.common import ApiView
from telemetry.domain.access import AccessKind
from telemetry.models import AccessRecord, RetentionPolicy, Source, SourceToken
from telemetry.tokens import issue_api_token, issue_token

pytestmark = pytest.mark.django_db
WRITING = {"post", "put", "patch", "delete"}
# Views that write a row of their own kind into the access log, as tests below show; and questions, which are no acts.
BY_THEMSELVES = {"Sources", "SourceById", "SourceTokens", "RevokeToken", "RotateToken"}
QUESTIONS = {"Permits"}


class Sent(HTMLParser):
    """What a browser would send of a page's form: (name, value) by what is typed, ticked and chosen in it."""

    def __init__(self, page: str, form: str) -> None:
        super().__init__()
        self.values: dict[str, list[str]] = {}
        self._form, self._inside = form, False
        self._select = self._textarea = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag == "form":
            self._inside = given.get("id") == self._form
        if not self._inside or "disabled" in given:
            return
        name = given.get("name", "")
        if tag == "select":
            self._select = name
        elif tag == "option" and self._select and "selected" in given:
            self.values.setdefault(self._select, []).append(given.get("value", ""))
        elif tag == "textarea":
            self._textarea = name
            self.values[name] = [""]
        elif tag == "input" and name and given.get("type") in ("checkbox", "radio"):
            if "checked" in given:
                self.values.setdefault(name, []).append(given.get("value", "on"))
        elif tag == "input" and name and given.get("type") not in ("submit", "button", "file"):
            self.values.setdefault(name, []).append(given.get("value", ""))

    def handle_endtag(self, tag: str) -> None:
        if tag == "form":
            self._inside = False
        elif tag == "select":
            self._select = ""
        elif tag == "textarea":
            self._textarea = ""

    def handle_data(self, data: str) -> None:
        if self._textarea:
            # A browser drops the line break that stands right behind the tag.
            self.values[self._textarea][0] += data.lstrip("\r\n")


@pytest.fixture
def olga(django_user_model: type[User]) -> User:
    return django_user_model.objects.create_superuser("olga", "olga@example.com")


@pytest.fixture
def as_olga(olga: User) -> Client:
    client = Client(REMOTE_ADDR="203.0.113.7")
    client.force_login(olga)
    return client


def views_that_write() -> dict[str, type]:
    found: dict[str, type] = {}

    def look(resolver: URLResolver) -> None:
        for entry in resolver.url_patterns:
            if isinstance(entry, URLResolver):
                look(entry)
            elif isinstance(entry, URLPattern):
                view = getattr(entry.callback, "view_class", None)
                if view is not None and any(hasattr(view, method) for method in WRITING):
                    found[view.__name__] = view

    look(get_resolver())
    return found


def test_no_view_of_the_api_acts_without_a_trace() -> None:
    people = {name: view for name, view in views_that_write().items() if issubclass(view, ApiView)}
    assert len(people) > 25
    assert {name for name, view in people.items() if not view.is_act} == BY_THEMSELVES | QUESTIONS  # type: ignore[attr-defined]


def the_default(model: Any) -> int:
    return int(model.objects.order_by("pk").values_list("pk", flat=True)[0])


ACTS: list[tuple[str, str, Any, dict[str, Any]]] = [
    ("PATCH", "/api/policies/{}", Policy, {"minimum_volume": 77, "reason": "a test"}),
    ("PATCH", "/api/breaker-policies/{}", BreakerPolicy, {"reason": "a test"}),
    ("PATCH", "/api/sending-policies/{}", SendingPolicy, {"reason": "a test"}),
    ("PATCH", "/api/warmup-policies/{}", WarmupPolicy, {"reason": "a test"}),
    ("PATCH", "/api/blocklists/{}", Blocklist, {"is_enabled": False}),
    ("PATCH", "/api/alert-rules/{}", AlertRule, {"is_enabled": False}),
    ("POST", "/api/alert-channels", None, {"name": "chat", "url": "https://chat.example/hook"}),
    ("PATCH", "/api/retention/rejected", None, {"keep": "40 00:00:00"}),
    ("POST", "/api/audit-targets", None, {"kind": "domain", "name": "shop.example"}),
]


@pytest.mark.parametrize(
    ("method", "path", "model", "body"), ACTS, ids=lambda value: value if "/" in str(value) else ""
)
def test_an_act_over_the_api_names_who_did_it_and_by_which_token(
    method: str, path: str, model: Any, body: dict[str, Any], olga: User, as_olga: Client
) -> None:
    path = path.format(the_default(model)) if model else path
    clear = issue_api_token(olga)
    answer = Client(REMOTE_ADDR="203.0.113.9").generic(
        method, path, json.dumps(body), content_type="application/json", headers={"Authorization": f"Bearer {clear}"}
    )
    assert answer.status_code in (200, 201), answer.content
    row = AccessRecord.objects.get(kind=AccessKind.ACTED)
    assert (row.who, row.address, row.token) == ("olga", "203.0.113.9", clear.split("_")[1])
    assert row.detail == f"{method} {path} ({', '.join(sorted(body))})"
    # A browser's session is as good a name.
    again = as_olga.generic(method, path, json.dumps(body), content_type="application/json")
    if again.status_code < 400:
        assert AccessRecord.objects.filter(kind=AccessKind.ACTED, token="", address="203.0.113.7").count() == 1


def test_what_was_refused_and_what_only_reads_is_no_act(as_olga: Client) -> None:
    as_olga.get("/api/retention")
    assert as_olga.patch("/api/retention/rejected", "{}", content_type="application/json").status_code == 400
    assert not AccessRecord.objects.exists()


def test_sources_and_their_tokens_are_traced_by_name(as_olga: Client) -> None:
    def ask(method: str, path: str, body: Any = None) -> Any:
        answer = as_olga.generic(method, path, json.dumps(body or {}), content_type="application/json")
        assert answer.status_code < 300, answer.content
        return answer.json() if answer.content else {}

    made = ask("POST", "/api/sources", {"name": "mta-7"})
    one = f"/api/sources/{made['id']}"
    ask("PATCH", one, {"region": "fra", "hmac_key": "a very secret key indeed"})
    first = ask("POST", f"{one}/tokens", {"label": "relay"})
    second = ask("POST", f"{one}/tokens/{first['prefix']}/rotate")
    ask("POST", f"{one}/tokens/{second['prefix']}/revoke")
    ask("POST", f"{one}/tokens/{second['prefix']}/revoke")
    ask("DELETE", one)
    rows = list(AccessRecord.objects.order_by("id").values_list("kind", "who", "address", "token", "detail"))
    olga = ("olga", "203.0.113.7")
    own = "Of the source mta-7."
    assert [row for row in rows if row[0] != "token_rotated"] == [
        ("source_added", *olga, "", "mta-7: name"),
        ("source_changed", *olga, "", "mta-7: hmac_key, region"),
        ("token_issued", *olga, first["prefix"], own),
        ("token_issued", *olga, second["prefix"], own),
        ("token_revoked", *olga, second["prefix"], own),
        ("source_deleted", *olga, "", "mta-7"),
    ]
    [rotated] = [row for row in rows if row[0] == "token_rotated"]
    assert rotated[:4] == ("token_rotated", *olga, first["prefix"])
    assert f"the new one is gs_{second['prefix']}_…" in rotated[4]
    written = json.dumps(rows)
    for secret in ("a very secret key indeed", first["token"].split("_", 2)[2], second["token"].split("_", 2)[2]):
        assert secret not in written
    assert not Source.objects.exists(), "the names stay when the rows go"


@pytest.mark.parametrize(
    ("model", "given"),
    [
        (Policy, {"minimum_volume": "77", "reason": "a test"}),
        (BreakerPolicy, {"reason": "a test"}),
        (SendingPolicy, {"reason": "a test"}),
        (WarmupPolicy, {"reason": "a test"}),
        (Blocklist, {"notes": "a test"}),
        (AlertRule, {"is_enabled": ""}),
        (RetentionPolicy, {"keep": "400 00:00:00"}),
        (Source, {"region": "fra"}),
        (User, {"first_name": "Olga"}),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_an_act_in_the_admin_names_who_did_it(
    model: Any, given: dict[str, str], as_olga: Client, olga: User, source: Source
) -> None:
    name = f"{model._meta.app_label}_{model._meta.model_name}"
    page = reverse(f"admin:{name}_change", args=[model.objects.order_by("pk").first().pk])
    sent = Sent(as_olga.get(page).content.decode(), f"{model._meta.model_name}_form").values
    answer = as_olga.post(page, {**sent, **given})
    assert answer.status_code == 302, answer.context["errors"]
    entry = LogEntry.objects.get()
    assert (entry.user, entry.content_type.model) == (olga, model._meta.model_name)  # type: ignore[union-attr]


def test_tokens_made_and_ended_in_the_admin_name_who_did_it(as_olga: Client, source: Source) -> None:
    as_olga.post(reverse("admin:telemetry_source_make_token", args=[source.pk]), {"label": "relay"})
    token = SourceToken.objects.get()
    as_olga.post(reverse("admin:telemetry_sourcetoken_rotate", args=[token.pk]), {"confirmed": "1"})
    as_olga.post(reverse("admin:telemetry_sourcetoken_revoke", args=[token.pk]), {"confirmed": "1"})
    rows = AccessRecord.objects.filter(who="olga", address="203.0.113.7", token=token.prefix).order_by("id")
    assert [row.kind for row in rows] == ["token_issued", "token_rotated", "token_revoked"]


def test_a_command_on_the_machine_has_no_name_and_no_address(source: Source) -> None:
    issue_token(source)
    row = AccessRecord.objects.get()
    assert (row.kind, row.who, row.address) == ("token_issued", "", None)


def test_an_act_that_is_done_is_answered_as_done_when_the_log_cannot_be_written(
    as_olga: Client, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def away(*_: object, **__: object) -> None:
        raise DatabaseError("away")

    monkeypatch.setattr(access, "record", away)
    answer = as_olga.patch("/api/retention/rejected", {"keep": "40 00:00:00"}, content_type="application/json")
    assert answer.status_code == 200
    assert "could not be written into the access log" in caplog.text
