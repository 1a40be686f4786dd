"""Counting anew: both sides of a comparison in one statement, of one snapshot of the database.

What was counted and what should have been are added up side by side by the same dimensions, so only cells that differ
leave the database, whatever the number of events; and since a batch stores its rows and counts them in one transaction,
a snapshot compares exactly while ingest runs. By hand because of UNION ALL over tables of different models, and because
the ORM cannot begin a reading transaction.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, Final

from django.db import connection, transaction

from telemetry.domain.cells import first_key
from telemetry.domain.recount import MARGIN, RAW, Stretch
from telemetry.sql.base import TRAFFIC_MEASURES, for_sqlite, on_postgres

_TRAFFIC: Final = ("bucket", "sending_ip", "sending_domain", "provider", "source_id")
_REFUSALS: Final = ("bucket", "sending_ip", "sending_domain", "recipient_domain", "provider", "code", "cause")
_NO_TIME: Final = "CAST(NULL AS timestamptz)"
_FETCHED_AT_ONCE: Final = 2_000


@contextmanager
def snapshot() -> Iterator[None]:
    """All reads inside see one state of the database; nobody waits for them. Inside a transaction: that one's."""
    if connection.in_atomic_block:
        yield
    elif on_postgres():
        with transaction.atomic():
            with connection.cursor() as cursor:
                cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            yield
    else:
        with connection.cursor() as cursor:
            # On disk what is sorted: our connections sort in memory, which a day of events need not fit in.
            cursor.execute("PRAGMA temp_store=FILE")
            cursor.execute("BEGIN DEFERRED")
        try:
            yield
        finally:
            with connection.cursor() as cursor:
                cursor.execute("ROLLBACK")
                cursor.execute("PRAGMA temp_store=MEMORY")


def compare(kind: str, stretch: Stretch) -> Iterator[tuple[Any, ...]]:
    """Rows (is_sum, *dimensions, *expected, doubtful, expected_last, *found, found_last), and the sums of all cells.

    `kind` is traffic or refusals; refusals have one measure, and neither doubt nor last delivery (0, None). Of the one
    row with `is_sum` the bucket is None and `doubtful` is the number of cells.
    """
    sql, parameters = _traffic(stretch) if kind == "traffic" else _refusals(stretch)
    dimensions = len(_TRAFFIC if kind == "traffic" else _REFUSALS)
    measures = len(TRAFFIC_MEASURES) if kind == "traffic" else 1
    with _streaming() as cursor:
        cursor.execute(sql, [value if on_postgres() else for_sqlite(value) for value in parameters])
        while rows := cursor.fetchmany(_FETCHED_AT_ONCE):
            for row in rows:
                yield _typed(row, dimensions, measures)


@contextmanager
def _streaming() -> Iterator[Any]:
    # A named cursor on PostgreSQL: the rows stay on the server until they are asked for.
    with connection.chunked_cursor() as cursor:
        yield cursor


def _typed(row: tuple[Any, ...], dimensions: int, measures: int) -> tuple[Any, ...]:
    """The row with the same types from both databases (sums of bigint are numeric, times of SQLite text)."""
    is_sum, bucket, *rest = row
    names, numbers = rest[: dimensions - 1], rest[dimensions - 1 :]
    expected, (doubtful, last), found = numbers[:measures], numbers[measures : measures + 2], numbers[measures + 2 : -1]
    return (
        bool(is_sum),
        _moment(bucket),
        *names,
        *(int(number or 0) for number in expected),
        int(doubtful or 0),
        _moment(last),
        *(int(number or 0) for number in found),
        _moment(numbers[-1]),
    )


def _moment(value: Any) -> datetime | None:
    if isinstance(value, str):
        value = datetime.fromisoformat(value)
    if isinstance(value, datetime) and value.tzinfo is None:
        return value.replace(tzinfo=UTC)
    return value if isinstance(value, datetime) else None


def _floor(level: str, column: str) -> str:
    if on_postgres():
        return f"date_trunc('{level}', {column}, 'UTC')"
    length, rest = {"minute": (16, ":00"), "hour": (13, ":00:00"), "day": (10, " 00:00:00")}[level]
    return f"substr({column}, 1, {length}) || '{rest}'"


def _differs(one: str, other: str) -> str:
    return f"{one} IS DISTINCT FROM {other}" if on_postgres() else f"{one} IS NOT {other}"


def _raw_between(stretch: Stretch) -> tuple[str, list[Any]]:
    """Events are dated at most five minutes after they were received: that bounds the day partitions to look into."""
    return (
        "occurred_at >= %s AND occurred_at < %s AND received_at >= %s",
        [stretch.start, stretch.counted_to, stretch.start - MARGIN],
    )


def _keys_between(start: datetime, end: datetime) -> tuple[str, list[Any]]:
    return "id >= %s AND id < %s", [first_key(start), first_key(end)]


def _traffic(stretch: Stretch) -> tuple[str, list[Any]]:
    names = ", ".join(_TRAFFIC[1:])
    own_superseded = "superseded" if stretch.superseded else "0"
    parts, parameters = _raw_traffic(stretch) if stretch.basis == RAW else _finer_traffic(stretch)
    between, values = _keys_between(stretch.start, stretch.end)
    last = "last_delivered_at" if stretch.level == "minute" else _NO_TIME
    parts.append(
        f"SELECT bucket, {names}, 0, 0, 0, 0, 0, 0, {_NO_TIME}, delivered, bounced, deferred, {own_superseded}, "
        f"complained, {last} FROM telemetry_traffic{stretch.level} WHERE {between}"
    )
    differs = [f"e{number} <> f{number}" for number in (0, 1, 2, 4)]
    differs += ["f3 < e3", "f3 > e3 + doubtful", _differs("elast", "flast")]
    return _assembled(parts, _TRAFFIC, 5, " OR ".join(differs)), [*parameters, *values]


def _raw_traffic(stretch: Stretch) -> tuple[list[str], list[Any]]:
    between, parameters = _raw_between(stretch)
    names = ", ".join(_TRAFFIC[1:])
    # A deferral of a message whose attempts are told apart, as in `telemetry.domain.event.Event.is_tracked`.
    tracked = "type = 'defer' AND message_id <> '' AND attempt_number <> 0 AND recipient"
    expected = [
        _one_if("type = 'delivery'"),
        _one_if("type = 'bounce'"),
        _one_if("type = 'defer'"),
        _one_if(f"{tracked} <> ''") if stretch.superseded else "0",
        _one_if("type = 'complaint'"),
        _one_if(f"{tracked} = ''") if stretch.superseded else "0",
        "CASE WHEN type = 'delivery' THEN occurred_at END" if stretch.level == "minute" else _NO_TIME,
    ]
    parts = [
        f"SELECT {_floor(stretch.level, 'occurred_at')} AS bucket, {names}, {_named(expected)}, {_named_found(5)} "
        f"FROM telemetry_sendingevent WHERE {between}"
    ]
    if stretch.superseded:
        # Of the attempts of one message all but the standing one are superseded.
        parts.append(
            f"SELECT {_floor(stretch.level, 'bucket')}, {names}, 0, 0, 0, -1, 0, 0, {_NO_TIME}, 0, 0, 0, 0, 0, "
            f"{_NO_TIME} FROM telemetry_messagestate WHERE NOT final AND attempt <> 0 "
            "AND bucket >= %s AND bucket < %s AND updated_at >= %s"
        )
        parameters += [stretch.start, stretch.counted_to, stretch.start - MARGIN]
    return parts, parameters


def _finer_traffic(stretch: Stretch) -> tuple[list[str], list[Any]]:
    between, parameters = _keys_between(stretch.start, stretch.counted_to)
    expected = ["delivered", "bounced", "deferred", "superseded", "complained", "0", _NO_TIME]
    select = (
        f"SELECT {_floor(stretch.level, 'bucket')} AS bucket, {', '.join(_TRAFFIC[1:])}, {_named(expected)}, "
        f"{_named_found(5)} FROM telemetry_traffic{stretch.basis} WHERE {between}"
    )
    return [select], parameters


def _refusals(stretch: Stretch) -> tuple[str, list[Any]]:
    names = ", ".join(_REFUSALS[1:])
    if stretch.basis == RAW:
        between, parameters = _raw_between(stretch)
        # The code as in `telemetry.domain.event.Event.code`.
        code = "COALESCE(NULLIF(enhanced_code, ''), CAST(smtp_code AS text), '') AS code"
        given = ", ".join(code if name == "code" else name for name in _REFUSALS[1:])
        time, count = "occurred_at", "1"
        table, between = "sendingevent", f"type IN ('bounce', 'defer') AND {between}"
    else:
        between, parameters = _keys_between(stretch.start, stretch.counted_to)
        time, given, count, table = "bucket", names, '"count"', f"refusal{stretch.basis}"
    own, values = _keys_between(stretch.start, stretch.end)
    parts = [
        f"SELECT {_floor(stretch.level, time)} AS bucket, {given}, {count} AS e0, 0 AS doubtful, {_NO_TIME} AS elast, "
        f"0 AS f0, {_NO_TIME} AS flast FROM telemetry_{table} WHERE {between}",
        f'SELECT bucket, {names}, 0, 0, {_NO_TIME}, "count", {_NO_TIME} '
        f"FROM telemetry_refusal{stretch.level} WHERE {own}",
    ]
    return _assembled(parts, _REFUSALS, 1, "e0 <> f0"), [*parameters, *values]


def _named(expected: list[str]) -> str:
    return ", ".join(
        f"{text} AS {name}"
        for text, name in zip(expected, ("e0", "e1", "e2", "e3", "e4", "doubtful", "elast"), strict=True)
    )


def _named_found(measures: int) -> str:
    return ", ".join(f"0 AS f{number}" for number in range(measures)) + f", {_NO_TIME} AS flast"


def _one_if(condition: str) -> str:
    return f"CASE WHEN {condition} THEN 1 ELSE 0 END"


def _assembled(parts: list[str], dimensions: tuple[str, ...], measures: int, differs: str) -> str:
    """Both sides added up per cell; the cells that differ, and one row with the sums of all."""
    names = ", ".join(dimensions)
    expected = [f"e{number}" for number in range(measures)]
    found = [f"f{number}" for number in range(measures)]
    sums = [
        *(f"sum({name}) AS {name}" for name in [*expected, "doubtful"]),
        "max(elast) AS elast",
        *(f"sum({name}) AS {name}" for name in found),
        "max(flast) AS flast",
    ]
    shown = names.replace("sending_ip", "host(sending_ip)") if on_postgres() else names
    totals = [
        *(f"sum({name})" for name in expected),
        "count(*)",
        _NO_TIME,
        *(f"sum({name})" for name in found),
        _NO_TIME,
    ]
    columns = ", ".join([*expected, "doubtful", "elast", *found, "flast"])
    nobody = ", ".join([_NO_TIME, *("NULL" for _ in dimensions[1:])])
    return (
        f"WITH cells AS (SELECT {names}, {', '.join(sums)} FROM ({' UNION ALL '.join(parts)}) AS both_sides "
        f"GROUP BY {names}) "
        f"SELECT 0, {shown}, {columns} FROM cells WHERE {differs} "
        f"UNION ALL SELECT 1, {nobody}, {', '.join(totals)} FROM cells"
    )
