"""The self-test: the fifteen scenarios, and simulations of one's own, through the real path and without a trace.

Events are recorded, counted and judged by the same code as everybody's, inside a transaction that is rolled back. What
the operator's own traffic put into the window of the simulated IP is set aside inside that transaction first, so that a
scenario proves the rules and nothing else.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from django.db import Error as DatabaseError
from django.db import transaction

from reputation.domain.decision import Decision
from reputation.domain.policy import CodeTiers, MajorProviders, Policy
from reputation.domain.scenarios import SCENARIOS, Failure, Scenario, SimulatedOutcome, events_of
from reputation.policies import Rulebook, rulebook
from reputation.standing import judge
from telemetry.domain.event import Event
from telemetry.domain.vocab import SourceKind, VolumeReporting
from telemetry.ingest import record_batch
from telemetry.models import RefusalMinute, Source, TrafficMinute, VolumeReport

# A name that no operator can give, so that a simulation never meets a real source.
SOURCE_NAME = "(self-test)"


@dataclass(frozen=True, slots=True)
class Result:
    """How one scenario went."""

    scenario: Scenario
    decision: Decision | None
    seconds: float
    error: str = ""

    @property
    def passed(self) -> bool:
        """Whether the status is the expected one."""
        return self.decision is not None and self.decision.status is self.scenario.expected


def find(number: int) -> Scenario | None:
    """The scenario with this number, 1 to 15."""
    return next((scenario for scenario in SCENARIOS if scenario.number == number), None)


def run(scenario: Scenario, *, now: datetime) -> Result:
    """Play one scenario under the documented default policy. A failure to run it is a result with an error."""
    start = time.perf_counter()
    try:
        decision = simulate(scenario.ip, scenario.sent, scenario.failures, now=now, default_policy=True)
    except (DatabaseError, ValueError) as error:
        return Result(scenario, None, time.perf_counter() - start, f"{type(error).__name__}: {error}")
    return Result(scenario, decision, time.perf_counter() - start)


def run_all(*, now: datetime) -> list[Result]:
    """Play all fifteen, one after the other."""
    return [run(scenario, now=now) for scenario in SCENARIOS]


def simulate(
    ip: str, sent: int, failures: Sequence[Failure], *, now: datetime, default_policy: bool = False
) -> Decision:
    """What the standing of this IP would be after this traffic. Raises ValueError for traffic that cannot be."""
    outcomes = events_of(ip, sent, failures, now=now)
    # The expected results are those of the documented rules; an operator's own thresholds are not on trial.
    book = Rulebook({None: Policy()}, {}, CodeTiers(), MajorProviders()) if default_policy else rulebook()
    with transaction.atomic():
        for table in (TrafficMinute, RefusalMinute, VolumeReport):
            table.objects.filter(sending_ip=ip).delete()
        source = Source.objects.create(name=SOURCE_NAME, kind=SourceKind.SELF_TEST, volume=VolumeReporting.COMPLETE)
        record_batch(source, [_event(number, outcome) for number, outcome in enumerate(outcomes)], now=now)
        judgements = list(judge([ip], book, now=now))
        transaction.set_rollback(True)
    if not judgements:
        raise ValueError("nothing was sent, so there is nothing to judge")
    return judgements[0].decision


def _event(number: int, outcome: SimulatedOutcome) -> Event:
    return Event(
        type=outcome.type,
        occurred_at=outcome.occurred_at,
        sending_ip=outcome.sending_ip,
        sending_domain="self-test.invalid",
        recipient=f"recipient-{number}@{outcome.recipient_domain}",
        recipient_domain=outcome.recipient_domain,
        smtp_code=outcome.smtp_code,
        enhanced_code=outcome.code,
        reply=outcome.reply,
        event_id=str(number),
    )
