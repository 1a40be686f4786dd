"""A day of traffic, writers as processes of their own, and a picture of the whole state to compare."""

from __future__ import annotations

import multiprocessing
import os
import random
import traceback
from collections.abc import Callable
from datetime import datetime, timedelta
from multiprocessing.process import BaseProcess
from typing import Any

from django.db import connection

from telemetry.domain.event import Event
from telemetry.domain.vocab import EventType

FORK = multiprocessing.get_context("fork")
REPLIES = [(550, "5.1.1"), (550, "5.7.1"), (451, "4.7.1"), (421, "4.7.0"), (552, "5.2.2"), (550, "5.7.26"), (554, "")]
DOMAINS = ["gmail.com", "outlook.com", "yahoo.com", "web.de", "company.example", "shop.example"]


def day_of_events(number: int, *, now: datetime, seed: int = 7) -> list[Event]:
    """A believable day that ends now: several IPs and domains, retried messages, one IP refused in the last minutes."""
    chance = random.Random(seed)
    events: list[Event] = []
    while len(events) < number:
        domain = chance.choice(DOMAINS)
        recent = chance.random() < 0.3
        back = chance.uniform(0, 14) if recent else chance.uniform(15, 24 * 60)
        ip = f"192.0.2.{chance.randint(1, 6)}" if chance.random() < 0.9 else "2001:db8::7"
        refused = chance.random() < (0.3 if ip == "192.0.2.6" and recent else 0.008)
        common: dict[str, Any] = {
            "sending_ip": ip,
            "sending_domain": f"sender{chance.randint(1, 5)}.example",
            "recipient_domain": domain,
            "recipient": f"r{len(events)}@{domain}",
            "message_id": f"m{len(events)}",
        }
        at = now - timedelta(minutes=back)
        if not refused:
            tries = chance.choice([1] * 8 + [2, 3])
            for attempt in range(1, tries):
                when = at - timedelta(seconds=90 * (tries - attempt))
                events.append(_event(common, EventType.DEFER, when, attempt, 451, "4.7.1", len(events)))
            events.append(_event(common, EventType.DELIVERY, at, tries, 250, "", len(events)))
        else:
            smtp_code, enhanced = chance.choice(REPLIES)
            kind = EventType.DEFER if smtp_code < 500 else EventType.BOUNCE
            events.append(_event(common, kind, at, 1, smtp_code, enhanced, len(events)))
            if kind is EventType.BOUNCE and chance.random() < 0.1:
                events.append(_event(common, EventType.COMPLAINT, at, 1, None, "", len(events)))
    return events[:number]


def _event(
    common: dict[str, Any], kind: EventType, at: datetime, attempt: int, code: int | None, enhanced: str, number: int
) -> Event:
    # Every third source event has no id of its own, so that the content key is exercised too.
    event_id = f"evt-{number}" if number % 3 else ""
    return Event(
        type=kind,
        occurred_at=at,
        attempt_number=attempt,
        smtp_code=code,
        enhanced_code=enhanced,
        event_id=event_id,
        reply=f"{code} {enhanced}",
        **common,
    )


def in_batches(events: list[Event], sizes: list[int], chance: random.Random) -> list[list[Event]]:
    """The events cut into batches of sizes drawn from the list."""
    batches, position = [], 0
    while position < len(events):
        size = chance.choice(sizes)
        batches.append(events[position : position + size])
        position += size
    return batches


def start(work: Callable[[], None]) -> BaseProcess:
    """Run the work in a process with a database connection of its own; it exits 1 with a traceback on an error."""
    connection.close()

    def body() -> None:
        connection.close()
        try:
            work()
        except BaseException:  # noqa: BLE001 - the child must not run on into pytest
            traceback.print_exc()
            os._exit(1)
        connection.close()
        os._exit(0)

    process = FORK.Process(target=body, daemon=True)
    process.start()
    return process


def finish(processes: list[BaseProcess]) -> None:
    """Wait for all; fails when one did."""
    for process in processes:
        process.join(120)
    assert [process.exitcode for process in processes] == [0] * len(processes)


def picture() -> dict[str, list[Any]]:
    """Everything that must not depend on how events came in: raw rows, receipts, every counter, states."""
    from telemetry import models

    tables = {
        "traffic": (models.TrafficMinute, models.TrafficHour, models.TrafficDay),
        "refusals": (models.RefusalMinute, models.RefusalHour, models.RefusalDay),
    }
    measures = ("delivered", "bounced", "deferred", "superseded", "complained")
    dimensions = ("bucket", "sending_ip", "sending_domain", "provider")
    found: dict[str, list[Any]] = {}
    for level in tables["traffic"]:
        found[level.__name__] = sorted(level.objects.values_list(*dimensions, *measures))
    for table in tables["refusals"]:
        found[table.__name__] = sorted(
            table.objects.values_list(*dimensions, "recipient_domain", "code", "cause", "count")
        )
    skipped = {"id", "received_at", "source"}
    raw = [field.name for field in models.SendingEvent._meta.fields if field.name not in skipped]
    found["raw"] = sorted(models.SendingEvent.objects.values_list(*raw), key=repr)
    found["receipts"] = [models.Receipt.objects.count()]
    found["states"] = sorted(
        models.MessageState.objects.values_list("final", "attempt", "bucket", "sending_ip"), key=repr
    )
    return found


def judged() -> dict[str, list[Any]]:
    """Every score and status, without the times of the run."""
    from reputation.models import IpStanding, SenderScore

    return {
        "standing": sorted(
            IpStanding.objects.values_list("sending_ip", "status", "total_sent", "total_rejected", "why", "issue_type"),
            key=repr,
        ),
        "scores": sorted(
            SenderScore.objects.values_list("kind", "name", "provider", "score", "delivered", "bounced", "complained"),
            key=repr,
        ),
    }
