"""Sending policies, pools, their IPs and domains, budgets and the summed-up record as operators and scripts meet them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from reputation import breaker_acts, permits
from reputation.domain.breaker_policy import Scope
from reputation.domain.permit import Ask
from reputation.models import AuditEntry, Pool, PoolDomain, SendingIP, SendingPolicy
from reputation.sending_policies import change_sending_policy
from telemetry.domain.vocab import UNKNOWN_IP
from tests.reputation.test_warmups_api import caller

pytestmark = pytest.mark.django_db
Caller = Callable[..., Any]
GOOD, OTHER = "192.0.2.10", "192.0.2.20"


@pytest.fixture
def root(django_user_model: type[User]) -> User:
    return django_user_model.objects.create_superuser("olga")


@pytest.fixture
def operator(django_user_model: type[User]) -> Caller:
    user = django_user_model.objects.create_user("otto", is_staff=True)
    names = ["change_sendingpolicy", "change_sendingip", "change_pooldomain"]
    user.user_permissions.set(Permission.objects.filter(codename__in=names))
    return caller(user)


@pytest.fixture
def viewer(django_user_model: type[User]) -> Caller:
    return caller(django_user_model.objects.create_user("vera", is_staff=True))


@pytest.fixture
def news() -> Pool:
    pool = Pool.objects.create(name="news")
    SendingIP.objects.create(ip=GOOD, pool=pool, weight=300)
    SendingIP.objects.create(ip=OTHER, pool=pool, transport="smtp-20")
    return pool


def policy() -> SendingPolicy:
    return SendingPolicy.objects.get(pool__is_default=True)


def test_a_policy_changes_with_a_reason_as_a_whole_and_keeps_what_it_was(operator: Caller, viewer: Caller) -> None:
    url = f"/api/sending-policies/{policy().pk}"
    before = viewer("GET", url).json()
    assert (before["mode"], before["revision"], before["is_default"]) == ("observe", 1, True)
    assert {"provider": "google", "per_hour": 500, "per_day": 10_000} in before["provider_limits"]
    assert operator("PATCH", url, {"mode": "enforce"}).status_code == 400, "no reason, no change"
    limits = [{"provider": "google", "per_hour": 5, "per_day": None}, {"provider": "", "per_hour": None, "per_day": 9}]
    given = {"mode": "enforce", "provider_limits_on": True, "provider_limits": limits, "reason": "a week of looking"}
    after = operator("PATCH", url, given).json()
    assert (after["mode"], after["revision"], after["on_failure"]) == ("enforce", 2, "open")
    assert sorted(after["provider_limits"], key=lambda entry: str(entry["provider"])) == limits[::-1]
    again = operator("PATCH", url, {"mode": "enforce", "reason": "twice"}).json()
    assert again["revision"] == 2, "what changes nothing is no revision"
    last, first = viewer("GET", f"{url}/revisions").json()["results"]
    assert (last["changed_by"], last["reason"], first["changed_by"]) == ("otto", "a week of looking", None)
    assert last["values"]["provider_limits"] == {"google": [5, None], "other": [None, 9]}
    assert [row["id"] for row in viewer("GET", "/api/sending-policies").json()["results"]] == [policy().pk]
    assert viewer("GET", "/api/sending-policies/999999").status_code == 404


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"mode": "strict"}, "mode"),
        ({"ip_limit_per_hour": 0}, "ip_limit_per_hour"),
        ({"ip_limit": 5}, "ip_limit"),
        ({"provider_limits": [{"provider": "gogle"}]}, "provider_limits"),
        ({"provider_limits": [{"provider": "google"}, {"provider": "google"}]}, "provider_limits"),
        ({"provider_limits": [{"provider": "google", "per_hour": 0}]}, "provider_limits"),
        ({"provider_limits": [{"provider": "google", "per_week": 1}]}, "provider_limits"),
        ({"provider_limits": {"google": 5}}, "provider_limits"),
    ],
)
def test_a_bad_change_names_its_field_and_changes_nothing(operator: Caller, change: dict[str, Any], field: str) -> None:
    answer = operator("PATCH", f"/api/sending-policies/{policy().pk}", {"reason": "x"} | change)
    assert answer.status_code == 400, answer.content
    assert field in str(answer.json()["errors"])
    assert (policy().revision, policy().provider_limits.count()) == (1, 4)


def test_pools_show_members_with_their_shares_and_why_one_is_out(viewer: Caller, news: Pool, root: User) -> None:
    SendingIP.objects.create(ip="192.0.2.99")
    SendingIP.objects.create(ip=UNKNOWN_IP)
    PoolDomain.objects.create(domain="shop.example", pool=news)
    breaker_acts.open_by_hand(Scope("ip", OTHER, "google"), reason="a block", user=root, now=timezone.now())
    default, listed = viewer("GET", "/api/pools").json()["results"]
    assert (default["sending_ips"], default["has_own_policy"], listed["sending_ips"]) == (1, True, 2)
    assert (listed["mode"], listed["has_own_policy"], listed["sending_domains"]) == ("observe", False, 1)
    shown = viewer("GET", f"/api/pools/{news.pk}").json()
    assert [(entry["ip"], entry["share"]) for entry in shown["members"]] == [(GOOD, 0.75), (OTHER, 0.25)]
    assert "a block" in shown["members"][1]["at_providers"][0]
    at_google = viewer("GET", f"/api/pools/{news.pk}?provider=google").json()["members"]
    assert [(entry["share"], entry["rule"], entry["is_out"]) for entry in at_google] == [
        (1, None, False),
        (0, "breaker", True),
    ]
    assert "a block" in at_google[1]["why"]
    assert viewer("GET", f"/api/pools/{news.pk}?provider=gogle").status_code == 400
    assert viewer("GET", "/api/pools/999999").status_code == 404


def test_a_sending_ip_is_filtered_changed_and_audited(operator: Caller, viewer: Caller, news: Pool) -> None:
    SendingIP.objects.create(ip="192.0.2.99", is_backup=True)
    SendingIP.objects.create(ip=UNKNOWN_IP)

    def found(query: str) -> list[str]:
        return [row["ip"] for row in viewer("GET", f"/api/sending-ips?{query}").json()["results"]]

    assert found("") == [GOOD, OTHER, "192.0.2.99"]
    assert found("pool=news") == [GOOD, OTHER]
    assert found("pool=default") == found("is_backup=true") == ["192.0.2.99"]
    assert found("transport=smtp-20&is_backup=false") == [OTHER]
    assert viewer("GET", "/api/sending-ips?pool=nowhere").status_code == 400
    url = f"/api/sending-ips/{GOOD}"
    changed = {"weight": 0, "is_backup": True, "transport": "out10:[relay.example]:587", "pool": None, "label": "mx 1"}
    told = operator("PATCH", url, changed | {"reason": "a rest"}).json()
    assert {name: told[name] for name in changed} == changed
    entry = AuditEntry.objects.get()
    assert (entry.sending_ip, entry.triggered_by, entry.action) == (GOOD, "otto", "sending_ip_changed")
    assert entry.reason.endswith("a rest")
    assert operator("PATCH", url, {"pool": "news"}).json()["pool"] == "news"
    for wrong, field in (({"weight": -1}, "weight"), ({"transport": "a b"}, "transport"), ({"ip": "192.0.2.1"}, "ip")):
        answer = operator("PATCH", url, wrong)
        assert answer.status_code == 400
        assert field in str(answer.json()["errors"])
    assert operator("PATCH", url, {"pool": "nowhere"}).status_code == 400
    assert operator("PATCH", "/api/sending-ips/192.0.2.123", {"weight": 1}).status_code == 404
    assert operator("GET", "/api/sending-ips/nonsense").status_code == 400


def test_a_domains_pool_is_set_in_its_canonical_form_and_forgotten(
    operator: Caller, viewer: Caller, news: Pool
) -> None:
    url = "/api/pool-domains/Shop.Example"
    assert operator("PUT", url, {"pool": "news"}).status_code == 201
    assert operator("PUT", url, {"pool": "default", "reason": "moved"}).json() == {
        "domain": "shop.example",
        "pool": "default",
    }
    assert viewer("GET", "/api/pool-domains?pool=default").json()["results"][0]["domain"] == "shop.example"
    assert viewer("GET", "/api/pool-domains?pool=news").json()["count"] == 0
    assert operator("PUT", url, {"pool": "nowhere"}).status_code == 400
    assert operator("PUT", "/api/pool-domains/no%20domain", {"pool": "news"}).status_code == 400
    assert operator("DELETE", url).status_code == 204
    assert operator("DELETE", url).status_code == 404
    assert AuditEntry.objects.filter(subject="shop.example", triggered_by="otto").count() == 3


def test_budgets_in_force_are_listed_and_filtered(viewer: Caller, root: User) -> None:
    change_sending_policy(policy(), {"domain_limit_per_hour": 50}, user=root, reason="x")
    SendingIP.objects.create(ip=GOOD)
    now = timezone.now()
    permits.ask([Ask("a@shop.example", recipients=7), Ask("a@other.example")], now=now)
    permits.ask([Ask("a@shop.example")], now=now - timedelta(days=1))
    permits.desk().write_down()

    def found(query: str) -> list[tuple[str, int]]:
        return [(row["sender"], row["spent"]) for row in viewer("GET", f"/api/budgets?{query}").json()["results"]]

    assert sorted(found("")) == [("other.example", 1), ("shop.example", 7)]
    assert found("sender=shop.example&rule=base_limit&kind=domain") == [("shop.example", 7)]
    assert found("kind=ip") == []
    assert len(found("from=2020-01-01T00:00:00Z")) == 3
    assert viewer("GET", "/api/budgets?rule=none").status_code == 400


def test_the_summary_says_what_enforce_would_have_done(viewer: Caller, root: User) -> None:
    now = timezone.now()
    breaker_acts.open_by_hand(Scope("domain", "spam.example"), reason="a bought list", user=root, now=now)
    permits.ask([Ask("x@spam.example", "a@gmail.com", recipients=3), Ask("x@good.example", "a@gmail.com")], now=now)
    permits.ask([Ask("x@spam.example", "a@gmail.com")], now=now - timedelta(hours=5))
    permits.desk().write_down()
    told = viewer("GET", "/api/permits/summary?hours=2").json()
    assert (told["asked"], told["held_back"]["asks"]) == ({"asks": 2, "recipients": 4}, 0)
    assert told["would_have_been"] == {"asks": 1, "recipients": 3}
    assert [entry["rule"] for entry in told["by_rule"]] == ["breaker"]
    assert told["by_sender"][0]["sending_domain"] == "spam.example"
    assert told["by_provider"][0]["provider"] == "google"
    assert viewer("GET", "/api/permits/summary").json()["asked"]["asks"] == 3
    Pool.objects.create(name="quiet")
    assert viewer("GET", "/api/permits/summary?pool=quiet").json()["asked"]["asks"] == 0
    for wrong in ("hours=0", "hours=169", "pool=nowhere", "days=1"):
        assert viewer("GET", f"/api/permits/summary?{wrong}").status_code == 400


def test_who_may_only_look_changes_nothing(viewer: Caller, news: Pool) -> None:
    PoolDomain.objects.create(domain="shop.example", pool=news)
    for method, url, body in (
        ("PATCH", f"/api/sending-policies/{policy().pk}", {"mode": "enforce", "reason": "x"}),
        ("PATCH", f"/api/sending-ips/{GOOD}", {"weight": 1}),
        ("PUT", "/api/pool-domains/new.example", {"pool": "news"}),
        ("DELETE", "/api/pool-domains/shop.example", None),
    ):
        assert viewer(method, url, body).status_code == 403, url
    assert (policy().mode, PoolDomain.objects.get().domain) == ("observe", "shop.example")
    assert not AuditEntry.objects.exists()


def test_lists_cost_the_same_however_long_they_are(viewer: Caller, news: Pool, root: User) -> None:
    change_sending_policy(policy(), {"domain_limit_per_hour": 50}, user=root, reason="x")
    PoolDomain.objects.create(domain="d.example", pool=news)
    urls = (
        "sending-policies",
        "pools",
        f"pools/{news.pk}",
        "sending-ips",
        "pool-domains",
        "budgets",
        "permits/summary",
    )

    def queries() -> dict[str, int]:
        counted: dict[str, int] = {}
        for url in urls:
            permits.desk().books.forget()
            with CaptureQueriesContext(connection) as captured:
                assert viewer("GET", f"/api/{url}").status_code == 200
            counted[url] = len(captured)
        return counted

    permits.ask([Ask("a@shop.example")], now=timezone.now())
    queries()
    few = queries()
    for number in range(9):
        pool = Pool.objects.create(name=f"pool{number}")
        SendingPolicy.objects.create(pool=pool)
        SendingIP.objects.create(ip=f"198.51.100.{number}", pool=news)
        PoolDomain.objects.create(domain=f"d{number}.example", pool=pool)
        permits.ask([Ask(f"a@s{number}.example")], now=timezone.now())
    permits.desk().write_down()
    assert queries() == few
