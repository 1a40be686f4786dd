"""What the page of metrics says, who may read it, and that the manual tells the same."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import OperationalError, connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from prometheus_client import REGISTRY
from prometheus_client.metrics import MetricWrapperBase
from prometheus_client.parser import text_string_to_metric_families

from reputation.domain.alerting import Kind, News, Severity
from reputation.domain.audit.findings import Check
from reputation.domain.audit.findings import Result as AuditResult
from reputation.domain.breaker_triggers import Trigger
from reputation.domain.dnsbl import ErrorKind, Result
from reputation.domain.policy import Status
from reputation.domain.warmup_policy import Step
from reputation.models import IpStanding, SenderScore
from reputation_site import replica, replica_watch
from reputation_site.readiness import WORDS
from telemetry import metric_state, metrics
from telemetry.domain.event import Event
from telemetry.domain.vocab import EventType, SourceKind
from telemetry.ingest import record_batch
from telemetry.metric_state import PAGE
from telemetry.models import Lease, Source

MANUAL = Path(__file__).resolve().parents[2] / "docs" / "metrics.md"
# django-prometheus offers them and we do not use them: they have no samples.
UNUSED = ("django_model_", "django_migrations_")


@dataclass(frozen=True)
class Family:
    """A metric: its type, and which labels it may carry."""

    type: str
    labels: frozenset[str]


def written() -> dict[str, Family]:
    """The manual's rows."""
    found = {}
    for line in MANUAL.read_text().splitlines():
        if row := re.fullmatch(r"\| `([a-z0-9_]+)` \| (\w+)(?:, database)? \| (.+?) \| .+ \| .+ \|", line):
            name, kind, labels = row.groups()
            found[name] = Family(kind, frozenset(re.findall(r"`(\w+)`", labels)))
    return found


def kept() -> dict[str, Family]:
    """The metrics that processes keep, by the library's own registry."""
    assert replica.PAGE_READS
    found = {}
    for one in dict.fromkeys(REGISTRY._collector_to_names):
        if isinstance(one, MetricWrapperBase) and not one._name.startswith(UNUSED):
            name = f"{one._name}_total" if one._type == "counter" else one._name
            found[name] = Family(one._type, frozenset(one._labelnames))
    return found


def said(text: str) -> dict[str, Family]:
    """What a page says."""
    found: dict[str, Family] = {}
    for family in text_string_to_metric_families(text):
        name = f"{family.name}_total" if family.type == "counter" else family.name
        labels = frozenset(label for one in family.samples for label in one.labels) - {"le"}
        found[name] = Family(family.type, labels)
    return found


# What a label may hold, by metric where one word means several things: words of the product, or a pattern.
KINDS = {"ip", "domain"}
STATUSES = {word.value for word in Status}
TASK = r"[A-Za-z][A-Za-z,'0-9 -]{2,50}"
NAME = r"[a-z0-9<][\w:.<> -]{0,80}"
LABELS: dict[str, set[str] | str] = {
    "source": r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}|\(others\)",
    "ip": r"[0-9a-f:.]{2,45}",
    "sender": r"[0-9a-z:._-]{2,255}",
    "blocklist": r"[\w .()-]{1,60}",
    "scheme": r"[a-z0-9+]{1,30}",
    "policy_revision": r"\d+|unknown",
    "status": STATUSES,
    "previous": STATUSES,
    "new": STATUSES,
    "outcome": {"recorded", "duplicate", "rejected", "done", "failed", "sent", "sound", "problems", "never"},
    "type": {kind.value for kind in EventType},
    "task": TASK,
    "queue": TASK,
    "what": TASK,
    "why": {"queue full", "too slow", "asked", "weekly", "causes", "fresh", "lag", "none"}
    | {"address", "requests", "events"},
    "severity": {word.value for word in Severity},
    "news": {word.value for word in News},
    "scope": {"ip", "domain", "ip_provider", "domain_provider"},
    "state": {"open", "half_open", "proposed", "running"},
    "to": {"open", "half_open", "closed", "listed", "clean", "unknown"},
    "trigger": {word.value for word in Trigger} | {""},
    "step": {word.value for word in Step},
    "tier": {"A", "B", "C"},
    "result": {word.value for word in Result} | {word.value for word in AuditResult},
    "check": {word.value for word in Check},
    "error": {word.value for word in ErrorKind},
    "action": {"status_change", "breaker_opened", "warmup_stepped_back"},
    "verdict": {"right", "false_alarm", "allow", "defer", "reject"},
    "mode": {"observe", "warn", "enforce"},
    "rule": r"[a-z_ ]{0,40}",
    "database": {"primary", "replica"},
    "kind": KINDS,
    "le": r"[0-9.e+]+|\+Inf",
    "view": NAME,
    "templatename": r"[\w/.'\[\], ]{1,300}",
    "method": {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "<invalid method>"},
    "transport": {"http", "https"},
    "charset": r"[a-z0-9-]{2,20}",
}
OF_METRIC: dict[tuple[str, str], set[str] | str] = {
    ("webhook_events", "kind"): {kind.value for kind in SourceKind},
    ("alerts", "kind"): {kind.value for kind in Kind},
    ("alert_changes", "kind"): {kind.value for kind in Kind},
    ("trouble", "what"): set(WORDS),
    ("django_http_responses_total_by_status", "status"): r"[1-5]\d\d",
    ("django_http_responses_total_by_status_view_method", "status"): r"[1-5]\d\d",
    ("django_http_exceptions_total_by_type", "type"): r"[A-Z]\w{1,60}",
}


def assert_bounded(text: str) -> None:
    """Fail unless each label holds what is known to be bounded."""
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            for label, value in sample.labels.items():
                allowed = OF_METRIC.get((family.name, label)) or LABELS[label]
                fits = re.fullmatch(allowed, value) if isinstance(allowed, str) else value in allowed
                assert fits, f"{family.name} has {label}={value!r}"


def test_every_label_of_every_metric_is_bounded_by_something_known() -> None:
    for name, family in written().items():
        assert family.labels <= LABELS.keys(), name


def page(client: Client | None = None, **extra: Any) -> str:
    PAGE.forget()
    answer = (client or Client()).get("/metrics", **extra)
    assert answer.status_code == 200
    return answer.content.decode()


@pytest.fixture
def fleet(source: Source, make_event: Callable[..., Event]) -> None:
    """Something of everything that a gauge may be about."""
    now = timezone.now()
    record_batch(source, [make_event(occurred_at=now - timedelta(minutes=5))], now=now)
    Source.objects.update(last_event_at=now)
    Lease.objects.create(name="poll", runs=3, failures=1, last_finished_at=now)
    standing(5)
    score("domain", 5)


def standing(number: int) -> None:
    now = timezone.now()
    common = {"window_start": now, "window_end": now, "computed_at": now, "since": now, "total_rejected": 1}
    words = {"automatic_status": "warning", "status": "warning", "rule": "r", "why": "w", "unique_recipient_domains": 1}
    IpStanding.objects.bulk_create(
        IpStanding(sending_ip=f"192.0.2.{at}", severity=at % 4, rejection_ratio=at / 1000, **common, **words)
        for at in range(number)
    )


def score(kind: str, number: int) -> None:
    now = timezone.now()
    times = {"window_start": now, "window_end": now, "computed_at": now}
    SenderScore.objects.bulk_create(
        SenderScore(kind=kind, name=f"{kind}-{at:04}.example", score=at % 101, **times) for at in range(number)
    )


@pytest.mark.django_db
@pytest.mark.usefixtures("fleet")
def test_the_manual_names_every_metric_with_its_type_and_labels_and_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metric_state, "_always", list(metric_state._always))
    replica_watch.register(replica_watch.WATCH)
    told, manual = said(page()), written()
    assert len(manual) > 50, "the rows of the manual are read"
    everything = kept() | {name: family for name, family in told.items() if name not in kept()}
    assert manual.keys() == everything.keys()
    for name, family in everything.items():
        assert manual[name].type == family.type, name
        # A gauge without samples tells no labels.
        assert manual[name].labels == family.labels or (name not in kept() and not family.labels), name


@pytest.mark.skipif(shutil.which("promtool") is None, reason="needs Debian's prometheus")
@pytest.mark.django_db
@pytest.mark.usefixtures("fleet")
def test_promtool_finds_nothing_to_say_of_the_page() -> None:
    checked = subprocess.run(["promtool", "check", "metrics"], input=page().encode(), capture_output=True, check=False)
    assert (checked.returncode, checked.stdout + checked.stderr) == (0, b"")


@pytest.mark.django_db
def test_ips_and_domains_are_the_worst_up_to_a_bound(settings: Any) -> None:
    standing(20)
    score("domain", 30)
    score("ip", 20)
    settings.METRICS_MOST_IPS, settings.METRICS_MOST_DOMAINS = 7, 4
    series = {family.name: family for family in text_string_to_metric_families(page())}
    worst = [one.labels["ip"] for one in series["ip_reputation_status"].samples]
    assert len(worst) == 7
    assert {one.value for one in series["ip_reputation_status"].samples} == {3.0, 2.0}
    assert len(series["ip_rejection_ratio"].samples) == 7
    kinds = [one.labels["kind"] for one in series["sender_score"].samples]
    assert (kinds.count("ip"), kinds.count("domain")) == (7, 4)
    assert [one.value for one in series["sender_score"].samples if one.labels["kind"] == "domain"] == [0, 1, 2, 3]
    assert {one.labels["status"]: one.value for one in series["sending_ips"].samples}["warning"] == 20


@pytest.mark.django_db
def test_sources_beyond_the_bound_are_counted_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "_sources", {f"bound-{number}" for number in range(metrics.MOST_SOURCES - 1)})
    before = REGISTRY.get_sample_value("source_events_total", {"source": metrics.OTHER_SOURCES}) or 0
    for name in ("bound-last", "bound-over", "bound-more"):
        metrics.count_batch(name, "generic", 5, 0)
    assert REGISTRY.get_sample_value("source_events_total", {"source": "bound-last"}) == 5
    assert REGISTRY.get_sample_value("source_events_total", {"source": "bound-over"}) is None
    assert REGISTRY.get_sample_value("source_events_total", {"source": metrics.OTHER_SOURCES}) == before + 10


@pytest.mark.django_db
def test_what_a_stranger_makes_up_becomes_no_series() -> None:
    client = Client(headers={"user-agent": "made-up-agent"})
    for number in range(3):
        client.generic(f"MADEUP{number}", "/healthz")
        client.get(f"/made-up-path-{number}")
        client.get(f"/ips/made-up-ip-{number}/")
        client.get("/healthz", {"made-up": number}, headers={"host": f"made-up-{number}.example"})
    told = page(client)
    assert_bounded(told)
    assert 'method="<invalid method>"' in told
    assert "made-up" not in told.lower()
    assert "madeup" not in told.lower()


@pytest.mark.django_db
def test_no_recipient_is_on_the_page(source: Source, make_event: Callable[..., Event]) -> None:
    now = timezone.now()
    event = make_event(occurred_at=now, recipient="private.person@hidden.example", recipient_domain="hidden.example")
    record_batch(source, [event], now=now)
    assert "hidden.example" not in page()


@pytest.mark.django_db
def test_a_scrape_asks_the_same_few_questions_whatever_there_is_and_not_at_every_scrape() -> None:
    def questions() -> int:
        PAGE.forget()
        with CaptureQueriesContext(
            connection,
        ) as asked:
            Client().get("/metrics")
        return len(asked)

    Source.objects.create(name="mta-first")
    questions()
    few = questions()
    standing(200)
    score("domain", 50)
    for number in range(20):
        Source.objects.create(name=f"mta-{number}", last_event_at=timezone.now())
        Lease.objects.create(name=f"task-{number}")
    assert questions() == few < 40
    with CaptureQueriesContext(connection) as asked:
        assert "ip_reputation_status" in Client().get("/metrics").content.decode()
    assert len(asked) == 0, "the second scrape within seconds asks nothing"


@pytest.mark.django_db
def test_without_the_database_it_tells_what_is_counted_and_that_the_database_is_away() -> None:
    asked = []

    def away(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        asked.append(sql)
        raise OperationalError("away")

    closed = metric_state.connection.close
    with connection.execute_wrapper(away):
        metric_state.connection.close = lambda: None  # the test's transaction is to go on
        try:
            told = page()
        finally:
            metric_state.connection.close = closed
    assert "database_answers 0.0" in told
    assert "django_http_requests_before_middlewares_total" in told
    assert len(asked) == 1, "one question that fails is enough"
    assert "database_answers 1.0" in page()


# --- who may read it -------------------------------------------------------------------------------------------------

NEAR, FAR = {"REMOTE_ADDR": "127.0.0.1"}, {"REMOTE_ADDR": "203.0.113.9"}


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("where", "status"),
    [
        (NEAR, 200),
        ({"REMOTE_ADDR": "::1"}, 200),
        ({"REMOTE_ADDR": "::ffff:127.0.0.1"}, 200),
        (FAR, 403),
        ({"REMOTE_ADDR": ""}, 403),
        (NEAR | {"HTTP_X_FORWARDED_FOR": "127.0.0.1"}, 403),
        (NEAR | {"HTTP_FORWARDED": "for=203.0.113.9"}, 403),
        (NEAR | {"HTTP_X_REAL_IP": "203.0.113.9"}, 403),
        (NEAR | {"HTTP_X_FORWARDED_PROTO": "https"}, 403),
        ({"REMOTE_ADDR": "10.1.2.3"}, 403),
    ],
)
def test_without_a_token_only_this_machine_may_read(where: dict[str, str], status: int) -> None:
    answer = Client().get("/metrics", **where)
    assert answer.status_code == status
    assert (b"database_answers" in answer.content) == (status == 200)


@pytest.mark.django_db
def test_networks_can_be_let_in(settings: Any) -> None:
    from reputation_site.env import ConfigurationError, Env

    settings.METRICS_NETWORKS = Env({"GS_METRICS_NETWORKS": "10.0.0.0/8, 2001:db8::/32"}).networks(
        "GS_METRICS_NETWORKS"
    )
    statuses = {
        address: Client().get("/metrics", REMOTE_ADDR=address).status_code
        for address in ("10.1.2.3", "2001:db8::7", "11.1.2.3")
    }
    assert statuses == {"10.1.2.3": 200, "2001:db8::7": 200, "11.1.2.3": 403}
    assert Client().get("/metrics", REMOTE_ADDR="10.1.2.3", HTTP_X_FORWARDED_FOR="10.1.2.3").status_code == 403
    with pytest.raises(ConfigurationError, match="networks separated by commas"):
        Env({"GS_METRICS_NETWORKS": "10.0.0.0/8, here"}).networks("GS_METRICS_NETWORKS")


@pytest.mark.django_db
def test_with_a_token_everybody_must_show_it(settings: Any) -> None:
    settings.METRICS_TOKEN = "a-long-token"
    refused = Client().get("/metrics")
    assert (refused.status_code, refused["WWW-Authenticate"]) == (401, "Bearer")
    assert Client().get("/metrics", headers={"authorization": "Bearer another"}).status_code == 401
    assert Client().get("/metrics", headers={"authorization": "Bearer a-long-token"}, **FAR).status_code == 200


@pytest.mark.django_db
def test_people_of_the_console_may_look(client: Client, django_user_model: type[User]) -> None:
    user = django_user_model.objects.create_user("vera", password="x", is_staff=False)
    client.force_login(user)
    assert client.get("/metrics", **FAR).status_code == 403
    User.objects.update(is_staff=True)
    assert client.get("/metrics", **FAR).status_code == 200


def test_prometheus_is_not_sent_to_https() -> None:
    from django.conf import settings

    assert any(re.search(pattern, "metrics") for pattern in settings.SECURE_REDIRECT_EXEMPT)
    assert not any(re.search(pattern, "metrics/x") for pattern in settings.SECURE_REDIRECT_EXEMPT)
