"""All circuit breakers, and one of them with everything that ever happened to it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from dashboard.fleet_queries import LastEvents, last_events
from dashboard.pages.breakers import BreakerLine, state_word
from dashboard.templatetags.standing import number, share
from dashboard.words import StatusWord, plain
from reputation.breaker_policies import breaker_book
from reputation.domain.breaker_policy import State, Trigger
from reputation.models import Breaker, BreakerEvent

STATES: Final = {State.OPEN.value: "open", State.HALF_OPEN.value: "half-open", State.CLOSED.value: "closed"}
SCOPES: Final = {
    "ip": "an IP, all its mail",
    "ip_provider": "an IP at one provider",
    "domain": "a domain, all its mail",
    "domain_provider": "a domain at one provider",
}
CSV_HEADER = (
    "id",
    "scope",
    "sender",
    "provider",
    "state",
    "since",
    "step",
    "paused_at",
    "next_probe_at",
    "pauses",
    "opened_by",
    "value",
    "threshold",
    "volume",
    "decided_by",
    "decided_until",
    "reason",
)
_NO_EVENTS = LastEvents(None, None)


@dataclass(frozen=True, slots=True)
class Measured:
    """What opened a breaker, in numbers: "12 % of 400" against "10 %"; empty where a person did."""

    value: str = ""
    threshold: str = ""

    @classmethod
    def of(cls, event: BreakerEvent | None) -> Measured:
        """The evidence of a transition as it is shown."""
        if event is None or event.value is None or event.threshold is None:
            return cls()
        if event.trigger == Trigger.PROVIDER_BLOCK:
            return cls(f"{event.value:g} refusals in a row", f"{event.threshold:g} in a row")
        of = f" of {number(event.volume)}" if event.volume else ""
        return cls(share(event.value) + of, share(event.threshold))


@dataclass(frozen=True, slots=True)
class BreakerEntry:
    """One breaker in the list."""

    line: BreakerLine
    provider_id: str
    trigger: str
    """What opened it last, in words; empty: nothing yet."""
    measured: Measured
    paused_at: datetime | None
    reopen_at: datetime | None
    """When the next probe is due, where time alone decides."""
    pauses: int
    step: int
    who: str
    """Who moved it last."""
    held: str
    """Whose word holds it where it is; empty: the automation's."""
    held_until: datetime | None


@dataclass(frozen=True, slots=True)
class EventLine:
    """One transition."""

    at: datetime
    before: StatusWord
    after: StatusWord
    step: int
    trigger: str
    measured: Measured
    reopen_at: datetime | None
    by: str
    notes: str

    @classmethod
    def of(cls, row: BreakerEvent) -> EventLine:
        """The transition as it is shown."""
        return cls(
            at=row.at,
            before=state_word(row.from_state),
            after=state_word(row.to_state),
            step=row.step,
            trigger=plain(row.trigger),
            measured=Measured.of(row),
            reopen_at=row.reopen_at,
            by=row.triggered_by,
            notes=row.notes,
        )


def entries(rows: Sequence[Breaker]) -> tuple[BreakerEntry, ...]:
    """The breakers as they are shown; a fixed number of queries."""
    if not rows:
        return ()
    events, book = last_events(rows), breaker_book()
    return tuple(_entry(row, BreakerLine.of(row, book), events.get(row.pk, _NO_EVENTS)) for row in rows)


def csv_rows(rows: Sequence[Breaker]) -> Iterator[tuple[Any, ...]]:
    """The list as lines of a CSV file; ratios from 0 to 1."""
    events = last_events(rows)
    for row in rows:
        opened = _opening(row, events.get(row.pk, _NO_EVENTS))
        numbers = (opened.value, opened.threshold, opened.volume) if opened else (None, None, None)
        state = (row.state, row.since, row.step, row.paused_at, row.reopen_at, row.pauses, row.trigger)
        held = (row.held_by, row.held_until) if row.held else (None, None)
        yield (row.pk, row.scope.word, row.sender, row.provider, *state, *numbers, *held, row.reason)


def event_lines(rows: Iterable[BreakerEvent]) -> tuple[EventLine, ...]:
    """The timeline of one breaker."""
    return tuple(EventLine.of(row) for row in rows)


def _entry(row: Breaker, line: BreakerLine, events: LastEvents) -> BreakerEntry:
    return BreakerEntry(
        line=line,
        provider_id=row.provider,
        trigger=row.get_trigger_display() if row.trigger else "",
        measured=Measured.of(_opening(row, events)),
        paused_at=row.paused_at,
        reopen_at=row.reopen_at if row.state == State.OPEN and not row.held else None,
        pauses=row.pauses,
        step=row.step,
        who=events.last.triggered_by if events.last else "",
        held=row.held_by if row.held else "",
        held_until=row.held_until if row.held else None,
    )


def _opening(row: Breaker, events: LastEvents) -> BreakerEvent | None:
    """The transition with the numbers that opened it last; None where something else did."""
    return events.opened if events.opened and events.opened.trigger == row.trigger else None
