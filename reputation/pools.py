"""Who of a pool takes how much now, by the same rules and the same book that permits are decided by."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime

from reputation import permits
from reputation.domain.breaker import Allowance
from reputation.domain.permit import ASK_AGAIN, Action, Ask, Candidate, Facts, Rule, Ruling, decide
from reputation.domain.permit_book import PermitBook
from reputation.domain.policy import Status, percent
from reputation.domain.sending_policy import Mode
from reputation.models import Pool

# A sender that no rule knows, so that only the IPs speak (RFC 2606 keeps this name free).
_SOMEBODY = "somebody@unknown.invalid"


@dataclass(frozen=True, slots=True)
class Share:
    """One sending IP of a pool, and how much of the pool's mail the rules give it."""

    ip: str
    weight: int
    is_backup: bool
    transport: str
    status: Status
    share: float
    """Of the pool's mail by the rules, 0 to 1; the shares of a pool add up to 1, or to 0 where no IP may send."""
    share_by_weight: float
    """The same by weight alone: what the socketmap goes by unless the pool enforces."""
    rule: Rule | None
    """What takes it out; None where it may send."""
    why: str
    """Why it is out or has less than its weight's share; empty: nothing speaks against it."""
    until: datetime | None
    """When it may be back in; None where nobody knows."""
    at_providers: tuple[str, ...]
    """What holds it back at single mailbox providers only."""

    @property
    def is_out(self) -> bool:
        """Whether it gets nothing now."""
        return not self.share


@dataclass(frozen=True, slots=True)
class PoolNow:
    """A pool as permits know it, at most a second old."""

    name: str
    at: datetime
    mode: Mode
    has_own_policy: bool
    """False: it goes by the default pool's sending policy."""
    members: tuple[Share, ...]


def pool_now(pool: Pool, *, now: datetime, provider: str = "") -> PoolNow:
    """Who of this pool takes how much of what is sent to that mailbox provider; without one, of its mail in general.

    Raises DatabaseError only where the database never answered since this process started.
    """
    books = permits.desk().books
    book = books.current()
    return PoolNow(
        name=pool.name,
        at=books.as_of,
        mode=book.policy_of(pool.name).mode,
        has_own_policy=pool.name in book.policies,
        members=shares(book, pool.name, provider, now=now),
    )


def shares(book: PermitBook, pool: str, provider: str, *, now: datetime) -> tuple[Share, ...]:
    """The members of this pool by address, with what the rules leave to each."""
    ask = Ask(_SOMEBODY, provider=provider, pool=pool)
    facts = book.facts(ask, now)
    ruled = [(entry, _alone(ask, facts, entry, now)) for entry in facts.candidates]
    able = {entry.ip: entry.weight for entry, ruling in ruled if ruling.action is Action.ALLOW and entry.weight > 0}
    weighed = {entry.ip: float(entry.member.weight) for entry, _ in ruled if entry.member.weight > 0}
    backups = {entry.ip for entry, _ in ruled if entry.member.is_backup}
    by_rules, by_weight = _parts(able, backups), _parts(weighed, backups)
    return tuple(
        _share(
            entry,
            ruling,
            by_rules.get(entry.ip, 0.0),
            by_weight.get(entry.ip, 0.0),
            _local(book, entry, provider),
            None if ruling.until == now + ASK_AGAIN else ruling.until,
        )
        for entry, ruling in ruled
    )


def _alone(ask: Ask, facts: Facts, candidate: Candidate, now: datetime) -> Ruling:
    return decide(ask, replace(facts, breakers=(), caps=(), candidates=(candidate,)), {}, now)


def _parts(weights: dict[str, float], backups: set[str]) -> dict[str, float]:
    """Each weight's part of all; backups count only where nobody else is left."""
    ranked = {ip: weight for ip, weight in weights.items() if ip not in backups} or weights
    total = sum(ranked.values())
    return {ip: weight / total for ip, weight in ranked.items()}


def _share(
    candidate: Candidate,
    ruling: Ruling,
    by_rules: float,
    by_weight: float,
    at_providers: tuple[str, ...],
    until: datetime | None,
) -> Share:
    member, is_held = candidate.member, ruling.action is not Action.ALLOW
    return Share(
        ip=member.ip,
        weight=member.weight,
        is_backup=member.is_backup,
        transport=member.transport,
        status=member.status,
        share=by_rules,
        share_by_weight=by_weight,
        rule=ruling.rule if is_held else None,
        why=_why(candidate, ruling, by_rules),
        until=until,
        at_providers=at_providers,
    )


def _why(candidate: Candidate, ruling: Ruling, share: float) -> str:
    member = candidate.member
    if not member.weight:
        return "Its weight is 0."
    if ruling.action is not Action.ALLOW:
        return ruling.reason
    if not share:
        return "A backup: others may send."
    lessened = [_allowed(entry) for entry in candidate.breakers]
    if member.standing_share < 1:
        lessened.insert(0, f"It stands as {member.status.value}, which leaves {percent_of(member.standing_share)}.")
    return " ".join(lessened)


def _local(book: PermitBook, candidate: Candidate, provider: str) -> tuple[str, ...]:
    """What breakers say of this IP at single providers; nothing where one provider was asked about."""
    if provider:
        return ()
    found: Iterable[Allowance] = (
        entry for scope, entry in book.breakers.by_scope.items() if scope.sender == candidate.ip and scope.provider
    )
    return tuple(sorted(_allowed(entry) for entry in found))


def _allowed(entry: Allowance) -> str:
    where = f" at {entry.scope.provider}" if entry.scope and entry.scope.provider else ""
    if not entry.share:
        return f"Paused{where}: {entry.reason}"
    return f"Half-open{where}: {percent(entry.share)} pass."


def percent_of(share: float) -> str:
    """A share (0 to 1) for a sentence."""
    return f"{round(share * 100, 1):g} %"
