"""Acting on standing needs a right and a reason; what was recorded stays; the self-test."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from reputation import overrides
from reputation.domain.policy import Status
from reputation.models import AuditEntry, IpStanding, IpStandingHistory, Override
from reputation.standing import score_ips
from telemetry.ingest import record_batch
from telemetry.models import (
    SendingEvent,
    Source,
)
from tests.site.admin.conftest import (
    BAD,
    GOOD,
    Make,
    button,
    change,
    changelist,
    messages_of,
    text,
)

pytestmark = pytest.mark.django_db


ACTS = [
    ("quarantine_selected", {}, Status.QUARANTINE),
    ("release_selected", {}, Status.HEALTHY),
    ("override_selected", {"status": "blacklisted"}, Status.BLACKLISTED),
]


@pytest.fixture
def two_ips(source: Source, make_event: Make) -> None:
    now = timezone.now()
    record_batch(source, [make_event(event_id=ip, sending_ip=ip, occurred_at=now) for ip in (BAD, GOOD)], now=now)
    score_ips(now=now)


@pytest.mark.usefixtures("two_ips")
@pytest.mark.parametrize(("action", "more", "status"), ACTS)
def test_several_ips_are_acted_on_with_one_reason(
    action: str, more: dict[str, str], status: Status, as_root: Client, root: User
) -> None:
    url, chosen = changelist(IpStanding), {"action": action, "_selected_action": [BAD, GOOD]}
    asked = as_root.post(url, chosen)
    assert asked.status_code == 200
    assert BAD in text(asked)
    assert GOOD in text(asked)
    assert not Override.objects.exists(), "asking is not acting"

    silent = as_root.post(url, {**chosen, **more, "confirmed": "1", "reason": "  "})
    assert "reason" in silent.context["form"].errors
    assert not Override.objects.exists(), "no reason, no act"

    answered = as_root.post(url, {**chosen, **more, "confirmed": "1", "reason": "seen in the logs"}, follow=True)
    assert BAD in messages_of(answered)[0]
    assert {row.status for row in IpStanding.objects.all()} == {status.value}
    entries = AuditEntry.objects.filter(user=root)
    assert {(entry.sending_ip, entry.reason) for entry in entries} == {
        (BAD, "seen in the logs"),
        (GOOD, "seen in the logs"),
    }


@pytest.mark.usefixtures("two_ips")
def test_an_expiry_is_kept_and_one_in_the_past_refused(as_root: Client) -> None:
    url = button("reputation_ipstanding_quarantine", BAD)
    given = {"confirmed": "1", "reason": "for a day", "expires_at_0": "2020-01-01", "expires_at_1": "12:00"}
    assert "expires_at" in as_root.post(url, given).context["form"].errors
    tomorrow = (timezone.now() + timedelta(days=1)).date().isoformat()
    as_root.post(url, {**given, "expires_at_0": tomorrow})
    placed = Override.objects.get(sending_ip=BAD)
    assert placed.expires_at is not None
    assert placed.expires_at.isoformat() == f"{tomorrow}T12:00:00+00:00"


@pytest.mark.usefixtures("two_ips")
def test_lifting_gives_the_ip_back_and_says_where_nothing_was_in_force(as_root: Client, root: User) -> None:
    overrides.quarantine(BAD, reason="x", user=root, now=timezone.now())
    given = {"action": "lift_selected", "_selected_action": [BAD, GOOD], "confirmed": "1", "reason": "solved"}
    response = as_root.post(changelist(IpStanding), given, follow=True)
    assert IpStanding.objects.get(pk=BAD).status == "healthy"
    told = " ".join(messages_of(response))
    assert f"Lifted: {BAD}" in told
    assert f"{GOOD}: There is no override in force" in told


def test_an_ip_that_never_sent_can_be_quarantined(as_root: Client) -> None:
    url = button("reputation_ipstanding_act_on_any")
    given = {"confirmed": "1", "reason": "bought with a past"}
    assert "sending_ip" in as_root.post(url, {**given, "sending_ip": "nonsense"}).context["form"].errors
    as_root.post(url, {**given, "sending_ip": "2001:DB8::0:1"})
    assert IpStanding.objects.get(pk="2001:db8::1").status == "quarantine"


@pytest.mark.usefixtures("two_ips")
def test_who_may_only_look_sees_no_buttons_and_is_refused(as_viewer: Client) -> None:
    page = as_viewer.get(changelist(IpStanding))
    for words in ("quarantine_selected", "Quarantine another IP"):
        assert words not in text(page)
    given = {"confirmed": "1", "reason": "because", "status": "blacklisted", "sending_ip": BAD}
    for action, _, _ in ACTS:
        as_viewer.post(changelist(IpStanding), {"action": action, "_selected_action": [BAD], **given})
    for act in ("quarantine", "release", "override_status", "lift"):
        assert as_viewer.post(button(f"reputation_ipstanding_{act}", BAD), given).status_code == 403
    assert as_viewer.post(button("reputation_ipstanding_act_on_any"), given).status_code == 403
    assert not Override.objects.exists()
    assert not AuditEntry.objects.exclude(triggered_by="automated").exists()


@pytest.mark.usefixtures("two_ips")
def test_the_one_permission_is_enough_to_act(as_viewer: Client, viewer: User) -> None:
    viewer.user_permissions.add(Permission.objects.get(codename="change_ipstanding"))
    as_viewer.post(button("reputation_ipstanding_quarantine", BAD), {"confirmed": "1", "reason": "because"})
    assert IpStanding.objects.get(pk=BAD).status == "quarantine"


@pytest.mark.usefixtures("life")
@pytest.mark.parametrize("model", [AuditEntry, IpStanding, IpStandingHistory, SendingEvent, Override])
def test_nobody_adds_edits_or_deletes_what_was_recorded(model: Any, as_root: Client) -> None:
    row = model.objects.first()
    before = list(model.objects.order_by("pk").values())
    name = f"admin:{model._meta.app_label}_{model._meta.model_name}"
    assert as_root.post(reverse(f"{name}_add"), {}).status_code == 403
    assert as_root.post(change(row), {"reason": "another", "status": "healthy", "_save": "1"}).status_code == 403
    assert as_root.post(reverse(f"{name}_delete", args=[row.pk]), {"post": "yes"}).status_code == 403
    as_root.post(changelist(model), {"action": "delete_selected", "_selected_action": [str(row.pk)], "post": "yes"})
    assert list(model.objects.order_by("pk").values()) == before
    assert "delete_selected" not in text(as_root.get(changelist(model)))


def test_the_fifteen_scenarios_run_by_one_button_and_leave_nothing(as_root: Client, settings: Any) -> None:
    url = reverse("admin:reputation_scenarios")
    assert as_root.get(url).status_code == 200
    response = as_root.post(url)
    assert "15 passed" in text(response)
    assert not SendingEvent.objects.exists()
    settings.SELF_TEST_API = False
    assert as_root.post(url).status_code == 403
    assert "switched off" in text(as_root.get(url))


def test_only_superusers_run_scenarios(as_viewer: Client) -> None:
    url = reverse("admin:reputation_scenarios")
    assert as_viewer.get(url).status_code == 403
    assert as_viewer.post(url).status_code == 403
