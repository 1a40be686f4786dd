"""One sending domain: its score, what took points off, the rates behind it, and how each provider sees it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from dashboard import queries
from dashboard.pages.audits import AuditNow, audit_of
from dashboard.pages.blocklists import BlocklistsNow, blocklists_of
from dashboard.pages.breakers import BreakerLine, breakers_of
from dashboard.pages.parts import Change, ScoreLine
from dashboard.pages.permits import Caps, caps_now
from dashboard.pages.rates import Rates, rates_of
from dashboard.pages.refusals import Refusals, refusals_of
from dashboard.pages.warmups import WarmupNow, warmup_of
from dashboard.sender_filters import SenderFilters
from reputation.models import SenderScoreHistory

HISTORY_SHOWN = 24
TIMELINE_SHOWN = 30
NO_FILTERS = SenderFilters()


@dataclass(frozen=True, slots=True)
class FormerScore:
    """The score as it was at some moment."""

    at: datetime
    score: int | None
    delivered: int
    bounced: int
    complained: int


@dataclass(frozen=True, slots=True)
class DomainPage:
    """Everything the page shows."""

    now: datetime
    domain: str
    overall: ScoreLine
    audit: AuditNow | None
    blocklists: BlocklistsNow
    breakers: tuple[BreakerLine, ...]
    warmup: WarmupNow | None
    caps: Caps
    providers: tuple[ScoreLine, ...]
    first_seen_at: datetime
    window_start: datetime
    window_end: datetime
    history: tuple[FormerScore, ...]
    rates: Rates
    refusals: Refusals
    timeline: tuple[Change, ...]


def domain_page(domain: str, filters: SenderFilters = NO_FILTERS, *, now: datetime) -> DomainPage | None:
    """Read the page of a sending domain (lower-case A-label form); None when it was never scored."""
    rows = queries.scores_of("domain", domain)
    if not rows or rows[0].provider:
        return None
    overall = rows[0]
    history = SenderScoreHistory.objects.filter(kind="domain", name=domain, provider="").order_by("-computed_at")
    return DomainPage(
        now=now,
        domain=domain,
        overall=ScoreLine.of(overall),
        audit=audit_of("domain", domain, now=now),
        blocklists=blocklists_of("domain", domain),
        breakers=breakers_of("domain", domain),
        warmup=warmup_of("domain", domain, now=now),
        caps=caps_now("domain", domain, now=now),
        providers=tuple(ScoreLine.of(row) for row in rows[1:]),
        first_seen_at=overall.first_seen_at,
        window_start=overall.window_start,
        window_end=overall.window_end,
        history=tuple(
            FormerScore(row.computed_at, row.score, row.delivered, row.bounced, row.complained)
            for row in history[:HISTORY_SHOWN]
        ),
        rates=rates_of("domain", domain, filters, now=now),
        refusals=refusals_of("domain", domain, filters, now=now),
        timeline=tuple(Change.of(row) for row in queries.changes_of("domain", domain, limit=TIMELINE_SHOWN)),
    )
