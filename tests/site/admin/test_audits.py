"""Audits in the admin: what was found is read, what is known is told, and one is run by those who may."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client

from reputation.models import AuditReport, AuditTarget
from tests import dns_servers
from tests.site.admin.conftest import FINDING, button, change, changelist, text

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _name_server(settings: Any) -> Iterator[None]:
    with dns_servers.Scripted({"test": dns_servers.answering({})}) as server:
        settings.DNS_SERVERS = (server.address,)
        yield


@pytest.fixture
def target() -> AuditTarget:
    return AuditTarget.objects.create(kind="domain", name="bad.test")


def test_an_audit_is_run_after_a_look_and_its_report_says_what_to_publish(
    target: AuditTarget, as_root: Client, as_viewer: Client, root: User
) -> None:
    url = button("reputation_audittarget_audit_now", target.pk)
    assert as_viewer.post(url).status_code == 403
    assert "asked" in text(as_root.get(url))
    assert not AuditReport.objects.exists()
    assert as_root.post(url).status_code == 302
    report = AuditReport.objects.get()
    assert (report.subject, report.asked_by) == ("bad.test", root.get_username())
    page = text(as_root.get(change(report)))
    assert "bad.test has no SPF record." in page
    assert "_dmarc.bad.test. IN TXT" in page
    assert "bad.test" in text(as_root.get(changelist(AuditReport)))


def test_what_was_found_is_shown_as_text(as_root: Client) -> None:
    report = AuditReport.objects.create(kind="domain", subject="a.example", score=80, findings=[FINDING.as_json()])
    content = as_root.get(change(report)).content.decode()
    assert "&lt;b&gt;No&lt;/b&gt; record." in content
    assert "&lt;i&gt;x&lt;/i&gt;" in content


def test_what_people_tell_leaves_alone_what_runs_write(target: AuditTarget, as_root: Client) -> None:
    form = {"dkim_selectors": '["s1", "s2"]', "envelope_domain": "", "may_probe": "on"}
    page = change(target)
    stale = as_root.get(page)
    assert stale.status_code == 200
    AuditTarget.objects.update(score=55)
    assert as_root.post(page, form).status_code == 302
    target.refresh_from_db()
    assert (target.dkim_selectors, target.score) == (["s1", "s2"], 55)
    refused = as_root.post(page, {**form, "dkim_selectors": '["not a name"]'})
    assert "is not a name in lower case" in text(refused)
    added = as_root.post(
        button("reputation_audittarget_add"), {"kind": "ip", "name": "2001:DB8::1", "helo_names": "[]"}
    )
    assert added.status_code == 302, text(added)
    assert AuditTarget.objects.filter(kind="ip", name="2001:db8::1").exists()
