"""Scores of sending domains and IPs over 24 hours, overall and per mailbox provider.

Reads counters only. A sender without mail in the window keeps its score and is marked "no recent mail"; one whose
volume is unknown gets none, because its rates would have no true denominator.
"""

from __future__ import annotations

import gc
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from functools import lru_cache
from operator import itemgetter
from typing import Any, NamedTuple

import msgspec
from django.db import transaction

from reputation import sql
from reputation.domain.score import Rate, Score, score
from reputation.models import SenderScore
from telemetry.counters import last_minutes
from telemetry.domain.vocab import UNKNOWN_IP, VolumeReporting
from telemetry.domain.window import Outcomes
from telemetry.queries import outcomes_by, volume_reporting

WINDOW = timedelta(hours=24)
# Between changes one history row an hour keeps charts whole, of overall scores; more would be a billion in two years.
HISTORY_EVERY = timedelta(hours=1)
# Rows written by one statement.
AT_ONCE = 500
# In the order in which people read them.
RATES = ("delivery", "bounce", "complaint")
_DIMENSION = {"ip": "sending_ip", "domain": "sending_domain"}
_NOBODY = {"ip": UNKNOWN_IP, "domain": ""}


def score_senders(*, now: datetime) -> int:
    """Score every sending domain and IP with activity in the last 24 hours; how many rows were computed."""
    start, end = last_minutes(now, WINDOW)
    computed = 0
    for kind in ("domain", "ip"):
        with transaction.atomic(), _without_collector():
            sql.more_memory()
            seen = _outcomes(kind, start, end)
            _store(kind, seen, start, end, now)
        computed += len(seen)
    return computed


@contextmanager
def _without_collector() -> Iterator[None]:
    """Hundreds of thousands of tuples, none in a cycle: looking through them for rubbish is a fifth of the time."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _outcomes(kind: str, start: datetime, end: datetime) -> dict[tuple[str, str], Outcomes]:
    """By (name, provider), provider "" being all. Sources that report failures only add nothing but complaints."""
    dimension = _DIMENSION[kind]
    by_source = outcomes_by((dimension, "provider", "source_id"), start=start, end=end)
    complete = _complete(kind, by_source)
    found: dict[tuple[str, str], Outcomes] = {}
    for (name, provider, source), outcomes in by_source.items():
        if name == _NOBODY[kind]:
            continue
        judged = outcomes if complete(name, source) else Outcomes(complained=outcomes.complained)
        for key in ((name, provider), (name, "")):
            so_far = found.get(key)
            found[key] = judged if so_far is None else so_far + judged
    return found


def _complete(kind: str, by_source: dict[tuple[str, ...], Outcomes]) -> Any:
    """Whether a source's events of a sender are its whole traffic: of an IP by that IP, of a domain by the source."""
    reporting = volume_reporting()
    delivering = {
        (name if kind == "ip" else "", source) for (name, _, source), sums in by_source.items() if sums.delivered
    }

    def complete(name: str, source: Any) -> bool:
        delivered = (name if kind == "ip" else "", source) in delivering
        return reporting.get(source, VolumeReporting.AUTO).is_whole_traffic(delivered=delivered)

    return complete


class _Stored(NamedTuple):
    """What a run needs to know of a row that is there."""

    pk: int
    score: int | None
    numbers: tuple[int, ...]
    has_recent_mail: bool


def _store(kind: str, seen: dict[tuple[str, str], Outcomes], start: datetime, end: datetime, now: datetime) -> None:
    """Write what differs from the stored rows.

    Of a hundred rows by mailbox provider ninety are as they were five minutes ago: those are not written, and their
    `computed_at` tells when their numbers last changed. Overall rows are always as of now.
    """
    stored = _stored(kind)
    due = _due(kind, now)
    rows: list[sql.Row] = []
    history: list[sql.Row] = []
    noted: list[int] = []
    for (name, provider), outcomes in seen.items():
        last = stored.get((name, provider))
        if last is not None and _is_unchanged(last, outcomes):
            if last.has_recent_mail and last.score is not None and last.pk in due:
                history.append((kind, name, provider, last.score, *_history_numbers(outcomes), now))
                noted.append(last.pk)
            continue
        result, explanation = _judged(outcomes)
        former = last.score if last is not None else None
        value = result.value if result is not None else former
        history_at = None
        if result is not None and (value != former or (last is not None and last.pk in due)):
            history_at = now
            history.append((kind, name, provider, result.value, *_history_numbers(outcomes), now))
        known = (kind, name, provider, value, *_numbers(outcomes), result is not None)
        rows.append((*known, start, end, now, now, history_at, *explanation))
    # In one order for every writer, so that two runs never wait for each other at once.
    sql.write_scores(sorted(rows, key=itemgetter(0, 1, 2)))
    sql.add_score_history(history)
    _update(noted, history_at=now)
    quiet = [last.pk for key, last in stored.items() if last.has_recent_mail and key not in seen]
    _update(quiet, has_recent_mail=False)
    overall = SenderScore.objects.filter(kind=kind, provider="", has_recent_mail=True)
    overall.update(window_start=start, window_end=end, computed_at=now)


def _stored(kind: str) -> dict[tuple[str, str], _Stored]:
    columns = ("name", "provider", "pk", "score", "has_recent_mail", *_NUMBERS)
    return {
        (name, provider): _Stored(pk, value, tuple(numbers), recent)
        for name, provider, pk, value, recent, *numbers in SenderScore.objects.filter(kind=kind).values_list(*columns)
    }


def _is_unchanged(last: _Stored, outcomes: Outcomes) -> bool:
    has_score = outcomes.delivered + outcomes.bounced > 0
    return last.numbers == _numbers(outcomes) and last.has_recent_mail == has_score


def _due(kind: str, now: datetime) -> set[int]:
    """The overall rows whose hourly history row is due. By mailbox provider there is a row at each change only."""
    waiting = SenderScore.objects.filter(kind=kind, provider="", history_at__lte=now - HISTORY_EVERY)
    return set(waiting.values_list("pk", flat=True))


def _numbers(outcomes: Outcomes) -> tuple[int, ...]:
    """In the order of `_NUMBERS`."""
    deferred = outcomes.deferred - outcomes.superseded
    return outcomes.delivered, outcomes.bounced, deferred, outcomes.complained


def _history_numbers(outcomes: Outcomes) -> tuple[int, ...]:
    return outcomes.delivered, outcomes.bounced, outcomes.complained


def _update(keys: list[int], **values: Any) -> None:
    for start in range(0, len(keys), AT_ONCE):
        SenderScore.objects.filter(pk__in=keys[start : start + AT_ONCE]).update(**values)


_NUMBERS = ("delivered", "bounced", "deferred", "complained")


# Thousands of small senders have the same few numbers.
@lru_cache(maxsize=20_000)
def _judged(outcomes: Outcomes) -> tuple[Score | None, tuple[msgspec.Raw, msgspec.Raw, str]]:
    """The score, and what explains it as stored: penalties, rates, confidence (the first two as JSON)."""
    result = score(outcomes)
    if result is None:
        return None, (_as_json([]), _as_json({}), "")
    penalties = [
        {
            "reason": penalty.reason,
            "points": penalty.points,
            "rate": float(penalty.rate),
            "threshold": float(penalty.threshold),
        }
        for penalty in result.penalties
    ]
    rates = {name: _rate(getattr(result, name)) for name in RATES}
    return result, (_as_json(penalties), _as_json(rates), result.confidence.value)


def _as_json(value: Any) -> msgspec.Raw:
    return msgspec.Raw(msgspec.json.encode(value))


def _rate(rate: Rate) -> dict[str, Any]:
    return {
        "value": float(rate.value) if rate.value is not None else None,
        "numerator": rate.numerator,
        "denominator": rate.denominator,
        "denominator_name": rate.denominator_name,
        "interval": [rate.lower, rate.upper],
    }


def worst(kind: str, limit: int) -> Iterable[SenderScore]:
    """The senders with the lowest overall scores."""
    return SenderScore.objects.filter(kind=kind, provider="").exclude(score=None).order_by("score", "name")[:limit]
