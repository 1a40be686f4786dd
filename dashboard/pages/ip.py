"""One sending IP: how it stands and why, what to do, how it came to this."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from dashboard import queries
from dashboard.pages.audits import AuditNow, audit_of
from dashboard.pages.blocklists import BlocklistsNow, blocklists_of
from dashboard.pages.breakers import BreakerLine, breakers_of
from dashboard.pages.overview import FORMER_AFTER
from dashboard.pages.parts import Change, OverrideNote, ScoreLine
from dashboard.pages.permits import Caps, caps_now
from dashboard.pages.rates import Rates, rates_of
from dashboard.pages.refusals import Refusals, refusals_of
from dashboard.pages.warmups import WarmupNow, warmup_of
from dashboard.sender_filters import SenderFilters
from dashboard.words import StatusWord, code_word, issue_word, plain, status_word
from reputation.domain.policy import Status
from reputation.models import IpStanding, SendingIP
from telemetry.causes import cause_of_code

TIMELINE_SHOWN = 30
NO_FILTERS = SenderFilters()


@dataclass(frozen=True, slots=True)
class CodeCount:
    """Refused attempts of the window with one code."""

    code: str
    cause: str
    count: int


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
    rates: Rates
    refusals: Refusals
    timeline: tuple[Change, ...]


def ip_page(ip: str, filters: SenderFilters = NO_FILTERS, *, now: datetime) -> IpPage | None:
    """Read the page of a sending IP in canonical form; None when nobody ever heard of it."""
    standing = IpStanding.objects.filter(pk=ip).first()
    known = SendingIP.objects.filter(pk=ip).first()
    if standing is None and known is None:
        return None
    override = queries.overrides_in_force([ip], now=now).get(ip) if standing else None
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
        rates=rates_of("ip", ip, filters, now=now),
        refusals=refusals_of("ip", ip, filters, now=now),
        timeline=tuple(Change.of(row) for row in queries.changes_of("ip", ip, limit=TIMELINE_SHOWN)),
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
