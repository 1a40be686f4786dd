"""``manage.py run_scenarios``: the self-test on the command line."""

from __future__ import annotations

import json
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone

from reputation import scenarios
from reputation.domain.policy import percent
from reputation.domain.scenarios import SCENARIOS


class Command(BaseCommand):
    """Exit code 0 when every scenario that was run passed, 1 when one did not."""

    help = "Play the built-in scenarios through events, counters and decision; nothing of them is kept."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Add ``--only`` and ``--json``."""
        parser.add_argument("--only", type=int, metavar="N", help=f"one scenario, 1 to {len(SCENARIOS)}")
        parser.add_argument("--json", action="store_true", help="results for programs instead of a table")

    def handle(self, *_: object, only: int | None, json: bool, **__: object) -> None:
        """Run and show."""
        if only is None:
            results = scenarios.run_all(now=timezone.now())
        else:
            scenario = scenarios.find(only)
            if scenario is None:
                raise CommandError(f"There is no scenario {only}; they are 1 to {len(SCENARIOS)}.", returncode=2)
            results = [scenarios.run(scenario, now=timezone.now())]
        passed = sum(result.passed for result in results)
        self.stdout.write(_as_json(results) if json else _as_table(results))
        if passed < len(results):
            raise CommandError(f"{len(results) - passed} of {len(results)} scenarios failed.")
        if not json:
            self.stdout.write(f"\n{passed} of {len(results)} scenarios passed.")


def _as_table(results: list[scenarios.Result]) -> str:
    lines = [f"{'':4} {'#':>2}  {'scenario':36} {'expected':11} {'actual':11} {'refused':>18} {'ms':>6}"]
    for result in results:
        refused = "–"
        if result.decision is not None:
            refused = f"{result.decision.total_rejected} of {result.scenario.sent}"
            if result.decision.ratio is not None:
                refused += f", {percent(result.decision.ratio)}"
        lines.append(
            f"{'pass' if result.passed else 'FAIL'} {result.scenario.number:>2}  {result.scenario.name:36} "
            f"{result.scenario.expected:11} {result.decision.status if result.decision else '–':11} "
            f"{refused:>18} {result.seconds * 1000:>6.0f}"
        )
        if result.error:
            lines.append(f"         {result.error}")
    return "\n".join(lines)


def _as_json(results: list[scenarios.Result]) -> str:
    rows: list[dict[str, Any]] = [
        {
            "id": result.scenario.number,
            "name": result.scenario.name,
            "passed": result.passed,
            "expected_status": result.scenario.expected.value,
            "actual_status": result.decision.status.value if result.decision else None,
            "rejection_ratio": _ratio(result),
            "failure_count": result.decision.total_rejected if result.decision else None,
            "seconds": round(result.seconds, 4),
            "error": result.error,
        }
        for result in results
    ]
    return json.dumps(rows, indent=2)


def _ratio(result: scenarios.Result) -> float | None:
    ratio = result.decision.ratio if result.decision is not None else None
    return float(ratio) if ratio is not None else None
