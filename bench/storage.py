"""Bytes per event, receipt and counter row, indexes included, and the disk use of a day's messages by retention.

The rows are made by the product: events through record_batch(), counter rows through its upserts, at random keys. What
a house holds is then arithmetic: see `House` for how it is modelled.
"""

from __future__ import annotations

import json
import math
import os
import sys
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "reputation_site.settings")
django.setup()

from django.db import connection  # noqa: E402
from django.utils import timezone  # noqa: E402

from telemetry import sql  # noqa: E402
from telemetry.domain.cells import cell_key, floor_minute  # noqa: E402
from telemetry.domain.event import Event  # noqa: E402
from telemetry.domain.vocab import EventType  # noqa: E402
from telemetry.ingest import record_batch  # noqa: E402
from telemetry.models import Source  # noqa: E402

ROWS = 200_000
GIGABYTE = 2**30
TABLES = {"event": "telemetry_sendingevent", "receipt": "telemetry_receipt"}
DEFAULT = {"passing": 30.5, "failing": 90.5, "receipt": 7.5, "minute": 2.0, "hour": 90.0, "day": 730.0}
CHEAPER = {"passing": 2.5, "failing": 30.5, "receipt": 7.5, "minute": 2.0, "hour": 30.0, "day": 365.0}
# Of a message: attempts that end so. The deferred tenth is tried again.
PER_MESSAGE = {"delivery": 0.97, "bounce": 0.03, "defer": 0.10, "complaint": 0.0005}


@dataclass(frozen=True, slots=True)
class House:
    """A sender: messages a day, its IPs and sending domains; each domain sends from four of the IPs.

    Domains send by Zipf's law; of the mail, 85 % goes to 12 mailbox providers (the first has a third of that, by Zipf's
    law again) and the rest is one provider of its own, "other", at 50,000 recipient domains. A refusal has one of ten
    code and cause pairs, by Zipf's law. Mail is spread evenly over the day: what is really sent in bursts fills fewer
    cells.
    """

    messages: float
    ips: int
    domains: int

    def cells(self, minutes: int) -> float:
        """Traffic cells filled in a stretch: senders times providers, as far as mail for them occurs."""
        mail = self.messages * sum(PER_MESSAGE.values()) * minutes / 1440
        return sum(
            many * filled(mail * share * provider) for many, share in self._senders() for provider, _ in _providers()
        )

    def refusals(self, minutes: int) -> float:
        """Refusal cells filled in a stretch: they also know recipient domain, code and cause."""
        mail = self.messages * (PER_MESSAGE["bounce"] + PER_MESSAGE["defer"]) * minutes / 1440
        codes = _zipf(10)
        return sum(
            many * others * filled(mail * share * recipient * code)
            for many, share in self._senders()
            for recipient, others in _recipients()
            for code in codes
        )

    def _senders(self) -> Iterator[tuple[int, float]]:
        pairs = min(4, self.ips)
        for many, share in _groups(self.domains):
            yield many * pairs, share / pairs


def filled(mean: float) -> float:
    """The chance that a cell with so many mails on average has any (they come independently)."""
    return -math.expm1(-mean)


def _zipf(number: int) -> list[float]:
    whole = sum(1 / rank for rank in range(1, number + 1))
    return [1 / rank / whole for rank in range(1, number + 1)]


def _groups(number: int) -> list[tuple[int, float]]:
    """Zipf's ranks in groups of about the same share: how many, and the share of each."""
    shares, found, start = _zipf(number), [], 0
    while start < number:
        end = min(number, max(start + 1, int(start * 1.1)))
        found.append((end - start, sum(shares[start:end]) / (end - start)))
        start = end
    return found


def _providers() -> list[tuple[float, int]]:
    return [(0.85 * share, 1) for share in _zipf(12)] + [(0.15, 1)]


def _recipients() -> list[tuple[float, int]]:
    # A mailbox provider's mail goes to about one domain; the others' by Zipf's law.
    return _providers()[:12] + [(0.15 * share, many) for many, share in _groups(50_000)]


HOUSES = {
    "1M messages a day": House(1e6, 20, 200),
    "100M": House(1e8, 500, 5_000),
    "1B": House(1e9, 2_000, 20_000),
}


def events(kind: EventType, number: int, now: datetime) -> list[Event]:
    """Events as a mail server reports them, each with an id of its own."""
    refused = kind is not EventType.DELIVERY
    codes = {EventType.BOUNCE: (550, "5.1.1"), EventType.DEFER: (421, "4.7.0"), EventType.DELIVERY: (250, "2.0.0")}
    smtp_code, enhanced_code = codes.get(kind, (None, ""))
    reply = (
        "550-5.1.1 The email account that you tried to reach does not exist. Please try double-checking the "
        "recipient's email address for typos or unnecessary spaces. - gsmtp"
        if refused
        else "250 2.0.0 OK  1700000000 d2e1a72fcca58-7c2a3b4c5d6si1234567b3a.123 - gsmtp"
    )
    return [
        Event(
            type=kind,
            occurred_at=now - timedelta(milliseconds=index),
            sending_ip=f"198.51.100.{index % 200 + 1}",
            sending_domain=f"news{index % 300}.example.com",
            recipient=f"first.last{index}@gmail.com",
            recipient_domain="gmail.com",
            mx_host="gmail-smtp-in.l.google.com",
            smtp_code=smtp_code,
            enhanced_code=enhanced_code,
            reply="" if kind is EventType.COMPLAINT else reply,
            attempt_number=1 if kind is not EventType.DEFER else None,
            message_id=f"4jWc{index:08x}",
            node="mta-1.example.com",
            event_id=uuid.uuid4().hex,
        )
        for index in range(number)
    ]


def size(table: str) -> tuple[int, int]:
    """Bytes of a table with its partitions, and of its indexes."""
    with connection.cursor() as cursor:
        if sql.on_postgres():
            cursor.execute(
                "SELECT sum(pg_table_size(part)), sum(pg_indexes_size(part)) FROM (SELECT %s::regclass AS part "
                "UNION SELECT relid FROM pg_partition_tree(%s::regclass) WHERE isleaf) AS parts",
                [table, table],
            )
            heap, indexes = cursor.fetchone()
            return int(heap), int(indexes)
        cursor.execute("SELECT name FROM sqlite_master WHERE type = 'index' AND tbl_name = %s", [table])
        names = [row[0] for row in cursor.fetchall()]
        sizes = []
        for name in (table, *names):
            cursor.execute("SELECT COALESCE(sum(pgsize), 0) FROM dbstat WHERE name = %s", [name])
            sizes.append(int(cursor.fetchone()[0]))
        return sizes[0], sum(sizes[1:])


def grown(table: str, before: tuple[int, int], rows: int) -> tuple[float, float]:
    """Bytes a row, all and of indexes, that the table has grown by since."""
    heap, indexes = size(table)
    return (heap + indexes - before[0] - before[1]) / rows, (indexes - before[1]) / rows


def counter_rows(rows: int) -> dict[str, tuple[float, float]]:
    """Bytes of a traffic row and of a refusal row, by level: (all, indexes)."""
    found = {}
    start = floor_minute(timezone.now())
    for level in ("minute", "hour", "day"):
        for kind in ("traffic", "refusal"):
            table = f"telemetry_{kind}{level}"
            before = size(table)
            for batch in range(0, rows, 5_000):
                bucket = start + timedelta(minutes=batch // 5_000)
                cells = [_cell(kind, bucket, number) for number in range(5_000)]
                if kind == "traffic":
                    last = (bucket,) if level == "minute" else ()
                    sql.add_traffic(level, [(cell_key(*cell), *cell, 5, 0, 1, 0, 0, *last) for cell in cells])
                else:
                    sql.add_refusals(level, [(cell_key(*cell), *cell, 1) for cell in cells])
            found[f"{kind} {level}"] = grown(table, before, rows)
    return found


def _cell(kind: str, bucket: datetime, number: int) -> tuple[Any, ...]:
    sender = (bucket, f"198.51.100.{number % 200 + 1}", f"news{number}.example.com")
    if kind == "traffic":
        return (*sender, "google", 1)
    return (*sender, f"company{number}.example", "other", "5.7.1", "reputation")


def measured(rows: int) -> dict[str, tuple[float, float]]:
    """Bytes a row by kind of row: (all, indexes)."""
    source = Source.objects.create(name="bench")
    counters = counter_rows(rows // 4)
    found: dict[str, tuple[float, float]] = {}
    for kind in (EventType.DELIVERY, EventType.BOUNCE, EventType.DEFER, EventType.COMPLAINT):
        number = rows if kind is EventType.DELIVERY else rows // 4
        before = {name: size(table) for name, table in TABLES.items()}
        for _ in range(number // 1_000):
            now = timezone.now()
            record_batch(source, events(kind, 1_000, now), now=now)
        found[kind] = grown(TABLES["event"], before["event"], number)
        if kind is EventType.DELIVERY:
            found["receipt"] = grown(TABLES["receipt"], before["receipt"], number)
    return found | counters


def rows_a_day(house: House) -> dict[str, float]:
    """How many rows of each kind a day brings."""
    found = {kind: house.messages * share for kind, share in PER_MESSAGE.items()}
    found["receipt"] = sum(found.values())
    for level, minutes in (("minute", 1), ("hour", 60), ("day", 1440)):
        found[f"traffic {level}"] = house.cells(minutes) * 1440 / minutes
        found[f"refusal {level}"] = house.refusals(minutes) * 1440 / minutes
    return found


def days_kept(kind: str, retention: dict[str, float]) -> float:
    """For how many days rows of a kind lie there."""
    if kind in ("delivery", "defer"):
        return retention["passing"]
    return retention["failing"] if kind in ("bounce", "complaint") else retention[kind.rpartition(" ")[2]]


def main() -> None:
    """Measure, reckon, and print the rows as JSON."""
    rows = ROWS // 10 if "--quick" in sys.argv else ROWS
    found = measured(rows)
    days = {name: rows_a_day(house) for name, house in HOUSES.items()}
    table = [
        {
            "a row of": kind,
            "bytes": f"{whole:.0f}",
            "of them indexes": f"{indexes:.0f}",
            "kept, days": f"{days_kept(kind, DEFAULT):g}",
        }
        | {name: _gigabytes(day[kind] * whole * days_kept(kind, DEFAULT)) for name, day in days.items()}
        for kind, (whole, indexes) in found.items()
    ]
    for title, retention in (("all, default retention", DEFAULT), ("all, cheaper retention", CHEAPER)):
        sums = {
            name: _gigabytes(sum(day[kind] * whole * days_kept(kind, retention) for kind, (whole, _) in found.items()))
            for name, day in days.items()
        }
        table.append({"a row of": title, "bytes": "", "of them indexes": "", "kept, days": ""} | sums)
    print(json.dumps(table))


def _gigabytes(number: float) -> str:
    return f"{number / GIGABYTE:,.1f} GB" if number < 1000 * GIGABYTE else f"{number / GIGABYTE / 1024:,.1f} TB"


if __name__ == "__main__":
    main()
