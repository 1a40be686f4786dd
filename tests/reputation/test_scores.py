"""Scores as stored: what a run writes, what it leaves alone, and what of it becomes history."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User

from reputation import history
from reputation.breaker_acts import open_by_hand
from reputation.domain.breaker_policy import Scope
from reputation.models import BreakerEvent, SenderScore, SenderScoreHistory
from reputation.scores import score_senders
from telemetry.domain.event import Event
from telemetry.domain.vocab import EventType
from telemetry.ingest import record_batch
from telemetry.models import Source
from tests.conftest import NOON

pytestmark = pytest.mark.django_db
Make = Callable[..., Event]
MINUTE = timedelta(minutes=1)


def mail(make: Make, number: int, mark: str, **fields: Any) -> list[Event]:
    return [make(event_id=f"{mark}{index}", **fields) for index in range(number)]


def rows(provider: str) -> Any:
    return SenderScore.objects.get(kind="domain", provider=provider)


def scores_of(provider: str) -> list[Any]:
    found = SenderScoreHistory.objects.filter(kind="domain", provider=provider).order_by("computed_at")
    return list(found.values_list("computed_at", "score"))


@pytest.fixture
def scored(source: Source, make_event: Make) -> Source:
    """Ninety deliveries and ten bounces at google, scored at noon."""
    refused = mail(make_event, 10, "b", type=EventType.BOUNCE, enhanced_code="5.1.1")
    record_batch(source, mail(make_event, 90, "d") + refused, now=NOON)
    score_senders(now=NOON)
    return source


def test_a_run_without_news_refreshes_the_overall_row_and_leaves_the_others(scored: Source) -> None:
    later = NOON + 5 * MINUTE
    assert score_senders(now=later) == 4
    assert rows("").computed_at == later
    assert rows("").window_end == later + MINUTE
    assert rows("google").computed_at == NOON
    assert (rows("google").delivered, rows("google").bounced) == (90, 10)


def test_a_changed_number_is_written_everywhere(scored: Source, make_event: Make) -> None:
    later = NOON + 5 * MINUTE
    record_batch(scored, mail(make_event, 1, "n", occurred_at=later), now=later)
    score_senders(now=later)
    assert [(rows(name).delivered, rows(name).computed_at) for name in ("", "google")] == [(91, later)] * 2
    assert rows("google").rates["delivery"]["numerator"] == 91
    assert rows("google").penalties == rows("").penalties != []


def test_history_has_a_row_at_each_change_and_of_the_overall_score_one_an_hour(
    scored: Source, make_event: Make
) -> None:
    for minutes in (5, 60, 65):
        score_senders(now=NOON + minutes * MINUTE)
    score = rows("").score
    assert scores_of("") == [(NOON, score), (NOON + 60 * MINUTE, score)]
    assert scores_of("google") == [(NOON, score)]
    later = NOON + 70 * MINUTE
    record_batch(scored, mail(make_event, 2_000, "n", occurred_at=later), now=later)
    score_senders(now=later)
    assert rows("").score > score
    assert scores_of("")[-1] == scores_of("google")[-1] == (later, rows("").score)


def test_who_was_quiet_and_sends_the_same_again_has_recent_mail_again(scored: Source, make_event: Make) -> None:
    quiet = NOON + timedelta(days=2)
    score_senders(now=quiet)
    assert [rows(name).has_recent_mail for name in ("", "google")] == [False, False]
    assert rows("").computed_at < quiet
    again = mail(make_event, 90, "e", occurred_at=quiet)
    again += mail(make_event, 10, "f", type=EventType.BOUNCE, enhanced_code="5.1.1", occurred_at=quiet)
    record_batch(scored, again, now=quiet)
    score_senders(now=quiet + MINUTE)
    assert [rows(name).has_recent_mail for name in ("", "google")] == [True, True]
    assert rows("google").computed_at == quiet + MINUTE


def test_history_past_its_time_goes_transitions_of_breakers_included(
    scored: Source, django_user_model: type[User]
) -> None:
    user = django_user_model.objects.create_superuser("olga")
    scope = Scope("ip", "192.0.2.10", "")
    for days in (0, 700):
        open_by_hand(scope, reason="list was bought", user=user, now=NOON + timedelta(days=days))
    removed = history.clean_up(now=NOON + timedelta(days=731))
    assert removed["reputation_breakerevent"] == removed["reputation_auditentry"] == 1
    assert removed["reputation_senderscorehistory"] == 4
    assert BreakerEvent.objects.get().at == NOON + timedelta(days=700)
    assert history.clean_up(now=NOON + timedelta(days=731)) == dict.fromkeys(removed, 0)
