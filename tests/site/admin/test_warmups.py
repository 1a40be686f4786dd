"""Warm-ups in the admin: seen by all who may look, moved with a reason by those who may."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client
from django.utils import timezone

from reputation import warmups
from reputation.domain.warmup import Schedule
from reputation.models import (
    AuditEntry,
    Pool,
    Warmup,
    WarmupEvent,
    WarmupPolicy,
    WarmupPolicyRevision,
    WarmupTemplate,
)
from reputation.warmup_acts import start
from telemetry.models import Source
from tests.reputation.test_breakers import Traffic
from tests.site.admin.conftest import BAD, GOOD, Make, button, change, changelist, messages_of, text
from tests.site.admin.test_browser import browser, visit

pytestmark = pytest.mark.django_db
__all__ = ["browser", "visit"]


@pytest.fixture
def running(root: User) -> Warmup:
    return start("ip", BAD, Schedule((100, 1000, 2000)), reason="a new machine", user=root, now=timezone.now(), day=2)


def test_progress_says_the_day_and_what_was_used_of_it(
    running: Warmup, as_root: Client, source: Source, make_event: Make
) -> None:
    now = timezone.now()
    Traffic(source, make_event).record(312, now)
    page = text(as_root.get(change(running)))
    assert "Day 2 of 3: 312 of 1,000 used" in page
    assert "2,000" in page
    assert "2 of 3" in text(as_root.get(changelist(Warmup)))
    warmups.tick(now=now + timedelta(days=1, minutes=10))
    assert "not judged" in text(as_root.get(change(running))), "nobody judged the mail, and the table says so"


@pytest.mark.slow
@pytest.mark.django_db(transaction=True)
def test_its_page_fits_a_phone(
    browser: Any, visit: Callable[[str], None], source: Source, make_event: Make, django_user_model: type[User]
) -> None:
    now = timezone.now()
    user = django_user_model.objects.get(username="root")
    row = start("ip", BAD, Schedule(tuple(range(80_000, 80_020))), reason="new", user=user, now=now)
    Traffic(source, make_event).record(3, now)
    warmups.tick(now=now + timedelta(days=1, minutes=10))
    phone = {"width": 360, "height": 740, "deviceScaleFactor": 1, "mobile": True}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", phone)
    for path in (change(row), changelist(Warmup), button("reputation_warmup_start_any")):
        visit(path)
        assert browser.execute_script("return document.documentElement.scrollWidth") == 360


def test_any_sender_can_be_warmed_up_and_a_mistake_stands_beside_its_field(as_root: Client) -> None:
    url = button("reputation_warmup_start_any")
    given = {"confirmed": "1", "reason": "bought", "template": "default", "day": "1"}
    assert "Start a warm-up" in text(as_root.get(url))
    for wrong, field in (
        ({"sender": "no domain"}, "sender"),
        ({"sender": GOOD, "day": "15"}, "day"),
        ({"sender": GOOD, "template": "acellemail"}, "full_volume"),
        ({"sender": GOOD, "reason": " "}, "reason"),
    ):
        assert as_root.post(url, {**given, **wrong}).context["form"].errors.get(field), wrong
    assert not Warmup.objects.exists()
    as_root.post(url, {**given, "sender": GOOD})
    as_root.post(url, {**given, "sender": "Shop.Example", "template": "acellemail", "full_volume": "5000"})
    assert {row.sender: row.days for row in Warmup.objects.all()} == {GOOD: 14, "shop.example": 45}
    assert "warms up already" in text(as_root.post(url, {**given, "sender": GOOD}))


def test_acts_ask_why_and_say_what_became_of_it(running: Warmup, as_root: Client) -> None:
    skip = button("reputation_warmup_skip_this", running.pk)
    assert BAD in text(as_root.get(skip))
    assert "reason" in as_root.post(skip, {"confirmed": "1", "days": "1", "reason": " "}).context["form"].errors
    answered = as_root.post(skip, {"confirmed": "1", "days": "5", "reason": "x"}, follow=True)
    assert "days 1 to 3" in messages_of(answered)[0]
    as_root.post(skip, {"confirmed": "1", "days": "1", "reason": "known there"})
    running.refresh_from_db()
    assert running.day == 3
    chosen = {"action": "cancel_selected", "_selected_action": [str(running.pk)]}
    assert BAD in text(as_root.post(changelist(Warmup), chosen))
    answered = as_root.post(changelist(Warmup), {**chosen, "confirmed": "1", "reason": "sold"}, follow=True)
    assert f"Cancelled: {BAD}" in messages_of(answered)[0]
    page = text(as_root.get(change(running)))
    assert "sold" in page
    assert "known there" in page


def test_a_look_for_new_senders_says_what_it_found(as_root: Client) -> None:
    answered = as_root.get(button("reputation_warmup_detect_now"), follow=True)
    assert messages_of(answered) == ["No new or cold sender was found."]


def test_who_may_only_look_sees_no_buttons_and_moves_nothing(running: Warmup, as_viewer: Client, viewer: User) -> None:
    page = text(as_viewer.get(changelist(Warmup)))
    assert BAD in page
    assert "Start a warm-up" not in page
    given = {"confirmed": "1", "reason": "because", "days": "1"}
    for act in ("confirm_this", "skip_this", "complete_this", "cancel_this"):
        assert as_viewer.post(button(f"reputation_warmup_{act}", running.pk), given).status_code == 403
    for act in ("start_any", "detect_now"):
        assert as_viewer.post(button(f"reputation_warmup_{act}"), given).status_code == 403
    assert WarmupEvent.objects.count() == 1
    viewer.user_permissions.add(Permission.objects.get(codename="change_warmup"))
    as_viewer.post(button("reputation_warmup_complete_this", running.pk), given)
    running.refresh_from_db()
    assert running.state == "completed"


def test_own_templates_are_edited_and_built_in_ones_only_read(as_root: Client) -> None:
    builtin = WarmupTemplate.objects.get(name="default")
    assert "_save" not in text(as_root.get(change(builtin)))
    assert as_root.post(change(builtin), {"name": "mine"}).status_code == 403
    add = button("reputation_warmuptemplate_add")
    given = {"name": "ours", "unit": "day", "amounts": "[10, 20]", "provider_amounts": "{}", "provider_shares": "{}"}
    assert "Amounts do not fall" in text(as_root.post(add, {**given, "amounts": "[20, 10]"}))
    assert as_root.post(add, given).status_code == 302
    own = WarmupTemplate.objects.get(name="ours")
    as_root.post(change(own), {**given, "amounts": "[10, 20, 30]"})
    own.refresh_from_db()
    assert own.days == 3
    chosen = {"action": "delete_selected", "_selected_action": [str(own.pk)], "post": "yes"}
    as_root.post(changelist(WarmupTemplate), chosen)
    assert not WarmupTemplate.objects.filter(name="ours").exists()
    actions = AuditEntry.objects.order_by("id").values_list("action", flat=True)
    assert list(actions) == ["warmup_template_made", "warmup_template_changed", "warmup_template_deleted"]


def test_a_policy_changes_in_percent_with_a_reason_and_refuses_what_does_not_fit(as_root: Client) -> None:
    policy = WarmupPolicy.objects.get()
    form = as_root.get(change(policy)).context["adminform"].form
    values = {name: form[name].value() for name in form.fields if name not in ("pool", "reason")}
    values = {name: value for name, value in values.items() if value is not None}
    given = {**values, "enabled": "on", "reason": "a strict provider", "advance_share": "90"}
    given |= {"revisions-TOTAL_FORMS": "0", "revisions-INITIAL_FORMS": "0"}
    assert "IANA" in text(as_root.post(change(policy), {**given, "time_zone": "CEST"}))
    assert (
        "idle times are at most" in text(as_root.post(change(policy), {**given, "domain_idle": "200 00:00:00"})).lower()
    )
    assert as_root.post(change(policy), given).status_code == 302
    policy.refresh_from_db()
    assert (policy.revision, f"{policy.advance_share:f}") == (2, "0.900000")
    assert WarmupPolicyRevision.objects.get(revision=2).reason == "a strict provider"
    assert "advance share: 80 % → 90 %" in text(as_root.get(change(policy)))


def test_a_pool_gets_a_policy_of_its_own(as_root: Client) -> None:
    pool = Pool.objects.create(name="bulk")
    url = button("reputation_warmuppolicy_add")
    form = as_root.get(url).context["adminform"].form
    values = {name: form[name].value() for name in form.fields if form[name].value() is not None}
    default = WarmupTemplate.objects.get(name="default").pk
    given = {**values, "pool": pool.pk, "ip_template": default, "domain_template": default, "reason": "bulk"}
    given |= {"on_detection": "start", "revisions-TOTAL_FORMS": "0", "revisions-INITIAL_FORMS": "0"}
    assert as_root.post(url, given).status_code == 302
    made = WarmupPolicy.objects.get(pool=pool)
    assert (made.revision, made.on_detection) == (1, "start")
