"""From where and how much a source may report, on every path that takes reports."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse

from telemetry import limits
from telemetry.domain.access import AccessKind
from telemetry.domain.addresses import networks
from telemetry.metrics import SOURCE_REFUSED
from telemetry.models import AccessRecord, RejectedEvent, SendingEvent, Source, StalwartHeld, UnknownReport
from telemetry.tokens import issue_token
from tests.servers import valkey

pytestmark = pytest.mark.django_db
INSIDE, OUTSIDE = "203.0.113.7", "198.51.100.7"


def failures(number: int, first: int = 0) -> dict[str, Any]:
    data = {"ip": "192.0.2.10", "recipient": "someone@gmail.com", "smtp_code": 550, "reason": "no"}
    return {
        "events": [
            {
                "id": f"evt-{first + index}",
                "createdAt": "2026-11-20T12:00:00Z",
                "type": "smtp.delivery.failure",
                "data": data,
            }
            for index in range(number)
        ]
    }


def generic(number: int) -> list[dict[str, Any]]:
    event = {"type": "delivery", "occurred_at": "2026-11-20T12:00:01Z", "sending_ip": "192.0.2.10"}
    return [event | {"event_id": str(index)} for index in range(number)]


VOLUME = [{"ip": "192.0.2.10", "sent": 5, "from": "2026-11-20T12:00:00Z", "to": "2026-11-20T12:05:00Z"}]
SENDGRID = {"event": "bounce", "email": "a@gmail.com", "timestamp": 1763640000, "sg_event_id": "1"}
# Path, content type, a body of two events (or the one thing that the path takes).
PATHS: list[tuple[str, str, str]] = [
    ("/api/webhooks/stalwart/delivery-failure", "application/json", json.dumps(failures(2))),
    ("/api/events", "application/json", json.dumps(generic(2))),
    ("/api/webhooks/kumomta", "application/json", "[{}, {}]"),
    ("/api/webhooks/stalwart", "application/json", json.dumps({"events": [{}, {}]})),
    ("/api/webhooks/esp/mta-1/sendgrid", "application/json", json.dumps([SENDGRID, SENDGRID])),
    ("/api/reports/message", "message/rfc822", "Subject: hello\r\n\r\nnothing\r\n"),
    ("/api/volumes", "application/json", json.dumps(VOLUME)),
]
OTHER_DOORS = [
    ("/api/permits", "application/json", json.dumps({"sender": "a@shop.example", "recipient": "b@gmail.com"})),
]
IDS = [path for path, _, _ in PATHS]


def send(token: str, path: str, kind: str, body: str, *, place: str = INSIDE, **headers: str) -> Any:
    if "/esp/" in path:
        authorization = "Basic " + base64.b64encode(f"any:{token}".encode()).decode()
    else:
        authorization = f"Bearer {token}"
    sent = {"Authorization": authorization} | {name.replace("_", "-"): value for name, value in headers.items()}
    return Client(REMOTE_ADDR=place).post(path, body, content_type=kind, headers=sent)


def stored() -> int:
    return sum(model.objects.count() for model in (SendingEvent, RejectedEvent, StalwartHeld, UnknownReport))


@pytest.fixture(params=["alone", "shared"])
def counted(request: pytest.FixtureRequest, settings: Any) -> Iterator[None]:
    """Limits counted by the process for itself, and by a Valkey for all."""
    if request.param == "alone":
        settings.CELERY_BROKER_URL = "redis://127.0.0.1:1/0"
        yield
    else:
        with valkey() as url:
            settings.CELERY_BROKER_URL = url
            limits.meter.cache_clear()
            yield
            assert limits.meter()._away_until == 0.0, "the Valkey was not asked"
    limits.meter.cache_clear()


@pytest.mark.parametrize(("path", "kind", "body"), PATHS + OTHER_DOORS, ids=[*IDS, "permits"])
def test_reports_from_outside_the_allowed_networks_are_refused_and_noted_once(
    path: str, kind: str, body: str, source: Source, token: str
) -> None:
    Source.objects.update(allowed_networks=["203.0.113.0/24", "2001:db8::/32"])
    counter = SOURCE_REFUSED.labels(why="address")._value
    before = counter.get()
    for _ in range(3):
        answer = send(token, path, kind, body, place=OUTSIDE)
        assert answer.status_code == 403
        assert answer.headers["Content-Type"] == "application/problem+json"
        assert OUTSIDE in answer.json()["detail"]
    assert counter.get() == before + 3
    assert stored() == 0
    row = AccessRecord.objects.get(kind=AccessKind.REFUSED_BY_ADDRESS)
    assert (row.who, row.address, row.token) == ("mta-1", OUTSIDE, source.tokens.get().prefix)
    for place in (INSIDE, "2001:db8::7", "::ffff:203.0.113.7"):
        assert send(token, path, kind, body, place=place).status_code in (200, 400), place


@pytest.mark.parametrize(("name", "kind"), [("stalwart-hook", "stalwart"), ("kumo-shaping", "kumomta")])
def test_what_else_a_sources_token_opens_keeps_to_its_networks(
    name: str, kind: str, source: Source, token: str
) -> None:
    Source.objects.update(kind=kind, allowed_networks=["203.0.113.0/24"])

    def answer(place: str) -> int:
        client, headers = Client(REMOTE_ADDR=place), {"Authorization": f"Bearer {token}"}
        if kind == "kumomta":
            return client.get(reverse(name), headers=headers).status_code
        return client.post(reverse(name), "{}", content_type="application/json", headers=headers).status_code

    assert answer(OUTSIDE) == 403
    assert answer(INSIDE) in (200, 400, 404)


def test_a_signed_esp_webhook_needs_no_token_but_the_right_place(source: Source) -> None:
    source.kind, source.hmac_key, source.allowed_networks = "esp", "a signing key of mailgun", ["203.0.113.0/24"]
    source.save()
    path = "/api/webhooks/esp/mta-1/mailgun"
    answers = {
        place: Client(REMOTE_ADDR=place).post(path, {"signature": {}}, content_type="application/json").status_code
        for place in (OUTSIDE, INSIDE)
    }
    assert answers == {OUTSIDE: 403, INSIDE: 401}
    refused = AccessRecord.objects.get(kind=AccessKind.REFUSED_BY_ADDRESS)
    assert (refused.who, refused.token, refused.address) == ("mta-1", "", OUTSIDE)


def test_a_sender_behind_a_trusted_proxy_is_known_by_what_the_proxy_says(
    source: Source, token: str, settings: Any
) -> None:
    Source.objects.update(allowed_networks=["203.0.113.0/24"])
    path, kind, body = PATHS[0]
    told = {"X_Forwarded_For": f"{OUTSIDE}, {INSIDE}"}
    assert send(token, path, kind, body, place="10.0.0.1", **told).status_code == 403
    settings.TRUSTED_PROXIES = networks(["10.0.0.0/8"])
    assert send(token, path, kind, body, place="10.0.0.1", **told).status_code == 200
    forged = {"X_Forwarded_For": f"{INSIDE}, {OUTSIDE}"}
    assert send(token, path, kind, body, place="10.0.0.1", **forged).status_code == 403


@pytest.mark.usefixtures("counted")
@pytest.mark.parametrize(("path", "kind", "body"), PATHS, ids=IDS)
def test_more_requests_than_allowed_are_told_when_to_come_again_and_nothing_is_stored(
    path: str, kind: str, body: str, source: Source, token: str
) -> None:
    Source.objects.update(requests_per_minute=2)
    for _ in range(2):
        assert send(token, path, kind, body).status_code in (200, 400)
    before = stored()
    answer = send(token, path, kind, body)
    assert answer.status_code == 429, answer.content
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert 1 <= int(answer.headers["Retry-After"]) <= 30
    assert "2 requests a minute" in answer.json()["detail"]
    assert stored() == before


@pytest.mark.usefixtures("counted")
def test_events_are_counted_by_themselves_and_a_large_batch_passes_once(source: Source, token: str) -> None:
    Source.objects.update(events_per_minute=10)
    path, kind, _ = PATHS[0]
    refused = SOURCE_REFUSED.labels(why="events")._value
    before = refused.get()
    # More than a minute's worth: it passes, and is paid off afterwards.
    assert send(token, path, kind, json.dumps(failures(30))).json()["processed"] == 30
    answer = send(token, path, kind, json.dumps(failures(1, first=100)))
    assert (answer.status_code, SendingEvent.objects.count()) == (429, 30)
    assert 120 <= int(answer.headers["Retry-After"]) <= 127
    assert refused.get() == before + 1


@pytest.mark.usefixtures("counted")
def test_one_sources_limit_is_not_anothers(source: Source, token: str) -> None:
    Source.objects.update(requests_per_minute=1)
    other = issue_token(Source.objects.create(name="mta-2", requests_per_minute=1))
    path, kind, body = PATHS[0]
    assert [send(each, path, kind, body).status_code for each in (token, token, other)] == [200, 429, 200]


def test_the_installations_limit_holds_unless_a_source_has_its_own(source: Source, token: str, settings: Any) -> None:
    path, kind, body = PATHS[0]
    settings.SOURCE_REQUESTS_PER_MINUTE = 1
    assert [send(token, path, kind, body).status_code for _ in range(2)] == [200, 429]
    Source.objects.update(requests_per_minute=0)
    assert [send(token, path, kind, body).status_code for _ in range(5)] == [200] * 5


@pytest.mark.parametrize(("path", "kind", "body"), PATHS, ids=IDS)
def test_a_body_over_the_limit_is_refused_on_every_path(
    path: str, kind: str, body: str, token: str, settings: Any
) -> None:
    settings.MAX_BODY_BYTES = settings.DATA_UPLOAD_MAX_MEMORY_SIZE = 100
    answer = send(token, path, kind, body + " " * 200)
    assert (answer.status_code, stored()) == (413, 0)
    assert answer.headers["Content-Type"] == "application/problem+json"


@pytest.mark.parametrize(("path", "kind", "body"), PATHS[:5], ids=IDS[:5])
def test_too_many_events_are_refused_on_every_path(path: str, kind: str, body: str, token: str, settings: Any) -> None:
    settings.MAX_EVENTS_PER_REQUEST = 1
    assert send(token, path, kind, body).status_code == 413
    assert stored() == 0


class Admin:
    """An administrator, in the API and in the admin."""

    def __init__(self, user: User) -> None:
        self.client = Client(REMOTE_ADDR=INSIDE)
        self.client.force_login(user)

    def patch(self, source: Source, **body: Any) -> Any:
        return self.client.patch(f"/api/sources/{source.pk}", json.dumps(body), content_type="application/json")


@pytest.fixture
def olga(django_user_model: type[User]) -> Admin:
    return Admin(django_user_model.objects.create_superuser("olga", "olga@example.com"))


def test_networks_and_limits_are_set_over_the_api_and_the_bad_entry_is_named(olga: Admin, source: Source) -> None:
    given = {"allowed_networks": ["203.0.113.0/24", "2001:db8::/32"], "requests_per_minute": 60, "events_per_minute": 0}
    answer = olga.patch(source, **given)
    assert answer.status_code == 200
    assert given.items() <= answer.json().items()
    for bad in (["203.0.113.0/24", "203.0.113.5/24"], ["nonsense"], "203.0.113.0/24", [1]):
        refused = olga.patch(source, allowed_networks=bad)
        assert refused.status_code == 400
        assert refused.json()["errors"][0]["field"].startswith("allowed_networks")
        named = "allowed_networks[0]" if bad == [1] else bad[-1] if isinstance(bad, list) else "list of items"
        assert named in refused.json()["detail"]
    assert olga.patch(source, allowed_networks=["2001:DB8::/32"]).json()["allowed_networks"] == ["2001:db8::/32"]
    assert olga.patch(source, requests_per_minute=-1).status_code == 400
    row = AccessRecord.objects.filter(kind=AccessKind.SOURCE_CHANGED).earliest("id")
    assert (row.who, row.address) == ("olga", INSIDE)
    assert row.detail == "mta-1: allowed_networks, events_per_minute, requests_per_minute"


def test_networks_are_typed_one_a_line_in_the_admin(olga: Admin, source: Source) -> None:
    page = reverse("admin:telemetry_source_change", args=[source.pk])
    form = {"name": "mta-1", "kind": "generic", "ip_map": "{}", "volume": "auto", "is_active": "on"}
    inline = {f"tokens-{name}_FORMS": "0" for name in ("TOTAL", "INITIAL", "MIN_NUM", "MAX_NUM")}
    saved = olga.client.post(page, form | inline | {"allowed_networks": "203.0.113.0/24\r\n2001:DB8::/32, 192.0.2.1"})
    assert saved.status_code == 302, saved.context["errors"]
    source.refresh_from_db()
    assert source.allowed_networks == ["203.0.113.0/24", "2001:db8::/32", "192.0.2.1/32"]
    assert AccessRecord.objects.get(kind=AccessKind.SOURCE_CHANGED).who == "olga"
    assert "203.0.113.0/24\n2001:db8::/32" in olga.client.get(page).content.decode()
    wrong = olga.client.post(page, form | inline | {"allowed_networks": "203.0.113.0/24 10.0.0.5/8"})
    assert "10.0.0.5/8" in str(wrong.context["errors"])
    shown = olga.client.get(reverse("dashboard:source", args=["mta-1"])).content.decode()
    assert "<code>2001:db8::/32</code>" in shown


def test_a_sources_page_says_which_limit_holds(olga: Admin, source: Source, settings: Any) -> None:
    page = reverse("dashboard:source", args=["mta-1"])
    assert "No limit on requests or events" in olga.client.get(page).content.decode()
    settings.SOURCE_EVENTS_PER_MINUTE = 500
    assert "At most 500 events a minute" in olga.client.get(page).content.decode()
