"""A whole scoring run and the poll at size: ten million stored events, 500 sending IPs, 5,000 sending domains.

Counters are those of a million events in the last 24 hours with a Zipf-like choice of sending domain and mailbox
provider; each domain sends by one to four of the IPs. The other events are older: they are stored, and counted no more
in the window. A run is what the periodic task does: standing of every IP, scores of every sender, history included.
"""

from __future__ import annotations

import itertools
import json
import os
import random
import statistics
import sys
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime, timedelta
from typing import Any

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "reputation_site.settings")
django.setup()

from django.db import connection  # noqa: E402
from django.utils import timezone  # noqa: E402

from reputation import breakers, history, scores, standing  # noqa: E402
from reputation.models import SenderScore  # noqa: E402
from telemetry import sql  # noqa: E402
from telemetry.counters import roll_up  # noqa: E402
from telemetry.domain.cells import cell_key, floor_day, floor_hour, floor_minute  # noqa: E402
from telemetry.models import RollupMark, SendingEvent, Source  # noqa: E402
from telemetry.retention import ensure_policies  # noqa: E402

IPS, DOMAINS = 500, 5_000
PROVIDERS = (
    "google",
    "microsoft",
    "yahoo",
    "apple",
    "gmx",
    "orange",
    "comcast",
    "zoho",
    "qq",
    "mailru",
    "proton",
    "other",
)
IN_WINDOW = 1_000_000
STORED = (1_000_000, 10_000_000)
RUNS = 5
# Events that are written one by one and then copied.
SEED = 50_000


def ip(number: int) -> str:
    """The sending IP of that number."""
    return f"198.18.{number // 250}.{number % 250 + 1}"


def cells(events: int, now: datetime, chance: random.Random) -> Iterator[tuple[datetime, str, str, str, str]]:
    """Minute, IP, domain, provider and outcome of that many events of the last 24 hours."""
    domains = list(itertools.accumulate(1 / (rank + 10) for rank in range(DOMAINS)))
    providers = list(itertools.accumulate(1 / (rank + 1) for rank in range(len(PROVIDERS))))
    outcomes = list(itertools.accumulate((95, 3, 2, 0.02)))
    first = floor_minute(now) - timedelta(hours=24) + timedelta(minutes=1)
    minutes = [first + timedelta(minutes=number) for number in range(24 * 60)]
    chosen = chance.choices(range(DOMAINS), cum_weights=domains, k=events)
    for number, provider, outcome, minute in zip(
        chosen,
        chance.choices(PROVIDERS, cum_weights=providers, k=events),
        chance.choices(("delivered", "bounced", "deferred", "complained"), cum_weights=outcomes, k=events),
        chance.choices(minutes, k=events),
        strict=True,
    ):
        place = (number * 7 + chance.randrange(1 + number % 4) * 125) % IPS
        yield minute, ip(place), f"sender{number}.example", provider, outcome


def fill_counters(source: Source, events: int, now: datetime) -> None:
    """Minute counters of the window, and hours up to the mark."""
    mark = floor_minute(now - timedelta(minutes=2))
    RollupMark.objects.update(rolled_up_to=mark)
    add_cells(source, cells(events, now, random.Random(4)), mark)


def add_cells(source: Source, found_cells: Iterable[tuple[datetime, str, str, str, str]], mark: datetime) -> None:
    """Count these: all in minutes, those before the mark in hours and days too."""
    sums: dict[str, dict[tuple[Any, ...], Counter[str]]] = {"minute": {}, "hour": {}, "day": {}}
    refused: dict[str, Counter[tuple[Any, ...]]] = {"minute": Counter(), "hour": Counter(), "day": Counter()}
    for minute, sending_ip, domain, provider, outcome in found_cells:
        levels = [("minute", minute)]
        if minute < mark:
            levels += [("hour", floor_hour(minute)), ("day", floor_day(minute))]
        for level, bucket in levels:
            sums[level].setdefault((bucket, sending_ip, domain, provider, source.pk), Counter())[outcome] += 1
            if outcome in ("bounced", "deferred"):
                code, cause = ("5.1.1", "unknown_user") if outcome == "bounced" else ("4.2.0", "rate_limit")
                refused[level][bucket, sending_ip, domain, f"{provider}.example", provider, code, cause] += 1
    for level, found in sums.items():
        more = (None,) if level == "minute" else ()
        rows = [
            (cell_key(*cell), *cell, *(counts[name] for name in sql.TRAFFIC_MEASURES), *more)
            for cell, counts in found.items()
        ]
        for some in _batched(rows, 20_000):
            sql.add_traffic(level, list(some))
    for level, counted in refused.items():
        rows = [(cell_key(*cell), *cell, count) for cell, count in counted.items()]
        for some in _batched(rows, 20_000):
            sql.add_refusals(level, list(some))


def _batched(rows: list[Any], size: int) -> Iterator[list[Any]]:
    for start in range(0, len(rows), size):
        yield rows[start : start + size]


def fill_events(source: Source, stored: int, target: int, now: datetime) -> None:
    """So many stored events, of the ten days before now; only their presence matters, so the first ones are copied."""
    if not stored:
        sql.insert_events([_row(source, number, now) for number in range(SEED)])
        stored = SEED
    names = ", ".join(sql.EVENT_COLUMNS)
    values = ", ".join("%(at)s" if name in ("occurred_at", "received_at") else name for name in sql.EVENT_COLUMNS)
    while stored < target:
        at = now - timedelta(days=10 * (1 - stored / max(STORED)))
        with connection.cursor() as cursor:
            cursor.execute(
                f"INSERT INTO telemetry_sendingevent ({names}) "
                f"SELECT {values} FROM telemetry_sendingevent ORDER BY id LIMIT {SEED}",
                {"at": at},
            )
        stored += SEED


def _row(source: Source, number: int, now: datetime) -> tuple[Any, ...]:
    values = {
        "source_id": source.pk, "type": "delivery", "occurred_at": now, "received_at": now,
        "sending_ip": ip(number % IPS), "sending_domain": "s.example", "recipient": "",
        "recipient_domain": "gmail.com", "provider": "google", "mx_host": "mx.example", "smtp_code": 250,
        "enhanced_code": "2.0.0", "cause": "", "reply": "250 2.0.0 OK", "attempt_number": 1,
        "message_id": f"q{number}", "classification": "", "node": "", "event_id": uuid.uuid4().hex, "future": False,
    }  # fmt: skip
    return tuple(values[name] for name in sql.EVENT_COLUMNS)


def _poll(number: int, now: datetime) -> None:
    changed = {ip(place) for place in range(number)}
    standing.score_ips(changed, now=now, only_changes=True)
    breakers.check_changed(changed, now=now)


def poll_of_20(now: datetime) -> None:
    """What the poll does once 20 IPs have changed."""
    _poll(20, now)


def poll_of_200(now: datetime) -> None:
    """The same of 200."""
    _poll(200, now)


def every_breaker(now: datetime) -> None:
    """The full look at each sender."""
    breakers.check_all(now=now)


READS_SCORES = (poll_of_20, poll_of_200, every_breaker)


def median_of(work: Callable[[datetime], object], later: Callable[[], datetime]) -> tuple[float, float]:
    """Median and longest of a few runs, each five minutes later by the clock it is given, milliseconds.

    What reads scores finds those of two minutes before, as it would.
    """
    times = []
    for _ in range(RUNS):
        at = later()
        if work in READS_SCORES:
            scores.score_senders(now=at - timedelta(minutes=2))
        begun = time.perf_counter()
        work(at)
        times.append(1000 * (time.perf_counter() - begun))
    return statistics.median(times), max(times)


def main() -> None:
    """Fill and measure at each number of stored events; print the rows as JSON."""
    quick = "--quick" in sys.argv
    ensure_policies()
    source = Source.objects.create(name="bench")
    now = timezone.now()
    in_window = IN_WINDOW // 10 if quick else IN_WINDOW
    fill_counters(source, in_window, now)
    table, stored = [], 0
    moment = now
    chance = random.Random(5)

    def later() -> datetime:
        """Five minutes on, with the mail of those minutes."""
        nonlocal moment
        moment += timedelta(minutes=5)
        last = [floor_minute(moment) - timedelta(minutes=number) for number in range(5)]
        mail = cells(in_window // 288, now, chance)
        add_cells(source, ((chance.choice(last), *cell) for _, *cell in mail), mark=last[-1] - timedelta(days=1))
        roll_up(now=moment)
        return moment

    for target in (number // 10 if quick else number for number in STORED):
        fill_events(source, stored, target, now)
        stored = target
        with connection.cursor() as cursor:
            cursor.execute("ANALYZE")
        scores.score_senders(now=later())
        measured = {
            "standing of every IP": lambda at: standing.score_ips(now=at),
            "scores": lambda at: scores.score_senders(now=at),
            "whole run": lambda at: (standing.score_ips(now=at), scores.score_senders(now=at)),
            "poll, 20 IPs changed": poll_of_20,
            "poll, 200 IPs changed": poll_of_200,
            "every breaker": every_breaker,
            "clean-up of history": lambda at: history.clean_up(now=at),
        }
        row = {"stored events": f"{SendingEvent.objects.count():,}", "score rows": f"{SenderScore.objects.count():,}"}
        for name, work in measured.items():
            middle, longest = median_of(work, later)
            row[f"{name}, ms"] = f"{middle:.0f} ({longest:.0f})"
        table.append(row)
    print(json.dumps(table))


if __name__ == "__main__":
    main()
