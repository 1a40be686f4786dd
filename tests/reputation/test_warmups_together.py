"""Warm-ups together with the parts around them: permits keep to a plan, and several workers are as good as one."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.utils import timezone

from reputation import warmups
from reputation.budgets import DatabaseStore
from reputation.domain.permit import Action, Ask, Rule
from reputation.domain.warmup import Schedule, Unit
from reputation.models import AuditEntry, SendingPolicy, Warmup, WarmupEvent
from reputation.permit_facts import Books
from reputation.permit_record import Recorder
from reputation.permits import Desk
from reputation.sending_policies import change_sending_policy
from reputation.standing import score_ips
from reputation.warmup_acts import WrongStateError, start
from telemetry.domain.event import Event
from telemetry.models import Source
from tests.conftest import NOON
from tests.reputation.test_breakers import DOMAIN, IP, Traffic

DAY = timedelta(days=1)
JUST_AFTER = NOON + timedelta(hours=12, minutes=6)


@pytest.fixture
def olga(django_user_model: type[User]) -> User:
    return django_user_model.objects.create_superuser("olga")


@pytest.fixture
def traffic(source: Source, make_event: Callable[..., Event]) -> Traffic:
    return Traffic(source, make_event)


def enforced() -> Desk:
    row = SendingPolicy.objects.get(pool__is_default=True)
    change_sending_policy(row, {"mode": "enforce"}, user=None, reason="test")
    return Desk(Books(), DatabaseStore(), Recorder())


@pytest.mark.django_db
def test_permits_hand_out_the_days_volume_and_what_they_handed_out_was_used(traffic: Traffic, olga: User) -> None:
    now = timezone.now()
    row = start("domain", DOMAIN, Schedule((5, 10)), reason="new", user=olga, now=now)
    desk = enforced()
    asks = [Ask(f"news@{DOMAIN}", "someone@gmail.com") for _ in range(6)]
    told = desk.ask(asks, now=now)
    assert [answer.action for answer in told] == [Action.ALLOW] * 5 + [Action.DEFER]
    (plan,) = warmups.plans(now=now)
    assert (told[-1].rule, told[-1].until) == (Rule.WARM_UP, plan.ends)
    traffic.record(2, now)  # three of the permitted are still on the way
    warmups.tick(now=plan.ends + timedelta(minutes=10))
    event = WarmupEvent.objects.filter(warmup=row).order_by("-id")[0]
    assert (event.step, event.used, event.to_day) == ("advanced", 5, 2)


@pytest.mark.django_db
def test_what_left_without_asking_is_not_handed_out_again(traffic: Traffic, olga: User) -> None:
    now = timezone.now()
    start("domain", DOMAIN, Schedule((50, 60), Unit.DAY, {"google": (4, 5)}), reason="new", user=olga, now=now)
    traffic.record(3, now)
    desk = enforced()
    told = desk.ask([Ask(f"news@{DOMAIN}", "someone@gmail.com"), Ask(f"news@{DOMAIN}", "else@gmail.com")], now=now)
    assert [answer.action for answer in told] == [Action.ALLOW, Action.DEFER]
    told = desk.ask([Ask(f"news@{DOMAIN}", "someone@outlook.com", recipients=46)], now=now)
    assert [answer.action for answer in told] == [Action.ALLOW]
    told = desk.ask([Ask(f"news@{DOMAIN}", "someone@outlook.com")], now=now)
    assert [answer.action for answer in told] == [Action.DEFER]


def at_once(work: Callable[[], Any]) -> list[Any]:
    """What two threads came to that began together."""
    together, found = threading.Barrier(2), []

    def run() -> None:
        try:
            together.wait(30)
            found.append(work())
        finally:
            connection.close()

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return found


@pytest.mark.django_db(transaction=True)
def test_two_workers_at_midnight_judge_each_day_once(traffic: Traffic, olga: User) -> None:
    row = start("ip", IP, Schedule((10, 20, 30)), reason="new", user=olga, now=NOON)
    for number in range(2):
        traffic.record(20, NOON + number * DAY)
        score_ips(now=NOON + number * DAY)
    moved = at_once(lambda: warmups.tick(now=JUST_AFTER + DAY))
    assert sum(moved) == 2
    steps = WarmupEvent.objects.filter(warmup=row).order_by("id").values_list("step", "to_day")
    assert list(steps) == [("started", 1), ("advanced", 2), ("advanced", 3)]
    assert AuditEntry.objects.filter(action="warmup_advanced").count() == 2


@pytest.mark.django_db(transaction=True)
def test_two_people_at_once_start_one_warm_up(olga: User) -> None:
    def begin() -> str:
        try:
            return start("ip", IP, Schedule((10, 20)), reason="new", user=olga, now=NOON).state
        except WrongStateError as error:
            return type(error).__name__

    assert sorted(at_once(begin)) == ["WrongStateError", "running"]
    assert (Warmup.objects.count(), WarmupEvent.objects.count()) == (1, 1)
