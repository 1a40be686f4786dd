"""The circuit breaker of one scope: closed → open → half-open in steps → closed. Product specification section 4.

`decide` is the whole machine: what is, what happened since, the rules and the time give at most one transition. What
opens a breaker is in `breaker_triggers`, the words and numbers in `breaker_policy`. Time and traffic alone lead from
every state back to closed; only a person's word without an end holds longer.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime
from fractions import Fraction

from reputation.domain.breaker_policy import BreakerPolicy, Evidence, Facts, Kind, Scope, State, Trigger
from reputation.domain.breaker_triggers import crossed
from reputation.domain.policy import percent
from telemetry.domain.cells import MINUTE, ceil_to


@dataclass(frozen=True, slots=True)
class Hold:
    """A person's word, which the automation does not touch until it ends."""

    until: datetime | None
    """None: until a person decides anew."""
    resumes: State
    """The state that follows: half-open where the automation had opened it before, else closed."""


@dataclass(frozen=True, slots=True)
class Circuit:
    """A breaker as it stands. The default is a scope that never left "closed"."""

    state: State = State.CLOSED
    since: datetime | None = None
    """When the state or step began; None: always."""
    step: int = 0
    """1 to 3 while half-open."""
    pauses: int = 0
    """Pauses since the last 24 healthy hours."""
    reopen_at: datetime | None = None
    """When an open breaker lets the first probe through."""
    cause: Trigger | None = None
    """What opened it last."""
    hold: Hold | None = None

    @property
    def was_blocked(self) -> bool:
        """Whether a provider's block opened it last."""
        return self.cause is Trigger.PROVIDER_BLOCK

    @property
    def was_judged(self) -> bool:
        """Whether it holds mail back because of numbers, and not by a person's word alone."""
        return self.state is not State.CLOSED and self.cause not in (None, Trigger.MANUAL)


@dataclass(frozen=True, slots=True)
class Decision:
    """One transition: what it becomes, what moved it, and why."""

    after: Circuit
    trigger: Trigger
    why: str
    evidence: Evidence | None = None


@dataclass(frozen=True, slots=True)
class Allowance:
    """Which share of the normal limit a scope's breaker lets through."""

    share: Fraction = Fraction(1)
    scope: Scope | None = None
    """None: no breaker has a say."""
    reason: str = ""
    until: datetime | None = None
    """When an open breaker lets the next probe through, as far as that is known."""


UNBROKEN = Allowance()


@dataclass(frozen=True, slots=True)
class Allowances:
    """The breakers that hold something back; a scope that is not among them sends in full."""

    by_scope: dict[Scope, Allowance] = field(default_factory=dict)

    def strictest(self, *, domain: str = "", ip: str = "", provider: str = "") -> Allowance:
        """What the breakers leave to this mail: the smallest share of the up to four scopes that it is in."""
        names: tuple[tuple[Kind, str], ...] = (("domain", domain), ("ip", ip))
        scopes = [Scope(kind, name, at) for kind, name in names if name for at in {"", provider}]
        found = [self.by_scope[scope] for scope in scopes if scope in self.by_scope]
        return min(found, key=lambda entry: (entry.share, entry.scope), default=UNBROKEN)


def judged_from(circuit: Circuit, policy: BreakerPolicy, now: datetime) -> datetime:
    """From when on counters speak of this state: the window's start, or the first whole minute of the state or step.

    What happened before is what opened it; judging it twice would never let a breaker close.
    """
    start = now - policy.window
    return start if circuit.since is None else max(start, ceil_to(circuit.since, MINUTE))


def refusals_from(circuit: Circuit, policy: BreakerPolicy, now: datetime) -> datetime:
    """The same for refusals in a row, which have exact times."""
    start = now - policy.block_within
    return start if circuit.since is None else max(start, circuit.since)


def hold_open(circuit: Circuit, until: datetime | None, *, now: datetime) -> Circuit:
    """Open by a person's word. When it ends, a breaker that the automation had opened resumes in steps."""
    if circuit.hold is not None and circuit.state is State.OPEN:
        resumes = circuit.hold.resumes
    else:
        resumes = State.CLOSED if circuit.state is State.CLOSED else State.HALF_OPEN
    return replace(
        circuit,
        state=State.OPEN,
        since=now if circuit.state is not State.OPEN else circuit.since,
        step=0,
        reopen_at=until,
        cause=Trigger.MANUAL if resumes is State.CLOSED else circuit.cause,
        hold=Hold(until, resumes),
    )


def hold_closed(circuit: Circuit, until: datetime, *, now: datetime) -> Circuit:
    """Closed by a person's word: whatever the numbers say until then. Afterwards what was sent since is judged."""
    return replace(
        circuit,
        state=State.CLOSED,
        since=now if circuit.state is not State.CLOSED or circuit.since is None else circuit.since,
        step=0,
        reopen_at=None,
        hold=Hold(until, State.CLOSED),
    )


def allowance(scope: Scope, circuit: Circuit, policy: BreakerPolicy, reason: str) -> Allowance | None:
    """What a breaker lets through; None where that is everything."""
    if circuit.state is State.OPEN:
        return Allowance(Fraction(0), scope, reason, circuit.reopen_at)
    if circuit.state is State.HALF_OPEN:
        return Allowance(Fraction(policy.shares[circuit.step - 1]), scope, reason)
    return None


def decide(circuit: Circuit, facts: Facts, policy: BreakerPolicy, now: datetime) -> Decision | None:
    """The transition that is due, if any. `facts` are those since `judged_from` and `refusals_from`."""
    if circuit.hold is not None:
        return _hold_over(circuit, now)
    if not policy.enabled:
        return _switched_off(circuit, now)
    if circuit.state is State.OPEN:
        due = circuit.reopen_at is None or circuit.reopen_at <= now
        return _step(circuit, 1, Trigger.PAUSE_OVER, "The pause is over.", policy, now) if due else None
    if circuit.state is State.CLOSED:
        found = crossed(facts, policy, minimum=policy.minimum_volume)
        return _open(circuit, found, policy, now) if found else None
    minimum = policy.block_step_minimum if circuit.was_blocked else policy.step_minimum
    found = crossed(facts, policy, minimum=minimum)
    if found:
        return _open(circuit, found, policy, now)
    if facts.final < minimum or not facts.delivered:
        return None
    why = f"Of {facts.final} messages in step {circuit.step}, {facts.bounced} bounced; nothing speaks against more."
    return _step(circuit, circuit.step + 1, Trigger.STEP_PASSED, why, policy, now)


def _open(circuit: Circuit, found: Evidence, policy: BreakerPolicy, now: datetime) -> Decision:
    healthy = circuit.state is State.CLOSED and circuit.since is not None
    healthy = healthy and now - (circuit.since or now) >= policy.healthy_after
    pauses = 1 if healthy else circuit.pauses + 1
    after = Circuit(State.OPEN, now, 0, pauses, now + policy.pause(pauses), found.trigger)
    return Decision(after, found.trigger, found.why, found)


def _step(circuit: Circuit, step: int, trigger: Trigger, why: str, policy: BreakerPolicy, now: datetime) -> Decision:
    if step > len(policy.shares):
        after = replace(circuit, state=State.CLOSED, since=now, step=0, reopen_at=None, hold=None)
        return Decision(after, trigger, f"{why} Mail flows in full again.")
    after = replace(circuit, state=State.HALF_OPEN, since=now, step=step, reopen_at=None, hold=None)
    share = percent(policy.shares[step - 1])
    return Decision(after, trigger, f"{why} Step {step} of {len(policy.shares)}: {share} of the normal limit.")


def _hold_over(circuit: Circuit, now: datetime) -> Decision | None:
    hold = circuit.hold
    if hold is None or hold.until is None or hold.until > now:
        return None
    if circuit.state is State.CLOSED:
        after = replace(circuit, hold=None)
    else:
        step = 1 if hold.resumes is State.HALF_OPEN else 0
        after = replace(circuit, state=hold.resumes, since=now, step=step, reopen_at=None, hold=None)
    return Decision(after, Trigger.MANUAL_OVER, "The decision of a person has expired; the automation takes over.")


def _switched_off(circuit: Circuit, now: datetime) -> Decision | None:
    if circuit.state is State.CLOSED:
        return None
    after = replace(circuit, state=State.CLOSED, since=now, step=0, reopen_at=None)
    return Decision(after, Trigger.SWITCHED_OFF, "The policy has its breakers switched off.")
