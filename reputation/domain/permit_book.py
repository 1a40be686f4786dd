"""Everything that permits are decided by, as it was at one moment: read once a second, asked thousands of times."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from reputation.domain.breaker import Allowance, Allowances
from reputation.domain.breaker_policy import Kind, Scope
from reputation.domain.permit import Ask, Candidate, Cap, Facts, Rule
from reputation.domain.pool import Member
from reputation.domain.sending_policy import SendingPolicy
from telemetry.domain.cells import DAY, HOUR
from telemetry.domain.mailbox_providers import ProviderDirectory

if TYPE_CHECKING:
    from reputation.domain.warmup import DayPlan

_FAR = 100  # percent


@dataclass(frozen=True, slots=True)
class PermitBook:
    """Policies, pools, breakers, warm-ups, scores and budgets. Asking it needs no database."""

    default_pool: str
    policies: Mapping[str, SendingPolicy]
    """By the pool's name; a pool without one goes by the default pool's."""
    pools: Mapping[str, tuple[Member, ...]]
    pool_of_domain: Mapping[str, str]
    """Of sending domains that leave by another pool than the default one."""
    pool_of_ip: Mapping[str, str]
    breakers: Allowances = field(default_factory=Allowances)
    normal: Mapping[Scope, int] = field(default_factory=dict)
    """Recipients an hour before the pause, of half-open breakers."""
    warm_ups: Mapping[tuple[Kind, str], DayPlan] = field(default_factory=dict)
    scores: Mapping[tuple[Kind, str], int] = field(default_factory=dict)
    spent: Mapping[str, int] = field(default_factory=dict)
    """Budgets as they were at that moment, by key."""
    directory: ProviderDirectory = field(default_factory=lambda: ProviderDirectory.of([]))
    mx_hosts: Mapping[str, str] = field(default_factory=dict)
    """By recipient domain, as far as they are known."""
    # What was worked out in this minute already.
    _minute: dict[str, tuple[int, int, int]] = field(default_factory=dict, init=False, repr=False, compare=False)
    _facts: dict[tuple[Any, ...], Facts] = field(default_factory=dict, init=False, repr=False, compare=False)
    _candidates: dict[tuple[Any, ...], Candidate] = field(default_factory=dict, init=False, repr=False, compare=False)

    def pool_of(self, ask: Ask) -> str:
        """By which pool this leaves."""
        if ask.ip:
            return self.pool_of_ip.get(ask.ip, self.default_pool)
        return ask.pool or self.pool_of_domain.get(ask.domain, self.default_pool)

    def policy_of(self, pool: str) -> SendingPolicy:
        """What is in force for this pool."""
        return self.policies.get(pool) or self.policies.get(self.default_pool) or SendingPolicy()

    def provider_of(self, ask: Ask) -> str:
        """The mailbox provider's id; empty: nobody knows who gets this."""
        if ask.provider or not ask.recipient:
            return ask.provider
        domain = ask.recipient.rpartition("@")[2].lower()
        return self.directory.provider(self.mx_hosts.get(domain, ""), domain)

    def unknown_domain(self, ask: Ask) -> str:
        """The recipient's domain where its MX host would tell more than the domain does; else empty."""
        domain = "" if ask.provider else ask.recipient.rpartition("@")[2].lower()
        return "" if domain in self.directory.domains else domain

    def facts(self, ask: Ask, now: datetime) -> Facts:
        """What an ask is decided by; worked out once for all that differ in recipients alone."""
        if self._minute.get("of") != (minute := _minute(now)):
            # Windows begin and end at whole minutes. And a book that stays for days must not grow.
            self._facts.clear()
            self._candidates.clear()
            self._minute["of"] = minute
        pool, provider = self.pool_of(ask), self.provider_of(ask)
        which = (ask.domain, ask.ip, pool, provider)
        found = self._facts.get(which)
        if found is None:
            found = self._facts[which] = self._work_out(ask, pool, provider, now)
        return found

    def _work_out(self, ask: Ask, pool: str, provider: str, now: datetime) -> Facts:
        policy = self.policy_of(pool)
        members = (self._member(ask.ip, pool),) if ask.ip else self.pools.get(pool, ())
        candidates = tuple(self._candidate(member, provider, now) for member in members)
        caps = self._caps("domain", ask.domain, provider, now) if ask.domain else ()
        if not candidates and ask.domain:
            caps += tuple(self._known(cap) for cap in _provider_caps(policy, "domain", ask.domain, provider, now))
        breakers = self._breakers("domain", ask.domain, provider) if ask.domain else ()
        return Facts(policy, breakers, caps, candidates)

    def _candidate(self, member: Member, provider: str, now: datetime) -> Candidate:
        which = (member, provider)
        found = self._candidates.get(which)
        if found is None:
            breakers, caps = self._breakers("ip", member.ip, provider), self._caps("ip", member.ip, provider, now)
            found = self._candidates[which] = Candidate(member, breakers, caps)
        return found

    def _member(self, ip: str, pool: str) -> Member:
        known = next((member for member in self.pools.get(pool, ()) if member.ip == ip), None)
        return known or Member(ip)

    def _breakers(self, kind: Kind, name: str, provider: str) -> tuple[Allowance, ...]:
        scopes = (Scope(kind, name, at) for at in {"", provider})
        return tuple(
            sorted(
                (entry for scope in scopes if (entry := self.breakers.by_scope.get(scope))),
                key=lambda entry: entry.share,
            )
        )

    def _caps(self, kind: Kind, name: str, provider: str, now: datetime) -> tuple[Cap, ...]:
        pool = self.pool_of_ip.get(name, self.default_pool) if kind == "ip" else self.default_pool
        policy = self.policy_of(pool)
        found = [*self._probes(kind, name, provider, policy, now), *self._volume(kind, name, provider, policy, now)]
        if kind == "ip":
            found += _provider_caps(policy, kind, name, provider, now)
        return tuple(self._known(cap) for cap in found)

    def _known(self, cap: Cap) -> Cap:
        spent = self.spent.get(cap.key, 0)
        if spent <= cap.counted:
            return cap
        return Cap(
            cap.rule, cap.kind, cap.sender, cap.provider, cap.starts, cap.ends, cap.limit, spent, cap.ceiling, cap.word
        )

    def _probes(self, kind: Kind, name: str, provider: str, policy: SendingPolicy, now: datetime) -> Iterator[Cap]:
        for at in {"", provider}:
            scope = Scope(kind, name, at)
            entry = self.breakers.by_scope.get(scope)
            if entry is None or not entry.share:
                continue
            base = policy.ip_limit_per_hour if kind == "ip" else policy.domain_limit_per_hour
            normal = base if base is not None else self.normal.get(scope, 0)
            limit = max(policy.probe_per_hour, math.ceil(entry.share * normal))
            starts, word = _hour(now), str(round(entry.share * _FAR))
            yield Cap(Rule.PROBE, kind, name, at, starts, starts + HOUR, limit, word=word)

    def _volume(self, kind: Kind, name: str, provider: str, policy: SendingPolicy, now: datetime) -> Iterator[Cap]:
        plan = self.warm_ups.get((kind, name))
        if plan is not None:
            # A book that outlives the window (the database is away) goes on with the same volume, and not without any.
            length = plan.ends - plan.starts
            starts = plan.starts + max(0, (now - plan.starts) // length) * length
            ends, is_over = starts + length, starts > plan.starts
            yield Cap(Rule.WARM_UP, kind, name, "", starts, ends, plan.limit, 0 if is_over else plan.counted)
            if provider in plan.provider_limits:
                limit, counted = plan.provider_limits[provider], plan.provider_counted.get(provider, 0)
                yield Cap(Rule.WARM_UP, kind, name, provider, starts, ends, limit, 0 if is_over else counted)
            return
        base = policy.ip_limit_per_hour if kind == "ip" else policy.domain_limit_per_hour
        if base is None:
            return
        limit, starts = scaled(base, self.scores.get((kind, name)), policy.least_per_hour), _hour(now)
        yield Cap(Rule.BASE_LIMIT, kind, name, "", starts, starts + HOUR, limit, ceiling=base)


def scaled(base: int, score: int | None, least: int) -> int:
    """A base limit by score: its share of 100, never under `least` while the score is above 0; unscored: all of it."""
    if score is None:
        return base
    if score <= 0:
        return 0
    return min(base, max(least, math.floor(Fraction(base * score, 100))))


def _provider_caps(policy: SendingPolicy, kind: Kind, name: str, provider: str, now: datetime) -> Iterator[Cap]:
    cap = policy.cap_at(provider)
    for limit, starts, length, word in (
        (cap.per_hour, _hour(now), HOUR, "hour"),
        (cap.per_day, _day(now), DAY, "day"),
    ):
        if limit is not None:
            yield Cap(
                Rule.PROVIDER_LIMIT, kind, name, provider, starts, starts + length, limit, ceiling=limit, word=word
            )


def _hour(now: datetime) -> datetime:
    return now.replace(minute=0, second=0, microsecond=0)


def _minute(now: datetime) -> tuple[int, int, int]:
    return now.toordinal(), now.hour, now.minute


def _day(now: datetime) -> datetime:
    return _hour(now).replace(hour=0)
