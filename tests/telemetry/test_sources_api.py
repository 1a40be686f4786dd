"""Sources, tokens, raw events, rejected events and retention as staff and their scripts meet them."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.core.management import CommandError, call_command
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from telemetry.domain.event import Event
from telemetry.domain.vocab import EventType
from telemetry.ingest import record_batch
from telemetry.models import ApiToken, RejectedEvent, RetentionPolicy, SendingEvent, Source, SourceToken, VolumeReport
from telemetry.tokens import find_api_token, find_source_token, issue_api_token, issue_token

pytestmark = pytest.mark.django_db
Make = Callable[..., Event]


class Caller:
    """Somebody with an API token."""

    def __init__(self, user: User | None = None, **fields: Any) -> None:
        self.client = Client(raise_request_exception=True)
        self.headers = {"Authorization": f"Bearer {issue_api_token(user)}"} if user else {}

    def __call__(self, method: str, url: str, body: Any = None) -> Any:
        data = body if isinstance(body, bytes | str) else "" if body is None else json.dumps(body)
        return self.client.generic(method, url, data, content_type="application/json", headers=self.headers)


@pytest.fixture
def admin(django_user_model: type[User]) -> Caller:
    return Caller(django_user_model.objects.create_superuser("olga", "olga@example.com"))


@pytest.fixture
def viewer(django_user_model: type[User]) -> Caller:
    return Caller(django_user_model.objects.create_user("vera", is_staff=True))


def fields_of(answer: Any) -> list[str]:
    assert answer.headers["Content-Type"] == "application/problem+json"
    return [entry["field"] for entry in answer.json()["errors"]]


def deliveries(make: Make, number: int, **fields: Any) -> list[Event]:
    defaults = {"occurred_at": timezone.now() - timedelta(minutes=2)}
    return [make(event_id=f"d{index}", **(defaults | fields)) for index in range(number)]


def test_a_source_is_made_changed_and_shown(admin: Caller) -> None:
    made = admin("POST", "/api/sources", {"name": "mta-7", "kind": "postfix", "ip_map": {"out-1": "203.0.113.7"}})
    assert made.status_code == 201
    url = f"/api/sources/{made.json()['id']}"
    assert admin("PATCH", url, {"region": "fra"}).json()["region"] == "fra"
    assert admin("GET", url).json()["ip_map"] == {"out-1": "203.0.113.7"}
    assert [row["name"] for row in admin("GET", "/api/sources?kind=postfix&search=TA-7").json()["results"]] == ["mta-7"]
    assert admin("GET", "/api/sources?is_active=false").json()["count"] == 0


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"name": "mta 7"}, "name"),
        ({"name": "mta-1"}, "name"),
        ({"name": "mta-7", "kind": "carrier pigeon"}, "kind"),
        ({"name": "mta-7", "kind": "self_test"}, "kind"),
        ({"name": "mta-7", "ip_map": {"out-1": "203.0.113.700"}}, "ip_map"),
        ({"name": "mta-7", "ip_map": ["203.0.113.7"]}, "ip_map"),
        ({"name": "mta-7", "hmac_key": "short"}, "hmac_key"),
        ({"name": "mta-7", "hmac_key_sealed": "x" * 20}, "hmac_key_sealed"),
        ({"name": "mta-7", "metrics_url": "file:///etc/passwd"}, "metrics_url"),
        ({"name": "mta-7", "metrics_url": "https://me:secret@mail.example.com/metrics"}, "metrics_url"),
        ({"name": "mta-7", "metrics_login": "no colon"}, "metrics_login"),
        ({"name": "mta-7", "metrics_login": "me:two\nlines"}, "metrics_login"),
        ({"name": "mta-7", "metrics_login_sealed": "x"}, "metrics_login_sealed"),
        ({"name": "mta-7", "has_metrics_login": True}, "has_metrics_login"),
        ({"name": "mta-7", "last_event_at": "2026-01-01T00:00:00Z"}, "last_event_at"),
        ({}, "name"),
        ([], "body"),
        (b'{"name": ', "body"),
        (b"[" * 100_000, "body"),
    ],
)
def test_a_wrong_source_is_refused_with_the_field(admin: Caller, source: Source, body: Any, field: str) -> None:
    answer = admin("POST", "/api/sources", body)
    assert answer.status_code == 400
    assert fields_of(answer) == [field]
    assert Source.objects.count() == 1


def test_a_signing_key_is_taken_and_never_shown(admin: Caller) -> None:
    key = "a signing key of mine"
    made = admin("POST", "/api/sources", {"name": "mta-7", "hmac_key": key})
    assert made.json()["signed"] is True
    shown = [made, admin("GET", "/api/sources"), admin("GET", f"/api/sources/{made.json()['id']}")]
    assert not any(key in answer.content.decode() or "sealed" in answer.content.decode() for answer in shown)
    assert Source.objects.get().hmac_key == key
    assert admin("PATCH", f"/api/sources/{made.json()['id']}", {"hmac_key": ""}).json()["signed"] is False


def test_the_login_of_a_metrics_page_is_taken_never_shown_and_follows_no_other_host(admin: Caller) -> None:
    page, login = "https://mail.example.com/metrics/prometheus", "standing:a password of mine"
    made = admin("POST", "/api/sources", {"name": "mta-7", "metrics_url": page, "metrics_login": login})
    assert (made.json()["metrics_url"], made.json()["has_metrics_login"]) == (page, True)
    url = f"/api/sources/{made.json()['id']}"
    shown = [made, admin("GET", "/api/sources"), admin("GET", url)]
    assert not any("a password" in answer.content.decode() or "sealed" in answer.content.decode() for answer in shown)
    assert admin("PATCH", url, {"metrics_url": page + "?all", "region": "fra"}).json()["has_metrics_login"] is True
    assert Source.objects.get().metrics_login == login
    elsewhere = {"metrics_url": "https://mail.example.com:8443/metrics"}
    assert admin("PATCH", url, elsewhere).json()["has_metrics_login"] is False
    assert admin("PATCH", url, {"metrics_url": page, "metrics_login": login}).json()["has_metrics_login"] is True
    assert admin("PATCH", url, {"metrics_login": ""}).json()["has_metrics_login"] is False
    assert admin("PATCH", url, {"metrics_url": ""}).json()["metrics_url"] == ""


def test_a_source_that_reported_is_deactivated_and_an_unused_one_deleted(
    admin: Caller, source: Source, make_event: Make
) -> None:
    unused = Source.objects.create(name="unused")
    issue_token(unused)
    record_batch(source, deliveries(make_event, 1), now=timezone.now())
    Source.objects.filter(pk=source.pk).update(last_event_at=timezone.now())
    kept = admin("DELETE", f"/api/sources/{source.pk}")
    assert (kept.status_code, kept.json()["is_active"]) == (200, False)
    assert admin("DELETE", f"/api/sources/{unused.pk}").status_code == 204
    assert list(Source.objects.values_list("name", flat=True)) == ["mta-1"]


def test_a_source_whose_token_was_used_is_never_deleted(admin: Caller, source: Source) -> None:
    find_source_token(issue_token(source), now=timezone.now())
    assert admin("DELETE", f"/api/sources/{source.pk}").status_code == 200
    assert Source.objects.filter(pk=source.pk).exists()


def test_a_token_is_shown_once_rotated_with_overlap_and_revoked(admin: Caller, source: Source) -> None:
    url = f"/api/sources/{source.pk}/tokens"
    made = admin("POST", url, {"label": "mta-1 production"})
    assert (made.status_code, made.headers["Cache-Control"]) == (201, "no-store")
    old = made.json()["token"]
    assert find_source_token(old, now=timezone.now()) is not None
    rotated = admin("POST", f"{url}/{made.json()['prefix']}/rotate", {"overlap_hours": 1}).json()
    assert rotated["label"] == "mta-1 production"
    ends = SourceToken.objects.get(prefix=made.json()["prefix"]).expires_at
    assert ends is not None
    assert timedelta(minutes=59) < ends - timezone.now() <= timedelta(hours=1)
    assert find_source_token(old, now=timezone.now()) is not None
    listed = admin("GET", url)
    assert len(listed.json()) == 2
    assert old not in listed.content.decode()
    assert "digest" not in listed.content.decode()
    assert admin("POST", f"{url}/{rotated['prefix']}/revoke").json()["is_usable"] is False
    assert find_source_token(rotated["token"], now=timezone.now()) is None
    assert admin("POST", f"{url}/{rotated['prefix']}/rotate").status_code == 409


def test_a_token_of_another_source_is_not_found(admin: Caller, source: Source) -> None:
    other = Source.objects.create(name="other")
    issue_token(other)
    prefix = other.tokens.get().prefix
    assert admin("POST", f"/api/sources/{source.pk}/tokens/{prefix}/revoke").status_code == 404
    assert other.tokens.get().revoked_at is None


@pytest.mark.parametrize("body", [{"overlap_hours": -1}, {"overlap_hours": 1e9}, {"overlap_hours": "long"}])
def test_an_overlap_that_cannot_be_meant_is_refused(admin: Caller, source: Source, body: dict[str, Any]) -> None:
    issue_token(source)
    answer = admin("POST", f"/api/sources/{source.pk}/tokens/{source.tokens.get().prefix}/rotate", body)
    assert (answer.status_code, fields_of(answer)) == (400, ["overlap_hours"])
    assert source.tokens.count() == 1


WRITES = [
    ("POST", "/api/sources"),
    ("PATCH", "/api/sources/{source}"),
    ("DELETE", "/api/sources/{source}"),
    ("POST", "/api/sources/{source}/tokens"),
    ("POST", "/api/sources/{source}/tokens/abc/revoke"),
    ("POST", "/api/sources/{source}/tokens/abc/rotate"),
    ("PATCH", "/api/rejected-events/1"),
    ("POST", "/api/rejected-events/1/replay"),
    ("PATCH", "/api/retention/receipts"),
]
READS = [
    "/api/sources",
    "/api/sources/{source}",
    "/api/sources/{source}/tokens",
    "/api/events",
    "/api/volumes",
    "/api/rejected-events",
    "/api/retention",
]


@pytest.mark.parametrize(("method", "url"), WRITES)
def test_staff_without_the_permission_may_not_write(
    viewer: Caller, source: Source, method: str, url: str, django_user_model: type[User]
) -> None:
    url = url.format(source=source.pk)
    assert viewer(method, url, {"name": "mta-8"}).status_code == 403
    assert Caller()(method, url, {"name": "mta-8"}).status_code == 401
    assert list(Source.objects.values_list("name", "is_active")) == [("mta-1", True)]
    assert not SourceToken.objects.exists()


@pytest.mark.parametrize("url", READS)
def test_reading_needs_staff(viewer: Caller, source: Source, url: str, django_user_model: type[User]) -> None:
    url = url.format(source=source.pk)
    nobody = Caller(django_user_model.objects.create_user("nils"))
    assert viewer("GET", url).status_code == 200
    assert nobody("GET", url).status_code == 403
    anonymous = Caller()("GET", url)
    assert (anonymous.status_code, anonymous.headers["WWW-Authenticate"][:6]) == (401, "Bearer")
    assert anonymous.headers["Content-Type"] == "application/problem+json"


def test_the_permission_to_change_sources_is_enough(viewer: Caller) -> None:
    vera = User.objects.get(username="vera")
    vera.user_permissions.add(Permission.objects.get(codename="change_source"))
    assert viewer("POST", "/api/sources", {"name": "mta-9"}).status_code == 201


def test_what_is_not_there_is_404_only_for_who_may_look(admin: Caller, viewer: Caller) -> None:
    assert admin("GET", "/api/sources/77").json()["title"] == "Not found"
    assert Caller()("GET", "/api/sources/77").status_code == 401
    assert admin("GET", "/api/sources/99999999999999999999999").status_code == 404
    assert viewer("PATCH", "/api/sources/77", {}).status_code == 403
    lost = viewer("GET", "/api/nothing/here")
    assert (lost.status_code, lost.headers["Content-Type"]) == (404, "application/problem+json")


def test_one_url_takes_a_sources_events_and_shows_them_to_staff(viewer: Caller, source: Source, token: str) -> None:
    event = {"type": "bounce", "occurred_at": timezone.now().isoformat(), "sending_ip": "192.0.2.10"}
    event |= {"recipient": "a@gmail.com", "smtp_code": 550, "enhanced_code": "5.7.1", "reply": "550 5.7.1 no"}
    sender = Caller()
    sender.headers = {"Authorization": f"Bearer {token}"}
    assert sender("POST", "/api/events", [event]).json()["processed"] == 1
    assert sender("GET", "/api/events").status_code == 401
    assert viewer("POST", "/api/events", [event]).status_code == 401
    shown = viewer("GET", "/api/events").json()["results"]
    assert [(row["source"], row["reply"], row["provider"]) for row in shown] == [("mta-1", "550 5.7.1 no", "google")]


def test_events_are_narrowed_by_each_filter(viewer: Caller, source: Source, make_event: Make) -> None:
    now = timezone.now()
    refused = {"type": EventType.BOUNCE, "smtp_code": 550, "occurred_at": now - timedelta(minutes=1)}
    events = [
        make_event(event_id="old", occurred_at=now - timedelta(hours=30)),
        make_event(event_id="a", enhanced_code="5.7.1", **refused),
        make_event(event_id="b", recipient_domain="yahoo.com", sending_domain="other.example", **refused),
        make_event(event_id="c", sending_ip="2001:db8::1", occurred_at=now - timedelta(minutes=1)),
    ]
    record_batch(source, events, now=now)

    def ids(query: str) -> list[str]:
        answer = viewer("GET", f"/api/events?{query}")
        assert answer.status_code == 200, answer.content
        return sorted(row["event_id"] for row in answer.json()["results"])

    assert ids("") == ["a", "b", "c"]
    assert ids("type=bounce") == ["a", "b"]
    assert ids("sending_ip=2001:DB8:0::1") == ["c"]
    assert ids("sending_domain=Other.Example") == ["b"]
    assert ids("recipient_domain=yahoo.com") == ["b"]
    assert ids("provider=yahoo") == ["b"]
    assert ids("code=5.7.1") == ["a"]
    assert ids("code=550") == ["b"]
    assert ids("source=mta-1&type=delivery") == ["c"]
    assert ids("source=mta-2") == []
    since = (now - timedelta(hours=31)).strftime("%Y-%m-%dT%H:%M:%SZ")
    until = (now - timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
    assert ids(f"from={since}") == ["a", "b", "c", "old"]
    assert ids(f"from={since}&to={until}") == ids(f"to={until}") == ["old"]


@pytest.mark.parametrize(
    ("url", "field"),
    [
        ("/api/events?sending_ip=999.1.1.1", "sending_ip"),
        ("/api/events?sendingip=192.0.2.10", "sendingip"),
        ("/api/events?type=bounced", "type"),
        ("/api/events?from=yesterday", "from"),
        ("/api/events?from=2026-11-20T12:00:00Z&to=2026-11-20T11:00:00Z", "to"),
        ("/api/events?provider=%00", "provider"),
        ("/api/volumes?sending_ip=x", "sending_ip"),
        ("/api/rejected-events?replayed=perhaps", "replayed"),
        ("/api/sources?kind=x", "kind"),
    ],
)
def test_a_wrong_parameter_is_refused_by_name(viewer: Caller, url: str, field: str) -> None:
    answer = viewer("GET", url)
    assert (answer.status_code, fields_of(answer)) == (400, [field])


@pytest.mark.parametrize(
    "cursor", ["x", "cD1hYmM=", "cD0t", "bz05OTk5OTk5OTk5OTk5OTk5OTk5OTk5", "cD05OTk5OTk5OTk5OTk5OTk5OTk5OTk5"]
)
def test_a_made_up_cursor_is_no_server_error(viewer: Caller, cursor: str) -> None:
    answer = viewer("GET", f"/api/events?cursor={cursor}")
    assert answer.status_code == 200 or fields_of(answer) == ["cursor"]


def test_pages_of_events_hold_each_once_even_when_all_share_a_second(
    viewer: Caller, source: Source, make_event: Make
) -> None:
    record_batch(source, deliveries(make_event, 25), now=timezone.now())
    seen: list[int] = []
    url = "/api/events?page_size=10"
    with CaptureQueriesContext(
        connection,
    ) as queries:
        while url:
            page = viewer("GET", url).json()
            seen += [row["id"] for row in page["results"]]
            url = page["next"]
    assert len(seen) == len(set(seen)) == 25
    assert not any("COUNT(" in query["sql"].upper() for query in queries)


def test_a_list_costs_the_same_whatever_its_length(viewer: Caller, source: Source, make_event: Make) -> None:
    def cost(url: str) -> int:
        with CaptureQueriesContext(connection) as queries:
            assert viewer("GET", url).status_code == 200
        return len(queries)

    def grow(first: int, last: int) -> None:
        for index in range(first, last):
            other = Source.objects.create(name=f"source-{index}")
            record_batch(other, deliveries(make_event, 1), now=now)
            RejectedEvent.objects.create(source=other, parser="generic", digest=str(index), payload="{}")
            VolumeReport.objects.create(source=other, sending_ip="192.0.2.1", start=now, end=now + timedelta(1), sent=1)
            issue_token(source)

    now = timezone.now()
    urls = [url.format(source=source.pk) for url in READS]
    grow(0, 2)
    viewer("GET", urls[0])  # the token's "last used" is written once a minute
    few = [cost(url) for url in urls]
    grow(2, 20)
    assert [cost(url) for url in urls] == few


def rejected_one(source: Source) -> RejectedEvent:
    payload = {
        "type": "bounce",
        "occurred_at": "2026-11-20T12:00:00Z",
        "sending_ip": "no ip",
        "recipient": "a@gmail.com",
    }
    return RejectedEvent.objects.create(
        source=source, parser="generic", digest="d", payload=json.dumps(payload), field="sending_ip", message="is no IP"
    )


def test_a_rejected_event_is_mended_and_replayed_once(admin: Caller, source: Source) -> None:
    rejected = rejected_one(source)
    url = f"/api/rejected-events/{rejected.pk}"
    still_wrong = admin("POST", f"{url}/replay")
    assert (still_wrong.status_code, fields_of(still_wrong)) == (400, ["sending_ip"])
    mended = admin("GET", url).json()["payload"].replace("no ip", "192.0.2.10")
    assert admin("PATCH", url, {"payload": mended}).status_code == 200
    for _ in range(2):
        assert admin("POST", f"{url}/replay").json()["replayed_at"] is not None
    assert SendingEvent.objects.get().sending_ip == "192.0.2.10"
    assert admin("GET", "/api/rejected-events?replayed=false").json()["results"] == []
    assert len(admin("GET", "/api/rejected-events?replayed=true&source=mta-1&field=sending_ip").json()["results"]) == 1


def test_what_an_event_is_replaced_by_must_be_text(admin: Caller, source: Source) -> None:
    rejected = rejected_one(source)
    for body in ({"payload": "a\x00b"}, {"payload": {"type": "bounce"}}, {"payload": "x" * 70_000}, {}):
        answer = admin("PATCH", f"/api/rejected-events/{rejected.pk}", body)
        assert (answer.status_code, fields_of(answer)) == (400, ["payload"])


def test_retention_is_changed_within_what_correctness_needs(admin: Caller) -> None:
    rows = {row["what"]: row for row in admin("GET", "/api/retention").json()}
    assert rows["receipts"]["keep"] == "7 00:00:00"
    assert admin("PATCH", "/api/retention/events_passing", {"keep": "10 00:00:00"}).json()["keep"] == "10 00:00:00"
    assert RetentionPolicy.objects.get(pk="events_passing").keep == timedelta(days=10)
    for what, keep in (("receipts", "1 00:00:00"), ("history", "999999999 00:00:00"), ("history", "long")):
        answer = admin("PATCH", f"/api/retention/{what}", {"keep": keep})
        assert (answer.status_code, fields_of(answer)) == (400, ["keep"])
    assert admin("PATCH", "/api/retention/nothing", {"keep": "1 00:00:00"}).status_code == 404


def test_volumes_reported_are_shown_to_staff(viewer: Caller, source: Source, token: str) -> None:
    report = {"ip": "192.0.2.10", "sent": 100, "from": "2026-11-20T12:00:00Z", "to": "2026-11-20T12:05:00Z"}
    sender = Caller()
    sender.headers = {"Authorization": f"Bearer {token}"}
    assert sender("POST", "/api/volumes", report).status_code == 200
    shown = viewer("GET", "/api/volumes?sending_ip=192.0.2.10").json()["results"]
    assert [(row["sent"], row["source"], row["start"]) for row in shown] == [(100, "mta-1", report["from"])]
    assert viewer("GET", "/api/volumes?source=mta-2").json()["results"] == []


def test_the_command_makes_a_source_and_its_token_once(capsys: pytest.CaptureFixture[str]) -> None:
    for _ in range(2):
        call_command("create_source", "mta-5", kind="stalwart", token=True)
    clear = capsys.readouterr().out.strip()
    assert find_source_token(clear, now=timezone.now()) is not None
    assert Source.objects.get().tokens.count() == 1
    with pytest.raises(CommandError, match="kind stalwart"):
        call_command("create_source", "mta-5", kind="postfix")
    with pytest.raises(CommandError, match="letters"):
        call_command("create_source", "mta 5", kind="postfix")


def test_the_command_makes_an_api_token_for_a_user(capsys: pytest.CaptureFixture[str], viewer: Caller) -> None:
    ApiToken.objects.all().delete()
    call_command("api_token", "vera", label="cron", expires_days=30)
    found = find_api_token(capsys.readouterr().out.strip(), now=timezone.now())
    assert found is not None
    assert (found.user.username, found.label) == ("vera", "cron")
    assert found.expires_at is not None
    for arguments in (["nobody"], ["vera", "--expires-days", "0"], ["vera", "--expires-days", "99999999999"]):
        with pytest.raises(CommandError):
            call_command("api_token", *arguments)
