"""Whose turn it is: two beats or two workers do no harm, because a task works only while it holds its lease.

The lease is a row taken by a conditional UPDATE. Whoever dies while holding it is followed after the lease ran out;
the tasks are idempotent, so the follower simply does the work again. One that ends later than any lease taken now could
end was taken while a clock was wrong, and holds nobody up.
"""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import wraps
from typing import Any

from django.db import models
from django.utils import timezone

from telemetry.metrics import TASK_SECONDS
from telemetry.models import Lease

log = logging.getLogger(__name__)

# By how much the clocks of our machines may differ.
CLOCKS_DIFFER = timedelta(minutes=1)
# What a lease that was given back says: it is free whatever a clock says later.
FREE = datetime(1970, 1, 1, tzinfo=UTC)


def my_turn(name: str, *, lease: timedelta) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Run the decorated function only if nobody holds the lease of that name; returns None when somebody does."""

    def decorate(work: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(work)
        def take_turn(*args: Any, **kwargs: Any) -> Any:
            if not _take(name, lease):
                log.debug("not my turn", extra={"task": name})
                return None
            try:
                with TASK_SECONDS.labels(task=name).time():
                    result = work(*args, **kwargs)
            except Exception as error:
                # The lease stays until it runs out: a task that fails is not tried again at once.
                Lease.objects.filter(pk=name, holder=_me()).update(
                    failures=models.F("failures") + 1, last_error=type(error).__name__
                )
                raise
            _give_back(name)
            return result

        return take_turn

    return decorate


def _me() -> str:
    return f"{socket.gethostname()}:{os.getpid()}"[:100]


def _take(name: str, lease: timedelta) -> bool:
    now = timezone.now()
    Lease.objects.get_or_create(pk=name, defaults={"held_until": FREE})
    over = models.Q(held_until__lte=now) | models.Q(held_until__gt=now + lease + CLOCKS_DIFFER)
    return bool(
        Lease.objects.filter(over, pk=name).update(
            held_until=now + lease, holder=_me(), last_started_at=now, runs=models.F("runs") + 1
        )
    )


def _give_back(name: str) -> None:
    now = timezone.now()
    Lease.objects.filter(pk=name, holder=_me()).update(held_until=FREE, last_finished_at=now, last_error="")
