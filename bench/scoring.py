"""A scoring run beside a growing number of stored events: its time must follow active senders, not stored events.

Stored events are spread over the last 24 hours; the same 500 IPs are active in the last 15 minutes throughout.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from datetime import datetime, timedelta

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "reputation_site.settings")
django.setup()

from django.utils import timezone  # noqa: E402

from reputation.models import IpStanding, IpStandingHistory, SenderScore  # noqa: E402
from reputation.scores import score_senders  # noqa: E402
from reputation.standing import score_ips  # noqa: E402
from telemetry.counters import roll_up  # noqa: E402
from telemetry.domain.event import Event  # noqa: E402
from telemetry.domain.vocab import EventType  # noqa: E402
from telemetry.ingest import record_batch  # noqa: E402
from telemetry.models import SendingEvent, Source  # noqa: E402

ACTIVE_IPS = 500
DOMAINS = 500
PROVIDERS = ["gmail.com", "outlook.com", "yahoo.com", "web.de", "company.example"]
STEPS = (100_000, 1_000_000)
RUNS = 5


def event(number: int, occurred_at: datetime) -> Event:
    """One event; its cell is decided by its number, so that more events fill the same cells."""
    cell = number % (ACTIVE_IPS * 4)
    ip, domain = cell % ACTIVE_IPS, (cell * 7) % DOMAINS
    refused = number % 37 == 0
    provider = PROVIDERS[cell % len(PROVIDERS)]
    return Event(
        type=EventType.BOUNCE if refused else EventType.DELIVERY,
        occurred_at=occurred_at,
        sending_ip=f"198.18.{ip // 250}.{ip % 250 + 1}",
        sending_domain=f"sender{domain}.example",
        recipient_domain=provider,
        recipient=f"r@{provider}",
        smtp_code=550 if refused else 250,
        enhanced_code="5.1.1" if refused else "",
        event_id=str(number),
    )


def fill(source: Source, start: int, end: int, now: datetime) -> None:
    """Store events start to end, spread over the day in 48 half hours so that cells repeat."""
    for first in range(start, end, 5_000):
        batch = [
            event(number, now - timedelta(minutes=30 * (number % 48) + 16))
            for number in range(first, min(first + 5_000, end))
        ]
        record_batch(source, batch, now=now)


def median_of(work: Callable[[], object]) -> float:
    """Median of a few runs, seconds."""
    times = []
    for _ in range(RUNS):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def main() -> None:
    """Fill, roll up and measure at each step; print the rows as JSON."""
    quick = "--quick" in sys.argv
    source = Source.objects.create(name="bench")
    now = timezone.now()
    active = [event(number, now - timedelta(minutes=number % 14)) for number in range(ACTIVE_IPS * 60)]
    record_batch(source, [Event(**{**_fields(entry), "event_id": f"a{entry.event_id}"}) for entry in active], now=now)
    table, stored = [], 0
    for step in STEPS:
        target = step // 10 if quick else step
        fill(source, stored, target, now)
        stored = target
        roll_up(now=now)
        table.append(
            {
                "stored events": f"{SendingEvent.objects.count():,}",
                "active IPs": ACTIVE_IPS,
                "standing of every IP, ms": f"{1000 * median_of(lambda: score_ips(now=now)):.0f}",
                "poll of 20 changed IPs, ms": f"{1000 * median_of(_poll(now)):.1f}",
                "24 h scores, ms": f"{1000 * median_of(lambda: score_senders(now=now)):.0f}",
                "score rows": SenderScore.objects.count(),
            }
        )
    assert IpStanding.objects.count() == ACTIVE_IPS
    assert IpStandingHistory.objects.exists()
    print(json.dumps(table))


def _poll(now: datetime) -> Callable[[], object]:
    some = [f"198.18.0.{number}" for number in range(1, 21)]
    return lambda: score_ips(some, now=now, only_changes=True)


def _fields(entry: Event) -> dict[str, object]:
    return {name: getattr(entry, name) for name in Event.__dataclass_fields__}


if __name__ == "__main__":
    main()
