"""One sending IP: how it stands and why, what to do, how it came to this."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from fractions import Fraction

from dashboard import queries
from dashboard.charts import Column, stacked
from dashboard.pages.audits import AuditNow, audit_of
from dashboard.pages.blocklists import BlocklistsNow, blocklists_of
from dashboard.pages.breakers import BreakerLine, breakers_of
from dashboard.pages.overview import FORMER_AFTER
from dashboard.pages.parts import Change, Failure, Figure, OverrideNote, ScoreLine, last_failures
from dashboard.pages.permits import Caps, caps_now
from dashboard.pages.warmups import WarmupNow, warmup_of
from dashboard.queries import HourOfTraffic
from dashboard.words import StatusWord, code_word, issue_word, plain, provider_title, status_word
from reputation.domain.policy import Status, percent
from reputation.models import AuditEntry, IpStanding, SendingIP
from telemetry.causes import cause_of_code
from telemetry.counters import last_minutes

REFUSALS_SHOWN = 40
FAILURES_SHOWN = 20
TIMELINE_SHOWN = 30
# So that one refusal among few messages does not fill the whole axis.
LEAST_SHARE_TOP = 0.05


@dataclass(frozen=True, slots=True)
class CodeCount:
    """Refused attempts of the window with one code."""

    code: str
    cause: str
    count: int


@dataclass(frozen=True, slots=True)
class RefusalLine:
    """Refused attempts of the last 24 hours at one provider with one code."""

    provider: str
    code: str
    cause: str
    count: int


@dataclass(frozen=True, slots=True)
class HourLine:
    """One hour of the table behind the charts; `sent` and `share` are None where the volume is unknown."""

    start: datetime
    delivered: int
    bounced: int
    deferred: int
    """Deferrals that still stand."""
    complained: int
    rejected: int
    sent: int | None
    share: float | None


@dataclass(frozen=True, slots=True)
class StandingNow:
    """The judgement of the last window."""

    status: StatusWord
    automatic: StatusWord
    why: str
    issue: str
    since: datetime
    sent: int | None
    sent_definition: str
    rejected: int
    ratio: float | None
    domains: int
    majors: tuple[str, ...]
    window_start: datetime
    window_end: datetime
    is_former: bool
    """True when no mail came since that window."""
    policy_revision: int | None
    codes: tuple[CodeCount, ...]
    recommendations: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class IpPage:
    """Everything the page shows; `standing` is None for an IP that was never judged."""

    now: datetime
    ip: str
    label: str
    first_seen_at: datetime | None
    standing: StandingNow | None
    override: OverrideNote | None
    audit: AuditNow | None
    blocklists: BlocklistsNow
    breakers: tuple[BreakerLine, ...]
    warmup: WarmupNow | None
    caps: Caps
    scores: tuple[ScoreLine, ...]
    volume_figure: Figure
    share_figure: Figure
    hours: tuple[HourLine, ...]
    refusals: tuple[RefusalLine, ...]
    failures: tuple[Failure, ...]
    timeline: tuple[Change, ...]


def ip_page(ip: str, *, now: datetime) -> IpPage | None:
    """Read the page of a sending IP in canonical form; None when nobody ever heard of it."""
    standing = IpStanding.objects.filter(pk=ip).first()
    known = SendingIP.objects.filter(pk=ip).first()
    if standing is None and known is None:
        return None
    override = queries.overrides_in_force([ip], now=now).get(ip) if standing else None
    hours = [_hour_line(hour) for hour in queries.hours_of_ip(ip, now=now)]
    start, end = last_minutes(now, queries.DAY)
    return IpPage(
        now=now,
        ip=ip,
        label=known.label if known else "",
        first_seen_at=known.first_seen_at if known else None,
        standing=_standing(standing, now) if standing else None,
        override=OverrideNote.of(override, standing.automatic_status) if override and standing else None,
        audit=audit_of("ip", ip, now=now),
        blocklists=blocklists_of("ip", ip),
        breakers=breakers_of("ip", ip),
        warmup=warmup_of("ip", ip, now=now),
        caps=caps_now("ip", ip, now=now),
        scores=tuple(ScoreLine.of(row) for row in queries.scores_of("ip", ip)),
        volume_figure=_volume_figure(hours),
        share_figure=_share_figure(hours),
        hours=tuple(reversed(hours)),
        refusals=tuple(
            RefusalLine(provider_title(entry.provider), code_word(entry.code), plain(entry.cause), entry.count)
            for entry in queries.refusals_by_provider(ip, now=now)[:REFUSALS_SHOWN]
        ),
        failures=last_failures(start=start, end=end, limit=FAILURES_SHOWN, sending_ip=ip),
        timeline=tuple(
            Change.of(row) for row in AuditEntry.objects.filter(sending_ip=ip).order_by("-at", "-id")[:TIMELINE_SHOWN]
        ),
    )


def _standing(row: IpStanding, now: datetime) -> StandingNow:
    return StandingNow(
        status=status_word(row.status),
        automatic=status_word(row.automatic_status),
        why=row.why,
        issue=issue_word(row.issue_type) if row.status != Status.HEALTHY else "",
        since=row.since,
        sent=row.total_sent,
        sent_definition=str(row.metadata.get("sent_definition", "")),
        rejected=row.total_rejected,
        ratio=row.rejection_ratio,
        domains=row.unique_recipient_domains,
        majors=tuple(row.major_providers),
        window_start=row.window_start,
        window_end=row.window_end,
        is_former=now - row.window_end > FORMER_AFTER,
        policy_revision=row.policy_revision,
        codes=tuple(
            CodeCount(code_word(code), plain(cause_of_code(code)), count)
            for code, count in sorted(row.counts_by_code.items(), key=lambda item: (-item[1], item[0]))
        ),
        recommendations=tuple(row.recommendations),
    )


def _hour_line(hour: HourOfTraffic) -> HourLine:
    sums = hour.outcomes
    return HourLine(
        start=hour.start,
        delivered=sums.delivered,
        bounced=sums.bounced,
        deferred=sums.deferred - sums.superseded,
        complained=sums.complained,
        rejected=sums.rejected,
        sent=hour.sent,
        share=sums.rejected / hour.sent if hour.sent else None,
    )


def _volume_figure(hours: list[HourLine]) -> Figure:
    columns = [
        Column(
            line.start,
            f"{line.start:%H:%M}: {line.delivered} delivered, {line.rejected} refused",
            (("delivered", line.delivered), ("refused", max(0, line.rejected))),
        )
        for line in hours
    ]
    return Figure("volume-chart", "Messages per hour", "delivered, and refused on top", stacked(columns))


def _share_figure(hours: list[HourLine]) -> Figure:
    columns = []
    for line in hours:
        if line.share is None:
            told = "volume unknown" if line.sent is None else "no mail"
            columns.append(Column(line.start, f"{line.start:%H:%M}: {told}", ()))
        else:
            label = f"{line.start:%H:%M}: {_percent(line.share)}, {line.rejected} of {line.sent} sent"
            columns.append(Column(line.start, label, (("refused", max(0.0, line.share)),)))
    chart = stacked(columns, least_top=LEAST_SHARE_TOP)
    return Figure("share-chart", "Refused share per hour", "refused / sent", chart, is_share=True)


def _percent(share: float) -> str:
    return percent(Fraction(share))
