"""Scores of sending domains and IPs over 24 hours, overall and per mailbox provider.

Reads counters only. A sender without mail in the window keeps its score and is marked "no recent mail"; one whose
volume is unknown gets none, because its rates would have no true denominator.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

from django.db import transaction

from reputation.domain.score import Rate, Score, score
from reputation.models import SenderScore, SenderScoreHistory
from telemetry.counters import last_minutes
from telemetry.domain.vocab import UNKNOWN_IP, VolumeReporting
from telemetry.domain.window import Outcomes
from telemetry.queries import outcomes_by, volume_reporting

WINDOW = timedelta(hours=24)
# Between changes one history row an hour keeps charts whole; a row per run would be a billion in two years.
HISTORY_EVERY = timedelta(hours=1)
_DIMENSION = {"ip": "sending_ip", "domain": "sending_domain"}
_NOBODY = {"ip": UNKNOWN_IP, "domain": ""}


def score_senders(*, now: datetime) -> int:
    """Score every sending domain and IP with activity in the last 24 hours; how many rows were computed."""
    start, end = last_minutes(now, WINDOW)
    computed = 0
    for kind in ("domain", "ip"):
        seen = _outcomes(kind, start, end)
        with transaction.atomic():
            computed += _store(kind, seen, start, end, now)
            SenderScore.objects.filter(kind=kind, has_recent_mail=True, computed_at__lt=now).update(
                has_recent_mail=False
            )
    return computed


def _outcomes(kind: str, start: datetime, end: datetime) -> dict[tuple[str, str], Outcomes]:
    """By (name, provider), provider "" being all. Sources that report failures only add nothing but complaints."""
    dimension = _DIMENSION[kind]
    by_source = outcomes_by((dimension, "provider", "source_id"), start=start, end=end)
    complete = _complete(kind, by_source)
    sums: dict[tuple[str, str], Outcomes] = defaultdict(Outcomes)
    for (name, provider, source), outcomes in by_source.items():
        if name == _NOBODY[kind]:
            continue
        judged = outcomes if complete(name, source) else Outcomes(complained=outcomes.complained)
        sums[name, provider] += judged
        sums[name, ""] += judged
    return dict(sums)


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


def _store(kind: str, seen: dict[tuple[str, str], Outcomes], start: datetime, end: datetime, now: datetime) -> int:
    stored = {
        (name, provider): (last, history_at)
        for name, provider, last, history_at in SenderScore.objects.filter(kind=kind).values_list(
            "name", "provider", "score", "history_at"
        )
    }
    rows: list[SenderScore] = []
    history: list[SenderScoreHistory] = []
    for (name, provider), outcomes in sorted(seen.items()):
        result = score(outcomes)
        last, history_at = stored.get((name, provider), (None, None))
        value = result.value if result is not None else last
        if result is not None and (value != last or history_at is None or now - history_at >= HISTORY_EVERY):
            history_at = now
            history.append(_history_row(kind, name, provider, result.value, outcomes, now))
        rows.append(
            SenderScore(
                kind=kind,
                name=name,
                provider=provider,
                score=value,
                delivered=outcomes.delivered,
                bounced=outcomes.bounced,
                deferred=outcomes.deferred - outcomes.superseded,
                complained=outcomes.complained,
                has_recent_mail=result is not None,
                window_start=start,
                window_end=end,
                computed_at=now,
                first_seen_at=now,
                history_at=history_at,
                **_explanation(result),
            )
        )
    SenderScore.objects.bulk_create(
        rows,
        update_conflicts=True,
        unique_fields=["kind", "name", "provider"],
        update_fields=_UPDATED,
        batch_size=500,
    )
    SenderScoreHistory.objects.bulk_create(history, batch_size=500)
    return len(rows)


_UPDATED = [
    "score",
    "delivered",
    "bounced",
    "deferred",
    "complained",
    "has_recent_mail",
    "window_start",
    "window_end",
    "computed_at",
    "history_at",
    "penalties",
    "rates",
    "confidence",
]


def _explanation(result: Score | None) -> dict[str, Any]:
    if result is None:
        return {"penalties": [], "rates": {}, "confidence": ""}
    return {
        "penalties": [
            {
                "reason": penalty.reason,
                "points": penalty.points,
                "rate": float(penalty.rate),
                "threshold": float(penalty.threshold),
            }
            for penalty in result.penalties
        ],
        "rates": {name: _rate(getattr(result, name)) for name in ("delivery", "bounce", "complaint")},
        "confidence": result.confidence.value,
    }


def _rate(rate: Rate) -> dict[str, Any]:
    return {
        "value": float(rate.value) if rate.value is not None else None,
        "numerator": rate.numerator,
        "denominator": rate.denominator,
        "denominator_name": rate.denominator_name,
        "interval": [rate.lower, rate.upper],
    }


def _history_row(
    kind: str, name: str, provider: str, value: int, outcomes: Outcomes, now: datetime
) -> SenderScoreHistory:
    return SenderScoreHistory(
        kind=kind,
        name=name,
        provider=provider,
        score=value,
        delivered=outcomes.delivered,
        bounced=outcomes.bounced,
        complained=outcomes.complained,
        computed_at=now,
    )


def worst(kind: str, limit: int) -> Iterable[SenderScore]:
    """The senders with the lowest overall scores."""
    return SenderScore.objects.filter(kind=kind, provider="").exclude(score=None).order_by("score", "name")[:limit]
