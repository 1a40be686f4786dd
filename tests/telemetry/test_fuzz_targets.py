"""The fuzzers reach what they fuzz: their good records become events, and what they draw mostly is no rubbish."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings

from telemetry.domain.event import Event
from tests.fuzz import drawn, targets
from tests.fuzz.seeds import NAMES, seeds_of

pytestmark = pytest.mark.one_database


@pytest.fixture
def found(monkeypatch: pytest.MonkeyPatch) -> list[Event]:
    """The events that targets have looked at."""
    events: list[Event] = []
    look_at = targets.look_at

    def look(some: Iterable[Event]) -> None:
        events.extend(some := list(some))
        look_at(some)

    monkeypatch.setattr(targets, "look_at", look)
    return events


@pytest.mark.parametrize("name", NAMES)
def test_good_records_become_events(name: str, found: list[Event]) -> None:
    seeds = seeds_of(name)
    for seed in seeds:
        targets.read(name, seed)
    assert len(found) >= len(seeds) / 2


@pytest.mark.parametrize("name", NAMES)
def test_a_part_of_what_is_drawn_becomes_events_and_nothing_escapes(name: str, found: list[Event]) -> None:
    taken = []

    @settings(max_examples=60, derandomize=True, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(drawn.bodies(name))
    def read(raw: bytes) -> None:
        before = len(found)
        targets.read(name, raw)
        taken.append(len(found) > before)

    read()
    assert sum(taken) >= 3


def test_an_event_that_the_database_could_not_take_is_a_finding(found: list[Event]) -> None:
    targets.read("generic", seeds_of("generic")[0])
    good = found[0]
    too_long, no_text = {"mx_host": "x" * 300}, {"reply": "\ud800"}
    for wrong in ({"reply": "\x00"}, no_text, too_long, {"smtp_code": 99}, {"sending_ip": "::"}):
        with pytest.raises((AssertionError, UnicodeEncodeError)):
            targets.look_at([replace(good, **wrong)])
