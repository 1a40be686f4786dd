"""The partitions of the raw events; PostgreSQL only, SQLite keeps one plain table.

telemetry_sendingevent by day of `received_at`, each day by what is kept how long:

    …_d20261121            the day
    …_d20261121_passing    deliveries and deferrals
    …_d20261121_failing    bounces and complaints: the day's DEFAULT
    …_until_20261121       everything before that day: the plain table of an older version (migration 0008)
    …_rest                 the DEFAULT: whatever has no partition of its own

By hand because the ORM knows no partitions. First by day and then by kind, because removing a part locks its parent
against reading and writing: the parts of an old day hang on that day alone, where nobody writes.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from django.db import connection

from telemetry.sql.base import EVENT_COLUMNS, postgres

EVENTS: Final = "telemetry_sendingevent"
REST: Final = f"{EVENTS}_rest"
PASSING: Final = ("delivery", "defer")
# Any number that no other user of the database takes; whoever changes partitions holds it until commit.
PARTITIONS_LOCK: Final = 7_205_759_403_792_795
# Below this many bytes rows are counted one by one; above it the planner's estimate is near enough.
COUNTED_TO: Final = 256 * 2**20
_NAME: Final = re.compile(rf"{EVENTS}_(?:(?P<day>d)|(?P<until>until_))(?P<date>\d{{8}})")


@dataclass(frozen=True, slots=True)
class Part:
    """A partition with bounds: one day, or everything up to the end of one."""

    name: str
    end: datetime
    """The first moment that does not belong to it."""
    whole_day: bool
    """False for the plain table of an older version, which has no parts by kind."""
    leaves: frozenset[str] = frozenset()
    """Of a day: which of "passing" and "failing" are there."""

    def leaf(self, kind: str) -> str:
        """The name of a day's table of that kind."""
        return f"{self.name}_{kind}"


def are_partitioned() -> bool:
    """Whether raw events are partitioned: on PostgreSQL, once migration 0008 has run."""
    if connection.vendor != "postgresql":
        return False
    with connection.cursor() as cursor:
        cursor.execute("SELECT relkind = 'p' FROM pg_class WHERE oid = to_regclass(%s)", [EVENTS])
        row = cursor.fetchone()
    return bool(row and row[0])


def parts() -> list[Part]:
    """The partitions that have bounds, by their end."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT child.relname, ARRAY(SELECT leaf.relname::text FROM pg_inherits AS below "
            "JOIN pg_class AS leaf ON leaf.oid = below.inhrelid WHERE below.inhparent = child.oid) "
            "FROM pg_inherits JOIN pg_class AS child ON child.oid = inhrelid WHERE inhparent = %s::regclass",
            [EVENTS],
        )
        rows = cursor.fetchall()
    found = []
    for name, leaves in rows:
        if match := _NAME.fullmatch(name):
            date = datetime.strptime(match["date"], "%Y%m%d").replace(tzinfo=UTC)
            kinds = frozenset(leaf.removeprefix(f"{name}_") for leaf in leaves)
            end = date + timedelta(days=1) if match["day"] else date
            found.append(Part(name, end, bool(match["day"]), kinds))
    return sorted(found, key=lambda part: part.end)


def take_turn(patience_ms: int) -> None:
    """Wait for others who change partitions; afterwards no lock is waited for longer than this, until commit.

    Whoever waits for a lock keeps all later comers waiting too, so ingest stands still as long as we are patient.
    """
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [PARTITIONS_LOCK])
        cursor.execute("SELECT set_config('lock_timeout', %s, true)", [f"{patience_ms}ms"])


def create_day(day: datetime, most_moved: int) -> bool:
    """Create the partition of a day with its two parts; rows of that day that lie in the rest move into it.

    Returns False, and changes nothing, when more rows than `most_moved` would have to move. ATTACH instead of CREATE …
    PARTITION OF, because that one locks the whole table against everybody and this one lets ingest go on.
    """
    name, end = f"{EVENTS}_d{day:%Y%m%d}", day + timedelta(days=1)
    names = ", ".join(["id", *EVENT_COLUMNS])
    with postgres() as cursor:
        cursor.execute(f"LOCK TABLE {REST}")
        cursor.execute(
            "SELECT count(*) FROM "
            f"(SELECT 1 FROM {REST} WHERE received_at >= %s AND received_at < %s LIMIT %s) AS found",
            [day, end, most_moved + 1],
        )
        in_rest = cursor.fetchone()[0]
        if in_rest > most_moved:
            return False
        cursor.execute(f"CREATE TABLE {name} (LIKE {EVENTS} INCLUDING DEFAULTS) PARTITION BY LIST (type)")
        kinds = ", ".join(f"'{kind}'" for kind in PASSING)
        cursor.execute(f"CREATE TABLE {name}_passing PARTITION OF {name} FOR VALUES IN ({kinds})")
        # The DEFAULT, so that a day without its passing part still takes everything, whatever a clock says.
        cursor.execute(f"CREATE TABLE {name}_failing PARTITION OF {name} DEFAULT")
        if in_rest:
            cursor.execute(
                f"WITH moved AS (DELETE FROM {REST} WHERE received_at >= %s AND received_at < %s RETURNING {names}) "
                f"INSERT INTO {name} ({names}) SELECT {names} FROM moved",
                [day, end],
            )
        cursor.execute(
            f"ALTER TABLE {EVENTS} ATTACH PARTITION {name} "
            f"FOR VALUES FROM ('{day:%Y-%m-%d}T00:00:00Z') TO ('{end:%Y-%m-%d}T00:00:00Z')"
        )
    return True


def rest_days(most: int) -> list[datetime]:
    """The days (UTC) whose rows lie in the rest, the latest first, at most so many."""
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT DISTINCT date_trunc('day', received_at, 'UTC') FROM {REST} ORDER BY 1 DESC LIMIT %s", [most]
        )
        return [row[0] for row in cursor.fetchall()]


def rows_in(table: str) -> int:
    """How many rows a table and its partitions hold: counted, or the planner's estimate where that would take long."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT sum(pg_relation_size(relid)), sum(GREATEST(reltuples, 0))::bigint "
            "FROM pg_partition_tree(to_regclass(%s)) JOIN pg_class ON pg_class.oid = relid WHERE isleaf",
            [table],
        )
        size, estimate = cursor.fetchone()
        if size is None or size > COUNTED_TO:
            return int(estimate or 0)
        cursor.execute(f"SELECT count(*) FROM {table}")
        return int(cursor.fetchone()[0])


def drop(table: str) -> None:
    """Drop a partition: its parent is locked for as long as the catalogue is changed."""
    with connection.cursor() as cursor:
        cursor.execute(f"DROP TABLE IF EXISTS {table}")


def empty(table: str) -> None:
    """Give a partition's space back and leave it in its place; locks it alone."""
    with connection.cursor() as cursor:
        cursor.execute(f"TRUNCATE TABLE {table}")
