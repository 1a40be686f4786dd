"""The cast of the admin's tests: a superuser, one who may only look, and a life in every table."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.contrib import admin
from django.contrib.auth.models import Group, Permission, User
from django.http import HttpResponse
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from reputation import alerts, overrides, permits
from reputation.breaker_acts import open_by_hand
from reputation.breaker_policies import change_breaker_policy
from reputation.domain.audit.findings import Check, Finding, Result
from reputation.domain.breaker_policy import Scope
from reputation.domain.permit import Ask
from reputation.domain.warmup import Schedule
from reputation.judgements import judge
from reputation.models import (
    AlertRule,
    AuditEntry,
    AuditReport,
    AuditTarget,
    Blocklist,
    BlocklistCanary,
    BreakerPolicy,
    KumoAct,
    KumoServer,
    Listing,
    ListingEvent,
    Policy,
    Pool,
    Watermark,
)
from reputation.policies import change_policy
from reputation.pool_acts import set_domain_pool
from reputation.scores import score_senders
from reputation.sending_policies import change_sending_policy
from reputation.sending_policies import new_policy as new_sending_policy
from reputation.standing import score_ips
from reputation.warmup_acts import start as start_warmup
from reputation.warmup_policies import change_warmup_policy, new_policy
from telemetry import access, intake
from telemetry.counters import roll_up
from telemetry.domain.access import AccessKind
from telemetry.domain.event import Event
from telemetry.domain.vocab import EventType
from telemetry.ingest import record_batch
from telemetry.models import (
    CompletenessReading,
    FollowedFile,
    Lease,
    MetricsWatch,
    PostfixQueueEntry,
    Source,
    StalwartConnect,
    StalwartHeld,
    UnknownReport,
    UnusedEventType,
    VolumeReport,
)
from telemetry.parsers.documented import DOCUMENTED
from telemetry.tokens import issue_api_token, issue_token
from tests.reputation.alert_rig import channel as alert_channel
from tests.reputation.alert_rig import signal as alert_signal

Make = Callable[..., Event]
OURS = [model for model in admin.site._registry if model._meta.app_label in ("telemetry", "reputation", "auth")]
NAMES = [model.__name__ for model in OURS]
BAD, GOOD = "192.0.2.10", "192.0.2.20"
FINDING = Finding(
    check=Check.SPF,
    result=Result.PROBLEM,
    about="a.example",
    says="<b>No</b> record.",
    seen=("<i>x</i>",),
    why="It matters.",
    publish=('a.example. IN TXT "v=spf1 -all"',),
)


@pytest.fixture
def root(django_user_model: type[User]) -> User:
    return django_user_model.objects.create_superuser("root", "root@example.com", "correct horse battery")


@pytest.fixture
def viewer(django_user_model: type[User]) -> User:
    """May look at everything and do nothing."""
    user = django_user_model.objects.create_user("vera", "vera@example.com", "correct horse battery", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__startswith="view_"))
    return user


@pytest.fixture
def as_root(root: User) -> Client:
    client = Client()
    client.force_login(root)
    return client


@pytest.fixture
def as_viewer(viewer: User) -> Client:
    client = Client()
    client.force_login(viewer)
    return client


def a_life(source: Source, make: Make, user: User, *, senders: int = 1, offset: int = 0) -> None:
    """Something in every table: so many sending IPs that are refused, one that is not, and what people did."""
    now = timezone.now()
    events = []
    for number in range(offset, offset + senders):
        common: dict[str, Any] = {
            "sending_ip": f"192.0.2.{10 + number}",
            "sending_domain": f"sender{number}.example",
            "occurred_at": now - timedelta(minutes=3),
        }
        events += [make(event_id=f"d{number}-{index}", **common) for index in range(60)]
        long_ago = common | {"occurred_at": now - timedelta(hours=5)}
        events.append(make(event_id=f"o{number}", **long_ago))
        events.append(make(event_id=f"p{number}", type=EventType.BOUNCE, enhanced_code="5.1.1", **long_ago))
        refused = {"type": EventType.BOUNCE, "smtp_code": 550, "enhanced_code": "5.7.1", "reply": "no <b>thanks</b>"}
        for index in range(6):
            domain = ("gmail.com", "outlook.com", "example.org")[index % 3]
            events.append(make(event_id=f"b{number}-{index}", recipient_domain=domain, **common, **refused))
        deferred = {"type": EventType.DEFER, "smtp_code": 451, "enhanced_code": "4.7.1", "attempt_number": 1}
        events.append(make(event_id=f"t{number}", message_id=f"m{number}", **common, **deferred))
    record_batch(source, events, now=now)
    score_ips(now=now)
    score_senders(now=now)
    roll_up(now=now)
    for number in range(offset, offset + senders):
        ip = f"192.0.2.{10 + number}"
        judged = AuditEntry.objects.create(at=now, sending_ip=ip, action="status_change", triggered_by="automated")
        judge(judged, "false_alarm", note="a test run", user=user, now=now)
        overrides.quarantine(ip, reason="a complaint by phone", user=user, now=now)
        open_by_hand(Scope("ip", ip, "google"), reason="a bought list", user=user, now=now)
        intake.take_in(source, DOCUMENTED, [b'{"id": "x%d"}' % number], now=now)
        issue_token(source, f"t{number}")
        issue_api_token(user, f"t{number}")
        access.record(AccessKind.LOGIN, who=user.username, address="203.0.113.9", now=now)
        VolumeReport.objects.create(
            source=source, sending_ip=ip, start=now - timedelta(hours=1), end=now, sent=100 + number
        )
        Lease.objects.create(name=f"task{number}", last_started_at=now, last_finished_at=now)
        FollowedFile.objects.create(source=source, path=f"/var/log/mail{number}.log")
        MetricsWatch.objects.get_or_create(source=source)
        CompletenessReading.objects.create(source=source, start=now - timedelta(hours=number + 1), end=now)
        PostfixQueueEntry.objects.create(
            source=source, queue_id=f"Q{number}", last_seen=now, sender="a@sender.example", attempts={"b@c.example": 1}
        )
        held = {"source": source, "span": str(2**63 + number), "received_at": now}
        StalwartConnect.objects.create(id=uuid.uuid4(), local_ip=ip, occurred_at=now, **held)
        StalwartHeld.objects.create(id=uuid.uuid4(), outcome="{}", due_at=now, **held)
        UnusedEventType.objects.create(source=source, name=f"queue.event-{number}", count=3)
        UnknownReport.objects.create(source=source, digest=f"{number:064x}", why="no report in it", raw="Hello", size=5)
        kumo = KumoServer.objects.create(name=f"kumo{number}", url="http://kumo.example:8000")
        KumoAct.objects.create(
            server=kumo, act="suspend", method="POST", path="/", kind="ip", sender=ip, breaker_event=1
        )
        AuditTarget.objects.create(kind="ip", name=ip, score=70, problems=1, audited_at=now)
        AuditReport.objects.create(kind="ip", subject=ip, score=70, why="asked", findings=[FINDING.as_json()])
        blocklist = Blocklist.objects.create(name=f"list{number}", zone=f"list{number}.test")
        BlocklistCanary.objects.create(blocklist=blocklist, family=4, is_good=True, asked_at=now, stands_until=now)
        Listing.objects.create(blocklist=blocklist, kind="ip", subject=ip, shard=0, meaning="<b>spam</b>")
        ListingEvent.objects.create(
            blocklist=blocklist, kind="ip", subject=ip, from_state="clean", to_state="listed", text="<b>spam</b>"
        )
        Watermark.objects.create(name=f"mark{number}", at=now)
        alert_channel(f"https://hook{number}.example/", f"channel{number}")
        AlertRule.objects.create(name=f"rule{number}", kind="disk")
        alerts.take([alert_signal(now, ip, sentence="<b>bad</b>")], now=now)
        Group.objects.create(name=f"group{number}")
        pool = Pool.objects.create(name=f"pool{number}")
        policy = Policy.objects.create(pool=pool)
        for volume in (60, 70):
            change_policy(policy, {"minimum_volume": volume + number}, user=user, reason="a small sender")
        change_breaker_policy(BreakerPolicy.objects.create(pool=pool, revision=0), {}, user=user, reason="its own")
        change_warmup_policy(new_policy(pool), {}, user=user, reason="its own")
        change_sending_policy(new_sending_policy(pool), {}, user=user, reason="its own")
        set_domain_pool(f"sender{number}.example", pool, user=user)
        start_warmup("ip", ip, Schedule((100, 200)), reason="a new machine", user=user, now=now)
    desk = permits.desk()
    desk.books.forget()
    for number in range(offset, offset + senders):
        sender, ip = f"a@sender{number}.example", f"192.0.2.{10 + number}"
        permits.ask([Ask(sender, "x@gmail.com", ip=ip), Ask(sender, "x@yahoo.com", ip=ip)], now=now)
    desk.write_down()


@pytest.fixture
def life(source: Source, make_event: Make, root: User) -> None:
    a_life(source, make_event, root, senders=2)


def changelist(model: Any) -> str:
    return reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist")


def change(row: Any) -> str:
    return reverse(f"admin:{row._meta.app_label}_{row._meta.model_name}_change", args=[row.pk])


def button(name: str, *args: Any) -> str:
    return reverse(f"admin:{name}", args=args)


def text(response: Any) -> str:
    return re.sub(r"\s+", " ", response.content.decode())


def messages_of(response: HttpResponse) -> list[str]:
    return [str(message) for message in response.context["messages"]]
