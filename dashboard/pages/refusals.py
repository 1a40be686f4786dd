"""What was refused and what the receivers said, narrowed as the address asks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime

from django.db.models import QuerySet

from dashboard.pages.parts import Failure, failure_lines
from dashboard.sender_filters import CAUSES, NO_CODE, TYPES, SenderFilters
from dashboard.words import code_word, plain, provider_title
from telemetry.mailbox_providers import directory
from telemetry.models import SendingEvent
from telemetry.queries import failures
from telemetry.queries_over_time import sender_counters

REFUSALS_SHOWN = 20
FAILURES_SHOWN = 10
ON_A_PAGE = 20
# Nobody pages further; narrower filters, or the file, show the rest.
MOST_PAGED = 10_000
_COLUMN = {"ip": "sending_ip", "domain": "sending_domain"}


@dataclass(frozen=True, slots=True)
class RefusalLine:
    """Refused attempts at one provider with one code and cause; each word with the address that narrows to it."""

    provider: str
    code: str
    cause: str
    count: int
    at_provider: str
    with_code: str
    for_cause: str


@dataclass(frozen=True, slots=True)
class Choice:
    """An option of a filter."""

    value: str
    title: str
    is_chosen: bool


@dataclass(frozen=True, slots=True)
class FilterForm:
    """What the filter form offers."""

    filters: SenderFilters
    providers: tuple[Choice, ...]
    causes: tuple[Choice, ...]
    types: tuple[Choice, ...]

    @property
    def code(self) -> str:
        """As it was typed."""
        return self.filters.code

    @property
    def without(self) -> str:
        """The address that narrows nothing but the range."""
        return self.filters.address(provider="", code="", cause="", to="", type="")


@dataclass(frozen=True, slots=True)
class Refusals:
    """The card on the page of a sender."""

    form: FilterForm
    lines: tuple[RefusalLine, ...]
    more_lines: int
    failures: tuple[Failure, ...]
    more_failures: bool


def refusals_of(kind: str, name: str, filters: SenderFilters, *, now: datetime) -> Refusals:
    """The most frequent refusals and the last failures; a fixed number of queries."""
    lines = refusal_lines(kind, name, filters, now=now)
    newest = list(failure_rows(kind, name, filters, now=now)[: FAILURES_SHOWN + 1])
    return Refusals(
        form=filter_form(filters),
        lines=tuple(lines[:REFUSALS_SHOWN]),
        more_lines=max(0, len(lines) - REFUSALS_SHOWN),
        failures=tuple(failure_lines(newest[:FAILURES_SHOWN])),
        more_failures=len(newest) > FAILURES_SHOWN,
    )


def refusal_lines(kind: str, name: str, filters: SenderFilters, *, now: datetime) -> list[RefusalLine]:
    """Refused attempts by provider, code and cause, most frequent first."""
    start, end = filters.stretch(now)
    counters = sender_counters(kind, name, filters.range.level, start=start, end=end)
    sums = counters.refusals(("provider", "code", "cause"), filters.of_refusals)
    ordered = sorted(sums.items(), key=lambda item: (-item[1], item[0]))
    return [
        RefusalLine(
            provider_title(provider),
            code_word(code),
            plain(cause),
            count,
            filters.address(provider=provider),
            filters.address(code=code or NO_CODE),
            filters.address(cause=cause),
        )
        for (provider, code, cause), count in ordered
        if count > 0
    ]


def failure_rows(kind: str, name: str, filters: SenderFilters, *, now: datetime) -> QuerySet[SendingEvent]:
    """Raw failing events, newest first."""
    start, end = filters.stretch(now)
    return failures(start=start, end=end, **{_COLUMN[kind]: name}).filter(filters.of_failures)


def failure_table(rows: Iterable[SendingEvent], *, with_recipients: bool) -> Iterator[list[object]]:
    """Lines of the file; recipients in full only for those who may see events."""
    for row in rows:
        recipient = [row.recipient] if with_recipients else []
        yield [
            row.occurred_at,
            row.type,
            row.sending_ip,
            row.sending_domain,
            *recipient,
            row.recipient_domain,
            row.provider,
            row.mx_host,
            row.smtp_code,
            row.enhanced_code,
            row.cause,
            row.reply,
        ]


def failure_columns(*, with_recipients: bool) -> list[str]:
    """The header of that file."""
    recipient = ["recipient"] if with_recipients else []
    before, after = (
        ["occurred_at", "type", "sending_ip", "sending_domain"],
        ["recipient_domain", "provider", "mx_host", "smtp_code", "enhanced_code", "cause", "reply"],
    )
    return [*before, *recipient, *after]


def filter_form(filters: SenderFilters) -> FilterForm:
    """The choices there are, those of the address chosen."""
    titles = dict(directory().titles)
    if filters.provider:
        titles.setdefault(filters.provider, provider_title(filters.provider))
    titles.setdefault("other", provider_title("other"))
    return FilterForm(
        filters=filters,
        providers=tuple(
            Choice(value, title, value == filters.provider)
            for value, title in sorted(titles.items(), key=lambda item: item[1].lower())
        ),
        causes=tuple(Choice(value, plain(value), value == filters.cause) for value in CAUSES),
        types=tuple(Choice(value, value, value == filters.type) for value in TYPES),
    )
