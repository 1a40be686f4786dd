"""Policies, retention and accounts in the admin: changed with a reason, within bounds, by who may."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client
from django.urls import reverse

from reputation.models import BreakerPolicy, Policy, Pool
from telemetry import retention
from telemetry.models import (
    RetentionPolicy,
)
from tests.site.admin.conftest import (
    change,
    text,
)

pytestmark = pytest.mark.django_db


def policy_form(client: Client, url: str, **changed: str) -> dict[str, str]:
    """The form as a browser would send it back, with changes."""
    form = client.get(url).context["adminform"].form
    given = {name: form[name].value() for name in form.fields}
    given = {name: "" if value is None else str(value) for name, value in given.items()}
    return given | {f"revisions-{name}_FORMS": "0" for name in ("TOTAL", "INITIAL")} | changed


def test_a_threshold_is_changed_in_percent_with_a_reason_and_kept_as_a_revision(as_root: Client, root: User) -> None:
    policy = Policy.objects.get()
    given = policy_form(as_root, change(policy))
    assert given["blacklisted_ratio_above"] == "5"
    refused = as_root.post(change(policy), {**given, "blacklisted_ratio_above": "7.5"})
    assert "reason" in refused.context["adminform"].form.errors
    given |= {"blacklisted_ratio_above": "7.5", "reason": "a pool of newsletters"}
    as_root.post(change(policy), given)
    policy.refresh_from_db()
    assert (str(policy.blacklisted_ratio_above), policy.revision) == ("0.075000", 2)
    kept = policy.revisions.get(revision=2)
    assert (kept.changed_by, kept.reason) == (root, "a pool of newsletters")
    page = text(as_root.get(change(policy)))
    assert "blacklisted above: 5 % → 7.5 %" in page
    assert page.count("→") == 1, "only what changed is shown"
    stale = as_root.post(change(policy), {**given, "blacklisted_ratio_above": "9"})
    assert "Somebody changed this policy meanwhile" in text(stale)
    wrong = as_root.post(change(policy), policy_form(as_root, change(policy), warning_ratio_from="101", reason="x"))
    assert "warning_ratio_from" in wrong.context["adminform"].form.errors
    seconds = as_root.post(change(policy), policy_form(as_root, change(policy), window="00:10:30", reason="x"))
    assert "window" in seconds.context["adminform"].form.errors


def test_a_pool_gets_a_policy_of_its_own(as_root: Client) -> None:
    pool = Pool.objects.create(name="newsletters")
    url = reverse("admin:reputation_policy_add")
    as_root.post(url, policy_form(as_root, url, pool=str(pool.pk), minimum_volume="200", reason="large lists"))
    policy = Policy.objects.get(pool=pool)
    assert (policy.minimum_volume, policy.revision) == (200, 1)
    assert policy.revisions.get().reason == "large lists"


def test_a_pool_whose_breakers_have_a_policy_of_their_own_is_not_deleted(as_root: Client) -> None:
    empty, kept = (Pool.objects.create(name=name) for name in ("empty", "kept"))
    BreakerPolicy.objects.create(pool=kept, revision=0)
    urls = [reverse("admin:reputation_pool_delete", args=[pool.pk]) for pool in (empty, kept)]
    assert [as_root.get(url).status_code for url in urls] == [200, 403]


def test_who_may_only_look_changes_no_policy(as_viewer: Client, as_root: Client) -> None:
    policy = Policy.objects.get()
    given = policy_form(as_root, change(policy), minimum_volume="1", reason="x")
    assert as_viewer.post(change(policy), given).status_code == 403
    policy.refresh_from_db()
    assert policy.minimum_volume == 50


def test_retention_is_changed_within_what_correctness_needs(as_root: Client) -> None:
    policy = RetentionPolicy.objects.get(pk="receipts")
    refused = as_root.post(change(policy), {"keep": "1 00:00:00"})
    assert "keep" in refused.context["adminform"].form.errors
    as_root.post(change(policy), {"keep": "10 00:00:00"})
    policy.refresh_from_db()
    assert policy.keep == timedelta(days=10)
    assert retention.keeps("receipts") == timedelta(days=10)


def test_an_operator_with_user_rights_does_not_become_a_superuser(as_viewer: Client, viewer: User, root: User) -> None:
    viewer.user_permissions.add(*Permission.objects.filter(codename__in=["change_user", "add_user"]))
    given = {"username": "vera", "is_superuser": "on", "is_staff": "on", "is_active": "on"}
    as_viewer.post(change(viewer), given | {"date_joined_0": "2026-01-01", "date_joined_1": "12:00:00"})
    viewer.refresh_from_db()
    assert not viewer.is_superuser
    assert as_viewer.post(change(root), given | {"username": "root2"}).status_code == 403
    password = reverse("admin:auth_user_password_change", args=[root.pk])
    assert as_viewer.post(password, {"password1": "another horse 1", "password2": "another horse 1"}).status_code == 403
