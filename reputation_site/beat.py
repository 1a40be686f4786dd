"""Celery's beat, for a machine whose clock is set back."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

from celery.beat import PersistentScheduler
from celery.utils.time import maybe_make_aware


def alive_file(schedule_filename: str) -> Path:
    """The file whose time of change says when beat last looked at its table."""
    return Path(f"{schedule_filename}-alive")


class Scheduler(PersistentScheduler):
    """Forgets runs that lie ahead: Celery would wait for the old time to come again, an hour for an hour set back."""

    def tick(self, *arguments: Any, **named: Any) -> float:
        """One iteration; the seconds until the next."""
        for entry in self.schedule.values():
            now = entry.default_now()
            if entry.last_run_at is not None and maybe_make_aware(entry.last_run_at) > now:
                entry.last_run_at = now
                # The moments in the heap come from the same wrong time.
                self._heap = None
        seconds: float = super().tick(*arguments, **named)
        # A full disk is no reason not to tick.
        with suppress(OSError):
            alive_file(self.schedule_filename).touch()  # type: ignore[attr-defined]
        return seconds
