"""Periodic work of this floor: idempotent ticks, each in its turn."""

from __future__ import annotations

import logging
from datetime import timedelta

from celery import shared_task
from django.utils import timezone

from telemetry import completeness, counters, partitions, reclassify, retention, stalwart
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
    """Delete what is past its time, and make room for the days to come."""
    partitions.create_ahead(now=timezone.now())
    counters.roll_up(now=timezone.now())
    removed = retention.clean_up(now=timezone.now())
    log.info("telemetry cleaned up", extra=removed)


@shared_task(name="telemetry.tasks.settle_stalwart")
@my_turn("settle Stalwart's events", lease=timedelta(minutes=5))
def settle_stalwart() -> None:
    """Record what has waited long enough for the rest of its delivery attempt."""
    done = stalwart.settle_due(now=timezone.now())
    if any(done.values()):
        log.info("Stalwart's events settled", extra=done)


@shared_task(name="telemetry.tasks.compare_with_servers")
@my_turn("compare with servers", lease=timedelta(minutes=5))
def compare_with_servers() -> None:
    """Read the mail servers' own counters and compare them with what arrived."""
    done = completeness.tick(now=timezone.now())
    if any(done.values()):
        log.debug("servers' counters compared", extra=done)


@shared_task(name="telemetry.tasks.reclassify_refusals")
@my_turn("classify refusals anew", lease=timedelta(minutes=10))
def reclassify_refusals() -> None:
    """Let stored refusals follow a changed rule set, some batches a tick."""
    if reclassify.is_due(now=timezone.now()):
        progress = reclassify.reclassify(now=timezone.now(), most_batches=400)
        log.info("refusals classified anew", extra={"checked": progress.checked, "changed": progress.changed})
