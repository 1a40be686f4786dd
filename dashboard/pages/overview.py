"""The fleet at a glance: how many IPs stand how, the worst first, what changed, who reports."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from dashboard import queries
from dashboard.charts import Column, stacked
from dashboard.keeping import kept
from dashboard.pages.alerts import AlertCount, open_count
from dashboard.pages.blocklists import ListingLine, listed_now
from dashboard.pages.breakers import ON_OVERVIEW_SHOWN, BreakerLine, open_breakers
from dashboard.pages.parts import Change, Figure, OverrideNote, ScoreLine
from dashboard.pages.permits import ON_OVERVIEW_SHOWN as POOLS_SHOWN
from dashboard.pages.permits import PoolLine, pools_in_short
from dashboard.pages.sparks import Spark, sparks
from dashboard.pages.warmups import ON_OVERVIEW_SHOWN as WARMUPS_SHOWN
from dashboard.pages.warmups import WarmupLine, warmups_now
from dashboard.words import StatusWord, issue_word, status_word
from reputation.domain.policy import Status
from reputation.judgements import FalseAlarms, false_alarms
from reputation.models import IpStanding, Override, SendingIP
from reputation.scores import worst
from telemetry.completeness_lines import last_day
from telemetry.domain.completeness import Line
from telemetry.domain.window import Outcomes
from telemetry.models import Source

IPS_SHOWN = 50
CHANGES_SHOWN = 12
DOMAINS_SHOWN = 10
SOURCES_SHOWN = 50
LISTED_SHOWN = 6
# A source that says nothing for so long is pointed out. Servers with little mail are quiet for minutes, seldom an hour.
SILENT_AFTER = timedelta(hours=1)
# A standing this much older than now is a former one: its IP has sent nothing since.
FORMER_AFTER = timedelta(minutes=15)


@dataclass(frozen=True, slots=True)
class StatusCount:
    """How many sending IPs have a status."""

    status: StatusWord
    count: int


@dataclass(frozen=True, slots=True)
class IpRow:
    """One sending IP in the list."""

    ip: str
    label: str
    status: StatusWord
    sent: int | None
    rejected: int
    ratio: float | None
    since: datetime
    why: str
    issue: str
    last_window: datetime | None
    """Where its last window ended, when that is long past; None while the standing is a current one."""
    override: OverrideNote | None
    spark: Spark | None
    """None where nothing was counted in the last hours."""


@dataclass(frozen=True, slots=True)
class SourceRow:
    """A source, how long it has been silent, and how much of what its server counted arrived."""

    id: int
    name: str
    kind: str
    is_active: bool
    last_event_at: datetime | None
    is_silent: bool
    compared: Line | None
    """The last 24 hours; None where its server's own counters are not known."""


@dataclass(frozen=True, slots=True)
class Fleet:
    """The part of the page that is fetched anew every few seconds."""

    now: datetime
    counts: tuple[StatusCount, ...]
    total: int
    alerts: AlertCount
    ips: tuple[IpRow, ...]
    breakers: tuple[BreakerLine, ...]
    more_breakers: bool
    warmups: tuple[WarmupLine, ...]
    more_warmups: bool
    pools: tuple[PoolLine, ...]
    more_pools: bool
    listed: tuple[ListingLine, ...]
    """On blocklists, by the most important ones first."""
    more_listed: bool
    changes: tuple[Change, ...]
    false_alarms: tuple[FalseAlarms, ...]
    """By kind of action, where anything was judged lately."""
    domains: tuple[ScoreLine, ...]
    sources: tuple[SourceRow, ...]
    rejected_waiting: int
    rejected_is_more: bool
    has_mail: bool
    """Whether anything but test events was ever reported."""


@dataclass(frozen=True, slots=True)
class HourLine:
    """A line of the table behind the day's chart."""

    start: datetime
    delivered: int
    rejected: int
    complained: int


@dataclass(frozen=True, slots=True)
class Day:
    """All traffic of the last 24 hours."""

    figure: Figure
    hours: tuple[HourLine, ...]
    total: Outcomes


def fleet(*, now: datetime) -> Fleet:
    """Read the fleet's state; a fixed number of queries however many IPs, domains and sources there are."""
    counts = queries.counts_by_status()
    standings = queries.worst_ips(IPS_SHOWN)
    ips = [row.sending_ip for row in standings]
    overrides = queries.overrides_in_force(ips, now=now)
    labels = dict(SendingIP.objects.filter(pk__in=ips).exclude(label="").values_list("ip", "label"))
    rejected = queries.rejected_waiting()
    breakers = open_breakers()
    warmups = warmups_now(now=now)
    pools = pools_in_short(now=now)
    listed, more_listed = listed_now(LISTED_SHOWN)
    charts = sparks(ips, now=now)
    sources = list(Source.objects.order_by("name")[:SOURCES_SHOWN])
    compared = last_day([row.pk for row in sources], now=now)
    return Fleet(
        now=now,
        counts=tuple(StatusCount(status_word(status), counts.get(status, 0)) for status in reversed(Status)),
        total=sum(counts.values()),
        alerts=open_count(),
        ips=tuple(
            _ip_row(row, overrides.get(row.sending_ip), labels.get(row.sending_ip, ""), charts.get(row.sending_ip), now)
            for row in standings
        ),
        breakers=breakers[:ON_OVERVIEW_SHOWN],
        more_breakers=len(breakers) > ON_OVERVIEW_SHOWN,
        warmups=warmups[:WARMUPS_SHOWN],
        more_warmups=len(warmups) > WARMUPS_SHOWN,
        pools=pools[:POOLS_SHOWN],
        more_pools=len(pools) > POOLS_SHOWN,
        listed=listed,
        more_listed=more_listed,
        changes=tuple(Change.of(row) for row in queries.changes(since=now - queries.DAY, limit=CHANGES_SHOWN)),
        false_alarms=tuple(entry for entry in false_alarms(now=now) if entry.judged),
        domains=tuple(ScoreLine.of(row) for row in worst("domain", DOMAINS_SHOWN)),
        sources=tuple(_source_row(row, compared.get(row.pk), now) for row in sources),
        rejected_waiting=min(rejected, queries.REJECTED_COUNTED),
        rejected_is_more=rejected > queries.REJECTED_COUNTED,
        has_mail=bool(counts) or queries.has_events(),
    )


def day(*, now: datetime) -> Day:
    """Read the traffic of the last 24 clock hours from the counters."""
    hours = kept("hours of all", lambda: queries.hours_of_all(now=now), now=now)
    columns = [
        Column(
            start,
            f"{start:%H:%M}: {sums.delivered} delivered, {sums.rejected} refused",
            (("delivered", sums.delivered), ("refused", max(0, sums.rejected))),
        )
        for start, sums in hours.items()
    ]
    total = sum(hours.values(), Outcomes())
    return Day(
        figure=Figure("day-chart", "Messages per hour", "delivered, and refused on top", stacked(columns)),
        hours=tuple(
            HourLine(start, sums.delivered, sums.rejected, sums.complained) for start, sums in reversed(hours.items())
        ),
        total=total,
    )


def _ip_row(row: IpStanding, override: Override | None, label: str, spark: Spark | None, now: datetime) -> IpRow:
    return IpRow(
        ip=row.sending_ip,
        label=label,
        status=status_word(row.status),
        sent=row.total_sent,
        rejected=row.total_rejected,
        ratio=row.rejection_ratio,
        since=row.since,
        why=row.why,
        issue=issue_word(row.issue_type) if row.status != Status.HEALTHY else "",
        last_window=row.window_end if now - row.window_end > FORMER_AFTER else None,
        override=OverrideNote.of(override, row.automatic_status) if override else None,
        spark=spark,
    )


def _source_row(row: Source, compared: Line | None, now: datetime) -> SourceRow:
    return SourceRow(
        id=row.pk,
        name=row.name,
        kind=row.get_kind_display(),
        is_active=row.is_active,
        last_event_at=row.last_event_at,
        is_silent=row.is_active and row.last_event_at is not None and now - row.last_event_at > SILENT_AFTER,
        compared=compared,
    )
