"""One mailbox provider: who sends well to it and who does not, what it refuses, and its own words for that."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from django.db.models import QuerySet

from dashboard import fleet_queries as queries
from dashboard.choices import Choice, choices
from dashboard.pages.breakers import BreakerLine
from dashboard.pages.parts import REPLY_SHOWN, ScoreLine
from dashboard.words import code_word, plain, provider_title
from reputation.breaker_policies import breaker_book
from reputation.domain.breaker_policy import State
from reputation.models import SenderScore
from telemetry.models import MailboxProvider, SendingEvent

KINDS: Final = {"ip": "Sending IPs", "domain": "Sending domains"}
CAUSES_SHOWN = 20
TEXTS_SHOWN = 12
BREAKERS_SHOWN = 20
CSV_HEADER = (
    "kind",
    "sender",
    "provider",
    "score",
    "delivered",
    "bounced",
    "deferred",
    "complaints",
    "bounce_rate_of_delivered_and_bounced",
    "complaint_rate_of_delivered",
    "computed_at",
)


@dataclass(frozen=True, slots=True)
class CauseLine:
    """Refused attempts with one code and cause."""

    code: str
    cause: str
    count: int


@dataclass(frozen=True, slots=True)
class Quote:
    """A reply of the provider with its code, and who got it last."""

    code: str
    cause: str
    text: str
    at: datetime
    sending_ip: str
    times: int
    """Among the failures that were looked through."""


@dataclass(frozen=True, slots=True)
class ProviderPage:
    """Everything the page shows but the asked page of the list of senders."""

    now: datetime
    id: str
    title: str
    kind: str
    """What it is: mailbox, gateway or forwarder; empty where the directory does not have it."""
    senders: tuple[Choice, ...]
    is_of_ips: bool
    causes: tuple[CauseLine, ...]
    refused: int
    quotes: tuple[Quote, ...]
    looked_through: int
    breakers: tuple[BreakerLine, ...]
    more_breakers: bool


def provider_page(provider: str, *, kind: str, now: datetime) -> ProviderPage | None:
    """Read the page over the last 24 hours; None for a provider that nobody ever sent to. A fixed number of queries."""
    entry = MailboxProvider.objects.filter(pk=provider).first()
    if entry is None and not SenderScore.objects.filter(provider=provider).exclude(provider="").exists():
        return None
    start, end = queries.stretch(queries.DAY, now)
    refused = queries.refused_at(provider, start=start, end=end)
    events = queries.refusals_to_quote(provider, refused, start=start, end=end)
    held = list(queries.breakers(provider=provider).exclude(state=State.CLOSED)[: BREAKERS_SHOWN + 1])
    book = breaker_book()
    return ProviderPage(
        now=now,
        id=provider,
        title=provider_title(provider),
        kind=entry.kind if entry else "",
        senders=choices(KINDS.items(), kind),
        is_of_ips=kind == "ip",
        causes=tuple(
            CauseLine(code_word(code), plain(cause), count)
            for (code, cause), count in refused.by_code.most_common(CAUSES_SHOWN)
        ),
        refused=refused.by_code.total(),
        quotes=tuple(_quotes(events))[:TEXTS_SHOWN],
        looked_through=len(events),
        breakers=tuple(BreakerLine.of(row, book) for row in held[:BREAKERS_SHOWN]),
        more_breakers=len(held) > BREAKERS_SHOWN,
    )


def causes_at(provider: str, *, now: datetime) -> Iterator[tuple[str, str, int]]:
    """Refused attempts of the last 24 hours by code and cause, all of them, the most frequent first."""
    start, end = queries.stretch(queries.DAY, now)
    for (code, cause), count in queries.refused_at(provider, start=start, end=end).by_code.most_common():
        yield (code_word(code), plain(cause), count)


def senders(kind: str, provider: str, text: str) -> QuerySet[SenderScore]:
    """The list of the page: who sent to the provider in the last 24 hours, the worst score first."""
    return queries.scores_at(kind, provider, text)


def score_lines(rows: Iterable[SenderScore]) -> tuple[ScoreLine, ...]:
    """The rows as they are shown."""
    return tuple(ScoreLine.of(row) for row in rows)


def csv_rows(rows: Iterable[SenderScore]) -> Iterator[tuple[Any, ...]]:
    """The list as lines of a CSV file."""
    for row in rows:
        line = ScoreLine.of(row)
        rates = (rate.value if rate else None for rate in (line.bounce, line.complaint))
        counts = (row.delivered, row.bounced, row.deferred, row.complained)
        yield (row.kind, row.name, row.provider, row.score, *counts, *rates, row.computed_at)


def _quotes(events: Iterable[SendingEvent]) -> Iterator[Quote]:
    """One reply for each code and cause, the newest; those that came most often first."""
    newest: dict[tuple[str, str], SendingEvent] = {}
    times: dict[tuple[str, str], int] = {}
    for event in events:
        code = event.enhanced_code or (str(event.smtp_code) if event.smtp_code is not None else "")
        newest.setdefault((code, event.cause), event)
        times[code, event.cause] = times.get((code, event.cause), 0) + 1
    for key, count in sorted(times.items(), key=lambda item: (-item[1], item[0])):
        event = newest[key]
        text = event.reply[:REPLY_SHOWN] + ("…" if len(event.reply) > REPLY_SHOWN else "")
        yield Quote(code_word(key[0]), plain(key[1]), text, event.occurred_at, event.sending_ip, count)
