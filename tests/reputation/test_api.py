"""Standing, acts, scores, policies and the self-test as operators and their scripts meet them."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.core.management import CommandError, call_command
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from reputation import scenarios
from reputation.domain.policy import Status
from reputation.domain.scenarios import Scenario
from reputation.models import AuditEntry, CodeTier, IpStanding, Override, Policy, Pool, SenderScore, SendingIP
from reputation.scores import score_senders
from reputation.standing import score_ips
from telemetry.counters import roll_up
from telemetry.domain.event import Event
from telemetry.domain.vocab import EventType, VolumeReporting
from telemetry.ingest import record_batch
from telemetry.models import SendingEvent, Source
from telemetry.retention import clean_up
from telemetry.tokens import issue_api_token

pytestmark = pytest.mark.django_db
Make = Callable[..., Event]
IP = "192.0.2.10"
IPV6 = "2001:db8::25"


class Caller:
    """Somebody with an API token, or nobody."""

    def __init__(self, user: User | None = None) -> None:
        self.client = Client()
        self.headers = {"Authorization": f"Bearer {issue_api_token(user)}"} if user else {}

    def __call__(self, method: str, url: str, body: Any = None) -> Any:
        data = body if isinstance(body, bytes | str) else "" if body is None else json.dumps(body)
        return self.client.generic(method, url, data, content_type="application/json", headers=self.headers)


@pytest.fixture
def admin(django_user_model: type[User]) -> Caller:
    return Caller(django_user_model.objects.create_superuser("olga", "olga@example.com"))


@pytest.fixture
def viewer(django_user_model: type[User]) -> Caller:
    return Caller(django_user_model.objects.create_user("vera", is_staff=True))


@pytest.fixture
def operator(django_user_model: type[User]) -> Caller:
    user = django_user_model.objects.create_user("otto", is_staff=True)
    user.user_permissions.add(Permission.objects.get(codename="change_ipstanding"))
    return Caller(user)


@pytest.fixture
def traffic(source: Source, make_event: Make) -> Callable[..., None]:
    """Record deliveries and refusals of an IP two minutes ago, and judge it."""

    def record(ip: str = IP, delivered: int = 380, refused: int = 20, **fields: Any) -> None:
        now = timezone.now()
        common = {"sending_ip": ip, "occurred_at": now - timedelta(minutes=2)} | fields
        refusal = {"type": EventType.BOUNCE, "smtp_code": 550, "enhanced_code": "5.7.1", "reply": "550 5.7.1 no"}
        name = f"{ip}{common['occurred_at']}"
        events = [make_event(event_id=f"{name}d{index}", **common) for index in range(delivered)]
        events += [make_event(event_id=f"{name}r{index}", **(refusal | common)) for index in range(refused)]
        record_batch(source, events, now=now)
        score_ips([ip], now=now)

    return record


def fields_of(answer: Any) -> list[str]:
    assert answer.headers["Content-Type"] == "application/problem+json"
    return [entry["field"] for entry in answer.json()["errors"]]


def test_the_standing_of_an_ip_is_told_with_its_numbers_and_why(viewer: Caller, traffic: Any) -> None:
    traffic()
    score_senders(now=timezone.now())
    answer = viewer("GET", f"/api/ips/{IP}/reputation")
    assert answer.status_code == 200
    told = answer.json()
    assert (told["status"], told["automatic_status"], told["override"]) == ("quarantine", "quarantine", None)
    assert (told["total_sent"], told["total_rejected"], told["rejection_ratio"]) == (400, 20, 0.05)
    assert (told["volume"], told["unique_recipient_domains"]) == ("events", 1)
    assert told["sent_definition"].startswith("deliveries + bounces")
    assert (told["counts_by_code"], told["major_providers"]) == ({"5.7.1": 20}, ["gmail.com"])
    assert "5 %" in told["why"]
    assert told["recommendations"]
    assert told["window_start"] < told["window_end"]
    assert told["score"]["rates"]["bounce"]["denominator_name"] == "delivered + bounced"
    assert len(told["score"]["rates"]["bounce"]["interval"]) == 2
    assert [row["provider"] for row in told["provider_scores"]] == ["google"]


def test_an_unknown_volume_is_said_and_no_ratio_invented(viewer: Caller, source: Source, traffic: Any) -> None:
    source.volume = VolumeReporting.FAILURES_ONLY
    source.save()
    traffic(delivered=0)
    told = viewer("GET", f"/api/ips/{IP}/reputation").json()
    assert (told["volume"], told["total_sent"], told["rejection_ratio"]) == ("unknown", None, None)
    assert (told["status"], told["total_rejected"]) == ("warning", 20)


@pytest.mark.parametrize("written", [IPV6, "2001:DB8:0:0::25", "2001:0db8::0025", f"%5B{IPV6}%5D"])
def test_every_form_of_an_ipv6_address_is_the_same_ip(viewer: Caller, traffic: Any, written: str) -> None:
    traffic(IPV6)
    assert viewer("GET", f"/api/ips/{written}/reputation").json()["sending_ip"] == IPV6


PARTS = ["reputation", "failures", "history", "actions"]
ACTS = ["quarantine", "release", "override", "lift", "score", "dnsbl-check"]


@pytest.mark.parametrize(
    "ip", ["no-ip", "192.0.2.256", "192.0.2.10%00", "fe80::1%25eth0", "0.0.0.0", "%20", "224.0.0.1"]
)
def test_a_wrong_ip_in_the_url_is_refused_by_name(admin: Caller, ip: str) -> None:
    for method, part in [("GET", part) for part in PARTS] + [("POST", act) for act in ACTS]:
        answer = admin(method, f"/api/ips/{ip}/{part}", {} if method == "POST" else None)
        assert (answer.status_code, fields_of(answer)) == (400, ["ip"]), part


def test_an_ip_never_seen_is_404_and_has_empty_lists(viewer: Caller) -> None:
    answer = viewer("GET", "/api/ips/198.51.100.1/reputation")
    assert (answer.status_code, answer.headers["Content-Type"]) == (404, "application/problem+json")
    assert viewer("GET", "/api/ips/198.51.100.1/history").json()["results"] == []
    assert viewer("GET", "/api/ips/198.51.100.1/failures").json()["totals"]["total"] == 0


def test_failures_are_summed_from_counters_and_listed_with_their_texts(viewer: Caller, traffic: Any) -> None:
    traffic(refused=12)
    traffic(refused=3, delivered=0, recipient_domain="yahoo.com", enhanced_code="", smtp_code=451, type=EventType.DEFER,
            sending_domain="other.example", occurred_at=timezone.now() - timedelta(minutes=3))  # fmt: skip
    url = f"/api/ips/{IP}/failures"
    told = viewer("GET", f"{url}?page_size=5").json()
    assert told["totals"] == {
        "total": 15,
        "by_code": {"5.7.1": 12, "451": 3},
        "by_provider": {"google": 12, "yahoo": 3},
        "by_recipient_domain": {"gmail.com": 12, "yahoo.com": 3},
        "recipient_domains": 2,
    }
    assert len(told["results"]) == 5
    assert told["results"][0]["reply"] == "550 5.7.1 no"
    assert all(row["type"] != "delivery" for row in told["results"])
    for query, total, listed in (
        ("provider=yahoo", 3, 3),
        ("code=451", 3, 3),
        ("code=5.7.1&window=1h", 12, 12),
        ("sending_domain=other.example", 3, 3),
        ("type=bounce", 15, 12),
        ("type=complaint", 15, 0),
    ):
        narrowed = viewer("GET", f"{url}?{query}").json()
        assert (narrowed["totals"]["total"], len(narrowed["results"])) == (total, listed), query


def test_failures_of_days_are_summed_alike_before_and_after_roll_up_and_clean_up(viewer: Caller, traffic: Any) -> None:
    now = timezone.now()
    just_inside = timedelta(days=7) - timedelta(seconds=90)
    for ago in (timedelta(minutes=6), timedelta(hours=3), timedelta(hours=30), just_inside):
        traffic(delivered=0, refused=2, occurred_at=now - ago)
    for what_went_before in (lambda: None, lambda: roll_up(now=now), lambda: clean_up(now=now)):
        what_went_before()
        totals = {}
        for window in ("15m", "4h", "2d", "7d"):
            told = viewer("GET", f"/api/ips/{IP}/failures?window={window}").json()
            totals[window] = (told["totals"]["total"], len(told["results"]))
        assert totals == {"15m": (2, 2), "4h": (4, 4), "2d": (6, 6), "7d": (8, 8)}


@pytest.mark.parametrize("window", ["15", "15s", "0m", "-5m", "91d", "9999999999d", "m", "1.5h"])
def test_a_window_that_cannot_be_meant_is_refused(viewer: Caller, window: str) -> None:
    answer = viewer("GET", f"/api/ips/{IP}/failures?window={window}")
    assert (answer.status_code, fields_of(answer)) == (400, ["window"])


def test_a_manual_quarantine_shows_beside_the_automatic_status_until_lifted(operator: Caller, traffic: Any) -> None:
    traffic(refused=0)
    url = f"/api/ips/{IP}"
    until = (timezone.now() + timedelta(hours=2)).isoformat()
    told = operator("POST", f"{url}/quarantine", {"reason": "complaints by phone", "expires_at": until})
    assert told.status_code == 200
    assert (told.json()["status"], told.json()["automatic_status"]) == ("quarantine", "healthy")
    assert told.json()["override"]["created_by"] == "otto"
    assert operator("POST", f"{url}/score").json()["status"] == "quarantine"
    lifted = operator("POST", f"{url}/lift", {"reason": "mended"}).json()
    assert (lifted["status"], lifted["override"]) == ("healthy", None)
    again = operator("POST", f"{url}/lift", {"reason": "mended"})
    assert (again.status_code, fields_of(again)) == (400, ["ip"])
    acts = operator("GET", f"{url}/actions").json()["results"]
    assert [(act["action"], act["triggered_by"], act["reason"]) for act in acts] == [
        ("lift", "otto", "mended"),
        ("quarantine", "otto", "complaints by phone"),
    ]


def test_an_ip_never_seen_may_be_quarantined_and_overridden(operator: Caller) -> None:
    assert operator("POST", f"/api/ips/{IPV6}/quarantine", {"reason": "not ours"}).json()["status"] == "quarantine"
    body = {"reason": "watch it", "status": "warning"}
    assert operator("POST", f"/api/ips/{IPV6}/override", body).json()["status"] == "warning"
    released = operator("POST", f"/api/ips/{IPV6}/release", {"reason": "ours after all"}).json()
    assert released["status"] == "healthy"
    assert released["override"]["expires_at"] is not None
    assert Override.objects.filter(ended_at=None).count() == 1


@pytest.mark.parametrize(
    ("act", "body", "field"),
    [
        ("quarantine", {}, "reason"),
        ("quarantine", {"reason": "  "}, "reason"),
        ("quarantine", {"reason": "x" * 3000}, "reason"),
        ("quarantine", {"reason": "why", "expires_at": "2020-01-01T00:00:00Z"}, "expires_at"),
        ("quarantine", {"reason": "why", "expires_at": "soon"}, "expires_at"),
        ("quarantine", {"reason": "why", "until": "tomorrow"}, "until"),
        ("override", {"reason": "why"}, "status"),
        ("override", {"reason": "why", "status": "grey"}, "status"),
        ("release", [1], "body"),
        ("lift", b"{", "body"),
        ("lift", {"reason": "a\x00b"}, "reason"),
    ],
)
def test_an_act_that_is_not_clear_is_refused_with_the_field(operator: Caller, act: str, body: Any, field: str) -> None:
    answer = operator("POST", f"/api/ips/{IP}/{act}", body)
    assert (answer.status_code, fields_of(answer)) == (400, [field])
    assert not AuditEntry.objects.exists()
    assert not IpStanding.objects.exists()


@pytest.mark.parametrize("act", ACTS)
def test_acts_need_the_permission(viewer: Caller, django_user_model: type[User], act: str, traffic: Any) -> None:
    traffic(refused=0)
    nobody = Caller(django_user_model.objects.create_user("nils"))
    body = {"reason": "why", "status": "blacklisted"}
    for caller, expected in ((viewer, 403), (nobody, 403), (Caller(), 401)):
        assert caller("POST", f"/api/ips/{IP}/{act}", body).status_code == expected
        assert caller("POST", f"/api/ips/no-ip/{act}", body).status_code == expected
    assert IpStanding.objects.get().status == "healthy"
    assert not AuditEntry.objects.exists()


def test_a_blocklist_that_cannot_be_reached_is_an_error_and_not_clean(operator: Caller) -> None:
    told = operator("POST", f"/api/ips/{IP}/dnsbl-check").json()
    assert {(row["result"], row["error"]) for row in told["results"]} == {("error", "network")}
    assert told["listed"] == []


def test_an_ip_is_judged_at_once_when_asked(operator: Caller, source: Source, make_event: Make) -> None:
    refusal = {"type": EventType.BOUNCE, "enhanced_code": "5.7.1", "occurred_at": timezone.now() - timedelta(minutes=1)}
    record_batch(source, [make_event(event_id=str(index), **refusal) for index in range(60)], now=timezone.now())
    assert operator("GET", f"/api/ips/{IP}/reputation").status_code == 404
    assert operator("POST", f"/api/ips/{IP}/score").json()["status"] == "warning"
    assert operator("POST", "/api/ips/198.51.100.1/score").status_code == 404


def test_ips_are_listed_worst_first_and_narrowed(viewer: Caller, traffic: Any) -> None:
    traffic("192.0.2.1", refused=0)
    traffic("192.0.2.2", refused=20)
    traffic("192.0.2.3", refused=8)
    traffic(IPV6, refused=40)
    pool = Pool.objects.create(name="bulk")
    Policy.objects.create(pool=pool)
    SendingIP.objects.filter(pk="192.0.2.3").update(pool=pool, label="Newsletter")

    def ips(query: str = "") -> list[str]:
        answer = viewer("GET", f"/api/ips?{query}")
        assert answer.status_code == 200, answer.content
        return [row["sending_ip"] for row in answer.json()["results"]]

    assert ips() == [IPV6, "192.0.2.2", "192.0.2.3", "192.0.2.1"]
    assert ips("status=healthy") == ["192.0.2.1"]
    assert ips("issue_type=ip_reputation_damage&ordering=sending_ip")[-1] == IPV6
    assert ips("pool=bulk") == ["192.0.2.3"]
    assert ips("pool=default") == [IPV6, "192.0.2.2", "192.0.2.1"]
    assert ips("search=2001:db8") == [IPV6]
    assert ips("search=newsl") == ["192.0.2.3"]
    assert ips("page_size=2&page=2") == ["192.0.2.3", "192.0.2.1"]
    for query, field in (("status=grey", "status"), ("pool=none", "pool"), ("order=x", "order")):
        answer = viewer("GET", f"/api/ips?{query}")
        assert (answer.status_code, fields_of(answer)) == (400, [field])
    assert viewer("GET", "/api/ips?page=99").status_code == 404


def test_the_fleet_at_a_glance(viewer: Caller, operator: Caller, traffic: Any) -> None:
    empty = viewer("GET", "/api/dashboard/ip-health").json()
    assert (empty["total"], empty["computed_at"], empty["ips"], empty["changes"]) == (0, None, [], [])
    traffic("192.0.2.1", refused=0)
    traffic("192.0.2.2", refused=20)
    operator("POST", "/api/ips/192.0.2.1/override", {"reason": "watch it", "status": "warning"})
    AuditEntry.objects.create(
        at=timezone.now() - timedelta(hours=25), sending_ip="192.0.2.1", action="x", previous="a", new="b"
    )
    told = viewer("GET", "/api/dashboard/ip-health").json()
    assert told["counts"] == {"healthy": 0, "warning": 1, "quarantine": 1, "blacklisted": 0}
    assert [row["sending_ip"] for row in told["ips"]] == ["192.0.2.2", "192.0.2.1"]
    assert [(row["sending_ip"], row["new"]) for row in told["changes"]] == [
        ("192.0.2.1", "warning"),
        ("192.0.2.2", "quarantine"),
    ]
    assert told["computed_at"] is not None
    assert len(viewer("GET", "/api/dashboard/ip-health?limit=1").json()["ips"]) == 1


def test_history_is_told_newest_first_within_a_stretch(viewer: Caller, traffic: Any) -> None:
    traffic()
    now = timezone.now()
    score_ips(now=now + timedelta(minutes=1))
    rows = viewer("GET", f"/api/ips/{IP}/history").json()["results"]
    assert len(rows) == 2
    assert rows[0]["computed_at"] > rows[1]["computed_at"]
    since = (now + timedelta(seconds=30)).strftime("%Y-%m-%dT%H:%M:%SZ")
    assert len(viewer("GET", f"/api/ips/{IP}/history?from={since}").json()["results"]) == 1
    assert len(viewer("GET", f"/api/ips/{IP}/history?to={since}").json()["results"]) == 1


def test_domains_are_told_with_rates_their_denominators_and_providers(viewer: Caller, traffic: Any) -> None:
    traffic(delivered=98, refused=2)
    traffic(delivered=5, refused=5, sending_domain="bad.example", recipient_domain="yahoo.com",
            occurred_at=timezone.now() - timedelta(minutes=4))  # fmt: skip
    score_senders(now=timezone.now())
    listed = viewer("GET", "/api/domains").json()["results"]
    assert [row["sending_domain"] for row in listed] == ["bad.example", "good.example"]
    assert [row["sending_domain"] for row in viewer("GET", "/api/domains?search=GOOD").json()["results"]] == [
        "good.example"
    ]
    assert viewer("GET", "/api/domains?score_below=50&has_recent_mail=true").json()["count"] == 1
    good = viewer("GET", "/api/domains/Good.Example.").json()
    assert (good["score"], good["rates"]["delivery"]["numerator"], good["penalties"]) == (100, 98, [])
    assert good["rates"]["complaint"]["denominator_name"] == "delivered"
    assert [row["provider"] for row in good["provider_scores"]] == ["google"]
    bad = viewer("GET", "/api/domains/bad.example").json()
    assert (bad["confidence"], sum(entry["points"] for entry in bad["penalties"])) == ("low", 100 - bad["score"])
    history = viewer("GET", "/api/domains/bad.example/history").json()["results"]
    assert [(row["provider"], row["score"]) for row in history] == [("", bad["score"])]
    assert len(viewer("GET", "/api/domains/bad.example/history?provider=yahoo").json()["results"]) == 1
    assert viewer("GET", "/api/domains/unseen.example").status_code == 404
    wrong = viewer("GET", "/api/domains/not a domain")
    assert (wrong.status_code, fields_of(wrong)) == (400, ["domain"])


def test_a_policy_is_changed_with_a_reason_and_its_revisions_are_kept(admin: Caller, viewer: Caller) -> None:
    row = viewer("GET", "/api/policies").json()["results"][0]
    url = f"/api/policies/{row['id']}"
    assert (row["pool"], row["window"], row["minimum_volume"], row["revision"]) == ("default", "00:15:00", 50, 1)
    body = {"minimum_volume": 100, "warning_ratio_from": "0.015", "reason": "a small sender"}
    assert viewer("PATCH", url, body).status_code == 403
    changed = admin("PATCH", url, body).json()
    assert (changed["minimum_volume"], changed["warning_ratio_from"], changed["revision"]) == (100, "0.015000", 2)
    assert Policy.objects.get().warning_ratio_from == Decimal("0.015")
    revisions = viewer("GET", f"{url}/revisions").json()["results"]
    assert [(entry["revision"], entry["changed_by"], entry["reason"]) for entry in revisions] == [
        (2, "olga", "a small sender"),
        (1, None, "the defaults of the product"),
    ]
    assert viewer("GET", "/api/policies/999").status_code == 404


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"minimum_volume": 100}, "reason"),
        ({"reason": "why", "minimum_volume": -1}, "minimum_volume"),
        ({"reason": "why", "minimum_volume": 10**30}, "minimum_volume"),
        ({"reason": "why", "warning_ratio_from": "1.5"}, "warning_ratio_from"),
        ({"reason": "why", "warning_ratio_from": "NaN"}, "warning_ratio_from"),
        ({"reason": "why", "window": "00:00:30"}, "window"),
        ({"reason": "why", "window": "00:15:30"}, "window"),
        ({"reason": "why", "window": "999999999 00:00:00"}, "window"),
        ({"reason": "why", "count_major_by": "colour"}, "count_major_by"),
        ({"reason": "why", "revision": 9}, "revision"),
        ({"reason": "why", "pool": "bulk"}, "pool"),
    ],
)
def test_a_policy_that_cannot_be_meant_is_refused(admin: Caller, body: dict[str, Any], field: str) -> None:
    answer = admin("PATCH", f"/api/policies/{Policy.objects.get().pk}", body)
    assert (answer.status_code, fields_of(answer)) == (400, [field])
    assert Policy.objects.get().revision == 1


def test_the_audit_log_is_narrowed_by_each_filter(viewer: Caller, operator: Caller, traffic: Any) -> None:
    traffic()
    operator("POST", f"/api/ips/{IPV6}/quarantine", {"reason": "not ours"})

    def actions(query: str = "") -> list[str]:
        return [row["action"] for row in viewer("GET", f"/api/audit-log?{query}").json()["results"]]

    assert actions() == ["quarantine", "status_change"]
    assert (
        actions("triggered_by=otto") == actions(f"sending_ip={IPV6}") == actions("action=quarantine") == ["quarantine"]
    )
    assert actions("new=quarantine&triggered_by=automated") == ["status_change"]
    assert actions("from=2100-01-01T00:00:00Z") == []


READS = [
    "/api/ips",
    f"/api/ips/{IP}/reputation",
    f"/api/ips/{IP}/failures",
    f"/api/ips/{IP}/history",
    f"/api/ips/{IP}/actions",
    "/api/dashboard/ip-health",
    "/api/domains",
    "/api/domains/good.example",
    "/api/domains/good.example/history",
    "/api/policies",
    "/api/audit-log",
]


@pytest.mark.parametrize("url", READS)
def test_reading_needs_staff(viewer: Caller, django_user_model: type[User], url: str, traffic: Any) -> None:
    traffic()
    score_senders(now=timezone.now())
    assert viewer("GET", url).status_code == 200
    assert Caller(django_user_model.objects.create_user("nils"))("GET", url).status_code == 403
    assert Caller()("GET", url).status_code == 401


def test_a_list_costs_the_same_whatever_its_length(viewer: Caller, operator: Caller, traffic: Any) -> None:
    def cost(url: str) -> int:
        with CaptureQueriesContext(connection) as queries:
            assert viewer("GET", url).status_code == 200
        return len(queries)

    def grow(first: int, last: int) -> None:
        for index in range(first, last):
            traffic(f"198.51.100.{index}", delivered=1, refused=1, sending_domain=f"sender-{index}.example")
            traffic(IP, delivered=1, refused=1, recipient_domain=f"provider-{index}.example",
                    occurred_at=timezone.now() - timedelta(minutes=3))  # fmt: skip
            operator("POST", f"/api/ips/198.51.100.{index}/quarantine", {"reason": "x"})
            Policy.objects.create(pool=Pool.objects.create(name=f"pool-{index}"))
            SendingIP.objects.filter(pk=f"198.51.100.{index}").update(pool=Pool.objects.get(name=f"pool-{index}"))
            for act in ("quarantine", "lift"):
                operator("POST", f"/api/ips/{IP}/{act}", {"reason": "x"})
        score_senders(now=timezone.now())

    traffic()
    grow(0, 2)
    viewer("GET", READS[0])  # the token's "last used" is written once a minute
    few = [cost(url) for url in READS]
    grow(2, 12)
    assert dict(zip(READS, [cost(url) for url in READS], strict=True)) == dict(zip(READS, few, strict=True))


SIMULATION = {
    "ip": "203.0.113.99",
    "total_sent": 500,
    "failures": [
        {"code": "5.7.1", "domain": "gmail.com", "count": 12, "reason": "550 5.7.1 refused"},
        {"code": "5.7.1", "domain": "outlook.com", "count": 10},
        {"code": "5.7.1", "domain": "Yahoo.com", "count": 8},
    ],
}


def test_a_simulation_tells_the_status_and_leaves_nothing(admin: Caller, source: Source) -> None:
    told = admin("POST", "/api/testing/simulate-failures", SIMULATION)
    assert told.status_code == 200
    answer = told.json()
    assert (answer["ip"], answer["ip_status"]) == ("203.0.113.99", "blacklisted")
    assert (answer["metrics"]["total_sent"], answer["metrics"]["total_rejected"]) == (500, 30)
    assert answer["metrics"]["rejection_ratio"] == 0.06
    assert "6 %" in answer["summary"]
    assert answer["recommendations"]
    assert not SendingEvent.objects.exists()
    assert not IpStanding.objects.exists()
    assert Source.objects.count() == 1


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"ip": "no ip"}, "ip"),
        ({"ip": "0.0.0.0"}, "ip"),
        ({"total_sent": 0}, "total_sent"),
        ({"total_sent": 10**9}, "total_sent"),
        ({"total_sent": "many"}, "total_sent"),
        ({"total_sent": 20}, "failures"),
        ({"failures": "none"}, "failures"),
        ({"failures": [{"code": "2.0.0", "domain": "gmail.com", "count": 1}]}, "failures[0].code"),
        ({"failures": [{"code": "5.7.1", "domain": "a b", "count": 1}]}, "failures[0].domain"),
        ({"failures": [{"code": "5.7.1", "domain": "gmail.com", "count": 0}]}, "failures[0].count"),
        ({"failures": [{"code": "5.7.1", "domain": "gmail.com"}]}, "failures[0].count"),
        ({"total": 5}, "total"),
    ],
)
def test_a_simulation_that_cannot_be_is_refused_with_the_field(
    admin: Caller, change: dict[str, Any], field: str
) -> None:
    answer = admin("POST", "/api/testing/simulate-failures", SIMULATION | change)
    assert (answer.status_code, fields_of(answer)) == (400, [field])


def test_a_simulation_without_failures_is_healthy(admin: Caller) -> None:
    body = {"ip": "203.0.113.99", "total_sent": 60, "failures": []}
    assert admin("POST", "/api/testing/simulate-failures", body).json()["ip_status"] == "healthy"


def test_the_fifteen_scenarios_pass_over_http(admin: Caller) -> None:
    cases = admin("GET", "/api/testing/test-cases").json()
    assert [case["id"] for case in cases] == list(range(1, 16))
    assert cases[3]["expected_status"] == "blacklisted"
    one = admin("POST", "/api/testing/test-cases/3/run").json()
    assert (one["passed"], one["actual_status"], one["rejection_ratio"], one["failure_count"]) == (
        True, "quarantine", 0.0375, 15
    )  # fmt: skip
    suite = admin("POST", "/api/testing/test-suite/run").json()
    assert (suite["total"], suite["passed"], suite["failed"]) == (15, 15, 0)
    assert all(result["error"] == "" and result["seconds"] > 0 for result in suite["results"])
    assert admin("POST", "/api/testing/test-cases/16/run").status_code == 404
    assert not SendingEvent.objects.exists()


SELF_TESTS = [
    ("POST", "/api/testing/simulate-failures"),
    ("GET", "/api/testing/test-cases"),
    ("POST", "/api/testing/test-cases/1/run"),
    ("POST", "/api/testing/test-suite/run"),
]


@pytest.mark.parametrize(("method", "url"), SELF_TESTS)
def test_the_self_test_is_for_admins_and_can_be_switched_off(
    admin: Caller, viewer: Caller, operator: Caller, settings: Any, method: str, url: str
) -> None:
    body = SIMULATION if method == "POST" else None
    assert viewer(method, url, body).status_code == operator(method, url, body).status_code == 403
    assert Caller()(method, url, body).status_code == 401
    settings.SELF_TEST_API = False
    off = admin(method, url, body)
    assert (off.status_code, off.headers["Content-Type"]) == (404, "application/problem+json")
    assert viewer(method, url, body).status_code == 403


def test_a_browser_session_may_read_but_acts_only_with_its_csrf_token(viewer: Caller, django_user_model: Any) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(django_user_model.objects.create_superuser("root", "root@example.com"))
    assert client.get("/api/ips").status_code == 200
    url = f"/api/ips/{IP}/quarantine"
    assert client.post(url, {"reason": "why"}, content_type="application/json").status_code == 403
    assert not Override.objects.exists()


def test_the_scenario_command_fails_when_a_scenario_fails(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    call_command("run_scenarios")
    assert "15 of 15 scenarios passed" in capsys.readouterr().out
    call_command("run_scenarios", only=8, json=True)
    assert [row["actual_status"] for row in json.loads(capsys.readouterr().out)] == ["quarantine"]
    with pytest.raises(CommandError, match="1 to 15"):
        call_command("run_scenarios", only=16)
    wrong = (Scenario(1, "cannot be", 100, (), Status.BLACKLISTED),)
    monkeypatch.setattr(scenarios, "SCENARIOS", wrong)
    with pytest.raises(CommandError, match="1 of 1") as failed:
        call_command("run_scenarios")
    assert failed.value.returncode == 1
    assert "FAIL" in capsys.readouterr().out


def test_the_scenarios_do_not_depend_on_the_operators_own_tiers(admin: Caller) -> None:
    CodeTier.objects.all().delete()
    assert admin("POST", "/api/testing/test-suite/run").json()["failed"] == 0


def test_the_score_command_judges(capsys: pytest.CaptureFixture[str], traffic: Any) -> None:
    traffic()
    IpStanding.objects.all().delete()
    call_command("score", ip=IP)
    assert f"{IP:39} quarantine" in capsys.readouterr().out
    call_command("score")
    assert SenderScore.objects.filter(kind="domain", provider="").count() == 1
    call_command("score", ip="198.51.100.1")
    assert "nothing to judge" in capsys.readouterr().out
    for wrong in ("no ip", "0.0.0.0"):
        with pytest.raises(CommandError):
            call_command("score", ip=wrong)
