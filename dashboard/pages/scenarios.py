"""The fifteen scenarios: what each is, and how it went when it was run."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from dashboard.words import StatusWord, status_word
from reputation import scenarios
from reputation.domain.scenarios import SCENARIOS, Scenario

CSV_HEADER = (
    *("number", "scenario", "sent", "expected", "actual", "passed"),
    *("refused_of_sent", "failures", "milliseconds", "why", "error"),
)


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one scenario went."""

    passed: bool
    actual: StatusWord | None
    """None where it could not be run."""
    ratio: float | None
    """Refused / sent."""
    failures: int | None
    milliseconds: int
    why: str
    error: str

    @classmethod
    def of(cls, result: scenarios.Result) -> Outcome:
        """The result as it is shown."""
        decision = result.decision
        return cls(
            passed=result.passed,
            actual=status_word(decision.status) if decision else None,
            ratio=float(decision.ratio) if decision and decision.ratio is not None else None,
            failures=decision.total_rejected if decision else None,
            milliseconds=round(result.seconds * 1000),
            why=decision.why if decision else "",
            error=result.error,
        )


@dataclass(frozen=True, slots=True)
class ScenarioLine:
    """One scenario, with its outcome once it was run."""

    number: int
    name: str
    sent: int
    expected: StatusWord
    outcome: Outcome | None

    @classmethod
    def of(cls, scenario: Scenario, result: scenarios.Result | None = None) -> ScenarioLine:
        """The scenario as it is shown."""
        return cls(
            number=scenario.number,
            name=scenario.name,
            sent=scenario.sent,
            expected=status_word(scenario.expected),
            outcome=Outcome.of(result) if result else None,
        )


@dataclass(frozen=True, slots=True)
class ScenariosPage:
    """All scenarios."""

    lines: tuple[ScenarioLine, ...]
    may_run: bool
    """Whether the setting lets scenarios run over HTTP."""

    @property
    def run(self) -> int:
        """How many were run."""
        return sum(line.outcome is not None for line in self.lines)

    @property
    def passed(self) -> int:
        """How many led to the expected status."""
        return sum(line.outcome is not None and line.outcome.passed for line in self.lines)


def scenarios_page(results: Iterable[scenarios.Result], *, may_run: bool) -> ScenariosPage:
    """The page with these results."""
    by_number = {result.scenario.number: result for result in results}
    lines = tuple(ScenarioLine.of(scenario, by_number.get(scenario.number)) for scenario in SCENARIOS)
    return ScenariosPage(lines, may_run)


def csv_rows(results: Iterable[scenarios.Result]) -> Iterator[tuple[Any, ...]]:
    """The results as lines of a CSV file."""
    for result in results:
        line, outcome = result.scenario, Outcome.of(result)
        actual = outcome.actual.word if outcome.actual else None
        numbers = (outcome.passed, outcome.ratio, outcome.failures, outcome.milliseconds)
        yield (line.number, line.name, line.sent, line.expected.value, actual, *numbers, outcome.why, outcome.error)
