"""Was the automation right? Whoever may act says so, the audit log keeps it, and the rate is of what was judged."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from reputation import history, judgements
from reputation.judgements import FalseAlarms, by_revision, false_alarms, judge
from reputation.models import AuditEntry, Breaker, BreakerEvent, Judgement
from reputation.models.audit import AUTOMATED
from tests.conftest import NOON
from tests.reputation.test_api import Caller, operator, viewer  # noqa: F401 - fixtures

pytestmark = pytest.mark.django_db
IP = "192.0.2.10"


@pytest.fixture
def olga(django_user_model: type[User]) -> User:
    return django_user_model.objects.create_superuser("olga", "olga@example.com", "correct horse battery")


def change(action: str = "status_change", days: int = 1, revision: int | None = 1, **fields: Any) -> AuditEntry:
    values = {"sending_ip": IP, "triggered_by": AUTOMATED, "metadata": {"policy_revision": revision}, **fields}
    return AuditEntry.objects.create(at=NOON - timedelta(days=days), action=action, **values)


def test_a_verdict_is_kept_with_who_and_when_and_is_itself_audited(olga: User) -> None:
    entry = change(previous="healthy", new="quarantine")
    made = judge(entry, "false_alarm", note=" a test run ", user=olga, now=NOON)
    assert made is not None
    assert (made.verdict, made.note, made.judged_by, made.judged_at) == ("false_alarm", "a test run", "olga", NOON)
    assert (made.at, made.action, made.policy_revision) == (entry.at, "status_change", 1)
    said = AuditEntry.objects.get(action="judged")
    assert (said.sending_ip, said.user, said.triggered_by) == (IP, olga, "olga")
    assert said.reason == "The status change of 2026-11-19 12:00 UTC: false alarm: a test run"
    assert said.metadata == {"audit_entry": entry.pk, "verdict": "false_alarm", "former_verdict": None}


def test_it_can_be_changed_and_taken_back_and_saying_it_again_is_no_news(olga: User) -> None:
    entry = change()
    for verdict in ("right", "right", "false_alarm", None, None):
        judge(entry, verdict, user=olga, now=NOON)
    assert not Judgement.objects.exists()
    told = [row.metadata["verdict"] for row in AuditEntry.objects.filter(action="judged").order_by("id")]
    assert told == ["right", "false_alarm", None]


@pytest.mark.parametrize(
    "fields",
    [
        {"action": "quarantine", "triggered_by": "olga"},
        {"action": "status_change", "triggered_by": "olga"},
        {"action": "breaker_closed"},
        {"action": "warmup_advanced"},
        {"action": "judged"},
    ],
)
def test_only_what_the_automation_did_against_a_sender_can_be_judged(olga: User, fields: dict[str, str]) -> None:
    entry = change(**fields)  # type: ignore[arg-type]
    with pytest.raises(ValidationError, match="Only automatic changes"):
        judge(entry, "right", user=olga, now=NOON)
    assert not Judgement.objects.exists()


def test_a_verdict_that_is_none_is_refused(olga: User) -> None:
    with pytest.raises(ValidationError, match="Say one of right, false_alarm"):
        judge(change(), "perhaps", user=olga, now=NOON)


def test_the_rate_is_of_what_was_judged_in_thirty_days_by_kind_and_revision(olga: User) -> None:
    for verdict, action, days, revision in (
        ("right", "status_change", 1, 2),
        ("right", "status_change", 2, 1),
        ("false_alarm", "status_change", 3, 1),
        ("false_alarm", "status_change", 31, 1),
        ("false_alarm", "breaker_opened", 4, None),
    ):
        judge(change(action, days, revision), verdict, user=olga, now=NOON)
    change(days=5)
    found = {entry.action: entry for entry in false_alarms(now=NOON)}
    assert found["status_change"] == FalseAlarms("status_change", 3, 1)
    assert found["breaker_opened"].rate == 1.0
    assert found["warmup_stepped_back"].rate is None
    assert [(revision, entry.judged, entry.false_alarms) for revision, entry in by_revision(now=NOON)] == [
        (2, 1, 0),
        (1, 2, 1),
    ]


def test_a_breakers_revision_is_its_events(olga: User) -> None:
    breaker = Breaker.objects.create(kind="ip", sender=IP, since=NOON)
    event = BreakerEvent.objects.create(
        breaker=breaker, at=NOON, from_state="closed", to_state="open", step=0, trigger="bounce_rate", policy_revision=7
    )
    made = judge(change("breaker_opened", metadata={"breaker_event": event.pk}), "right", user=olga, now=NOON)
    assert made is not None
    assert made.policy_revision == 7


def test_a_judgement_goes_with_its_change_when_history_is_cleaned_up(olga: User) -> None:
    judge(change(days=800), "right", user=olga, now=NOON)
    kept = change(days=10)
    judge(kept, "right", user=olga, now=NOON)
    history.clean_up(now=NOON)
    assert [row.entry_id for row in Judgement.objects.all()] == [kept.pk]
    assert not AuditEntry.objects.filter(at__lt=NOON - timedelta(days=730)).exists()


def test_the_api_judges_shows_and_takes_back(operator: Caller, viewer: Caller) -> None:  # noqa: F811
    entry = change()
    url = f"/api/audit-log/{entry.pk}/judgement"
    answer = operator("POST", url, {"verdict": "false_alarm", "note": "planned"})
    assert answer.status_code == 200
    shown = answer.json()["judgement"]
    assert (shown["verdict"], shown["note"], shown["judged_by"]) == ("false_alarm", "planned", "otto")
    rows = {row["id"]: row["judgement"] for row in viewer("GET", "/api/audit-log").json()["results"]}
    assert rows[entry.pk] == shown
    assert [verdict for key, verdict in rows.items() if key != entry.pk] == [None]
    assert operator("POST", url, {"verdict": None}).json()["judgement"] is None
    assert viewer("POST", url, {"verdict": "right"}).status_code == 403
    for body in ({}, {"verdict": "wrong"}, {"verdict": "right", "why": "x"}):
        assert operator("POST", url, body).status_code == 400
    assert operator("POST", "/api/audit-log/999999/judgement", {"verdict": "right"}).status_code == 404
    by_hand = change("quarantine", triggered_by="olga")
    assert operator("POST", f"/api/audit-log/{by_hand.pk}/judgement", {"verdict": "right"}).status_code == 400


def test_the_api_tells_the_rates(viewer: Caller, olga: User, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    monkeypatch.setattr(judgements, "COUNTED", timedelta(days=36500))
    judge(change(), "false_alarm", user=olga, now=NOON)
    monkeypatch.setattr("reputation.api.judgements.timezone.now", lambda: NOON)
    told = viewer("GET", "/api/audit-log/judgements").json()
    assert told["actions"][0] == {"action": "status_change", "judged": 1, "false_alarms": 1, "rate": 1.0}
    assert told["actions"][1]["rate"] is None
    assert told["status_changes_by_policy_revision"][0]["policy_revision"] == 1


@pytest.mark.parametrize("url", ["/api/audit-log", f"/api/ips/{IP}/actions", "/admin/reputation/auditentry/"])
def test_a_list_of_judged_changes_costs_no_more_queries(client: Client, olga: User, url: str) -> None:
    client.force_login(olga)

    def queries() -> int:
        with CaptureQueriesContext(connection) as seen:
            assert client.get(url).status_code == 200
        return len(seen)

    judge(change(), "right", user=olga, now=NOON)
    queries()
    few = queries()
    for days in range(2, 9):
        judge(change(days=days), "right", user=olga, now=NOON)
    assert queries() == few


def test_the_admins_audit_log_shows_and_filters_verdicts(client: Client, olga: User) -> None:
    client.force_login(olga)
    entry = change(reason="too many refusals")
    other = change(reason="another matter")
    judge(entry, "false_alarm", note="planned", user=olga, now=NOON)
    listed = client.get("/admin/reputation/auditentry/?judgement__verdict__exact=false_alarm").content.decode()
    assert "too many refusals" in listed
    assert "another matter" not in listed
    assert "false alarm" in listed
    page: Callable[[AuditEntry], str] = lambda row: client.get(  # noqa: E731
        f"/admin/reputation/auditentry/{row.pk}/change/"
    ).content.decode()
    assert "false alarm, by olga 2026-11-20 12:00 UTC: planned" in page(entry)
    assert "not judged" in page(other)
