"""Whatever happens to a warm-up, on the real tables: each transition has its row, and health leads to the end."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from typing import Any, cast

import pytest
from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.db import transaction
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from reputation import warmups
from reputation.domain.warmup import Schedule, Unit, day_window, local_date
from reputation.models import AuditEntry, Budget, IpStandingHistory, Warmup, WarmupEvent, WarmupPolicy
from reputation.warmup_acts import cancel, complete, skip, start
from reputation.warmup_policies import change_warmup_policy
from telemetry.domain.event import Event
from telemetry.models import Source
from tests.reputation.test_breakers import IP, Traffic

pytestmark = [pytest.mark.django_db, pytest.mark.slow]
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
# Three days before the clocks of Europe go back.
BEGIN = datetime(2026, 10, 22, 9, 0, tzinfo=UTC)
SCHEDULES = [Schedule((10, 20, 30)), Schedule((5, 5), Unit.HOUR), Schedule((10, 20), Unit.DAY, {"google": (5, 10)})]


class Life(RuleBasedStateMachine):
    """One sending IP, its mail, its standing, its operators, and workers that come when they like."""

    source: Source
    make: Callable[..., Event]
    user: User

    @initialize(schedule=st.sampled_from(SCHEDULES), zone=st.sampled_from(["UTC", "Europe/Berlin", "America/New_York"]))
    def begin(self, schedule: Schedule, zone: str) -> None:
        self.atomic = transaction.atomic()
        self.atomic.__enter__()
        self.now, self.schedule, self.zone = BEGIN, schedule, zone
        self.traffic = Traffic(self.source, self.make)
        policy = WarmupPolicy.objects.get()
        change_warmup_policy(policy, {"time_zone": zone}, user=None, reason="test")
        self.acts: dict[str, Any] = {"reason": "why not", "user": self.user}
        start("ip", IP, schedule, now=self.now, **self.acts)

    def teardown(self) -> None:
        try:
            self.health_leads_to_the_end()
        finally:
            transaction.set_rollback(True)
            self.atomic.__exit__(None, None, None)

    @property
    def row(self) -> Warmup:
        return Warmup.objects.order_by("-id")[0]

    @rule(count=st.sampled_from([1, 8, 16, 40]))
    def mail(self, count: int) -> None:
        self.now += timedelta(minutes=1)
        self.traffic.record(count, self.now)

    @rule(status=st.sampled_from(["healthy", "warning", "quarantine", "blacklisted"]))
    def judged(self, status: str) -> None:
        self.stands(status)

    @rule(count=st.sampled_from([4, 20]))
    def permits(self, count: int) -> None:
        window = day_window(local_date(self.now, self.zone), self.zone)
        Budget.objects.update_or_create(
            key=f"{window.starts}",
            defaults={
                "rule": "warm_up",
                "kind": "ip",
                "sender": IP,
                "starts_at": window.starts,
                "ends_at": window.ends,
                "limit": 50,
                "spent": count,
            },
        )

    @rule(hours=st.sampled_from([1, 7, 26, 31 * 24]))
    def wait(self, hours: int) -> None:
        self.now += hours * HOUR

    @rule()
    def worker(self) -> None:
        warmups.tick(now=self.now)
        assert warmups.tick(now=self.now) == 0

    @rule(days=st.sampled_from([-1, 1, 2]))
    def skip(self, days: int) -> None:
        self.act(skip, days=days)

    @rule()
    def complete(self) -> None:
        self.act(complete)

    @rule()
    def cancel_and_begin_anew(self) -> None:
        self.act(cancel)
        if self.row.ended_at is not None:
            start("ip", IP, self.schedule, now=self.now, **self.acts)

    @invariant()
    def rows_are_whole(self) -> None:
        if not hasattr(self, "atomic"):
            return
        told = AuditEntry.objects.filter(action__startswith="warmup_").values_list("metadata", flat=True)
        audited = {entry["warmup_event"] for entry in told}
        for row in Warmup.objects.all():
            events = list(WarmupEvent.objects.filter(warmup=row).order_by("id"))
            assert 1 <= row.day <= row.days
            assert len(events) == row.version
            assert events[0].from_state == ""
            assert all((a.to_state, a.to_day) == (b.from_state, b.from_day) for a, b in pairwise(events))
            assert (events[-1].to_state, events[-1].to_day) == (row.state, row.day)
            judged = [cast("date", event.on_date) for event in events if event.on_date]
            assert judged == sorted(set(judged)), "each local date is judged once"
            assert {event.pk for event in events if event.step != "held"} <= audited

    @invariant()
    def the_plan_is_of_today(self) -> None:
        if not hasattr(self, "atomic"):
            return
        plans = warmups.plans(now=self.now)
        assert len(plans) == Warmup.objects.filter(state="running").count() <= 1
        for plan in plans:
            assert plan.starts <= self.now < plan.ends
            assert plan.limit == self.schedule.limit(plan.day)
            assert plan.day == self.row.day

    def stands(self, status: str) -> None:
        IpStandingHistory.objects.create(
            sending_ip=IP,
            computed_at=self.now,
            window_start=self.now,
            window_end=self.now,
            total_rejected=0,
            unique_recipient_domains=0,
            automatic_status=status,
            status=status,
            rule="test",
        )

    def act(self, act: Callable[..., Warmup], **given: Any) -> None:
        try:
            act(self.row, now=self.now, **given, **self.acts)
        except ValidationError:
            pass  # not in this state, or not so far
        else:
            assert not self.row.events.order_by("-id")[0].automated

    def health_leads_to_the_end(self) -> None:
        if self.row.ended_at is not None:
            return
        self.now += DAY  # what was bad lies a day back
        for _ in range(self.schedule.days + 2):
            self.now += DAY
            self.traffic.record(40, self.now)
            self.stands("healthy")
            warmups.tick(now=self.now)
        assert self.row.state == "completed"
        self.rows_are_whole()


def test_no_state_keeps_a_healthy_sender_and_every_transition_has_one_row(
    source: Source, make_event: Callable[..., Event], django_user_model: type[User]
) -> None:
    Life.source, Life.make, Life.user = source, staticmethod(make_event), django_user_model.objects.create_user("olga")  # type: ignore[assignment]
    run_state_machine_as_test(  # type: ignore[no-untyped-call]
        Life,
        settings=settings(
            max_examples=25,
            stateful_step_count=15,
            deadline=None,
            derandomize=True,
            suppress_health_check=list(HealthCheck),
        ),
    )
