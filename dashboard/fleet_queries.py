"""What the fleet-wide pages read: every IP at every mailbox provider, breakers, warm-ups."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import cast

from django.db.models import Case, F, IntegerField, OuterRef, QuerySet, Subquery, Value, When

from dashboard.keeping import kept
from reputation.domain import breaker_policy, warmup_policy
from reputation.models import Breaker, BreakerEvent, SenderScore, Warmup, WarmupEvent
from telemetry.counters import last_minutes
from telemetry.domain.cells import floor_hour
from telemetry.domain.vocab import UNKNOWN_IP
from telemetry.domain.window import Outcomes
from telemetry.models import SendingEvent
from telemetry.queries import complete_pairs, failures
from telemetry.queries_fleet import outcomes_over, refusals_at

DAY = timedelta(hours=24)
# Events have no index by provider, which every insert would pay for; those of the most refused IPs are looked through.
IPS_QUOTED = 10
EVENTS_QUOTED = 400


@dataclass(frozen=True, slots=True)
class Seen:
    """How one mailbox provider took the mail of one sending IP; `sent` is None where the volume is unknown."""

    outcomes: Outcomes
    sent: int | None


@dataclass(frozen=True, slots=True)
class FleetSeen:
    """How every mailbox provider took the mail of every sending IP in a stretch."""

    start: datetime
    end: datetime
    by_ip: dict[str, dict[str, Seen]]
    """By sending IP, then by provider id."""
    of_unknown_ip: int
    """Messages whose source could not tell the sending IP."""


def stretch(length: timedelta, now: datetime) -> tuple[datetime, datetime]:
    """The last `length`, this minute included; a stretch longer than a day begins on a whole hour."""
    start, end = last_minutes(now, length)
    # Minutes are kept 48 hours only.
    return (floor_hour(start) if length > DAY else start), end


def seen_by_providers(length: timedelta, *, now: datetime) -> FleetSeen:
    """Sums of counters by sending IP and provider; a fixed number of queries.

    With hundreds of IPs and thousands of domains a million cells are added up. What took long is believed for a while,
    so that paging and narrowing the table does not add them up anew; its `end` says how old it is.
    """
    return kept(("seen by providers", length), lambda: _read_by_providers(length, now), now=now)


def _read_by_providers(length: timedelta, now: datetime) -> FleetSeen:
    start, end = stretch(length, now)
    dimensions = ("sending_ip", "provider", "source_id")
    sums = cast("dict[tuple[str, str, int], Outcomes]", outcomes_over(dimensions, start=start, end=end))
    by_source: dict[str, dict[int, Outcomes]] = defaultdict(dict)
    for (ip, _, source), outcomes in sums.items():
        by_source[ip][source] = by_source[ip].get(source, Outcomes()) + outcomes
    unknown = by_source.pop(UNKNOWN_IP, {})
    complete = complete_pairs(by_source, now=now)
    found: dict[str, dict[str, Seen]] = defaultdict(dict)
    for (ip, provider, source), outcomes in sums.items():
        if ip == UNKNOWN_IP:
            continue
        before = found[ip].get(provider, Seen(Outcomes(), 0))
        is_whole = (ip, source) in complete or not outcomes.sent
        sent = before.sent + outcomes.sent if is_whole and before.sent is not None else None
        found[ip][provider] = Seen(before.outcomes + outcomes, sent)
    return FleetSeen(start, end, dict(found), sum(outcomes.sent for outcomes in unknown.values()))


def scores_at(kind: str, provider: str, text: str) -> QuerySet[SenderScore]:
    """Scores of the senders of one kind at one provider with mail in the last 24 hours, the worst first."""
    rows = SenderScore.objects.filter(kind=kind, provider=provider, has_recent_mail=True)
    rows = rows.filter(name__icontains=text) if text else rows
    return rows.order_by(F("score").asc(nulls_last=True), "-complained", "-bounced", "name")


@dataclass(frozen=True, slots=True)
class Refused:
    """What one provider refused in a stretch."""

    by_code: Counter[tuple[str, str]]
    """By (code, cause)."""
    by_ip: Counter[str]


def refused_at(provider: str, *, start: datetime, end: datetime) -> Refused:
    """Refused attempts at one provider, of all senders."""
    by_code: Counter[tuple[str, str]] = Counter()
    by_ip: Counter[str] = Counter()
    sums = refusals_at(provider, ("sending_ip", "code", "cause"), start=start, end=end)
    for (ip, code, cause), count in sums.items():
        if count > 0:
            by_code[code, cause] += count
            by_ip[ip] += count
    return Refused(by_code, by_ip)


def refusals_to_quote(provider: str, refused: Refused, *, start: datetime, end: datetime) -> list[SendingEvent]:
    """The newest raw failures at a provider, of the IPs that it refuses most, newest first."""
    ips = [ip for ip, _ in refused.by_ip.most_common(IPS_QUOTED)]
    if not ips:
        return []
    rows = failures(start=start, end=end, provider=provider, sending_ip__in=ips).exclude(reply="")
    return list(rows[:EVENTS_QUOTED])


def holding_ips() -> list[Breaker]:
    """The breakers that hold mail of sending IPs back now."""
    return list(Breaker.objects.filter(kind="ip").exclude(state=breaker_policy.State.CLOSED))


def breakers(*, state: str = "", scope: str = "", provider: str = "", text: str = "") -> QuerySet[Breaker]:
    """Breakers that ever moved: what holds mail back first, then the last closed; each filter may be empty."""
    rows = Breaker.objects.filter(version__gt=0)
    if state:
        rows = rows.filter(state=state)
    if scope:
        kind, _, at_provider = scope.partition("_")
        rows = rows.filter(kind=kind)
        rows = rows.exclude(provider="") if at_provider else rows.filter(provider="")
    if provider:
        rows = rows.filter(provider=provider)
    if text:
        rows = rows.filter(sender__icontains=text)
    is_closed = Case(When(state=breaker_policy.State.CLOSED, then=Value(1)), default=Value(0))
    return rows.order_by(is_closed, "-since", "-id")


@dataclass(frozen=True, slots=True)
class LastEvents:
    """Of one breaker: the transition that opened it by a number, and the last of all."""

    opened: BreakerEvent | None
    last: BreakerEvent | None


def last_events(rows: Sequence[Breaker]) -> dict[int, LastEvents]:
    """By breaker; two queries whatever the number of rows."""
    events = BreakerEvent.objects.filter(breaker=OuterRef("pk")).order_by("-id").values("pk")
    opening = events.filter(value__isnull=False, to_state=breaker_policy.State.OPEN)
    keys = Breaker.objects.filter(pk__in=[row.pk for row in rows]).order_by()
    found = keys.values_list("pk", Subquery(opening[:1]), Subquery(events[:1]))
    pairs = {pk: (opened, last) for pk, opened, last in found}
    known = BreakerEvent.objects.in_bulk([key for pair in pairs.values() for key in pair if key is not None])
    return {pk: LastEvents(known.get(opened), known.get(last)) for pk, (opened, last) in pairs.items()}


def warmups(*, state: str = "", kind: str = "", text: str = "") -> QuerySet[Warmup]:
    """Warm-ups: those that run, proposals to confirm, then the last that ended; each filter may be empty."""
    rows = Warmup.objects.filter(version__gt=0)
    only = {name: value for name, value in (("state", state), ("kind", kind), ("sender__icontains", text)) if value}
    order = Case(
        When(state=warmup_policy.State.RUNNING, then=Value(0)),
        When(state=warmup_policy.State.PROPOSED, then=Value(1)),
        default=Value(2),
        output_field=IntegerField(),
    )
    return rows.filter(**only).order_by(order, F("ended_at").desc(nulls_first=True), "-created_at", "-id")


def last_steps(rows: Iterable[Warmup]) -> dict[int, WarmupEvent]:
    """The last transition of each warm-up; two queries whatever their number."""
    events = WarmupEvent.objects.filter(warmup=OuterRef("pk")).order_by("-id").values("pk")
    keys = Warmup.objects.filter(pk__in=[row.pk for row in rows]).order_by()
    found = dict(keys.values_list("pk", Subquery(events[:1])))
    known = WarmupEvent.objects.in_bulk([key for key in found.values() if key is not None])
    return {pk: known[key] for pk, key in found.items() if key in known}
