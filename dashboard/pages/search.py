"""The search: an IP or a domain leads to its page, an id to the events of that message, anything else to lists."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from dashboard import search_queries as queries
from dashboard.words import StatusWord, status_word
from telemetry.domain import clean
from telemetry.domain.errors import ParseError
from telemetry.domain.vocab import UNKNOWN_IP
from telemetry.models import SendingEvent

LONGEST = 512
SHOWN = 20
EVENTS_SHOWN = 50
# Shorter than any id that a mail server gives a message.
_SHORTEST_ID = 5


@dataclass(frozen=True, slots=True)
class IpHit:
    """A sending IP that was found."""

    ip: str
    label: str
    pool: str
    status: StatusWord | None


@dataclass(frozen=True, slots=True)
class DomainHit:
    """A sending domain that was found."""

    name: str
    score: int | None


@dataclass(frozen=True, slots=True)
class PoolHit:
    """A pool that was found."""

    id: int
    name: str
    description: str


@dataclass(frozen=True, slots=True)
class SourceHit:
    """A source that was found."""

    name: str
    kind: str


@dataclass(frozen=True, slots=True)
class EventHit:
    """An event of the message that was looked for; the recipient is named by domain only."""

    id: int
    at: datetime
    type: str
    sending_ip: str
    """Empty where it is unknown."""
    sending_domain: str
    recipient_domain: str
    code: str
    reply: str
    source: str


@dataclass(frozen=True, slots=True)
class Found:
    """Everything the page shows; each list has at most `SHOWN` rows (events `EVENTS_SHOWN`)."""

    now: datetime
    query: str
    unknown_ip: str
    """The IP that was asked for, where nobody ever heard of it."""
    ips: tuple[IpHit, ...] = ()
    domains: tuple[DomainHit, ...] = ()
    pools: tuple[PoolHit, ...] = ()
    sources: tuple[SourceHit, ...] = ()
    events: tuple[EventHit, ...] = ()
    is_more: bool = False
    """Whether a list was cut."""
    looked_through: int = 0
    """How many of the newest events were looked through for the id; 0: it cannot be one."""

    @property
    def is_empty(self) -> bool:
        """Nothing was found."""
        return not (self.ips or self.domains or self.pools or self.sources or self.events)


def cleaned(query: str) -> str:
    """What was typed, in a form that every database takes."""
    return clean.text(query.strip(), longest=LONGEST)


def as_ip(query: str) -> str | None:
    """The canonical form of an IP in any spelling; None where this is none that can send."""
    try:
        address = clean.ip(query, "q") if query else UNKNOWN_IP
    except ParseError:
        return None
    return None if address == UNKNOWN_IP else address


def known_ip(query: str) -> str | None:
    """The IP whose page was asked for."""
    address = as_ip(query)
    return address if address and queries.is_known_ip(address) else None


def known_domain(query: str) -> str | None:
    """The sending domain whose page was asked for."""
    try:
        name = clean.domain(query, "q")
    except ParseError:
        return None
    return name if queries.is_known_domain(name) else None


def find(query: str, *, now: datetime) -> Found:
    """Look everywhere; a fixed number of short queries."""
    if not query:
        return Found(now, query, "")
    address = as_ip(query)
    part = address or query
    ips = queries.ips_like(part, SHOWN + 1)
    statuses = queries.status_of([row.ip for row in ips])
    domains = queries.domains_like(_folded(query), SHOWN + 1)
    pools = list(queries.pools_like(query, SHOWN + 1))
    sources = list(queries.sources_like(query, SHOWN + 1))
    may_be_id = _may_be_id(query) and not address
    events = queries.events_of_message(_spellings(query), EVENTS_SHOWN + 1) if may_be_id else []
    return Found(
        now=now,
        query=query,
        unknown_ip=address or "",
        ips=tuple(
            IpHit(
                ip=row.ip,
                label=row.label,
                pool=row.pool.name if row.pool else "",
                status=status_word(statuses[row.ip]) if row.ip in statuses else None,
            )
            for row in ips[:SHOWN]
        ),
        domains=tuple(DomainHit(row.name, row.score) for row in domains[:SHOWN]),
        pools=tuple(PoolHit(row.pk, row.name, row.description) for row in pools[:SHOWN]),
        sources=tuple(SourceHit(row.name, row.get_kind_display()) for row in sources[:SHOWN]),
        events=tuple(_event(row) for row in events[:EVENTS_SHOWN]),
        is_more=any(len(rows) > SHOWN for rows in (ips, domains, pools, sources)) or len(events) > EVENTS_SHOWN,
        looked_through=queries.LOOKED_THROUGH if may_be_id else 0,
    )


def _folded(query: str) -> str:
    """A domain as it is stored; a part that cannot be one stays as it was typed."""
    try:
        return clean.domain(query, "q")
    except ParseError:
        return query.lower()


def _may_be_id(query: str) -> bool:
    """Ids of messages hold a digit or an @; a plain word is no reason to look through the events."""
    is_one = " " not in query and len(query) >= _SHORTEST_ID
    return is_one and any(letter.isdigit() or letter == "@" for letter in query)


def _spellings(query: str) -> list[str]:
    """A Message-ID with and without its angle brackets: reports bring either."""
    bare = query.strip("<>")
    return [bare, f"<{bare}>"]


def _event(row: SendingEvent) -> EventHit:
    return EventHit(
        id=row.pk,
        at=row.occurred_at,
        type=row.type,
        sending_ip="" if row.sending_ip == UNKNOWN_IP else row.sending_ip,
        sending_domain=row.sending_domain,
        recipient_domain=row.recipient_domain,
        code=row.enhanced_code or (str(row.smtp_code) if row.smtp_code else ""),
        reply=row.reply[:200],
        source=row.source.name,
    )
