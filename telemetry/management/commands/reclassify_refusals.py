"""``manage.py reclassify_refusals``: apply the rules in force to the stored refusals, now."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone

from telemetry.models import RuleSet
from telemetry.reclassify import BATCH, Progress, reclassify


class Command(BaseCommand):
    """May be stopped at any point and run again, beside everything else; the periodic task does the same by itself."""

    help = "Classify stored refusals by the rules in force, and correct the counters by cause."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Add ``--batch`` and ``--from-start``."""
        parser.add_argument("--batch", type=int, default=BATCH, help="refusals per transaction")
        parser.add_argument("--from-start", action="store_true", help="forget how far an earlier run came")

    def handle(self, *_: Any, batch: int, from_start: bool, **__: Any) -> None:
        """Go through them, with a line now and then."""
        if not 1 <= batch <= 10_000:
            raise CommandError("--batch is a number from 1 to 10000.")
        if from_start:
            RuleSet.objects.filter(pk=1).update(started_at=None)
        self._told = 0
        progress = reclassify(now=timezone.now(), batch=batch, told=self._tell)
        rest = (
            ""
            if progress.complete
            else " The rules changed less than half a minute ago: the periodic task will look once more."
        )
        self.stdout.write(f"{progress.checked} refusals looked at, {progress.changed} changed.{rest}")

    def _tell(self, progress: Progress) -> None:
        if progress.checked - self._told >= 10_000:
            self._told = progress.checked
            self.stderr.write(f"{progress.checked} refusals looked at, {progress.changed} changed …")
