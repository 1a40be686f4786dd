"""Warm-ups, their templates and policies as operators and their scripts meet them."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from reputation.domain.warmup import Schedule
from reputation.models import AuditEntry, SendingIP, Warmup, WarmupEvent, WarmupPolicy, WarmupTemplate
from reputation.tasks import clean_up, detect_warmups, judge_warmups
from reputation.warmup_acts import start
from telemetry.counters import roll_up
from telemetry.domain.event import Event
from telemetry.metric_state import STATE
from telemetry.models import Source
from telemetry.tokens import issue_api_token
from tests.reputation.test_breakers import DOMAIN, IP, Traffic

pytestmark = pytest.mark.django_db
Ask = Callable[..., Any]
BY_HAND = {"sending_ip": IP, "amounts": [100, 200, 300], "reason": "a new machine"}


def caller(user: User) -> Ask:
    client, headers = Client(), {"Authorization": f"Bearer {issue_api_token(user)}"}

    def ask(method: str, url: str, body: Any = None) -> Any:
        data = "" if body is None else json.dumps(body)
        return client.generic(method, url, data, "application/json", headers=headers)

    return ask


@pytest.fixture
def operator(django_user_model: type[User]) -> Ask:
    user = django_user_model.objects.create_user("otto", is_staff=True)
    names = ["change_warmup", "change_warmuptemplate", "change_warmuppolicy"]
    user.user_permissions.set(Permission.objects.filter(codename__in=names))
    return caller(user)


@pytest.fixture
def viewer(django_user_model: type[User]) -> Ask:
    return caller(django_user_model.objects.create_user("vera", is_staff=True))


def test_a_warm_up_is_started_shown_with_todays_window_and_listed(
    operator: Ask, viewer: Ask, source: Source, make_event: Callable[..., Event]
) -> None:
    started = operator("POST", "/api/warmups/start", BY_HAND | {"provider_amounts": {"google": [50, 60, 70]}})
    assert started.status_code == 200
    Traffic(source, make_event).record(12, timezone.now())
    told = viewer("GET", f"/api/warmups/{started.json()['id']}").json()
    assert (told["state"], told["day"], told["days"], told["template"]) == ("running", 1, 3, "")
    today = told["today"]
    assert (today["limit"], today["counted"], today["provider_limits"]) == (100, 12, {"google": 50})
    assert today["provider_counted"] == {"google": 12}
    operator("POST", "/api/warmups/start", {"sending_domain": "Shop.Example", "template": "default", "reason": "new"})

    def found(query: str) -> list[str]:
        return [row["sender"] for row in viewer("GET", f"/api/warmups?{query}").json()["results"]]

    assert found("") == ["shop.example", IP]
    assert found("kind=ip") == found(f"sender={IP}&state=running") == [IP]
    assert found("state=completed") == []
    assert viewer("GET", "/api/warmups?state=hot").status_code == 400
    (event,) = viewer("GET", f"/api/warmups/{told['id']}/events").json()["results"]
    assert (event["step"], event["from_state"], event["to_state"], event["triggered_by"]) == (
        "started",
        "",
        "running",
        "otto",
    )
    assert viewer("GET", "/api/warmups/999999").status_code == 404


def test_an_operator_skips_completes_and_cancels_with_a_reason(operator: Ask) -> None:
    pk = operator("POST", "/api/warmups/start", BY_HAND).json()["id"]
    url = f"/api/warmups/{pk}"
    assert operator("POST", f"{url}/skip", {"reason": "known there"}).json()["day"] == 2
    assert operator("POST", f"{url}/skip", {"days": -1, "reason": "too fast"}).json()["day"] == 1
    assert operator("POST", f"{url}/skip", {"days": 9, "reason": "far"}).status_code == 400
    assert operator("POST", f"{url}/complete", {}).status_code == 400
    assert operator("POST", f"{url}/complete", {"reason": "warm"}).json()["state"] == "completed"
    assert operator("POST", f"{url}/cancel", {"reason": "x"}).status_code == 409
    assert operator("POST", f"{url}/confirm", {"reason": "x"}).status_code == 409
    again = operator("POST", "/api/warmups/start", BY_HAND).json()["id"]
    assert operator("POST", "/api/warmups/start", BY_HAND).status_code == 409
    assert operator("POST", f"/api/warmups/{again}/cancel", {"reason": "sold"}).json()["today"] is None
    assert {row.triggered_by for row in AuditEntry.objects.all()} == {"otto"}


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"reason": "x", "amounts": [1]}, "sending_ip"),
        ({"reason": "x", "amounts": [1], "sending_ip": IP, "sending_domain": DOMAIN}, "sending_ip"),
        ({"reason": "x", "sending_ip": IP}, "template"),
        ({"reason": "x", "sending_ip": IP, "template": "default", "amounts": [1]}, "template"),
        ({"reason": "x", "sending_ip": IP, "template": "default", "unit": "hour"}, "unit"),
        ({"reason": "x", "sending_ip": IP, "template": "steep"}, "template"),
        ({"reason": "x", "sending_ip": IP, "template": "acellemail"}, "full_volume"),
        ({"reason": "x", "sending_ip": IP, "amounts": [200, 100]}, "amounts"),
        ({"reason": "x", "sending_ip": IP, "amounts": [0]}, "amounts[0]"),
        ({"reason": "x", "sending_ip": IP, "amounts": []}, "amounts"),
        ({"reason": "x", "sending_ip": IP, "amounts": [1], "day": 2}, "day"),
        ({"reason": " ", "sending_ip": IP, "amounts": [1]}, "reason"),
        ({"reason": "x", "sending_ip": "0.0.0.0", "amounts": [1]}, "sending_ip"),
        ({"reason": "x", "sending_ip": IP, "amounts": [1], "colour": "red"}, "colour"),
    ],
)
def test_bad_bodies_are_refused_by_field(operator: Ask, body: dict[str, Any], field: str) -> None:
    answer = operator("POST", "/api/warmups/start", body)
    assert answer.status_code == 400
    named = [entry["field"] for entry in answer.json()["errors"]]
    assert field in named or field.partition("[")[0] in named
    assert not Warmup.objects.exists()


def test_new_ips_are_detected_on_demand_and_a_proposal_is_confirmed(
    operator: Ask, source: Source, make_event: Callable[..., Event]
) -> None:
    now = timezone.now()
    traffic = Traffic(source, make_event)
    traffic.record(100, now - timedelta(days=20), sending_ip="192.0.2.99")
    traffic.record(5, now - timedelta(hours=2))
    SendingIP.objects.create(ip=IP, first_seen_at=now - timedelta(hours=2))
    roll_up(now=now)
    assert operator("POST", "/api/warmups/detect").json() == {"made": 1}
    detect_warmups()
    (row,) = operator("GET", "/api/warmups?state=proposed").json()["results"]
    assert (row["sender"], row["found"], row["today"]) == (IP, "new_ip", None)
    assert operator("POST", f"/api/warmups/{row['id']}/confirm", {"reason": "ours"}).json()["state"] == "running"


def test_who_may_only_look_changes_nothing(viewer: Ask, django_user_model: type[User]) -> None:
    user = django_user_model.objects.create_superuser("olga")
    row = start("ip", IP, Schedule((1, 2)), reason="x", user=user, now=timezone.now())
    acts = [f"{row.pk}/{act}" for act in ("confirm", "skip", "complete", "cancel")]
    for url in ("start", "detect", *acts):
        assert viewer("POST", f"/api/warmups/{url}", {"reason": "x"}).status_code == 403
    template, policy = WarmupTemplate.objects.all()[0], WarmupPolicy.objects.get()
    assert viewer("POST", "/api/warmup-templates", {}).status_code == 403
    assert viewer("PATCH", f"/api/warmup-templates/{template.pk}", {}).status_code == 403
    assert viewer("DELETE", f"/api/warmup-templates/{template.pk}").status_code == 403
    assert viewer("PATCH", f"/api/warmup-policies/{policy.pk}", {}).status_code == 403
    assert WarmupEvent.objects.count() == 1


def test_templates_of_ones_own_are_made_changed_and_deleted_and_shipped_ones_stay(operator: Ask) -> None:
    shipped = operator("GET", "/api/warmup-templates").json()["results"]
    assert len(shipped) == 8
    assert all(row["builtin"] and row["source"] for row in shipped)
    url = f"/api/warmup-templates/{shipped[0]['id']}"
    assert operator("PATCH", url, {"amounts": [1]}).status_code == 409
    assert operator("DELETE", url).status_code == 409
    made = operator("POST", "/api/warmup-templates", {"name": "ours", "amounts": [10, 20], "unit": "hour"})
    assert (made.status_code, made.json()["days"], made.json()["builtin"]) == (201, 2, False)
    url = f"/api/warmup-templates/{made.json()['id']}"
    assert operator("PATCH", url, {"amounts": [10, 20, 30]}).json()["days"] == 3
    assert operator("PATCH", url, {"amounts": [10, 5]}).status_code == 400
    assert operator("PATCH", url, {"builtin": True}).status_code == 400
    assert operator("POST", "/api/warmup-templates", {"name": "ours", "amounts": [1]}).status_code == 400
    shares = {"name": "shares", "provider_shares": {"google": [0.5, 100]}}
    assert operator("POST", "/api/warmup-templates", shares).status_code == 201
    policy = f"/api/warmup-policies/{WarmupPolicy.objects.get().pk}"
    assert operator("PATCH", policy, {"ip_template": "ours", "reason": "slow"}).json()["ip_template"] == "ours"
    assert operator("DELETE", url).status_code == 409
    operator("PATCH", policy, {"ip_template": "default", "reason": "back"})
    assert operator("DELETE", url).status_code == 204


def test_a_policy_is_changed_with_a_reason_and_keeps_its_revisions(operator: Ask) -> None:
    (policy,) = operator("GET", "/api/warmup-policies").json()["results"]
    assert (policy["pool"], policy["on_detection"], policy["time_zone"]) == ("default", "propose", "UTC")
    assert (policy["ip_template"], policy["advance_share"]) == ("default", "0.800000")
    url = f"/api/warmup-policies/{policy['id']}"
    changed = operator("PATCH", url, {"time_zone": "Europe/Berlin", "on_detection": "start", "reason": "ours"})
    assert (changed.json()["time_zone"], changed.json()["revision"]) == ("Europe/Berlin", 2)
    assert operator("PATCH", url, {"time_zone": "Europe/Paris"}).status_code == 400
    wrong: list[dict[str, Any]] = [
        {"time_zone": "CEST"},
        {"ip_template": "acellemail"},
        {"domain_idle": "200 00:00:00"},
    ]
    for values in wrong:
        assert operator("PATCH", url, values | {"reason": "x"}).status_code == 400
    revisions = operator("GET", f"{url}/revisions").json()["results"]
    assert [(row["revision"], row["changed_by"]) for row in revisions] == [(2, "otto"), (1, None)]
    assert revisions[0]["values"]["ip_template"] == "default"


def test_a_page_of_warm_ups_costs_the_same_however_many_run(viewer: Ask, django_user_model: type[User]) -> None:
    user = django_user_model.objects.create_superuser("olga")

    def queries() -> int:
        with CaptureQueriesContext(connection) as captured:
            assert viewer("GET", "/api/warmups").status_code == 200
        return len(captured)

    def begin(number: int) -> None:
        start("ip", f"198.51.100.{number}", Schedule((1, 2)), reason="x", user=user, now=timezone.now())

    begin(0)
    queries()
    few = queries()
    for number in range(1, 20):
        begin(number)
    assert queries() == few


def test_the_gauge_counts_what_has_not_ended_and_the_tasks_run(operator: Ask) -> None:
    operator("POST", "/api/warmups/start", BY_HAND)
    judge_warmups()

    def gauge(kind: str, state: str) -> float | None:
        return STATE.get_sample_value("warmups", {"kind": kind, "state": state})

    assert (gauge("ip", "running"), gauge("ip", "proposed"), gauge("domain", "running")) == (1, 0, 0)


def test_history_past_its_time_goes_and_what_runs_stays(django_user_model: type[User]) -> None:
    user = django_user_model.objects.create_superuser("olga")
    old = timezone.now() - timedelta(days=900)
    ended = start("ip", IP, Schedule((1, 2)), reason="x", user=user, now=old)
    Warmup.objects.filter(pk=ended.pk).update(state="completed", ended_at=old)
    kept = start("domain", DOMAIN, Schedule((1, 2)), reason="x", user=user, now=timezone.now())
    clean_up()
    assert [row.pk for row in Warmup.objects.all()] == [kept.pk]
    assert WarmupEvent.objects.get().warmup_id == kept.pk
