"""Alerts as operators and their scripts meet them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.db import connection

from reputation import alerts
from reputation.domain.alerting import Severity
from reputation.models import Alert, AlertChannel, AlertRule
from telemetry.metric_state import STATE
from tests.conftest import NOON
from tests.reputation.alert_rig import BAD, Web, signal, web
from tests.reputation.test_breakers_api import Ask, caller

pytestmark = pytest.mark.django_db


@pytest.fixture
def operator(django_user_model: type[User]) -> Ask:
    user = django_user_model.objects.create_user("otto", is_staff=True)
    names = ["change_alert", "change_alertchannel", "change_alertrule"]
    user.user_permissions.set(Permission.objects.filter(codename__in=names))
    return caller(user)


@pytest.fixture
def viewer(django_user_model: type[User]) -> Ask:
    return caller(django_user_model.objects.create_user("vera", is_staff=True))


@pytest.fixture
def hook(settings: Any) -> Iterator[Web]:
    settings.ALLOW_PRIVATE_URLS = True
    with web() as seen:
        yield seen


def test_alerts_are_listed_and_filtered(viewer: Ask) -> None:
    alerts.take([signal(NOON), signal(NOON, "192.0.2.1", severity=Severity.CRITICAL)], now=NOON)

    def found(query: str) -> list[str]:
        return [row["subject"] for row in viewer("GET", f"/api/alerts?{query}").json()["results"]]

    assert found("") == ["192.0.2.1", BAD]
    assert found("severity=critical") == ["192.0.2.1"]
    assert found(f"subject={BAD}&state=open&kind=status") == [BAD]
    assert found("state=resolved") == []
    assert viewer("GET", "/api/alerts?severity=bad").status_code == 400
    assert viewer("GET", "/api/alerts?colour=red").status_code == 400


def test_an_alert_is_acknowledged_and_resolved_by_who_may(operator: Ask, viewer: Ask) -> None:
    alerts.take([signal(NOON)], now=NOON)
    pk = Alert.objects.get().pk
    assert viewer("POST", f"/api/alerts/{pk}/acknowledge").status_code == 403
    answer = operator("POST", f"/api/alerts/{pk}/acknowledge", {"note": "looking"})
    assert (answer.status_code, answer.json()["state"], answer.json()["acknowledged_by"]) == (
        *(200, "acknowledged", "otto"),
    )
    assert operator("POST", f"/api/alerts/{pk}/acknowledge").status_code == 409
    assert operator("POST", f"/api/alerts/{pk}/resolve", {"reason": "x"}).status_code == 400
    assert operator("POST", f"/api/alerts/{pk}/resolve").json()["state"] == "resolved"
    assert operator("POST", f"/api/alerts/{pk}/resolve").status_code == 409
    events = viewer("GET", f"/api/alerts/{pk}/events").json()["results"]
    assert [(event["news"], event["note"]) for event in events] == [
        ("resolved", ""),
        ("acknowledged", "looking"),
        ("opened", ""),
    ]
    assert operator("POST", "/api/alerts/999999/resolve").status_code == 404


def test_a_channels_address_goes_in_and_never_comes_out(operator: Ask, viewer: Ask, hook: Web) -> None:
    body = {"name": "ops", "url": hook.url + "?token=s3cret", "key": "k3y"}
    assert viewer("POST", "/api/alert-channels", body).status_code == 403
    answer = operator("POST", "/api/alert-channels", body)
    assert answer.status_code == 201
    pk = answer.json()["id"]
    told = answer.content + viewer("GET", "/api/alert-channels").content
    told += operator("PATCH", f"/api/alert-channels/{pk}", {"name": "night"}).content
    assert b"s3cret" not in told
    assert b"k3y" not in told
    with connection.cursor() as cursor:
        cursor.execute("SELECT url_sealed, key_sealed FROM reputation_alertchannel")
        assert "s3cret" not in str(cursor.fetchall())
    row = AlertChannel.objects.get()
    assert (row.name, row.scheme, row.key) == ("night", "http", "k3y")
    operator("PATCH", f"/api/alert-channels/{pk}", {"url": "https://elsewhere.example/"})
    assert AlertChannel.objects.get().key == "", "another address does not get the old key's signatures"
    wrong = operator("POST", "/api/alert-channels", {"name": "x", "url": "file:///etc/passwd"})
    assert (wrong.status_code, wrong.json()["errors"][0]["field"]) == (400, "url")
    assert operator("DELETE", f"/api/alert-channels/{pk}").status_code == 204


def test_a_channel_is_tried_and_what_happened_is_said(operator: Ask, viewer: Ask, hook: Web, settings: Any) -> None:
    pk = operator("POST", "/api/alert-channels", {"name": "ops", "url": hook.url}).json()["id"]
    assert viewer("POST", f"/api/alert-channels/{pk}/test").status_code == 403
    assert operator("POST", f"/api/alert-channels/{pk}/test").json() == {"arrived": True, "error": ""}
    assert hook.got[0].json["title"] == "[test] Good Standing"
    assert "test message" in hook.got[0].json["alerts"][0]["sentence"]
    settings.ALLOW_PRIVATE_URLS = False
    assert operator("POST", f"/api/alert-channels/{pk}/test").json() == {"arrived": False, "error": "private_address"}
    assert len(hook.got) == 1
    assert viewer("GET", f"/api/alert-channels/{pk}").json()["last_error"] == "private_address"


def test_rules_are_made_changed_and_the_shipped_ones_stay(operator: Ask, viewer: Ask, hook: Web) -> None:
    channel = operator("POST", "/api/alert-channels", {"name": "ops", "url": hook.url}).json()["id"]
    body = {
        "name": "nights",
        "channels": [channel],
        "quiet_from": "22:00",
        "quiet_to": "07:00",
        "zone": "Europe/Berlin",
    }
    assert viewer("POST", "/api/alert-rules", body).status_code == 403
    answer = operator("POST", "/api/alert-rules", body)
    assert answer.status_code == 201
    pk = answer.json()["id"]
    for wrong, field in (
        ({"zone": "Berlin"}, "zone"),
        ({"quiet_to": None}, "quiet_to"),
        ({"quiet_to": "22:00"}, "quiet_to"),
        ({"escalate_after": 0}, "escalate_after"),
        ({"kind": "weather"}, "kind"),
        ({"builtin": True}, "builtin"),
    ):
        refused = operator("PATCH", f"/api/alert-rules/{pk}", wrong)
        assert (refused.status_code, refused.json()["errors"][0]["field"]) == (400, field)
    assert operator("PATCH", f"/api/alert-rules/{pk}", {"quiet_from": None, "quiet_to": None}).status_code == 200
    assert operator("DELETE", f"/api/alert-rules/{pk}").status_code == 204
    shipped = AlertRule.objects.filter(builtin=True).latest("id").pk
    assert operator("DELETE", f"/api/alert-rules/{shipped}").status_code == 409
    assert operator("PATCH", f"/api/alert-rules/{shipped}", {"is_enabled": False}).status_code == 200


@pytest.mark.parametrize("time", ["22:00Z", "22:00+02:00", "24:00", "22", "22:00:00.1234567"])
def test_quiet_hours_are_by_the_rules_own_zone_and_take_no_offset(operator: Ask, time: str) -> None:
    refused = operator("POST", "/api/alert-rules", {"name": "nights", "quiet_from": time, "quiet_to": "07:00"})
    assert refused.status_code == 400
    assert [error["field"] for error in refused.json()["errors"]] == ["quiet_from"]


def test_open_alerts_are_a_metric() -> None:
    alerts.take([signal(NOON), signal(NOON, "192.0.2.1")], now=NOON)
    assert STATE.get_sample_value("alerts", {"kind": "status", "severity": "warning"}) == 2
    assert STATE.get_sample_value("alerts", {"kind": "disk", "severity": "critical"}) == 0
