"""What circuit breakers hold back, on the pages of IPs and domains and on the overview."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from dashboard.words import StatusWord, provider_title
from reputation.breaker_policies import BreakerBook, breaker_book
from reputation.domain.breaker_policy import State
from reputation.domain.policy import percent
from reputation.models import Breaker

OF_A_SENDER_SHOWN = 12
ON_OVERVIEW_SHOWN = 12
# The colours of the statuses that are as bad; the word is the breaker's own.
_WORDS = {
    State.OPEN: StatusWord("quarantine", "open", "■"),
    State.HALF_OPEN: StatusWord("warning", "half-open", "▲"),
    State.CLOSED: StatusWord("healthy", "closed", "●"),
}


@dataclass(frozen=True, slots=True)
class BreakerLine:
    """One breaker: what it holds back, why, since when, and what comes next."""

    id: int
    sender: str
    is_ip: bool
    provider: str
    """The mailbox provider's title; empty: all of them."""
    state: StatusWord
    is_closed: bool
    since: datetime
    reason: str
    next_step: str
    """A sentence; empty for a closed breaker that nobody holds."""
    due: datetime | None
    """When the next step comes by time alone."""

    @classmethod
    def of(cls, row: Breaker, book: BreakerBook) -> BreakerLine:
        """The breaker as it is shown."""
        state = State(row.state)
        return cls(
            id=row.pk,
            sender=row.sender,
            is_ip=row.kind == "ip",
            provider=provider_title(row.provider) if row.provider else "",
            state=_WORDS[state],
            is_closed=state is State.CLOSED,
            since=row.since,
            reason=row.reason,
            next_step=_next_step(row, state, book),
            due=row.held_until if row.held else row.reopen_at,
        )


def state_word(state: str) -> StatusWord:
    """A breaker's state as it is shown."""
    return _WORDS[State(state)]


def breakers_of(kind: str, sender: str) -> tuple[BreakerLine, ...]:
    """The breakers of one sender, what holds mail back first."""
    rows = Breaker.objects.filter(kind=kind, sender=sender, version__gt=0)
    return _lines(sorted(rows, key=lambda row: (row.state == State.CLOSED, row.provider))[:OF_A_SENDER_SHOWN])


def open_breakers() -> tuple[BreakerLine, ...]:
    """What is held back in the whole fleet, the latest first; one more than shown says that there are more."""
    rows = Breaker.objects.exclude(state=State.CLOSED).order_by("-since", "-id")
    return _lines(rows[: ON_OVERVIEW_SHOWN + 1])


def _lines(rows: Iterable[Breaker]) -> tuple[BreakerLine, ...]:
    found = list(rows)
    if not found:
        return ()
    book = breaker_book()
    return tuple(BreakerLine.of(row, book) for row in found)


def _next_step(row: Breaker, state: State, book: BreakerBook) -> str:
    if row.held:
        return (
            f"Decided by {row.held_by}; the automation waits until" if row.held_until else f"Decided by {row.held_by}"
        )
    if state is State.OPEN:
        return "First probe"
    if state is State.CLOSED:
        return ""
    policy = book.policy_of(row.scope.kind, row.sender)
    least = policy.block_step_minimum if row.trigger == "provider_block" else policy.step_minimum
    share = percent(policy.shares[row.step - 1])
    return f"Step {row.step} of {len(policy.shares)}: {share} of the normal limit, judged after {least} messages"
