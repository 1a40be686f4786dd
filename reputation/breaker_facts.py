"""What breakers are judged by: outcomes since a moment from the counters, and refusals in a row.

Only sources that are known to report their whole traffic count: over failures alone any rate would be an invention, and
nobody could say that nothing was delivered between two refusals.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from reputation.domain.breaker_policy import BreakerPolicy, Kind
from reputation.domain.breaker_triggers import BLOCKING_CAUSES, in_a_row, is_blocking
from reputation.models import SenderScore
from telemetry.causes import classify
from telemetry.counters import last_minutes
from telemetry.domain.cells import DAY, first_key, floor_minute
from telemetry.domain.vocab import VolumeReporting
from telemetry.domain.window import Outcomes
from telemetry.models import TrafficHour, TrafficMinute
from telemetry.queries import outcomes_by, volume_reporting
from telemetry.queries_order import (
    NOBODY,
    SENDER_COLUMN,
    Pair,
    Refusal,
    last_deliveries,
    latest_refusals,
    refusals_by_minute,
)

# A sender without a new refusal within this time cannot have come to a row of them since the last check. Longer than
# the time between two full checks, so that only events reported later than this are seen by the rates alone.
LOOK_BACK = timedelta(minutes=20)
# Scores older than this say nothing of a sender's last 24 hours; they are computed every five minutes.
SCORES_BELIEVED = timedelta(minutes=10)
# Of the threshold: a rate below it cannot have crossed since the last scores, unless a third of the volume left the
# window meanwhile; a breaker wants the whole confidence interval above the threshold.
CALM_SHARE = Decimal("0.75")
# Raw rows read for one sender and provider; more refusals in a row than this change no decision.
ROWS_READ = 20
_CAUSES = tuple(cause.value for cause in BLOCKING_CAUSES)


class Traffic:
    """Outcomes of the senders of one kind since several moments; one read for all that share a moment.

    `trusted` are senders that a breaker holds back by their numbers: their sources were known to report deliveries when
    it opened, and a sender without mail cannot prove it anew.
    """

    def __init__(self, kind: Kind, names: Collection[str] | None, *, trusted: Collection[str], now: datetime) -> None:
        self.kind: Kind = kind
        self.start, self.end = last_minutes(now, DAY)
        self._trusted = frozenset(trusted)
        self._reporting = volume_reporting()
        rows = self._rows(names, self.start)
        self._delivering = {(name, source) for (name, _, source), sums in rows.items() if sums.delivered}
        self._by_source: dict[int, bool] = {source: True for _, source in self._delivering}
        self._sums: dict[datetime, dict[Pair, Outcomes]] = {self.start: self._judged(rows)}

    @property
    def pairs(self) -> Collection[Pair]:
        """Every (sender, provider) with traffic in the last 24 hours."""
        return self._sums[self.start].keys()

    def read(self, wanted: Iterable[tuple[datetime, str]]) -> None:
        """Read ahead what `since` will be asked for: (moment, sender), all of one check together."""
        senders: dict[datetime, set[str]] = defaultdict(set)
        for moment, name in wanted:
            senders[floor_minute(moment)].add(name)
        for start, names in senders.items():
            if start > self.start:
                self._sums[start] = self._judged(self._rows(names, start)) if start < self.end else {}

    def since(self, pair: Pair, moment: datetime) -> Outcomes:
        """What happened from that minute on; `read` must have been told of it, unless it is the day's start."""
        return self._sums[max(floor_minute(moment), self.start)].get(pair, Outcomes())

    def is_whole(self, name: str, source: int) -> bool:
        """Whether the source's events of this sender are its whole traffic."""
        how = self._reporting.get(source, VolumeReporting.AUTO)
        if how is VolumeReporting.AUTO and name in self._trusted:
            return True
        delivered = (name, source) in self._delivering or (self.kind == "domain" and self._delivers(source))
        return how.is_whole_traffic(delivered=delivered)

    def _delivers(self, source: int) -> bool:
        """Whether the source reported any delivery within the day: what is asked of it for a sending domain."""
        if source not in self._by_source:
            only = {"source_id": source, "delivered__gt": 0, "id__gte": first_key(self.start)}
            tables: tuple[Any, ...] = (TrafficMinute, TrafficHour)
            self._by_source[source] = any(table.objects.filter(**only).exists() for table in tables)
        return self._by_source[source]

    def _rows(self, names: Collection[str] | None, start: datetime) -> dict[tuple[str, str, int], Outcomes]:
        column = SENDER_COLUMN[self.kind]
        # The bucket is named beside the key's range, so that the index by sender and time can serve.
        only = {f"{column}__in": list(names), "bucket__gte": start} if names is not None else None
        found: Any = outcomes_by((column, "provider", "source_id"), start=start, end=self.end, only=only)
        return {key: sums for key, sums in found.items() if key[0] != NOBODY[self.kind]}

    def _judged(self, rows: Mapping[tuple[str, str, int], Outcomes]) -> dict[Pair, Outcomes]:
        sums: dict[Pair, Outcomes] = defaultdict(Outcomes)
        for (name, provider, source), found in rows.items():
            counts = found if self.is_whole(name, source) else Outcomes(complained=found.complained)
            sums[name, provider] += counts
        return dict(sums)


def calm_senders(
    kind: Kind, lately: Mapping[Pair, tuple[int, int]], policy_of: Callable[[Kind, str], BreakerPolicy], now: datetime
) -> set[str]:
    """Those of the senders whose rates cannot have crossed, by their last scores and (bounced, complained) since.

    So that the poll reads the 24 hours of the few that may be in trouble and not of everybody. Generous on purpose: a
    sender counts as calm far below its thresholds only, and whom this misses the next full check judges.
    """
    names = {name for name, _ in lately}
    columns = ("name", "provider", "computed_at", "has_recent_mail", "delivered", "bounced", "complained")
    rows = list(SenderScore.objects.filter(kind=kind, name__in=names).values_list(*columns))
    believed = now - SCORES_BELIEVED
    # A run writes the rows by provider that changed, and the overall row always: it tells how old the others are.
    current = {name for name, provider, at, recent, *_ in rows if not provider and recent and at >= believed}
    scores = {
        (name, provider): Outcomes(delivered, bounced, complained=complained)
        for name, provider, at, recent, delivered, bounced, complained in rows
        if at >= believed or (recent and name in current)
    }
    whole: dict[Pair, tuple[int, int]] = defaultdict(lambda: (0, 0))
    for (name, _), (bounced, complained) in lately.items():
        before = whole[name, ""]
        whole[name, ""] = before[0] + bounced, before[1] + complained
    restless = {
        pair[0]
        for pair, (bounced, complained) in [*lately.items(), *whole.items()]
        # Of a sender without a current score nobody knows what it sent before.
        if (pair not in scores and pair[0] not in current)
        # The newest failures may be in the scores already: counted twice they only make this more careful.
        or _near(
            scores.get(pair, Outcomes()) + Outcomes(bounced=bounced, complained=complained), policy_of(kind, pair[0])
        )
    }
    return names - restless


def _near(sums: Outcomes, policy: BreakerPolicy) -> bool:
    # No rate opens a breaker under the minimum volume: of fewer messages, so many failures are few.
    least = policy.minimum_volume
    if sums.bounced > policy.bounce_rate_above * CALM_SHARE * max(sums.delivered + sums.bounced, least):
        return True
    complaints = sums.complained > policy.complaint_rate_above * CALM_SHARE * max(sums.delivered, least)
    return complaints and sums.complained >= policy.complaints_from


def suspects(
    kind: Kind, names: Collection[str] | None, policy_of: Callable[[Kind, str], BreakerPolicy], now: datetime
) -> set[Pair]:
    """(sender, provider) with refusals lately that may be a row, by counters; nearly always a delivery came after."""
    counts = refusals_by_minute(kind, names, causes=_CAUSES, since=now - LOOK_BACK)
    if not counts:
        return set()
    delivered = last_deliveries(kind, {name for name, _ in counts}, since=now - LOOK_BACK)
    found: set[Pair] = set()
    for pair, by_minute in counts.items():
        last = delivered.get(pair)
        after = sum(n for at, n in by_minute.items() if last is None or at >= floor_minute(last))
        # Without any delivery lately, older refusals may be part of the row.
        if last is None or after >= policy_of(kind, pair[0]).block_refusals:
            found.add(pair)
    return found


def refusals_in_a_row(traffic: Traffic, pair: Pair, start: datetime, needed: int) -> tuple[datetime, ...]:
    """Policy and reputation refusals since `start` with no delivery after them, newest first; none below `needed`."""
    newest = latest_refusals(traffic.kind, pair, causes=_CAUSES, since=start, limit=ROWS_READ)
    times = [row.at for row in newest if traffic.is_whole(pair[0], row.source_id) and _blocks(pair[1], row)]
    if len(times) < needed:
        return ()
    return in_a_row(times, last_deliveries(traffic.kind, [pair[0]], since=min(times)).get(pair))


def _blocks(provider: str, row: Refusal) -> bool:
    scope = classify(provider, row.smtp_code, row.enhanced_code, row.reply).scope
    return is_blocking(row.cause, scope, row.enhanced_code, row.reply)
