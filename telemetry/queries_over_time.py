"""The counters of one sender over time, at the resolution that is asked: minutes, hours or days.

What is rolled up is read from the hours and days up to the last one that is complete, the rest from the finer counters
after it, so a roll-up in between changes no sum.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

from django.db.models import Exists, OuterRef, Q, QuerySet, Sum

from telemetry.counters import rolled_up_to
from telemetry.domain.cells import first_key, floor_day, floor_hour
from telemetry.domain.window import Outcomes
from telemetry.models import (
    RefusalDay,
    RefusalHour,
    RefusalMinute,
    Source,
    TrafficDay,
    TrafficHour,
    TrafficMinute,
)
from telemetry.queries import MEASURES

_COLUMN: Final = {"ip": "sending_ip", "domain": "sending_domain"}


class Level(StrEnum):
    """How fine the counters are that a stretch is read from."""

    MINUTE = "minute"
    HOUR = "hour"
    DAY = "day"


_TRAFFIC: Final[Mapping[Level, Any]] = {
    Level.MINUTE: TrafficMinute,
    Level.HOUR: TrafficHour,
    Level.DAY: TrafficDay,
}
_REFUSALS: Final[Mapping[Level, Any]] = {
    Level.MINUTE: RefusalMinute,
    Level.HOUR: RefusalHour,
    Level.DAY: RefusalDay,
}


@dataclass(frozen=True, slots=True)
class Sums:
    """What happened in one bucket by the word of one source."""

    outcomes: Outcomes
    """At the mailbox provider that was asked for, else at all of them."""
    overall: Outcomes
    """At all of them: whether a source reports deliveries shows there."""


@dataclass(frozen=True, slots=True)
class SenderCounters:
    """Where the counters of one sender for a stretch lie. Made by `sender_counters`."""

    kind: str
    name: str
    pieces: tuple[tuple[Level, datetime, datetime], ...]
    ips: tuple[str, ...]
    """Of a domain: the IPs that its rolled up minutes name. Minutes have an index by IP and none by domain."""
    mark: datetime

    def by_bucket(self, provider: str = "") -> dict[tuple[datetime, int], Sums]:
        """Sums by bucket and source id. A bucket is a minute, an hour or a day, whichever counter holds it."""
        chosen = Q(provider=provider) if provider else None
        asked = {f"sum_{name}": Sum(name, filter=chosen) for name in MEASURES}
        overall = {f"all_{name}": Sum(name) for name in MEASURES}
        found: dict[tuple[datetime, int], Sums] = {}
        for rows in self._rows(_TRAFFIC):
            for bucket, source, *sums in (
                rows.order_by().values_list("bucket", "source_id").annotate(**asked, **overall)
            ):
                numbers = [int(value or 0) for value in sums]
                more = Sums(Outcomes(*numbers[: len(MEASURES)]), Outcomes(*numbers[len(MEASURES) :]))
                so_far = found.get((bucket, source))
                if so_far is not None:
                    more = Sums(so_far.outcomes + more.outcomes, so_far.overall + more.overall)
                found[bucket, source] = more
        return found

    def by_provider(self) -> dict[tuple[str, int], Outcomes]:
        """Sums of the whole stretch by mailbox provider and source id."""
        found: dict[tuple[str, int], Outcomes] = {}
        for rows in self._rows(_TRAFFIC):
            summed = rows.order_by().values_list("provider", "source_id").annotate(*(Sum(name) for name in MEASURES))
            for provider, source, *sums in summed:
                more = Outcomes(*(int(value) for value in sums))
                found[provider, source] = found.get((provider, source), Outcomes()) + more
        return found

    def refusals(self, dimensions: Sequence[str], only: Mapping[str, Any] | None = None) -> Counter[tuple[str, ...]]:
        """Refused attempts of the stretch by the given dimensions; `only` narrows by equality."""
        found: Counter[tuple[str, ...]] = Counter()
        for rows in self._rows(_REFUSALS):
            for row in rows.filter(**(only or {})).order_by().values_list(*dimensions).annotate(Sum("count")):
                found[tuple(row[:-1])] += int(row[-1])
        return found

    def _rows(self, tables: Mapping[Level, Any]) -> list[QuerySet[Any]]:
        found: list[QuerySet[Any]] = []
        mine = {_COLUMN[self.kind]: self.name}
        for level, start, end in self.pieces:
            rows = tables[level].objects.filter(**mine, bucket__gte=start, bucket__lt=end)
            if level is Level.MINUTE and self.kind == "domain":
                known = rows.filter(sending_ip__in=self.ips, bucket__lt=self.mark)
                found += [known, _by_key(rows, max(start, self.mark), end)]
            else:
                found.append(rows)
        return found


def sender_counters(kind: str, name: str, level: Level, *, start: datetime, end: datetime) -> SenderCounters:
    """The counters of an IP or a domain in [start, end), which begins where a bucket of that level does."""
    mark = rolled_up_to()
    pieces = tuple(piece for piece in _pieces(level, start, end, mark) if piece[1] < piece[2])
    ips: tuple[str, ...] = ()
    if kind == "domain":
        minutes_from = min((begin for finest, begin, _ in pieces if finest is Level.MINUTE), default=end)
        hours = TrafficHour.objects.filter(sending_domain=name, bucket__gte=floor_hour(minutes_from), bucket__lt=end)
        ips = tuple(hours.order_by().values_list("sending_ip", flat=True).distinct())
    return SenderCounters(kind, name, pieces, ips, mark)


def sources_that_deliver(sources: Collection[int], *, since: datetime, ip: str = "") -> set[int]:
    """Those of the sources that have reported a delivery since that moment: by that IP, or by anybody."""
    recent: dict[str, Any] = {"source": OuterRef("pk"), "delivered__gt": 0}
    first = floor_hour(since)
    if ip:
        recent |= {"sending_ip": ip, "bucket__gte": first}
    hours = TrafficHour.objects.filter(id__gte=first_key(first), **recent)
    minutes = TrafficMinute.objects.filter(id__gte=first_key(floor_hour(rolled_up_to())), **recent)
    rows = Source.objects.filter(Exists(minutes) | Exists(hours), pk__in=list(sources))
    return set(rows.values_list("pk", flat=True))


def _pieces(level: Level, start: datetime, end: datetime, mark: datetime) -> list[tuple[Level, datetime, datetime]]:
    """The stretch at that level as far as it is complete, then at the finer ones."""
    if level is Level.MINUTE:
        return [(Level.MINUTE, start, end)]
    hours_end = max(start, min(floor_hour(mark), end))
    if level is Level.HOUR:
        return [(Level.HOUR, start, hours_end), (Level.MINUTE, hours_end, end)]
    days_end = max(start, min(floor_day(mark), end))
    return [(Level.DAY, start, days_end), (Level.HOUR, days_end, hours_end), (Level.MINUTE, hours_end, end)]


def _by_key(rows: QuerySet[Any], start: datetime, end: datetime) -> QuerySet[Any]:
    """The same rows by their key, which begins with the time: all senders of a few minutes are looked through."""
    return rows.filter(id__gte=first_key(start), id__lt=first_key(max(start, end)))
