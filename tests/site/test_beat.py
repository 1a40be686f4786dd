"""Beat goes on when the clock of its machine was set back."""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path
from typing import Any

from celery import Celery

from reputation_site.beat import Scheduler, alive_file


class Told(Scheduler):
    """Notes what is due instead of sending it."""

    producer = None

    def apply_entry(self, entry: Any, producer: Any = None) -> None:
        self.told.append(entry.name)  # type: ignore[attr-defined]


def scheduler(folder: Path) -> Told:
    app = Celery("a test", set_as_current=False)
    app.conf.beat_schedule = {"poll": {"task": "a.task", "schedule": 3.0}}
    made = Told(app, schedule_filename=str(folder / "schedule"), lazy=False)
    made.told = []  # type: ignore[attr-defined]
    return made


def test_a_run_that_lies_ahead_does_not_hold_up_the_next_ones(tmp_path: Path) -> None:
    beat = scheduler(tmp_path)
    entry = beat.schedule["poll"]
    # As if the clock had been an hour ahead when it last ran, and when the next run was planned.
    entry.last_run_at = entry.default_now() + timedelta(hours=1)
    beat.populate_heap()
    assert beat.tick() <= 3.0
    assert beat.schedule["poll"].last_run_at <= entry.default_now()
    # Three seconds on it is due again.
    beat.schedule["poll"].last_run_at -= timedelta(seconds=3)
    beat._heap = None
    beat.tick()
    assert beat.told == ["poll"]  # type: ignore[attr-defined]
    beat.close()


def test_each_look_at_the_table_leaves_a_sign_of_life(tmp_path: Path) -> None:
    beat = scheduler(tmp_path)
    assert not alive_file(str(tmp_path / "schedule")).exists()
    beat.tick()
    alive = alive_file(str(tmp_path / "schedule"))
    os.utime(alive, (0, 0))
    beat.tick()
    assert alive.stat().st_mtime > 0
    beat.close()
