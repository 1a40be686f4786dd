"""System checks of this floor: each has an id and a hint that says the fix."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.core.checks import CheckMessage, Tags, register
from django.core.checks import Warning as Caution
from django.utils import timezone

from telemetry import partitions


@register(Tags.database)
def tomorrows_partition(databases: Sequence[str] | None = None, **_: Any) -> list[CheckMessage]:
    """W005: tomorrow's events have no partition. Asked only where a connection may be made."""
    if not databases or not partitions.missing(now=timezone.now()):
        return []
    return [
        Caution(
            "Tomorrow's partition of the raw events is missing: its events will lie in the default partition, "
            "which is found but is cleaned up row by row.",
            hint="Run beat and a worker, whose nightly clean-up makes partitions a week ahead; manage.py migrate "
            "makes them at once.",
            id="good_standing.W005",
        )
    ]
