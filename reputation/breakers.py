"""Circuit breakers: load what happened, decide, save; a transition is a row of its own.

A check changes a breaker only where it is still what was read, so of two checks at once one makes the transition (see
`breaker_moves`). People's decisions are in `breaker_acts`.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable
from datetime import datetime
from typing import Final

from django.db.models import Count, Q

from reputation.breaker_facts import LOOK_BACK, Traffic, calm_senders, refusals_in_a_row, suspects
from reputation.breaker_moves import circuit_of, move, new_row
from reputation.breaker_policies import BreakerBook, breaker_book, major_providers
from reputation.domain import breaker as domain
from reputation.domain.breaker import Allowance, Allowances, Circuit, decide
from reputation.domain.breaker_policy import BreakerPolicy, Facts, Kind, Scope, State
from reputation.domain.breaker_triggers import may_cross
from reputation.domain.policy import MajorProviders
from reputation.models import Breaker
from telemetry.domain.vocab import UNKNOWN_IP
from telemetry.domain.window import Outcomes
from telemetry.queries_order import NOBODY, Pair, domains_touched, failures_lately

KINDS: Final[tuple[Kind, ...]] = ("domain", "ip")
_UNTOUCHED: Final = Circuit()
_NOTHING: Final = Outcomes()


def check_all(*, now: datetime) -> int:
    """Judge every sender with mail in the last 24 hours and every breaker; how many transitions were made."""
    book, majors = breaker_book(), major_providers()
    return tick(now=now) + sum(_Check(kind, None, book, majors, now).run() for kind in KINDS)


def check_changed(ips: Collection[str], *, now: datetime) -> int:
    """Judge the sending IPs with new events and their domains; how many transitions were made.

    Only failures can open a breaker, so of senders without one lately only those with a half-open breaker are judged,
    and of those with failures only the ones that may have crossed a threshold.
    """
    ips = {ip for ip in ips if ip != UNKNOWN_IP}
    book, majors = breaker_book(), major_providers()
    half_open = set(Breaker.objects.filter(state=State.HALF_OPEN).values_list("kind", "sender").order_by().distinct())
    lately: dict[Kind, dict[Pair, tuple[int, int]]] = {kind: {} for kind in KINDS}
    for ip, name, provider, bounced, complained in failures_lately(ips, since=now - LOOK_BACK):
        for kind, pair in zip(KINDS, ((name, provider), (ip, provider)), strict=True):
            before = lately[kind].get(pair, (0, 0))
            lately[kind][pair] = before[0] + bounced, before[1] + complained
    moved = 0
    for kind in KINDS:
        failing = {pair: counts for pair, counts in lately[kind].items() if pair[0] != NOBODY[kind]}
        names = {name for name, _ in failing}
        resuming = {sender for held, sender in half_open if held == kind}
        resuming &= ips if kind == "ip" else domains_touched(ips, resuming, since=now - LOOK_BACK)
        uncertain = names - calm_senders(kind, failing, book.policy_of, now) if names else set()
        refused = {name for name, _ in suspects(kind, names, book.policy_of, now)} if names else set()
        if senders := uncertain | refused | resuming:
            moved += _Check(kind, senders, book, majors, now).run()
    return moved


def tick(*, now: datetime) -> int:
    """Make the transitions that time alone brings: probes that are due, decisions of people that have expired."""
    due = Q(state=State.OPEN, held=False) & (Q(reopen_at__lte=now) | Q(reopen_at=None)) | Q(
        held=True, held_until__lte=now
    )
    rows = list(Breaker.objects.filter(due).order_by("pk"))
    book = breaker_book() if rows else None
    moved = 0
    for row in rows:
        assert book is not None
        policy = book.policy_of(row.scope.kind, row.sender)
        decision = decide(circuit_of(row), Facts(), policy, now)
        if decision is not None:
            moved += move(row, decision, now=now, policy_revision=policy.revision) is not None
    return moved


def standing_for(
    domains: Collection[str] | None = None,
    ips: Collection[str] | None = None,
    providers: Collection[str] | None = None,
    *,
    now: datetime,
) -> Allowances:
    """What the breakers leave to these senders at these providers (None: all); one query, for the permits.

    What time alone changes counts at once, whether or not a worker has written it down: nobody stays paused because a
    worker is away.
    """
    rows = Breaker.objects.exclude(state=State.CLOSED)
    senders = Q()
    for kind, names in (("domain", domains), ("ip", ips)):
        senders |= Q(kind=kind) if names is None else Q(kind=kind, sender__in=list(names))
    rows = rows.filter(senders)
    if providers is not None:
        rows = rows.filter(provider__in=["", *providers])
    found: dict[Scope, Allowance] = {}
    book: BreakerBook | None = None
    for row in rows:
        book = book or breaker_book()
        policy, circuit, reason = book.policy_of(row.scope.kind, row.sender), circuit_of(row), row.reason
        by_time = decide(circuit, Facts(), policy, now)
        if by_time is not None:
            circuit, reason = by_time.after, by_time.why
        allowance = domain.allowance(row.scope, circuit, policy, reason)
        if allowance is not None:
            found[row.scope] = allowance
    return Allowances(found)


def counts() -> dict[tuple[str, str], int]:
    """How many breakers are open and half-open, by kind of scope and state."""
    found: Counter[tuple[str, str]] = Counter()
    rows = Breaker.objects.exclude(state=State.CLOSED).order_by()
    for kind, provider, state, count in rows.values_list("kind", "provider", "state").annotate(Count("pk")):
        found[f"{kind}_provider" if provider else kind, state] += count
    return dict(found)


class _Check:
    """One pass over the senders of one kind: by provider first, because a block takes its provider out of the rest."""

    def __init__(
        self, kind: Kind, names: Collection[str] | None, book: BreakerBook, majors: MajorProviders, now: datetime
    ) -> None:
        rows = (
            Breaker.objects.filter(kind=kind) if names is None else Breaker.objects.filter(kind=kind, sender__in=names)
        )
        self.kind: Kind = kind
        self.names, self.book, self.now = names, book, now
        self.rows: dict[Pair, Breaker] = {(row.sender, row.provider): row for row in rows}
        self.circuits: dict[Pair, Circuit] = {pair: circuit_of(row) for pair, row in self.rows.items()}
        held_back = {pair[0] for pair, circuit in self.circuits.items() if circuit.was_judged}
        self.traffic = Traffic(kind, names, trusted=held_back, now=now)
        self.majors = majors

    def run(self) -> int:
        """Judge and move; how many transitions were made."""
        pairs = {*self.traffic.pairs, *self.circuits}
        at_providers = sorted(pair for pair in pairs if pair[1])
        self.traffic.read((self._start(pair), pair[0]) for pair in at_providers)
        suspected = suspects(self.kind, self.names, self.book.policy_of, self.now).union(self._resuming())
        rows = {pair: row for pair in suspected if (row := self._row(pair))}
        moved = sum(self._judge(pair, self._outcomes(pair), rows.get(pair, ())) for pair in at_providers)

        providers: dict[str, list[str]] = defaultdict(list)
        for name, provider in at_providers:
            providers[name].append(provider)
        overall = sorted({(name, "") for name, _ in pairs})
        self.traffic.read(
            (start, pair[0]) for pair in overall for at in providers[pair[0]] if (start := self._part(pair, at))
        )
        return moved + sum(self._judge(pair, self._total(pair, providers[pair[0]]), ()) for pair in overall)

    def _policy(self, pair: Pair) -> BreakerPolicy:
        return self.book.policy_of(self.kind, pair[0])

    def _start(self, pair: Pair) -> datetime:
        return domain.judged_from(self.circuits.get(pair, _UNTOUCHED), self._policy(pair), self.now)

    def _part(self, pair: Pair, provider: str) -> datetime | None:
        """From when on a provider's traffic counts for the sender as a whole; None: not at all.

        A provider's block opens that provider's scope only: what it refused must not open the whole sender as bounces.
        """
        at_provider = self.circuits.get((pair[0], provider))
        if at_provider is None or not at_provider.was_blocked:
            return self._start(pair)
        closed = at_provider.state is State.CLOSED
        return max(self._start(pair), self._start((pair[0], provider))) if closed else None

    def _outcomes(self, pair: Pair) -> Outcomes:
        return self.traffic.since(pair, self._start(pair))

    def _total(self, pair: Pair, providers: Iterable[str]) -> Outcomes:
        starts = ((provider, self._part(pair, provider)) for provider in providers)
        parts = (self.traffic.since((pair[0], at), start) for at, start in starts if start is not None)
        return sum(parts, _NOTHING)

    def _resuming(self) -> list[Pair]:
        return [pair for pair, circuit in self.circuits.items() if pair[1] and circuit.state is State.HALF_OPEN]

    def _row(self, pair: Pair) -> tuple[datetime, ...]:
        """The refusals in a row of a sender at a major provider, where they could move its breaker."""
        circuit, policy = self.circuits.get(pair, _UNTOUCHED), self._policy(pair)
        is_major = self.majors.name("", pair[1], "provider") is not None
        if not is_major or not policy.enabled or circuit.hold is not None or circuit.state is State.OPEN:
            return ()
        start = domain.refusals_from(circuit, policy, self.now)
        return refusals_in_a_row(self.traffic, pair, start, policy.block_refusals)

    def _judge(self, pair: Pair, sums: Outcomes, refusals: tuple[datetime, ...]) -> bool:
        circuit, policy = self.circuits.get(pair, _UNTOUCHED), self._policy(pair)
        if circuit is _UNTOUCHED and not refusals and not may_cross(sums, policy):
            return False
        facts = Facts(sums.delivered, sums.bounced, sums.complained, refusals)
        decision = decide(circuit, facts, policy, self.now)
        if decision is None:
            return False
        scope = Scope(self.kind, *pair)
        event = move(
            self.rows.get(pair) or new_row(scope, self.now), decision, now=self.now, policy_revision=policy.revision
        )
        # Also where somebody else was faster: what it refused must not count for the whole sender in this pass either.
        self.circuits[pair] = decision.after
        return event is not None
