"""The caps in force for one sender, and how much of each is spent: what its next permit will be decided by."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime

from reputation import permits
from reputation.domain.breaker_policy import Kind
from reputation.domain.permit import Ask, Cap
from reputation.domain.permit_book import PermitBook
from reputation.domain.sending_policy import Mode
from reputation.models import Budget

_SOMEBODY = "somebody@unknown.invalid"


@dataclass(frozen=True, slots=True)
class CapsNow:
    """What limits one sender, the fullest cap first."""

    pool: str
    """By which its mail leaves."""
    mode: Mode
    caps: tuple[Cap, ...]
    """With `counted` as what is spent, by permits or by what was sent without asking."""


def caps_of(kind: Kind, sender: str, *, now: datetime) -> CapsNow:
    """The caps of a sending IP or domain in the windows now in force.

    By the book and not by the stored budgets alone: the budget of a warm-up that was completed at noon stays until
    midnight, but limits nothing any longer; and a cap that nobody has spent from yet has no budget. Budgets name the
    providers to ask about. Raises DatabaseError only where the database never answered since this process started.
    """
    book = permits.desk().books.current()
    ask = _ask(kind, sender, "")
    pool = book.pool_of(ask)
    found: dict[str, Cap] = {}
    for provider in sorted(_providers(book, kind, sender, pool, now)):
        facts = book.facts(_ask(kind, sender, provider), now)
        caps = facts.caps if kind == "domain" else tuple(cap for entry in facts.candidates for cap in entry.caps)
        found |= {cap.key: replace(cap, counted=max(cap.counted, book.spent.get(cap.key, 0))) for cap in caps}
    fullest = sorted(found.values(), key=lambda cap: (-cap.counted / max(cap.limit, 1), cap.ends, cap.key))
    return CapsNow(pool, book.policy_of(pool).mode, tuple(fullest))


def _ask(kind: Kind, sender: str, provider: str) -> Ask:
    return Ask(sender, provider=provider) if kind == "domain" else Ask(_SOMEBODY, provider=provider, ip=sender)


def _providers(book: PermitBook, kind: Kind, sender: str, pool: str, now: datetime) -> set[str]:
    policy, plan = book.policy_of(pool), book.warm_ups.get((kind, sender))
    named = set(policy.provider_caps) if policy.provider_limits_on else set()
    held = {scope.provider for scope in book.breakers.by_scope if (scope.kind, scope.sender) == (kind, sender)}
    rows = Budget.objects.filter(kind=kind, sender=sender, starts_at__lte=now, ends_at__gt=now)
    spent = set(rows.order_by().values_list("provider", flat=True).distinct())
    return {"", *named, *held, *(plan.provider_limits if plan else ()), *spent}
