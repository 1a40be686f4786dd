"""Stalwart's MTA hook, with the payloads that its code and its documentation show."""

from __future__ import annotations

import base64
import json
import tomllib
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.management import call_command
from django.db import OperationalError
from django.test import Client
from django.utils import timezone

from reputation import breaker_acts, permits
from reputation.api.stalwart_hook import KnownSource
from reputation.domain.breaker_policy import Scope
from reputation.models import Budget, PermitMinute, Pool, ProviderLimit, SendingIP, SendingPolicy
from telemetry.models import Source
from telemetry.tokens import issue_token

pytestmark = pytest.mark.django_db
URL = "/api/hooks/stalwart"
SENDER = "news@shop.example"
IP = "203.0.113.10"
ACCEPTED = {"action": "accept", "modifications": []}


@pytest.fixture
def source(db: Any) -> Source:
    return Source.objects.create(name="mail-1", kind="stalwart")


@pytest.fixture
def otto(django_user_model: type[User]) -> User:
    return django_user_model.objects.create_user("otto", is_staff=True)


def as_coded(stage: str, *recipients: str, sender: str | None = SENDER) -> dict[str, Any]:
    body: dict[str, Any] = {
        "context": {
            "stage": stage,
            "client": {
                "ip": "198.51.100.7",
                "port": 54321,
                "ptr": "host.example.",
                "helo": "h",
                "activeConnections": 1,
            },
            "sasl": {"login": "user@shop.example"},
            "tls": {"version": "TLSv1.3", "cipher": "x"},
            "server": {"name": "Stalwart v0.16.18", "port": 465, "ip": IP},
            "queue": {"id": "2f1a"},
            "protocol": {"version": 1},
        },
    }
    if stage in ("mail", "rcpt", "data"):
        from_ = None if sender is None else {"address": sender}
        body["envelope"] = {"from": from_, "to": [{"address": name} for name in recipients]}
    if stage == "data":
        body["message"] = {"headers": [["From", " news@shop.example\r\n"]], "contents": "Hello", "size": 5}
    return body


def as_documented(stage: str, *recipients: str) -> dict[str, Any]:
    body = as_coded(stage, *recipients)
    context = body["context"]
    context["stage"] = stage.upper()
    context["client"]["ehlo"] = context["client"].pop("helo")
    context["protocol"]["version"] = "1.0"
    for entry in [body.get("envelope", {}).get("from"), *body.get("envelope", {}).get("to", [])]:
        if entry:
            entry["parameters"] = {"size": "1"}
    return body


@pytest.fixture
def ask(client: Client, source: Source) -> Any:
    headers = {"Authorization": f"Bearer {issue_token(source)}"}

    def asked(body: Any, *, count: str = "", status: int = 200) -> Any:
        permits.desk().books.forget()
        given = body if isinstance(body, bytes) else json.dumps(body).encode()
        url = f"{URL}?count={count}" if count else URL
        answer = client.post(url, given, content_type="application/json", headers=headers)
        assert answer.status_code == status, answer.content
        return answer.json()

    return asked


def enforce(**values: Any) -> None:
    SendingPolicy.objects.update(mode="enforce", **values)


def pause(otto: User, *scope: Any) -> None:
    end = timezone.now() + timedelta(hours=1)
    breaker_acts.open_by_hand(Scope(*scope), reason="complaints", user=otto, now=timezone.now(), expires_at=end)


def spent(rule: str = "base_limit") -> int:
    return sum(Budget.objects.filter(rule=rule).values_list("spent", flat=True))


@pytest.mark.parametrize("shape", [as_coded, as_documented])
@pytest.mark.parametrize("stage", ["connect", "ehlo", "auth"])
def test_before_there_is_mail_everything_passes(ask: Any, otto: User, shape: Any, stage: str) -> None:
    enforce()
    pause(otto, "domain", "shop.example")
    assert ask(shape(stage)) == ACCEPTED
    assert not PermitMinute.objects.exists()


@pytest.mark.parametrize("shape", [as_coded, as_documented])
@pytest.mark.parametrize("stage", ["mail", "rcpt", "data"])
def test_a_paused_sender_is_held_back_with_the_reason(ask: Any, otto: User, shape: Any, stage: str) -> None:
    enforce()
    body = shape(stage, "a@gmail.com")
    assert ask(body) == ACCEPTED
    pause(otto, "domain", "shop.example")
    told = ask(body)
    reply = told.pop("response")
    assert told == {"action": "reject", "modifications": []}
    message = reply.pop("message")
    assert "complaints" in message
    assert reply == {"status": 451, "enhanced_status": "4.7.1", "enhancedStatus": "4.7.1", "disconnect": False}


@pytest.mark.parametrize("mode", ["observe", "warn"])
def test_a_pool_that_does_not_enforce_lets_it_pass_and_says_what_it_would_do(
    ask: Any, otto: User, mode: str, caplog: pytest.LogCaptureFixture
) -> None:
    SendingPolicy.objects.update(mode=mode)
    pause(otto, "domain", "shop.example")
    assert ask(as_coded("data", "a@gmail.com")) == ACCEPTED
    permits.desk().recorder.flush()
    assert PermitMinute.objects.get().action == "defer"
    assert ("would be held back" in caplog.text) == (mode == "warn")


def test_at_rcpt_the_recipient_is_the_last_one(ask: Any, otto: User) -> None:
    enforce()
    pause(otto, "domain", "shop.example", "google")
    assert ask(as_coded("rcpt", "a@gmail.com", "b@yahoo.com"), count="rcpt") == ACCEPTED
    assert ask(as_coded("rcpt", "b@yahoo.com", "a@gmail.com"), count="rcpt")["action"] == "reject"


def test_at_data_all_recipients_count_by_provider(ask: Any) -> None:
    enforce(domain_limit_per_hour=100, provider_limits_on=True)
    ask(as_coded("data", "a@gmail.com", "b@googlemail.com", "c@yahoo.com", "postmaster@x.example"))
    assert spent() == 3, "postmaster is for nothing"
    by_provider = dict(
        Budget.objects.filter(rule="provider_limit", key__contains="|hour|").values_list("provider", "spent")
    )
    assert by_provider == {"google": 2, "yahoo": 1}


def test_a_message_passes_as_a_whole_or_spends_nothing(ask: Any, otto: User) -> None:
    enforce(domain_limit_per_hour=5)
    pause(otto, "domain", "shop.example", "yahoo")
    assert ask(as_coded("data", "a@gmail.com", "b@yahoo.com"))["action"] == "reject"
    assert spent() == 0
    many = [f"u{number}@gmail.com" for number in range(3)] + [f"u{number}@icloud.com" for number in range(2)]
    assert ask(as_coded("data", *many)) == ACCEPTED
    assert spent() == 5
    SendingPolicy.objects.update(domain_limit_per_hour=8)
    assert ask(as_coded("data", "a@gmail.com", "b@gmail.com", "c@icloud.com", "d@icloud.com"))["action"] == "reject"
    assert spent() == 5, "each provider's part would have fitted, all together do not"


@pytest.mark.parametrize(("count", "expected"), [("", 2), ("data", 2), ("rcpt", 2)])
def test_whatever_stages_are_configured_a_message_counts_once(ask: Any, count: str, expected: int) -> None:
    enforce(domain_limit_per_hour=2)
    session = [as_coded("mail"), as_coded("rcpt", "a@gmail.com"), as_coded("rcpt", "a@gmail.com", "b@gmail.com")]
    session.append(as_coded("data", "a@gmail.com", "b@gmail.com"))
    assert [ask(body, count=count)["action"] for body in session] == ["accept"] * 4
    assert spent() == expected
    told = ask(session[1 if count == "rcpt" else 3], count=count)
    assert told["action"] == "reject"
    assert told["response"]["status"] == 451


def test_what_can_never_pass_is_refused_for_good(ask: Any) -> None:
    enforce(domain_limit_per_hour=1)
    told = ask(as_coded("data", "a@gmail.com", "b@gmail.com"))["response"]
    assert (told["status"], told["enhanced_status"], told["enhancedStatus"]) == (550, "5.7.1", "5.7.1")


@pytest.mark.parametrize("sender", [None, "", "<>", "postmaster@shop.example", "Abuse@shop.example"])
@pytest.mark.parametrize("stage", ["mail", "rcpt", "data"])
def test_reports_postmaster_and_abuse_always_pass(ask: Any, otto: User, sender: str | None, stage: str) -> None:
    enforce(domain_limit_per_hour=1, on_failure="closed")
    pause(otto, "domain", "shop.example")
    for _ in range(2):
        assert ask(as_coded(stage, "a@gmail.com", sender=sender)) == ACCEPTED


@pytest.mark.parametrize("stage", ["rcpt", "data"])
def test_mail_to_postmaster_and_abuse_always_passes(ask: Any, otto: User, stage: str) -> None:
    enforce()
    pause(otto, "domain", "shop.example")
    assert ask(as_coded(stage, "Postmaster@gmail.com"), count=stage) == ACCEPTED


def test_a_stalwart_with_one_ip_is_asked_about_that_ip(ask: Any, otto: User, source: Source) -> None:
    enforce()
    SendingIP.objects.create(ip=IP, pool=Pool.objects.get())
    SendingIP.objects.create(ip="203.0.113.11", pool=Pool.objects.get())
    pause(otto, "ip", IP)
    assert ask(as_coded("data", "a@gmail.com")) == ACCEPTED, "the pool has another"
    Source.objects.update(ip_map={"*": IP, "bulk": IP})
    assert ask(as_coded("data", "a@gmail.com"))["action"] == "reject"


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (b"", "body"),
        (b"not json", "body"),
        (b"[]", "body"),
        (b'{"context": {"stage": "da', "body"),
        (b"{" + b'"a": [' * 100_000, "body"),
        (b"{}", "context"),
        (b'{"context": []}', "context"),
        (b'{"context": {}}', "context.stage"),
        (b'{"context": {"stage": 7}}', "context.stage"),
        (b'{"context": {"stage": "mail"}}', "envelope"),
        (b'{"context": {"stage": "mail"}, "envelope": {"from": {"address": 7}}}', "envelope.from.address"),
        (b'{"context": {"stage": "rcpt"}, "envelope": {"from": null}}', "envelope.to"),
        (b'{"context": {"stage": "data"}, "envelope": {"from": null, "to": []}}', "envelope.to"),
        (b'{"context": {"stage": "data"}, "envelope": {"from": null, "to": [{}]}}', "envelope.to[0].address"),
    ],
)
def test_what_cannot_be_read_is_answered_400_by_field(ask: Any, body: bytes, field: str) -> None:
    assert [entry["field"] for entry in ask(body, status=400)["errors"]] == [field]


def test_a_stage_of_the_future_passes(ask: Any) -> None:
    enforce(domain_limit_per_hour=1)
    assert ask({"context": {"stage": "DELIVERY"}}) == ACCEPTED


def test_any_order_of_members_and_any_bytes_in_the_message_are_read(ask: Any, otto: User) -> None:
    enforce()
    pause(otto, "domain", "shop.example")
    body = as_coded("data", "a@gmail.com")
    backwards = dict(reversed(body.items())) | {"future": {"deep": [1, {"x": None}]}}
    assert ask(json.dumps(backwards, indent=1).encode())["action"] == "reject"
    cut = json.dumps(body).encode().partition(b'"message"')[0] + b'"message": {"contents": "\xff\xfe'
    assert ask(cut)["action"] == "reject", "the message itself is never read"


def test_a_message_larger_than_any_other_body_is_asked_about_too(ask: Any, otto: User, settings: Any) -> None:
    settings.MAX_BODY_BYTES = settings.DATA_UPLOAD_MAX_MEMORY_SIZE = 2_000
    enforce()
    pause(otto, "domain", "shop.example")
    body = as_coded("data", "a@gmail.com")
    body["message"]["contents"] = "x" * 1_000_000
    assert ask(body)["action"] == "reject"


def test_who_may_ask(client: Client, source: Source) -> None:
    def status(token: str, *, basic: bool = False, query: str = "") -> int:
        given = f"Basic {base64.b64encode(f'x:{token}'.encode()).decode()}" if basic else f"Bearer {token}"
        body = json.dumps(as_coded("connect"))
        return client.post(
            URL + query, body, content_type="application/json", headers={"Authorization": given}
        ).status_code

    source.hmac_key = "a key that the webhook signs with"
    source.save()
    token = issue_token(source)
    assert (status(token), status(token, basic=True)) == (200, 200), "hooks are not signed"
    assert (status("gs_x"), client.post(URL, "{}", content_type="application/json").status_code) == (401, 401)
    assert status(issue_token(Source.objects.create(name="p", kind="postfix"))) == 403
    assert (status(token, query="?count=mail"), status(token, query="?cuont=rcpt")) == (400, 400)
    Source.objects.update(is_active=False)
    assert status(token) == 403


@pytest.mark.parametrize(("on_failure", "action"), [("open", "accept"), ("closed", "reject")])
def test_while_the_budgets_are_away_the_policy_decides(
    ask: Any, monkeypatch: pytest.MonkeyPatch, on_failure: str, action: str
) -> None:
    enforce(domain_limit_per_hour=10, on_failure=on_failure)
    monkeypatch.setattr(permits.desk(), "_store", _Away())
    assert ask(as_coded("data", "a@gmail.com"))["action"] == action


class _Away:
    def take(self, spends: Any) -> Any:
        raise permits.UNAVAILABLE[1]("away")


def test_while_the_database_is_away_a_known_source_is_answered_by_the_last_book(
    ask: Any, otto: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    enforce()
    pause(otto, "domain", "shop.example")
    assert ask(as_coded("data", "a@gmail.com"))["action"] == "reject"

    def away(*_: Any, **__: Any) -> Any:
        raise OperationalError("gone")

    monkeypatch.setattr("telemetry.authentication.find_source_token", away)
    monkeypatch.setattr(permits.desk().books, "_read", away)
    assert ask(as_coded("data", "a@gmail.com"))["action"] == "reject"
    # A process that never saw a book knows no policy either, and never saw this source.
    monkeypatch.setattr(permits.desk().books, "_book", None)
    assert ask(as_coded("data", "a@gmail.com")) == ACCEPTED
    KnownSource._known.clear()
    ask(as_coded("data", "a@gmail.com"), status=503)


def test_caps_per_provider_hold_at_the_counted_stage(ask: Any) -> None:
    enforce(provider_limits_on=True)
    ProviderLimit.objects.filter(provider="google").update(per_hour=1)
    assert ask(as_coded("data", "a@gmail.com")) == ACCEPTED
    assert ask(as_coded("data", "a@gmail.com"))["action"] == "reject"
    assert ask(as_coded("data", "a@yahoo.com")) == ACCEPTED


@pytest.mark.parametrize("stage", ["data", "rcpt"])
def test_the_printed_configuration_asks_here_for_mail_of_ours_alone(
    client: Client, source: Source, stage: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def printed(form: str) -> str:
        call_command("stalwart_config", "mail-1", url="http://testserver", format=form, hook=stage, new_token=True)
        return capsys.readouterr().out

    toml = tomllib.loads(printed("toml"))["session"]["hook"]["good-standing"]
    ((method, arguments, _),) = json.loads(printed("jmap"))["methodCalls"]
    assert method == "x:MtaHook/set"
    made = arguments["create"]["good-standing"]
    assert toml["stages"] == list(made["stages"]) == [stage]
    assert toml["enable"][0]["if"] == made["enable"]["match"][0]["if"] == "!is_empty(authenticated_as)"
    assert (toml["enable"][1]["else"], made["enable"]["else"]) == (False, "false")
    assert toml["options"]["tempfail-on-error"] is made["tempFailOnError"] is False
    bearers = [
        toml["headers"][0].removeprefix("Authorization: "),
        f"Bearer {made['httpAuth']['bearerToken']['secret']}",
    ]
    for url, bearer in zip((toml["url"], made["url"]), bearers, strict=True):
        path = url.removeprefix("http://testserver")
        body = json.dumps(as_coded(stage, "a@gmail.com"))
        answer = client.post(path, body, content_type="application/json", headers={"Authorization": bearer})
        assert (answer.status_code, answer.json()) == (200, ACCEPTED)
