"""Windows of counters as frozen values: the only place from which the floors above read what happened.

Nothing here reads raw events, except the drill-down at the end that people look at.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from operator import add
from typing import Any

from django.db import connections
from django.db.models import BigIntegerField, QuerySet, Sum
from django.db.models.functions import Cast

from telemetry.counters import last_minutes, rolled_up_to
from telemetry.domain.cells import HOUR, ceil_to, first_key, floor_hour
from telemetry.domain.clean import received_from
from telemetry.domain.coverage import Report, covered_stretch
from telemetry.domain.vocab import UNKNOWN_IP, EventType, VolumeReporting
from telemetry.domain.window import IpWindow, Outcomes, RefusalCount
from telemetry.models import (
    RefusalHour,
    RefusalMinute,
    SendingEvent,
    Source,
    TrafficHour,
    TrafficMinute,
    VolumeReport,
)

MEASURES = ("delivered", "bounced", "deferred", "superseded", "complained")
# A source of kind "auto" that delivered nothing lately still counts as complete for this long.
DELIVERIES_SEEN_WITHIN = timedelta(hours=24)


@dataclass(frozen=True, slots=True)
class IpWindows:
    """What an IP is judged by: the running window, and the latest one that reported volume covers, if any."""

    current: IpWindow
    covered: IpWindow | None = None


def ip_windows(ips: Collection[str] | None, *, length: timedelta, now: datetime) -> dict[str, IpWindows]:
    """The windows of the given sending IPs (None: all) that have events in the last `length`, this minute included.

    The volume of an IP is known when every source that reported events of it is known to report its deliveries too, or
    when volume reports cover the rest.
    """
    start, end = last_minutes(now, length)
    outcomes = _outcomes_by_source(ips, start, end)
    refusals = _refusals(ips, start, end)
    complete = complete_pairs(outcomes, now=now)
    windows: dict[str, IpWindows] = {}
    silent: dict[str, set[int]] = {}
    for ip, by_source in outcomes.items():
        total = sum(by_source.values(), Outcomes())
        incomplete = {source for source in by_source if (ip, source) not in complete}
        if incomplete:
            silent[ip] = incomplete
        windows[ip] = IpWindows(
            IpWindow(
                ip=ip,
                start=start,
                end=end,
                outcomes=total,
                total_sent=None if incomplete else total.sent,
                refusals=tuple(refusals.get(ip, ())),
            )
        )
    for ip, covered in _covered_windows(silent, length, now):
        windows[ip] = IpWindows(windows[ip].current, covered)
    return windows


def active_ips(ips: Collection[str] | None, *, length: timedelta, now: datetime) -> set[str]:
    """Those of the given sending IPs (None: all) that have events in the last `length`."""
    start, end = last_minutes(now, length)
    return set(_minutes(TrafficMinute, ips, start, end).order_by().values_list("sending_ip", flat=True).distinct())


def _outcomes_by_source(ips: Collection[str] | None, start: datetime, end: datetime) -> dict[str, dict[int, Outcomes]]:
    rows = _minutes(TrafficMinute, ips, start, end).values_list("sending_ip", "source_id")
    found: dict[str, dict[int, Outcomes]] = defaultdict(dict)
    for ip, source, *sums in rows.annotate(*(Sum(name) for name in MEASURES)).order_by():
        found[ip][source] = Outcomes(*(int(value) for value in sums))
    return found


def _refusals(ips: Collection[str] | None, start: datetime, end: datetime) -> dict[str, list[RefusalCount]]:
    rows = _minutes(RefusalMinute, ips, start, end).values_list(
        "sending_ip", "code", "recipient_domain", "provider", "cause"
    )
    found: dict[str, list[RefusalCount]] = defaultdict(list)
    for ip, code, recipient_domain, provider, cause, count in rows.annotate(Sum("count")).order_by():
        found[ip].append(RefusalCount(code, recipient_domain, provider, cause, int(count)))
    return found


def _minutes(table: Any, ips: Collection[str] | None, start: datetime, end: datetime) -> QuerySet[Any]:
    """Rows of a minute table in [start, end), of known IPs."""
    if ips is None:
        return table.objects.filter(id__gte=first_key(start), id__lt=first_key(end)).exclude(sending_ip=UNKNOWN_IP)  # type: ignore[no-any-return]
    known = [ip for ip in ips if ip != UNKNOWN_IP]
    return table.objects.filter(sending_ip__in=known, bucket__gte=start, bucket__lt=end)  # type: ignore[no-any-return]


def volume_reporting() -> dict[int, VolumeReporting]:
    """How each source reports volume, by source id."""
    return {key: VolumeReporting(how) for key, how in Source.objects.values_list("id", "volume")}


def complete_pairs(outcomes: Mapping[str, Mapping[int, Outcomes]], *, now: datetime) -> set[tuple[str, int]]:
    """The (IP, source) pairs whose events are the whole traffic; `VolumeReporting` says when that is known."""
    reporting = volume_reporting()
    complete: set[tuple[str, int]] = set()
    undecided: set[tuple[str, int]] = set()
    for ip, by_source in outcomes.items():
        for source, sums in by_source.items():
            how = reporting.get(source, VolumeReporting.AUTO)
            if how.is_whole_traffic(delivered=bool(sums.delivered)):
                complete.add((ip, source))
            elif how is VolumeReporting.AUTO:
                undecided.add((ip, source))
    if undecided:
        complete |= undecided & _delivering_pairs({ip for ip, _ in undecided}, now)
    return complete


def _delivering_pairs(ips: Iterable[str], now: datetime) -> set[tuple[str, int]]:
    pairs: set[tuple[str, int]] = set()
    for table in (TrafficMinute, TrafficHour):
        rows = table.objects.filter(
            sending_ip__in=list(ips), bucket__gte=floor_hour(now - DELIVERIES_SEEN_WITHIN), delivered__gt=0
        )
        pairs |= set(rows.order_by().values_list("sending_ip", "source_id").distinct())
    return pairs


def _covered_windows(silent: dict[str, set[int]], length: timedelta, now: datetime) -> Iterator[tuple[str, IpWindow]]:
    """For IPs with sources that do not report deliveries: the latest window that those sources' reports cover."""
    reports: dict[tuple[str, int], list[Report]] = defaultdict(list)
    recent = VolumeReport.objects.filter(sending_ip__in=list(silent), end__gt=now - 4 * length - HOUR)
    for ip, source, start, end, sent in recent.values_list("sending_ip", "source_id", "start", "end", "sent"):
        reports[ip, source].append(Report(start, end, sent))
    for ip, sources in silent.items():
        stretches = [covered_stretch(reports[ip, source], window=length, now=now) for source in sources]
        known = [stretch for stretch in stretches if stretch is not None]
        if len(known) < len(stretches) or len({(stretch.start, stretch.end) for stretch in known}) != 1:
            continue
        start, end = known[0].start, known[0].end
        by_source = _outcomes_by_source([ip], start, end).get(ip, {})
        by_events = sum((sums for source, sums in by_source.items() if source not in sources), Outcomes())
        yield (
            ip,
            IpWindow(
                ip=ip,
                start=start,
                end=end,
                outcomes=sum(by_source.values(), Outcomes()),
                total_sent=by_events.sent + sum(stretch.sent for stretch in known),
                refusals=tuple(_refusals([ip], start, end).get(ip, ())),
            ),
        )


def outcomes_by(
    dimensions: Sequence[str], *, start: datetime, end: datetime, only: dict[str, Any] | None = None
) -> dict[tuple[str, ...], Outcomes]:
    """Sums of traffic in [start, end) by the given dimensions, such as ("sending_domain", "provider").

    Reads hours where they are complete and minutes at the edges, so its cost follows the number of active cells and
    not of events. `only` are further ORM filters.
    """
    return outcomes_in(pieces(start, end, minutes=TrafficMinute, hours=TrafficHour), dimensions, only)


def outcomes_in(
    stretches: Iterable[tuple[Any, datetime, datetime]], dimensions: Sequence[str], only: Mapping[str, Any] | None
) -> dict[tuple[str, ...], Outcomes]:
    """Sums of traffic over stretches that do not overlap, each with the counter table to read it from."""
    found: dict[tuple[str, ...], tuple[int, ...]] = {}
    width = len(dimensions)
    # PostgreSQL's sum of integers is a decimal number, which Python reads ten times as slowly.
    sums = {f"sum_{name}": Cast(Sum(name), BigIntegerField()) for name in MEASURES}
    for table, begin, finish in stretches:
        rows = table.objects.filter(id__gte=first_key(begin), id__lt=first_key(finish), **(only or {}))
        summed = rows.values_list(*dimensions).annotate(**sums).order_by()
        for row in summed if "bucket" in dimensions else _as_they_come(summed):
            key, values = row[:width], row[width:]
            so_far = found.get(key)
            found[key] = values if so_far is None else tuple(map(add, so_far, values))
    return {key: Outcomes(*values) for key, values in found.items()}


def _as_they_come(rows: QuerySet[Any, Any]) -> list[Any]:
    """The rows of a query of texts and numbers, without the ORM's look at each value: there may be 100,000 of them."""
    statement, parameters = rows.query.sql_with_params()
    with connections[rows.db].cursor() as cursor:
        cursor.execute(statement, parameters)
        return list(cursor.fetchall())


def pieces(start: datetime, end: datetime, *, minutes: Any, hours: Any) -> list[tuple[Any, datetime, datetime]]:
    """What to read for [start, end): minutes up to the first whole hour, hours up to the mark, minutes after it."""
    first_hour = ceil_to(start, HOUR)
    last_hour = min(floor_hour(end), floor_hour(rolled_up_to()))
    if last_hour <= first_hour:
        return [(minutes, start, end)]
    found = [(minutes, start, first_hour), (hours, first_hour, last_hour), (minutes, last_hour, end)]
    return [piece for piece in found if piece[1] < piece[2]]


def refusals_by(
    dimensions: Sequence[str], ip: str, *, start: datetime, end: datetime, only: Mapping[str, Any] | None = None
) -> Counter[tuple[str, ...]]:
    """Refused attempts of one sending IP in [start, end) by the given dimensions; `only` narrows by equality."""
    found: Counter[tuple[str, ...]] = Counter()
    for table, begin, finish in pieces(start, end, minutes=RefusalMinute, hours=RefusalHour):
        rows = table.objects.filter(sending_ip=ip, bucket__gte=begin, bucket__lt=finish, **(only or {})).order_by()
        for row in rows.values_list(*dimensions).annotate(Sum("count")):
            found[tuple(row[:-1])] += int(row[-1])
    return found


def failures(*, start: datetime, end: datetime, **only: Any) -> QuerySet[SendingEvent]:
    """Raw failing events of a stretch for people to read, newest first; `only` narrows (sending_ip, provider, …)."""
    return (
        SendingEvent.objects.filter(
            occurred_at__gte=start, occurred_at__lt=end, received_at__gte=received_from(start), **only
        )
        .exclude(type=EventType.DELIVERY)
        .select_related("source")
        .order_by("-occurred_at", "-id")
    )
