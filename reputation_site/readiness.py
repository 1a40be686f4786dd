"""Whether this installation can do its work now: what must be there to serve, and what runs late behind it."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.conf import settings
from django.db import Error as DatabaseError
from django.db import connection
from django.db.migrations.executor import MigrationExecutor
from django.db.models import Max
from django.utils import timezone

from reputation.domain.alert_signals import DISK_CRITICAL
from reputation_site import broker
from telemetry.counters import rolled_up_to
from telemetry.domain.cells import first_key
from telemetry.models import Lease, TrafficMinute

# Tasks run every few seconds; a worker that finished none for so long is not there, or stuck.
TASKS_EVERY = timedelta(minutes=2)
# Counters are rolled up every five minutes.
ROLLED_UP_WITHIN = timedelta(minutes=15)
CLOCKS_APART = timedelta(seconds=2)
WORDS = ("database", "migrations", "broker", "tasks", "counters", "disk", "clock")
_PATIENCE = 1.0  # seconds, for the broker

_migrated = False


@dataclass(frozen=True, slots=True)
class Trouble:
    """Something that is not as it should be."""

    what: str
    """One of WORDS."""
    says: str
    """A sentence without names, addresses or secrets: whoever asks may be anybody."""
    hint: str
    stops: bool = False
    """True: requests cannot be served, so that traffic should go elsewhere."""


def troubles(*, now: datetime) -> list[Trouble]:
    """Everything that is wrong now; what stops us first. Never raises for what it looks for."""
    try:
        serving = [*_database(now), *_migrations()]
    except DatabaseError as error:
        connection.close()
        hint = "Look at the database server and at DATABASE_URL; what is sent meanwhile is refused and sent again."
        return [Trouble("database", f"The database does not answer ({type(error).__name__}).", hint, stops=True)]
    if any(trouble.stops for trouble in serving):
        return serving
    behind: tuple[Callable[[datetime], Iterator[Trouble]], ...] = (_tasks, _counters, _disk)
    return [*serving, *(trouble for look in behind for trouble in look(now))]


def _database(now: datetime) -> Iterator[Trouble]:
    with connection.cursor() as cursor:
        if connection.vendor != "postgresql":
            cursor.execute("SELECT 1")
            return
        cursor.execute("SELECT clock_timestamp()")
        apart = abs(cursor.fetchone()[0] - timezone.now())
    if apart > CLOCKS_APART:
        yield Trouble(
            "clock",
            f"The clocks of the database and of this machine are {apart.total_seconds():.0f} s apart.",
            "Let NTP run on both.",
        )


def _migrations() -> Iterator[Trouble]:
    global _migrated  # noqa: PLW0603 - what was applied once stays applied while this process runs
    if _migrated:
        return
    executor = MigrationExecutor(connection)
    waiting = len(executor.migration_plan(executor.loader.graph.leaf_nodes()))
    if waiting:
        yield Trouble("migrations", f"{waiting} migrations wait.", "Run: manage.py migrate", stops=True)
    else:
        _migrated = True


def _tasks(now: datetime) -> Iterator[Trouble]:
    if not broker.is_there(within=_PATIENCE):
        yield Trouble(
            "broker",
            "The broker does not answer: nothing is scored, checked or told.",
            "Start Redis or Valkey, and look at REDIS_URL; `manage.py serve` brings one along.",
        )
        return
    last = Lease.objects.aggregate(last=Max("last_finished_at"))["last"]
    if last is None or now - last > TASKS_EVERY:
        ago = "ever" if last is None else f"for {int((now - last).total_seconds() // 60)} min"
        yield Trouble(
            "tasks",
            f"No periodic task has finished {ago}.",
            "The lines `worker` and `beat` of the Procfile must run; look at what they write.",
        )


def _counters(now: datetime) -> Iterator[Trouble]:
    mark = rolled_up_to()
    late = now - mark
    # A mark may be old where nothing came since; by the key, because the bucket alone has no index.
    waiting = TrafficMinute.objects.filter(id__gte=first_key(mark), id__lt=first_key(now - ROLLED_UP_WITHIN))
    if late > ROLLED_UP_WITHIN and waiting.exists():
        yield Trouble(
            "counters",
            f"Counters are rolled up to {int(late.total_seconds() // 60)} min ago; pages get slower.",
            "The task that does it runs every five minutes: the admin shows its last error under Leases.",
        )


def _disk(now: datetime) -> Iterator[Trouble]:
    folder = settings.DATA_DIR
    usage = shutil.disk_usage(folder if folder.exists() else folder.parent)
    if usage.free < DISK_CRITICAL * usage.total:
        yield Trouble(
            "disk",
            f"{usage.free / usage.total:.1%} of the disk with the data folder is free.",
            "Make room, or keep less: the admin's Retention says how long what is kept.",
        )
