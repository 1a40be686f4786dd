"""Breakers and their policies as operators and their scripts meet them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client
from django.utils import timezone

from reputation.models import AuditEntry, Breaker, BreakerPolicy
from reputation.tasks import check_breakers
from telemetry.domain.event import Event
from telemetry.metric_state import STATE
from telemetry.models import Source
from telemetry.tokens import issue_api_token
from tests.reputation.test_breakers import DOMAIN, IP, REFUSED, Traffic

pytestmark = pytest.mark.django_db
Ask = Callable[..., Any]


def caller(user: User) -> Ask:
    client, headers = Client(), {"Authorization": f"Bearer {issue_api_token(user)}"}

    def ask(method: str, url: str, body: Any = None) -> Any:
        return client.generic(method, url, *_json(body), headers=headers)

    return ask


def _json(body: Any) -> tuple[Any, ...]:
    import json

    return ("" if body is None else json.dumps(body), "application/json")


@pytest.fixture
def operator(django_user_model: type[User]) -> Ask:
    user = django_user_model.objects.create_user("otto", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=["change_breaker", "change_breakerpolicy"]))
    return caller(user)


@pytest.fixture
def viewer(django_user_model: type[User]) -> Ask:
    return caller(django_user_model.objects.create_user("vera", is_staff=True))


@pytest.fixture
def blocked(source: Source, make_event: Callable[..., Event]) -> None:
    now = timezone.now()
    traffic = Traffic(source, make_event)
    traffic.record(60, now - timedelta(minutes=5))
    traffic.record(3, now, **REFUSED)
    check_breakers()


@pytest.mark.usefixtures("blocked")
def test_breakers_are_listed_filtered_and_told_with_their_evidence(viewer: Ask) -> None:
    def found(query: str) -> list[tuple[str, str]]:
        answer = viewer("GET", f"/api/breakers?{query}")
        assert answer.status_code == 200
        return [(row["scope"], row["sender"]) for row in answer.json()["results"]]

    both = [("ip_provider", IP), ("domain_provider", DOMAIN)]
    assert sorted(found("")) == sorted(both)
    assert sorted(found("state=open&provider=google")) == sorted(both)
    assert found(f"sender={IP}") == found("scope=ip_provider") == both[:1]
    assert found("scope=ip") == found("state=closed") == found("provider=yahoo") == []
    assert viewer("GET", "/api/breakers?state=ajar").status_code == 400
    assert viewer("GET", "/api/breakers?colour=red").status_code == 400

    told = viewer("GET", "/api/breakers?scope=ip_provider").json()["results"][0]
    assert (told["state"], told["trigger"], told["held"], told["pauses"]) == ("open", "provider_block", False, 1)
    assert told == viewer("GET", f"/api/breakers/{told['id']}").json()
    (event,) = viewer("GET", f"/api/breakers/{told['id']}/events").json()["results"]
    assert (event["from_state"], event["to_state"], event["value"], event["threshold"]) == ("closed", "open", 3.0, 3.0)
    assert (event["automated"], event["triggered_by"], event["policy_revision"]) == (True, "automated", 1)
    assert "refused_at" in event["evidence"]
    assert viewer("GET", "/api/breakers/999999").status_code == 404
    assert viewer("GET", "/api/breakers/999999/events").status_code == 404


def test_an_operator_opens_and_closes_with_a_reason_and_an_end(operator: Ask) -> None:
    end = (timezone.now() + timedelta(hours=3)).isoformat()
    body = {"sending_domain": "Shop.Example", "provider": "google", "reason": "a bought list", "expires_at": end}
    opened = operator("POST", "/api/breakers/open", body).json()
    assert (opened["scope"], opened["sender"], opened["state"]) == ("domain_provider", "shop.example", "open")
    assert (opened["held"], opened["held_by"]) == (True, "otto")
    closed = operator("POST", f"/api/breakers/{opened['id']}/close", {"reason": "cleaned"}).json()
    assert (closed["state"], closed["held"]) == ("closed", True)
    assert [row.triggered_by for row in AuditEntry.objects.order_by("id")] == ["otto", "otto"]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"reason": "x"}, "sending_ip"),
        ({"reason": "x", "sending_ip": IP, "sending_domain": DOMAIN}, "sending_ip"),
        ({"sending_ip": IP}, "reason"),
        ({"sending_ip": IP, "reason": "  "}, "reason"),
        ({"sending_ip": "nonsense", "reason": "x"}, "sending_ip"),
        ({"sending_ip": IP, "reason": "x", "expires_at": "2020-01-01T00:00:00Z"}, "expires_at"),
        ({"sending_ip": IP, "reason": "x", "colour": "red"}, "colour"),
    ],
)
def test_bad_bodies_are_refused_by_field(operator: Ask, body: dict[str, Any], field: str) -> None:
    answer = operator("POST", "/api/breakers/open", body)
    assert answer.status_code == 400
    assert field in [entry["field"] for entry in answer.json()["errors"]]
    assert not Breaker.objects.exists()


@pytest.mark.usefixtures("blocked")
def test_who_may_only_look_moves_nothing(viewer: Ask) -> None:
    row = Breaker.objects.first()
    assert row is not None
    for url in ("/api/breakers/open", f"/api/breakers/{row.pk}/close", "/api/breakers/check"):
        assert viewer("POST", url, {"sending_ip": IP, "reason": "x"}).status_code == 403
    assert viewer("PATCH", f"/api/breaker-policies/{BreakerPolicy.objects.get().pk}", {}).status_code == 403


def test_a_breaker_policy_is_changed_with_a_reason_and_keeps_its_revisions(operator: Ask) -> None:
    (policy,) = operator("GET", "/api/breaker-policies").json()["results"]
    assert (policy["pool"], policy["complaint_rate_above"], policy["enabled"]) == ("default", "0.001000", True)
    url = f"/api/breaker-policies/{policy['id']}"
    changed = operator("PATCH", url, {"minimum_volume": 500, "reason": "a large sender"})
    assert (changed.json()["minimum_volume"], changed.json()["revision"]) == (500, 2)
    assert operator("PATCH", url, {"minimum_volume": 600}).status_code == 400
    assert operator("PATCH", url, {"first_pause": "1 00:00:00", "reason": "too long"}).status_code == 400
    revisions = operator("GET", f"{url}/revisions").json()["results"]
    assert [(row["revision"], row["changed_by"]) for row in revisions] == [(2, "otto"), (1, None)]


@pytest.mark.usefixtures("blocked")
def test_the_gauge_counts_what_is_held_back() -> None:
    def gauge(scope: str, state: str) -> float | None:
        return STATE.get_sample_value("breakers", {"scope": scope, "state": state})

    assert (gauge("ip_provider", "open"), gauge("domain_provider", "open"), gauge("ip", "open")) == (1, 1, 0)
