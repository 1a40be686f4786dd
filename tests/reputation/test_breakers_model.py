"""Whatever happens to a sender, on the real tables: every transition has its rows, and health leads back."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from itertools import pairwise

import pytest
from django.contrib.auth.models import User
from django.db import transaction
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reputation import breakers
from reputation.breaker_acts import close_by_hand, open_by_hand
from reputation.domain.breaker_policy import State
from reputation.models import AuditEntry, Breaker, BreakerEvent
from telemetry.counters import roll_up
from telemetry.domain.event import Event
from telemetry.domain.vocab import EventType
from telemetry.models import Source
from tests.conftest import NOON
from tests.reputation.test_breakers import REFUSED, UNKNOWN_USER, Traffic

pytestmark = [pytest.mark.django_db, pytest.mark.slow]
HOUR = timedelta(hours=1)
HAPPENINGS = ["deliver", "bounce", "block", "complain", "wait", "wait long", "open", "close", "check all", "roll up"]


@settings(max_examples=20, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(happenings=st.lists(st.sampled_from(HAPPENINGS), min_size=3, max_size=14))
def test_every_transition_has_its_rows_and_a_healthy_sender_gets_back(
    happenings: list[str], source: Source, make_event: Callable[..., Event], django_user_model: type[User]
) -> None:
    with transaction.atomic():
        user = django_user_model.objects.create_superuser("olga")
        traffic = Traffic(source, make_event)
        now = NOON
        traffic.record(20, now)
        for happening in happenings:
            now += timedelta(minutes=2)
            match happening:
                case "deliver":
                    traffic.record(60, now)
                case "bounce":
                    traffic.record(110, now, **UNKNOWN_USER)
                case "block":
                    traffic.record(3, now, **REFUSED)
                case "complain":
                    traffic.record(5, now, type=EventType.COMPLAINT)
                case "wait":
                    now += HOUR
                case "wait long":
                    now += 9 * HOUR
                case "open":
                    open_by_hand(_some_scope(), reason="why not", user=user, now=now, expires_at=now + HOUR)
                case "close" if Breaker.objects.exists():
                    close_by_hand(_a_breaker(), reason="why not", user=user, now=now, expires_at=now + HOUR)
                case "check all":
                    breakers.check_all(now=now)
                case "roll up":
                    roll_up(now=now)
            traffic.check(now)
            _rows_are_whole()
        for _ in range(40):
            now += timedelta(minutes=31)
            traffic.record(100, now)
            traffic.check(now)
        assert not Breaker.objects.exclude(state=State.CLOSED).exists()
        _rows_are_whole()
        transaction.set_rollback(True)


def _some_scope() -> breakers.Scope:
    return breakers.Scope("ip", "192.0.2.10", "google" if Breaker.objects.count() % 2 else "")


def _a_breaker() -> Breaker:
    row = Breaker.objects.order_by("pk").first()
    assert row is not None
    return row


def _rows_are_whole() -> None:
    """Each breaker's events are a chain from "closed" to what it is now, each with one audit row."""
    events = list(BreakerEvent.objects.order_by("id"))
    for row in Breaker.objects.all():
        chain = [event for event in events if event.breaker_id == row.pk]
        assert len(chain) == row.version
        assert chain[0].from_state == State.CLOSED
        assert all(before.to_state == after.from_state for before, after in pairwise(chain))
        assert (chain[-1].to_state, chain[-1].step, chain[-1].reopen_at) == (row.state, row.step, row.reopen_at)
    told = AuditEntry.objects.filter(action__startswith="breaker_").values_list("metadata", flat=True)
    assert sorted(entry["breaker_event"] for entry in told) == [event.pk for event in events]
