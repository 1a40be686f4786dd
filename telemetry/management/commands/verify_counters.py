"""``manage.py verify_counters``: count anew from stored events, tell what differs, and on demand set it right."""

from __future__ import annotations

import json
from argparse import ArgumentParser
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone
from django.utils.dateparse import parse_datetime

from telemetry import recount
from telemetry.domain.recount import EVER, FAR, LEVELS, Difference, Tally
from telemetry.sql import TRAFFIC_MEASURES

# Differences printed one by one; --json has the first thousand.
SHOWN = 20


class Command(BaseCommand):
    """Exit code 1 when anything differs (with --repair: still differs). May run beside everything else."""

    help = "Compare counters with what is counted anew from the stored events, as far back as these are kept."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Add the stretch, the levels, ``--repair`` and ``--json``."""
        parser.add_argument("--from", dest="since", type=_moment, help="from when, for example 2026-11-20T12:00 (UTC)")
        parser.add_argument("--to", dest="until", type=_moment, help="up to when")
        parser.add_argument("--days", type=float, help="the last so many days instead of --from")
        parser.add_argument("--level", choices=(*LEVELS, "all"), default="all")
        parser.add_argument("--repair", action="store_true", help="set right what differs, then compare again")
        parser.add_argument("--json", action="store_true", help="one JSON object instead of lines")

    def handle(
        self,
        *_: Any,
        since: datetime | None,
        until: datetime | None,
        days: float | None,
        level: str,
        repair: bool,
        **options: Any,
    ) -> None:
        """Compare, repair where asked to, and tell."""
        now = timezone.now()
        if days is not None:
            if since is not None:
                raise CommandError("Give --from or --days, not both.")
            if not 0 < days < 36_500:
                raise CommandError("--days is a number above 0.")
            since = now - timedelta(days=days)
        start, end = recount.whole_minutes(since, until)
        levels = LEVELS if level == "all" else (level,)
        corrected = 0
        if repair:
            try:
                corrected, report = recount.repair(now=now, since=start, until=end, levels=levels)
            except recount.AnotherRepairError:
                raise CommandError("Another repair began meanwhile and goes on with the work; this one ends.") from None
        else:
            report = recount.verify(now=now, since=start, until=end, levels=levels)
        if options["json"]:
            self.stdout.write(json.dumps(_as_json(report, corrected), default=str))
        else:
            self._tell(report, corrected if repair else None)
        if report.differing:
            raise SystemExit(1)

    def _tell(self, report: recount.Report, corrected: int | None) -> None:
        for tally in report.tallies:
            self.stdout.write(_line(tally))
        if not report.tallies:
            self.stdout.write("Nothing of this stretch can be counted anew: what it was counted from is deleted.")
        for difference in report.differences[:SHOWN]:
            self.stdout.write(_described(difference))
        if report.differing > SHOWN:
            self.stdout.write(f"… and {report.differing - SHOWN} more (--json tells the first {recount.MOST_TOLD}).")
        if corrected is not None:
            self.stdout.write(f"{corrected} cells corrected; the comparison above was made afterwards.")
        self.stdout.write("No counter differs." if not report.differing else f"{report.differing} counters differ.")


def _moment(text: str) -> datetime:
    found = parse_datetime(text)
    if found is None:
        found = parse_datetime(f"{text}T00:00")
    if found is None:
        raise ValueError(text)
    return found if found.tzinfo is not None else found.replace(tzinfo=UTC)


def _line(tally: Tally) -> str:
    stretch = tally.stretch
    start = "the beginning" if stretch.start == EVER else f"{stretch.start:%Y-%m-%d %H:%M}"
    end = "now" if stretch.end >= FAR else f"{stretch.end:%Y-%m-%d %H:%M}"
    basis = "events" if stretch.basis == "raw" else f"counters by {stretch.basis}"
    unknown = "" if stretch.superseded or tally.kind == "refusals" else ", without superseded attempts"
    return (
        f"{tally.kind} by {stretch.level}, {start} to {end}, against {basis}{unknown}: {tally.cells} cells, "
        f"{tally.expected} events, counted {tally.found}; {tally.differing} cells differ"
    )


def _described(difference: Difference) -> str:
    cell = difference.cell._asdict()
    where = " ".join(str(value) or "-" for name, value in cell.items() if name != "bucket")
    head = f"  {difference.level} {cell['bucket']:%Y-%m-%d %H:%M} {where}: "
    if len(difference.expected) == 1:
        return f"{head}{difference.expected[0]} expected, {difference.found[0]} found"
    parts = [
        f"{name} {expected} expected, {found} found"
        for name, expected, found, missing in zip(
            TRAFFIC_MEASURES, difference.expected, difference.found, difference.missing, strict=True
        )
        if missing
    ]
    if difference.expected_last != difference.found_last:
        parts.append(f"last delivery {difference.expected_last} expected, {difference.found_last} found")
    return head + "; ".join(parts)


def _as_json(report: recount.Report, corrected: int) -> dict[str, Any]:
    return {
        "differing": report.differing,
        "corrected": corrected,
        "stretches": [
            asdict(tally.stretch)
            | {"table": tally.kind, "cells": tally.cells, "expected": tally.expected, "found": tally.found}
            | {"differing": tally.differing}
            for tally in report.tallies
        ],
        "differences": [
            {
                "level": difference.level,
                **difference.cell._asdict(),
                "expected": difference.expected,
                "found": difference.found,
                "doubtful": difference.doubtful,
                "expected_last": difference.expected_last,
                "found_last": difference.found_last,
            }
            for difference in report.differences
        ],
    }
