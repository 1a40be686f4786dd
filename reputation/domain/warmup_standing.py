"""How a sender stood on one day, for the midnight rule of its warm-up: by status, by score, by its breakers."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from reputation.domain.breaker_policy import State
from reputation.domain.policy import Status

# One rate above its lowest threshold is a warning; what costs more than the dearest penalty is as bad as quarantine.
HEALTHY_FROM = 85
WARNING_FROM = 60


@dataclass(frozen=True, slots=True)
class Stood:
    """A standing and what made it."""

    status: Status
    because: str = ""


def worst(*found: Stood | None) -> Stood | None:
    """The worst of them; None where nobody judged. Of equal ones the first."""
    known = [stood for stood in found if stood is not None]
    return max(known, key=lambda stood: stood.status.severity, default=None)


def of_statuses(statuses: Iterable[str], override: str | None) -> Stood:
    """A sending IP: the worst status of the day, unless a person's word was in force at its end."""
    if override is not None:
        return Stood(Status(override), "set by hand.")
    status = max((Status(word) for word in statuses), key=lambda status: status.severity)
    return Stood(status, "its worst status of that day.")


def of_score(value: int) -> Stood:
    """A sending domain, which has no status: the score of that day's mail, 0 to 100."""
    status = Status.HEALTHY if value >= HEALTHY_FROM else Status.WARNING if value >= WARNING_FROM else Status.QUARANTINE
    return Stood(status, f"a score of {value}.")


def of_breaker(state: State, provider: str) -> Stood | None:
    """An open breaker is as bad as quarantine, a half-open one as a warning; a closed one says nothing."""
    if state is State.CLOSED:
        return None
    status = Status.QUARANTINE if state is State.OPEN else Status.WARNING
    where = f" at {provider}" if provider else ""
    return Stood(status, f"a breaker{where} was {state.value.replace('_', '-')}.")
