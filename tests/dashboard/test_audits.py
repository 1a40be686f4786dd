"""The pages of a sender say what its audit found, and that DNS is what it was refused for."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from dashboard.pages.audits import HISTORY_SHOWN, audit_of
from reputation.domain.audit.findings import Check, Finding, Result, unchecked
from reputation.models import AuditReport
from reputation.scores import score_senders
from reputation.standing import score_ips
from telemetry.domain.event import Event
from telemetry.ingest import record_batch
from telemetry.models import Source
from tests.dashboard.test_browser import browser, log_in
from tests.reputation.test_audits import BAD, BAD_IP, REFUSED

pytestmark = pytest.mark.django_db
SPF = Finding(
    check=Check.SPF,
    result=Result.PROBLEM,
    about=BAD,
    says="The record does not authorise 192.0.2.66.",
    seen=("v=spf1 <b> -all",),
    why="Receivers ask.",
    publish=('bad.test. IN TXT "v=spf1 ip4:192.0.2.66 -all"',),
)
SOUND = Finding(check=Check.MX, result=Result.OK, about=BAD, says="Mail goes to mx.bad.test.")
LONG = Finding(check=Check.DKIM, result=Result.ADVICE, about="x" * 200, says="A key.", publish=("p=" + "k" * 400,))


@pytest.fixture
def page(client: Client, operator: User) -> Callable[[str], str]:
    client.force_login(operator)

    def read(url: str) -> str:
        response = client.get(url)
        assert response.status_code == 200
        return re.sub(r"\s+", " ", response.content.decode())

    return read


@pytest.fixture(autouse=True)
def _refused(source: Source, make_event: Callable[..., Event]) -> None:
    now = timezone.now()
    fields = {"sending_domain": BAD, "sending_ip": BAD_IP, "occurred_at": now - timedelta(minutes=2), **REFUSED}
    record_batch(source, [make_event(event_id=str(number), **fields) for number in range(60)], now=now)
    score_ips(now=now)
    score_senders(now=now)


def report(kind: str, subject: str, *findings: Finding, score: int | None = 80, **fields: Any) -> None:
    AuditReport.objects.filter(kind=kind, subject=subject).update(is_latest=False)
    problems = sum(finding.result is Result.PROBLEM for finding in findings)
    stored = [finding.as_json() for finding in findings]
    AuditReport.objects.create(
        kind=kind, subject=subject, score=score, findings=stored, problems=problems, why="weekly", **fields
    )


@pytest.mark.parametrize(
    ("kind", "name", "url"), [("domain", BAD, f"/domains/{BAD}/"), ("ip", BAD_IP, f"/ips/{BAD_IP}/")]
)
def test_a_page_says_dns_not_reputation_with_the_record_to_publish(
    kind: str, name: str, url: str, page: Callable[[str], str]
) -> None:
    empty = page(url)
    assert "It was not audited yet" in empty
    assert "DNS, not reputation" not in empty
    report(kind, name, SPF, SOUND)
    shown = page(url)
    assert "DNS, not reputation" in shown
    assert "Of 60 refusals about the sender in the last 24 hours 60 for authentication" in shown
    assert shown.count("v=spf1 ip4:192.0.2.66 -all") == 2, "in the diagnosis and in the audit"
    assert "<b>80</b> of 100" in shown
    assert "v=spf1 &lt;b&gt; -all" in shown
    assert "Mail goes to mx.bad.test." in shown


def test_without_a_problem_there_is_no_diagnosis(page: Callable[[str], str]) -> None:
    report("domain", BAD, SOUND, score=100)
    shown = page(f"/domains/{BAD}/")
    assert "Nothing is wrong with what could be checked." in shown
    assert "DNS, not reputation" not in shown


def test_an_audit_that_could_check_nothing_has_no_score_to_show(page: Callable[[str], str]) -> None:
    report("domain", BAD, unchecked(Check.SPF, BAD, "timeout"), score=None, unchecked=1)
    shown = page(f"/domains/{BAD}/")
    assert "Nothing could be checked" in shown
    assert "of 100 " not in shown.split('id="gs-audit-title"')[-1].split("</section>")[0]
    assert "Could not be checked: timeout." in shown
    report("domain", BAD, SOUND, unchecked(Check.SPF, BAD, "timeout"), score=100, unchecked=1)
    assert "<b>100</b> of 100, 1 check could not be made" in page(f"/domains/{BAD}/")


def test_the_scores_before_are_listed_at_a_fixed_cost() -> None:
    now = timezone.now()

    def queries() -> int:
        with CaptureQueriesContext(connection) as seen:
            audit_of("domain", BAD, now=now)
        return len(seen)

    report("domain", BAD, SPF)
    few = queries()
    for number in range(30):
        report("domain", BAD, SPF, score=number, at=now - timedelta(days=30 - number))
    assert queries() == few <= 8
    told = audit_of("domain", BAD, now=now)
    assert told is not None
    assert len(told.history) == HISTORY_SHOWN


@pytest.mark.slow
@pytest.mark.one_database
@pytest.mark.django_db(transaction=True)
def test_long_records_fit_a_phone(live_server: Any, operator: User, tmp_path: Path) -> None:
    report("domain", BAD, SPF, LONG)
    with browser(tmp_path) as driver:
        log_in(driver, live_server.url, operator)
        driver.execute_cdp_cmd(
            "Emulation.setDeviceMetricsOverride", {"width": 360, "height": 800, "deviceScaleFactor": 1, "mobile": True}
        )
        driver.get(f"{live_server.url}/domains/{BAD}/")
        assert "DNS, not reputation" in driver.page_source
        driver.execute_script("document.querySelectorAll('details').forEach(entry => { entry.open = true })")
        assert driver.execute_script("return document.documentElement.scrollWidth") == 360
