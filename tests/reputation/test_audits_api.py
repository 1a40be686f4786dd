"""Audits as operators and their scripts meet them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.utils import timezone
from prometheus_client import REGISTRY

from reputation.models import AuditReport, AuditTarget
from telemetry.domain.event import Event
from telemetry.ingest import record_batch
from telemetry.metric_state import STATE
from telemetry.models import Source
from tests import dns_servers
from tests.reputation.test_audits import BAD, BAD_IP, REFUSED
from tests.reputation.test_breakers_api import Ask, caller

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _name_server(settings: Any) -> Iterator[dns_servers.Scripted]:
    """Has only bad.test, with an SPF record that names nobody, and no reverse zone."""
    rule = dns_servers.answering({"": {"TXT": ['"v=spf1 -all"']}})
    with dns_servers.Scripted({BAD: rule, "test": dns_servers.answering({}), "arpa": dns_servers.servfail}) as server:
        settings.DNS_SERVERS = (server.address,)
        yield server


@pytest.fixture
def operator(django_user_model: type[User]) -> Ask:
    user = django_user_model.objects.create_user("otto", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename="change_audittarget"))
    return caller(user)


@pytest.fixture
def viewer(django_user_model: type[User]) -> Ask:
    return caller(django_user_model.objects.create_user("vera", is_staff=True))


@pytest.fixture
def _refused(source: Source, make_event: Callable[..., Event]) -> None:
    now = timezone.now()
    fields = {"sending_domain": BAD, "sending_ip": BAD_IP, "occurred_at": now - timedelta(minutes=2), **REFUSED}
    record_batch(source, [make_event(event_id=str(number), **fields) for number in range(4)], now=now)


@pytest.mark.usefixtures("_refused")
def test_an_audit_is_asked_for_and_answers_what_to_publish(operator: Ask, viewer: Ask) -> None:
    assert viewer("POST", "/api/audits", {"sending_domain": BAD}).status_code == 403
    answer = operator("POST", "/api/audits", {"sending_domain": "Bad.Test"})
    assert answer.status_code == 201
    told = answer.json()
    assert (told["kind"], told["subject"], told["why"], told["asked_by"]) == ("domain", BAD, "asked", "otto")
    assert told["score"] == 100 - 20 - 20 - 15  # it takes no mail, so it needs no MTA-STS
    spf = next(entry for entry in told["findings"] if entry["check"] == "spf")
    assert (spf["result"], spf["seen"]) == ("problem", ["v=spf1 -all"])
    assert spf["publish"] == [f'bad.test. IN TXT "v=spf1 ip4:{BAD_IP} -all"']
    assert told["diagnosis"]["title"] == "DNS, not reputation"
    assert {entry["check"] for entry in told["diagnosis"]["evidence"]} == {"spf", "dkim", "dmarc"}
    assert (
        viewer("GET", f"/api/audits/{told['id']}").json() == viewer("GET", f"/api/domains/{BAD}/audit").json() == told
    )


def test_whom_to_audit_is_one_sender(operator: Ask) -> None:
    for body in ({}, {"sending_domain": BAD, "sending_ip": BAD_IP}, {"sending_ip": "0.0.0.0"}, {"domain": BAD}):
        assert operator("POST", "/api/audits", body).status_code == 400
    assert operator("POST", "/api/audits", {"sending_domain": "[192.0.2.1]"}).status_code == 400
    assert not AuditTarget.objects.exists()
    soon = timezone.now() + timedelta(minutes=1)
    AuditTarget.objects.create(kind="domain", name=BAD, claimed_until=soon)
    assert operator("POST", "/api/audits", {"sending_domain": BAD}).status_code == 409
    assert operator("GET", f"/api/domains/{BAD}/audit").status_code == 404


def test_the_history_is_listed_and_filtered(operator: Ask, viewer: Ask) -> None:
    for _ in range(2):
        assert operator("POST", "/api/audits", {"sending_domain": BAD}).status_code == 201
    assert operator("POST", "/api/audits", {"sending_ip": "2001:DB8::66"}).status_code == 201

    def found(query: str) -> list[tuple[str, bool]]:
        rows = viewer("GET", f"/api/audits?{query}").json()["results"]
        assert all("findings" not in row for row in rows)
        return [(row["subject"], row["is_latest"]) for row in rows]

    assert found("") == [("2001:db8::66", True), (BAD, True), (BAD, False)]
    assert found(f"subject={BAD}&latest=true") == found("kind=domain&score_below=70&latest=true") == [(BAD, True)]
    assert found("why=weekly") == found("score_below=10") == []
    assert viewer("GET", "/api/audits?colour=red").status_code == 400
    assert viewer("GET", "/api/ips/2001:db8::66/audit").json()["score"] is None, "nothing of it can be checked here"
    assert AuditReport.objects.filter(is_latest=True).count() == 2


def test_selectors_and_names_are_told(operator: Ask, viewer: Ask) -> None:
    body = {"kind": "domain", "name": "Shop.Example", "dkim_selectors": ["s1", "k2@esp.example"]}
    made = operator("POST", "/api/audit-targets", body)
    assert made.status_code == 201
    row = made.json()
    assert (row["name"], row["dkim_selectors"], row["score"]) == ("shop.example", ["s1", "k2@esp.example"], None)
    assert operator("POST", "/api/audit-targets", body).status_code == 409
    url = f"/api/audit-targets/{row['id']}"
    changed = operator("PATCH", url, {"envelope_domain": "bounce.shop.example", "may_probe": False})
    assert (
        changed.json()
        == viewer("GET", url).json()
        == {
            **row,
            "envelope_domain": "bounce.shop.example",
            "may_probe": False,
        }
    )
    wrong: list[dict[str, Any]] = [
        {"helo_names": ["mail.shop.example"]},
        {"name": "other.example"},
        {"score": 100},
        {"dkim_selectors": ["not a name"]},
        {"dkim_selectors": [f"s{number}" for number in range(21)]},
        {"envelope_domain": "Upper.Example"},
    ]
    for body in wrong:
        assert operator("PATCH", url, body).status_code == 400, body
    assert operator("PATCH", url, {}).status_code == 200
    assert viewer("PATCH", url, {"may_probe": True}).status_code == 403
    listed = viewer("GET", "/api/audit-targets?kind=domain&search=shop").json()["results"]
    assert [entry["id"] for entry in listed] == [row["id"]]
    assert operator("POST", "/api/audit-targets", {"kind": "ip", "name": "not an ip"}).status_code == 400


@pytest.mark.usefixtures("_refused")
def test_metrics_have_few_words(operator: Ask, client: Any) -> None:
    def value(name: str, **labels: str) -> float:
        found = REGISTRY.get_sample_value(name, labels)
        return (STATE.get_sample_value(name, labels) if found is None else found) or 0.0

    before = value("audits_total", kind="domain", why="asked")
    operator("POST", "/api/audits", {"sending_domain": BAD})
    AuditTarget.objects.create(kind="ip", name=BAD_IP)
    assert value("audits_total", kind="domain", why="asked") == before + 1
    assert value("audit_findings_total", check="spf", result="problem") >= 1
    assert value("audit_targets", kind="domain", outcome="problems") == 1
    assert value("audit_targets", kind="ip", outcome="never") == 1
    assert BAD not in client.get("/metrics").content.decode()
