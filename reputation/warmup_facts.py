"""What warm-ups are judged by: recipients counted and permitted, and how a sender stood on one of its days."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from datetime import datetime
from typing import Any, cast

from django.db.models import F, OuterRef, Q, Subquery

from reputation.domain.breaker_policy import Kind
from reputation.domain.breaker_policy import State as BreakerState
from reputation.domain.permit import Rule
from reputation.domain.policy import Status
from reputation.domain.score import score
from reputation.domain.warmup import DayFacts, Unit, Window, hour_windows
from reputation.domain.warmup_standing import Stood, of_breaker, of_score, of_statuses, worst
from reputation.models import Breaker, BreakerEvent, Budget, IpStandingHistory, Override, Warmup
from telemetry.domain.vocab import VolumeReporting
from telemetry.domain.window import Outcomes
from telemetry.queries import outcomes_by, volume_reporting
from telemetry.queries_order import SENDER_COLUMN

SenderAt = tuple[str, str]
"""(sender, mailbox provider)"""


def recipients(kind: Kind, senders: Collection[str], window: Window) -> dict[SenderAt, int]:
    """Recipients by sender and mailbox provider in a window, by the events: messages sent, whatever became of them."""
    found = _outcomes(kind, senders, window, "provider")
    return {(sender, provider): max(0, sums.sent) for (sender, provider), sums in found.items()}


def day_facts(kind: Kind, rows: Collection[Warmup], day: Window) -> dict[str, DayFacts]:
    """What is known of the senders' local day; a fixed number of queries however many there are."""
    by_hour = {row.sender for row in rows if row.unit == Unit.HOUR}
    by_day = {row.sender for row in rows} - by_hour
    senders = by_hour | by_day
    counted = _counted_by_day(kind, by_day, day) | _busiest_hours(kind, by_hour, day)
    permitted = _permitted(kind, senders, day)
    stood = _ips_stood(senders, day) if kind == "ip" else _domains_stood(senders, day)
    broken = _breakers_stood(kind, senders, day)
    facts: dict[str, DayFacts] = {}
    for sender in senders:
        used = max(counted.get(sender, 0), permitted.get(sender, 0))
        found = worst(stood.get(sender), broken.get(sender))
        if found is not None:
            facts[sender] = DayFacts(used, found.status, found.because)
        else:
            # Who sent nothing needs no judge.
            facts[sender] = DayFacts(used, None if used else Status.HEALTHY)
    return facts


def _outcomes(kind: Kind, senders: Collection[str], window: Window, *more: str) -> dict[tuple[Any, ...], Outcomes]:
    if not senders:
        return {}
    column = SENDER_COLUMN[kind]
    # The bucket is named beside the key's range, so that the index by sender and time can serve.
    only = {f"{column}__in": list(senders), "bucket__gte": window.starts}
    return dict(outcomes_by((column, *more), start=window.starts, end=window.ends, only=only))


def _counted_by_day(kind: Kind, senders: Collection[str], day: Window) -> dict[str, int]:
    return {sender: sums.sent for (sender,), sums in _outcomes(kind, senders, day).items()}


def _busiest_hours(kind: Kind, senders: Collection[str], day: Window) -> dict[str, int]:
    hours: dict[tuple[str, datetime], int] = defaultdict(int)
    starts = [hour.starts for hour in hour_windows(day)]
    for (sender, bucket), sums in _outcomes(kind, senders, day, "bucket").items():
        hours[sender, max(start for start in starts if start <= bucket)] += sums.sent
    return _largest(hours)


def _permitted(kind: Kind, senders: Collection[str], day: Window) -> dict[str, int]:
    """What permits handed out: of the day, or of the hour that spent most."""
    rows = Budget.objects.filter(rule=Rule.WARM_UP, kind=kind, provider="", sender__in=list(senders))
    rows = rows.filter(starts_at__gte=day.starts, starts_at__lt=day.ends).order_by()
    windows: dict[tuple[str, datetime], int] = defaultdict(int)
    for sender, starts, spent in rows.values_list("sender", "starts_at", "spent"):
        windows[sender, starts] += spent
    return _largest(windows)


def _largest(sums: Mapping[tuple[str, datetime], int]) -> dict[str, int]:
    found: dict[str, int] = {}
    for (sender, _), value in sums.items():
        found[sender] = max(found.get(sender, 0), value)
    return found


def _ips_stood(ips: Collection[str], day: Window) -> dict[str, Stood]:
    """The worst status of the day; where a person's override was in force at its end, theirs."""
    judged: dict[str, set[str]] = defaultdict(set)
    rows = IpStandingHistory.objects.filter(
        sending_ip__in=list(ips), computed_at__gte=day.starts, computed_at__lt=day.ends
    )
    for ip, status in rows.order_by().values_list("sending_ip", "status").distinct():
        judged[ip].add(status)
    still = Q(ended_at=None) | Q(ended_at__gte=day.ends)
    lasts = Q(expires_at=None) | Q(expires_at__gte=day.ends)
    overridden = Override.objects.filter(still, lasts, sending_ip__in=list(ips), created_at__lt=day.ends)
    words = {row.sending_ip: row.status for row in overridden.order_by("created_at")}
    found = {ip: of_statuses(statuses, words.get(ip)) for ip, statuses in judged.items()}
    return found | {ip: of_statuses((), word) for ip, word in words.items() if ip not in found}


def _domains_stood(domains: Collection[str], day: Window) -> dict[str, Stood]:
    """By the score of exactly this day's mail, of sources that are known to report their deliveries."""
    by_source = _outcomes("domain", domains, day, "source_id")
    reporting = volume_reporting()
    totals = cast("dict[tuple[Any], Outcomes]", outcomes_by(("source_id",), start=day.starts, end=day.ends))
    delivering = {source for (source,), sums in totals.items() if sums.delivered}
    sums: dict[str, Outcomes] = defaultdict(Outcomes)
    for (domain, source), outcomes in by_source.items():
        how = reporting.get(source, VolumeReporting.AUTO)
        is_whole = how.is_whole_traffic(delivered=source in delivering)
        sums[domain] += outcomes if is_whole else Outcomes(complained=outcomes.complained)
    scores = {domain: score(outcomes) for domain, outcomes in sums.items()}
    return {domain: of_score(result.value) for domain, result in scores.items() if result is not None}


def _breakers_stood(kind: Kind, senders: Collection[str], day: Window) -> dict[str, Stood]:
    """The worst state in which any breaker of the sender was within the day, at one mailbox provider or at all."""
    before = BreakerEvent.objects.filter(breaker=OuterRef("pk"), at__lt=day.starts).order_by("-id")
    breakers = Breaker.objects.filter(kind=kind, sender__in=list(senders))
    at_start = breakers.annotate(was=Subquery(before.values("to_state")[:1])).exclude(was=None)
    within = BreakerEvent.objects.filter(
        breaker__kind=kind, breaker__sender__in=list(senders), at__gte=day.starts, at__lt=day.ends
    )
    states: list[Iterable[tuple[str, str, str]]] = [
        at_start.order_by().values_list("sender", "provider", "was"),
        within.order_by()
        .annotate(sender=F("breaker__sender"), provider=F("breaker__provider"))
        .values_list("sender", "provider", "to_state"),
    ]
    found: dict[str, Stood] = {}
    for sender, provider, state in (entry for rows in states for entry in rows):
        stood = worst(found.get(sender), of_breaker(BreakerState(state), provider))
        if stood is not None:
            found[sender] = stood
    return found
