"""Breakers in the admin: seen by all who may look, moved with a reason by those who may."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client
from django.utils import timezone

from reputation.breaker_acts import open_by_hand
from reputation.domain.breaker_policy import Scope
from reputation.models import Breaker, BreakerEvent, BreakerPolicy, BreakerPolicyRevision
from tests.site.admin.conftest import BAD, GOOD, button, change, changelist, messages_of, text

pytestmark = pytest.mark.django_db


@pytest.fixture
def paused(root: User) -> Breaker:
    return open_by_hand(Scope("ip", BAD, "google"), reason="a bought list", user=root, now=timezone.now())


def test_a_breaker_is_closed_with_a_reason_and_an_end(paused: Breaker, as_root: Client) -> None:
    url, chosen = changelist(Breaker), {"action": "close_selected", "_selected_action": [str(paused.pk)]}
    assert f"{BAD} at google" in text(as_root.post(url, chosen))
    assert "reason" in as_root.post(url, {**chosen, "confirmed": "1", "reason": " "}).context["form"].errors
    assert BreakerEvent.objects.count() == 1, "no reason, no act"
    tomorrow = (timezone.now() + timedelta(days=2)).date().isoformat()
    given = {"confirmed": "1", "reason": "list cleaned", "expires_at_0": tomorrow, "expires_at_1": "12:00"}
    answered = as_root.post(url, {**chosen, **given}, follow=True)
    assert f"Closed: {BAD} at google" in messages_of(answered)[0]
    paused.refresh_from_db()
    assert (paused.state, paused.held_until and paused.held_until.isoformat()) == (
        "closed",
        f"{tomorrow}T12:00:00+00:00",
    )
    page = text(as_root.get(change(paused)))
    assert "list cleaned" in page
    assert "a bought list" in page


def test_any_sender_can_be_paused_and_a_wrong_one_is_named(as_root: Client) -> None:
    url = button("reputation_breaker_open_any")
    given = {"confirmed": "1", "reason": "bought with a past"}
    as_root.post(url, {**given, "sender": GOOD})
    as_root.post(url, {**given, "sender": "Shop.Example", "provider": "Google"})
    assert {str(row.scope) for row in Breaker.objects.all()} == {GOOD, "shop.example at google"}
    answered = as_root.post(url, {**given, "sender": "no domain"}, follow=True)
    assert "no domain: " in " ".join(messages_of(answered))
    assert Breaker.objects.count() == 2


def test_who_may_only_look_sees_no_buttons_and_moves_nothing(paused: Breaker, as_viewer: Client, viewer: User) -> None:
    page = text(as_viewer.get(changelist(Breaker)))
    assert BAD in page
    assert "Pause a sender" not in page
    given = {"confirmed": "1", "reason": "because"}
    for act in ("open_this", "close_this"):
        assert as_viewer.post(button(f"reputation_breaker_{act}", paused.pk), given).status_code == 403
    assert as_viewer.post(button("reputation_breaker_open_any"), given).status_code == 403
    assert BreakerEvent.objects.count() == 1
    viewer.user_permissions.add(Permission.objects.get(codename="change_breaker"))
    as_viewer.post(button("reputation_breaker_close_this", paused.pk), given)
    paused.refresh_from_db()
    assert paused.state == "closed"


def test_a_policy_changes_in_percent_with_a_reason_and_refuses_what_does_not_fit(as_root: Client) -> None:
    policy = BreakerPolicy.objects.get()
    form = as_root.get(change(policy)).context["adminform"].form
    values = {name: form[name].value() for name in form.fields if name not in ("pool", "reason")}
    values = {name: value for name, value in values.items() if value is not None}
    given = {**values, "enabled": "on", "reason": "a strict provider", "bounce_rate_above": "5"}
    given |= {"revisions-TOTAL_FORMS": "0", "revisions-INITIAL_FORMS": "0"}
    wrong = as_root.post(change(policy), {**given, "step_1_share": "90"})
    assert "steps must rise" in text(wrong)
    assert as_root.post(change(policy), given).status_code == 302
    policy.refresh_from_db()
    assert (policy.revision, f"{policy.bounce_rate_above:f}") == (2, "0.050000")
    assert BreakerPolicyRevision.objects.get(revision=2).reason == "a strict provider"
    assert "bounce rate above: 10 % → 5 %" in text(as_root.get(change(policy)))
