"""Reading Stalwart's events beside json.loads() alone on the same bytes, in the same run."""

from __future__ import annotations

import gc
import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "reputation_site.settings")
django.setup()

from telemetry.intake import split_envelope  # noqa: E402
from telemetry.parsers.stalwart import parse  # noqa: E402
from tests.telemetry.stalwart_events import Attempt, body  # noqa: E402

MESSAGES = 8_000
ROUNDS = 7
NOW = datetime(2026, 11, 20, 12, 1, tzinfo=UTC)


def batches(messages: int) -> list[bytes]:
    """Bodies of a hundred attempts each: connect, two recipients, 4 % refused with their notice."""
    made = []
    for first in range(0, messages, 100):
        events = []
        for number in range(first, first + 100):
            domain = f"d{number % 300}.example" if number % 3 else "gmail.com"
            a, b = f"a{number}@{domain}", f"b{number}@{domain}"
            attempt = Attempt(number, (a, b), sender=f"news@sender{number % 50}.example")
            events += [attempt.connect(f"203.0.113.{number % 20 + 1}", domain=domain), attempt.delivered(a)]
            events += [attempt.rejected(b), attempt.notice(b)] if number % 25 == 0 else [attempt.delivered(b)]
        made.append(body(events))
    return made


def ours(data: bytes) -> int:
    """Split the body and read each event."""
    return sum(parse(raw, NOW) is not None for raw in split_envelope(data))


def plain(data: bytes) -> int:
    """What the standard library needs to decode the same body."""
    return len(json.loads(data)["events"])


def seconds(work: Callable[[bytes], int], bodies: list[bytes]) -> tuple[float, int]:
    """CPU seconds of this process for all bodies, and the number of events."""
    gc.collect()
    start = time.process_time()
    count = sum(map(work, bodies))
    return time.process_time() - start, count


def main() -> None:
    """Measure in alternating rounds and print the medians as JSON."""
    bodies = batches(MESSAGES // 10 if "--quick" in sys.argv else MESSAGES)
    found: dict[str, list[float]] = {"ours": [], "plain": []}
    for _ in range(ROUNDS):
        for name, work in (("plain", plain), ("ours", ours)):
            spent, count = seconds(work, bodies)
            found[name].append(count / spent)
    read, decoded = statistics.median(found["ours"]), statistics.median(found["plain"])
    row = {
        "events": f"{count:,}",
        "read, events/s/core": f"{read:,.0f}",
        "json.loads alone, events/s/core": f"{decoded:,.0f}",
        "ratio": f"{read / decoded:.2f}",
        "spread of rounds": f"{min(found['ours']):,.0f}–{max(found['ours']):,.0f}",
    }
    print(json.dumps([row]))


if __name__ == "__main__":
    main()
