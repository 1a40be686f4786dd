"""Periodic work of this floor: idempotent ticks, each in its turn."""

from __future__ import annotations

import logging
from datetime import timedelta

from celery import shared_task
from django.utils import timezone

from telemetry import counters, retention
from telemetry.turns import my_turn

log = logging.getLogger(__name__)


@shared_task(name="telemetry.tasks.roll_up")
@my_turn("roll up", lease=timedelta(minutes=10))
def roll_up() -> None:
    """Add the minutes that are complete to their hours and days."""
    rows = counters.roll_up(now=timezone.now())
    log.info("counters rolled up", extra={"minute_rows": rows})


@shared_task(name="telemetry.tasks.clean_up")
@my_turn("clean up telemetry", lease=timedelta(minutes=30))
def clean_up() -> None:
    """Delete what is past its time."""
    counters.roll_up(now=timezone.now())
    removed = retention.clean_up(now=timezone.now())
    log.info("telemetry cleaned up", extra=removed)
