"""Sending policies, pools, their IPs and domains, budgets and the record of permits in the admin."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission, User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from reputation import permits
from reputation.breaker_acts import open_by_hand
from reputation.domain.breaker_policy import Scope
from reputation.domain.permit import Ask
from reputation.models import AuditEntry, Budget, PermitMinute, Pool, PoolDomain, SendingIP, SendingPolicy
from reputation.sending_policies import change_sending_policy
from tests.site.admin.conftest import BAD, GOOD, button, change, changelist, text

pytestmark = pytest.mark.django_db
LOOK = "reputation_sendingpolicy_look_ahead"


def default() -> SendingPolicy:
    return SendingPolicy.objects.get(pool__is_default=True)


def filled(client: Client, url: str) -> dict[str, str]:
    """The form with its tables as a browser would send it back."""
    context = client.get(url).context
    forms = [context["adminform"].form]
    for inline in context["inline_admin_formsets"]:
        forms += [inline.formset.management_form, *inline.formset.forms]
    given: dict[str, str] = {}
    for form in forms:
        given |= {form.add_prefix(name): form[name].value() for name in form.fields}
    return {name: "" if value in (None, False) else str(value) for name, value in given.items()}


def test_a_policy_and_its_limits_change_together_as_one_revision_with_a_reason(as_root: Client, root: User) -> None:
    url = change(default())
    given = filled(as_root, url)
    assert "reason" in as_root.post(url, given).context["adminform"].form.errors
    assert (given["provider_limits-1-provider"], given["provider_limits-1-per_hour"]) == ("google", "500")
    given |= {"mode": "enforce", "ip_limit_per_hour": "900", "provider_limits_on": "on", "reason": "looked for a week"}
    given |= {"provider_limits-1-per_hour": "70", "provider_limits-3-DELETE": "on"}
    given |= {"provider_limits-4-provider": "apple", "provider_limits-4-per_day": "9"}
    assert as_root.post(url, given).status_code == 302
    policy = default()
    assert (policy.mode, policy.ip_limit_per_hour, policy.provider_limits_on, policy.revision) == (
        "enforce",
        900,
        True,
        2,
    )
    limits = {row.provider: (row.per_hour, row.per_day) for row in policy.provider_limits.all()}
    assert limits == {
        "": (1000, 20_000),
        "google": (70, 10_000),
        "microsoft_consumer": (300, 7_500),
        "apple": (None, 9),
    }
    kept = policy.revisions.get(revision=2)
    assert (kept.changed_by, kept.reason) == (root, "looked for a week")
    page = text(as_root.get(url))
    for line in (
        "mode: observe → enforce",
        "ip limit per hour: no limit → 900",
        "at google: 500 an hour, 10,000 a day → 70 an hour, 10,000 a day",
        "at apple: none → any an hour, 9 a day",
        "at yahoo: 200 an hour, 5,000 a day → none",
    ):
        assert line in page
    assert "at microsoft" not in page, "only what changed is shown"
    assert LogEntry.objects.get().user == root
    assert "Somebody changed this policy meanwhile" in text(as_root.post(url, given))


def test_a_limit_alone_is_a_revision_and_two_of_one_provider_are_refused(as_root: Client) -> None:
    url = change(default())
    given = filled(as_root, url) | {"reason": "x"}
    as_root.post(url, given)
    assert default().revision == 1, "what changes nothing is no revision"
    as_root.post(url, given | {"provider_limits-1-per_day": ""})
    assert default().revision == 2
    given = filled(as_root, url) | {"reason": "x", "provider_limits-4-provider": "google"}
    assert as_root.post(url, given | {"provider_limits-4-per_hour": "5"}).status_code == 200
    assert as_root.post(url, given | {"provider_limits-4-provider": "gogle"}).status_code == 200
    assert (default().revision, default().provider_limits.count()) == (2, 4)


def test_a_pool_gets_a_sending_policy_of_its_own_with_the_products_limits(as_root: Client) -> None:
    pool = Pool.objects.create(name="news")
    url = reverse("admin:reputation_sendingpolicy_add")
    page = text(as_root.get(url))
    assert "observe: everything passes" in page
    assert "enforce: mail waits or is refused" in page
    given = filled(as_root, url) | {"pool": str(pool.pk), "mode": "warn", "reason": "a new brand"}
    assert as_root.post(url, given).status_code == 302
    policy = SendingPolicy.objects.get(pool=pool)
    assert (policy.mode, policy.revision, policy.provider_limits.count()) == ("warn", 1, 4)
    assert policy.revisions.get().reason == "a new brand"
    assert as_root.get(reverse("admin:reputation_pool_delete", args=[pool.pk])).status_code == 403


def test_who_may_change_the_policy_may_change_its_limits_and_a_viewer_nothing(
    as_viewer: Client, as_root: Client, viewer: User
) -> None:
    url = change(default())
    given = filled(as_root, url) | {"reason": "x", "provider_limits-1-per_hour": "7"}
    assert "observe" in text(as_viewer.get(url))
    assert as_viewer.post(url, given).status_code == 403
    viewer.user_permissions.add(Permission.objects.get(codename="change_sendingpolicy"))
    assert as_viewer.post(url, given).status_code == 302
    assert default().provider_limits.get(provider="google").per_hour == 7


def asked(root: User) -> None:
    """A paused spammer asks for twelve recipients, and a good sender for one."""
    now = timezone.now()
    open_by_hand(Scope("domain", "spam.example"), reason="a bought list", user=root, now=now)
    permits.desk().books.forget()
    spam = [Ask("x@spam.example", "a@gmail.com", recipients=6) for _ in range(2)]
    permits.ask([*spam, Ask("x@good.example", "a@gmail.com")], now=now)
    permits.desk().write_down()


def test_the_look_ahead_says_what_enforce_would_have_done_and_after_the_switch_what_it_did(
    as_root: Client, root: User
) -> None:
    url = button(LOOK, default().pk)
    assert "Nobody asked for a permit" in text(as_root.get(url))
    asked(root)
    page = text(as_root.get(url))
    assert "13 recipients (3 questions)" in page
    assert "<strong>12 would have been held back</strong>; the others passed" in page
    assert "<td>circuit breaker</td><td>spam.example</td>" in page
    assert "a bought list" in page
    change_sending_policy(default(), {"mode": "enforce"}, user=root, reason="x")
    permits.desk().books.forget()
    permits.ask([Ask("x@spam.example", "a@gmail.com", recipients=5)], now=timezone.now())
    permits.desk().write_down()
    page = text(as_root.get(url, {"hours": "1"}))
    assert "12 would have been held back</strong>, 5 were held back while the pool enforced" in page
    assert as_root.get(url, {"hours": "-1"}).status_code == 200
    assert as_root.get(button(LOOK, 999_999)).status_code in (302, 404)


def test_the_look_ahead_is_for_who_may_see_the_record(as_viewer: Client, viewer: User) -> None:
    url = button(LOOK, default().pk)
    assert "What would enforce have done?" in text(as_viewer.get(change(default())))
    assert as_viewer.get(url).status_code == 200
    viewer.user_permissions.remove(Permission.objects.get(codename="view_permitminute"))
    assert as_viewer.get(url).status_code == 403
    assert "What would enforce have done?" not in text(as_viewer.get(change(default())))


def test_a_pools_page_says_who_takes_how_much_and_why_one_is_out(as_root: Client, root: User) -> None:
    pool = Pool.objects.create(name="news")
    assert "No sending IP is in this pool" in text(as_root.get(change(pool)))
    for ip, weight in ((GOOD, 300), (BAD, 100)):
        SendingIP.objects.create(ip=ip, pool=pool, weight=weight)
    permits.desk().books.forget()
    page = text(as_root.get(change(pool)))
    assert "<strong>75 %</strong>" in page
    assert "the Postfix socketmap goes by weight alone" in page
    open_by_hand(Scope("ip", BAD), reason="a bought list", user=root, now=timezone.now())
    permits.desk().books.forget()
    page = text(as_root.get(change(pool)))
    assert "<strong>100 %</strong>" in page
    assert "<strong>out</strong>" in page
    assert "a bought list" in page


def test_a_pools_page_costs_the_same_however_many_ips_it_has(as_root: Client) -> None:
    pool = Pool.objects.create(name="news")
    SendingIP.objects.create(ip=BAD, pool=pool)

    def queries() -> int:
        permits.desk().books.forget()
        with CaptureQueriesContext(connection) as captured:
            assert as_root.get(change(pool)).status_code == 200
        return len(captured)

    queries()
    few = queries()
    for number in range(9):
        SendingIP.objects.create(ip=f"198.51.100.{number}", pool=pool)
    assert queries() == few


def test_a_sending_ip_is_changed_with_an_audit_row_and_found_by_its_place(as_root: Client, as_viewer: Client) -> None:
    row = SendingIP.objects.create(ip=BAD)
    pool = Pool.objects.create(name="news")
    given = filled(as_root, change(row)) | {"weight": "40", "is_backup": "on", "pool": str(pool.pk), "reason": "a rest"}
    assert as_viewer.get(change(row)).status_code == 200
    assert as_root.post(change(row), given | {"transport": "a b"}).status_code == 200
    assert as_root.post(change(row), given | {"transport": "smtp-10"}).status_code == 302
    row.refresh_from_db()
    assert (row.weight, row.is_backup, row.pool, row.transport) == (40, True, pool, "smtp-10")
    assert AuditEntry.objects.get().reason.endswith("a rest")
    add = reverse("admin:reputation_sendingip_add")
    assert as_root.post(add, filled(as_root, add) | {"ip": GOOD, "weight": "5"}).status_code == 302
    assert SendingIP.objects.get(ip=GOOD).weight == 5

    def found(**given: str) -> list[str]:
        return [row.ip for row in as_root.get(changelist(SendingIP), given).context["cl"].result_list]

    assert found(is_backup__exact="1") == found(transport="smtp-10") == [BAD]
    assert found(is_backup__exact="0") == [GOOD]


def test_a_domain_gets_a_pool_in_its_canonical_form(as_root: Client, root: User) -> None:
    pool = Pool.objects.create(name="news")
    add = reverse("admin:reputation_pooldomain_add")
    refused = as_root.post(add, {"domain": "no domain", "pool": pool.pk})
    assert "domain" in refused.context["adminform"].form.errors
    assert as_root.post(add, {"domain": "Müller.Example.", "pool": pool.pk}).status_code == 302
    row = PoolDomain.objects.get()
    assert row.domain == "xn--mller-kva.example"
    again = as_root.post(add, {"domain": "müller.example", "pool": pool.pk})
    assert "domain" in again.context["adminform"].form.errors
    other = Pool.objects.create(name="bulk")
    as_root.post(change(row), {"pool": other.pk})
    as_root.post(reverse("admin:reputation_pooldomain_delete", args=[row.pk]), {"post": "yes"})
    as_root.post(add, {"domain": "shop.example", "pool": pool.pk})
    chosen: dict[str, Any] = {"action": "delete_selected", "_selected_action": ["shop.example"], "post": "yes"}
    as_root.post(changelist(PoolDomain), chosen)
    assert not PoolDomain.objects.exists()
    moves = [(row.subject, row.metadata["changed"]["pool"][1]) for row in AuditEntry.objects.order_by("id")]
    name = "xn--mller-kva.example"
    assert moves == [
        (name, "news"),
        (name, "bulk"),
        (name, "the default"),
        ("shop.example", "news"),
        ("shop.example", "the default"),
    ]


def test_budgets_are_filtered_by_kind_rule_and_window_and_say_what_is_spent(as_root: Client, root: User) -> None:
    change_sending_policy(default(), {"domain_limit_per_hour": 2000}, user=root, reason="x")
    now = timezone.now()
    permits.ask([Ask("a@shop.example", recipients=312)], now=now)
    permits.ask([Ask("a@shop.example")], now=now - timedelta(days=1))
    permits.desk().write_down()

    def found(**given: str) -> int:
        return len(as_root.get(changelist(Budget), given).context["cl"].result_list)

    assert "312 of 2,000" in text(as_root.get(changelist(Budget)))
    assert (found(), found(window="now"), found(window="over")) == (2, 1, 1)
    assert (found(kind="domain"), found(kind="ip"), found(rule="base_limit"), found(rule="warm_up")) == (2, 0, 2, 0)
    assert (found(q="shop.example"), found(q="other.example")) == (2, 0)
    assert "15.6 %" in text(as_root.get(changelist(Budget)))
    assert "312 of 2,000" in text(as_root.get(change(Budget.objects.get(spent=312))))


def test_the_record_says_held_back_only_of_what_was(as_root: Client, root: User) -> None:
    asked(root)

    def told(**given: str) -> list[int]:
        return [row.recipients for row in as_root.get(changelist(PermitMinute), given).context["cl"].result_list]

    page = text(as_root.get(changelist(PermitMinute)))
    assert "would have been held back" in page
    assert (told(told="would have been held back"), told(told="held back"), told(told="passed")) == ([12], [], [1])
    assert told(rule="breaker", sending_domain="spam.example", q="spam.example", pool="default") == [12]
    change_sending_policy(default(), {"mode": "enforce"}, user=root, reason="x")
    permits.desk().books.forget()
    permits.ask([Ask("x@spam.example", "a@gmail.com", recipients=5)], now=timezone.now())
    permits.desk().write_down()
    assert told(told="held back") == [5]
