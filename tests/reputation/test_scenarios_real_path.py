"""The fifteen scenarios through events, counters and decision, and the trace they must not leave."""

from __future__ import annotations

import pytest
from django.apps import apps

from reputation.domain.scenarios import SCENARIOS, Failure, Scenario
from reputation.scenarios import run, simulate
from telemetry.domain.event import Event
from telemetry.domain.vocab import EventType
from telemetry.ingest import record_batch
from telemetry.models import Source
from tests.conftest import NOON

pytestmark = pytest.mark.django_db


def rows_everywhere() -> dict[str, int]:
    return {
        model._meta.label: model._default_manager.count()
        for model in apps.get_models()
        if model._meta.app_label in ("telemetry", "reputation")
    }


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_each_scenario_ends_as_documented_and_leaves_nothing(scenario: Scenario) -> None:
    before = rows_everywhere()
    result = run(scenario, now=NOON)
    assert result.error == ""
    assert result.decision is not None
    assert result.decision.status is scenario.expected
    assert result.decision.total_sent == scenario.sent
    assert result.decision.total_rejected == sum(failure.count for failure in scenario.failures)
    assert rows_everywhere() == before


def test_real_traffic_of_the_same_ip_does_not_sway_a_scenario(source: Source) -> None:
    scenario = SCENARIOS[0]
    flood = [
        Event(
            type=EventType.BOUNCE,
            occurred_at=NOON,
            sending_ip=scenario.ip,
            recipient_domain="gmail.com",
            enhanced_code="5.7.1",
            event_id=str(number),
        )
        for number in range(300)
    ]
    record_batch(source, flood, now=NOON)
    assert run(scenario, now=NOON).passed


def test_a_simulation_where_everything_is_refused_still_has_a_volume() -> None:
    decision = simulate("192.0.2.77", 60, [Failure("5.7.1", "gmail.com", 60)], now=NOON)
    assert (decision.total_sent, decision.ratio) == (60, 1)
