"""Whatever is re-sent, shuffled, raced or killed: the state is that of a single pass."""

from __future__ import annotations

import os
import random
import signal
from datetime import timedelta
from typing import Any

import pytest
from django.core.management import call_command

from reputation.scores import score_senders
from reputation.standing import score_ips
from reputation.tasks import _poll_once
from telemetry import sql
from telemetry.counters import roll_up
from telemetry.ingest import record_batch
from telemetry.models import SendingEvent, Source
from tests.conftest import NOON
from tests.telemetry.crowd import FORK, day_of_events, finish, in_batches, judged, picture, start

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.slow]
NOW = NOON


def conclude() -> dict[str, list[Any]]:
    """Roll up, judge, and take the picture."""
    roll_up(now=NOW)
    score_ips(now=NOW)
    score_senders(now=NOW)
    return picture() | judged()


def a_source() -> Source:
    return Source.objects.create(name="mta-1", kind="generic")


def start_over() -> None:
    call_command("flush", interactive=False, verbosity=0)


def test_ten_thousand_events_in_any_order_and_batching_by_eight_writers_equal_a_single_pass() -> None:
    events = day_of_events(10_000, now=NOW)
    source = a_source()
    for batch in in_batches(events, [500], random.Random(1)):
        record_batch(source, batch, now=NOW)
    single = conclude()
    assert len(single["raw"]) == 10_000
    statuses = {row[0]: row[1] for row in single["standing"]}
    assert statuses["192.0.2.6"] in ("quarantine", "blacklisted")
    assert "healthy" in statuses.values(), single["standing"]

    start_over()
    chance = random.Random(2)
    shuffled = events + chance.sample(events, 3_000)
    chance.shuffle(shuffled)
    batches = in_batches(shuffled, [1, 7, 40, 100, 333, 1000], chance)
    source_id = a_source().pk

    def write(share: list[list[Any]]) -> None:
        mine = Source.objects.get(pk=source_id)
        for batch in share:
            record_batch(mine, batch, now=NOW)

    def poll_and_roll_up() -> None:
        for minutes in range(600, 0, -20):
            roll_up(now=NOW - timedelta(minutes=minutes))
            _poll_once()

    writers = [start(lambda share=batches[number::8]: write(share)) for number in range(8)]  # type: ignore[misc]
    finish([*writers, start(poll_and_roll_up)])
    crowd = conclude()
    for name, rows in single.items():
        assert crowd[name] == rows, name

    again = record_batch(Source.objects.get(), events, now=NOW + timedelta(minutes=1))
    assert (again.recorded, again.duplicates) == (0, 10_000)
    assert conclude() == crowd


@pytest.mark.parametrize("where", ["claim_receipts", "insert_events", "store_states", "add_traffic", "note_changed"])
def test_a_writer_killed_in_the_middle_of_a_batch_leaves_nothing_and_the_batch_sent_again_counts_once(
    where: str,
) -> None:
    events = day_of_events(1_000, now=NOW)
    source = a_source()
    record_batch(source, events, now=NOW)
    whole = conclude()
    start_over()
    source = a_source()
    reached = FORK.Semaphore(0)

    def stop_inside() -> None:
        real = getattr(sql, where)

        def then_wait(*arguments: Any) -> Any:
            result = real(*arguments)
            reached.release()
            signal.pause()
            return result

        setattr(sql, where, then_wait)
        record_batch(Source.objects.get(pk=source.pk), events, now=NOW)

    writer = start(stop_inside)
    assert reached.acquire(timeout=60), f"the writer never came to {where}"
    assert writer.pid is not None
    os.kill(writer.pid, signal.SIGKILL)
    writer.join(30)
    assert writer.exitcode == -signal.SIGKILL
    assert SendingEvent.objects.count() == 0
    assert record_batch(Source.objects.get(), events, now=NOW).recorded == 1_000
    assert conclude() == whole


def test_two_batches_that_share_their_ids_in_opposite_order_never_deadlock() -> None:
    events = day_of_events(400, now=NOW)
    source_id = a_source().pk

    def write(mine: list[Any]) -> None:
        source = Source.objects.get(pk=source_id)
        for _ in range(5):
            record_batch(source, mine, now=NOW)

    finish([start(lambda: write(events)), start(lambda: write(events[::-1])), start(lambda: write(events[200:]))])
    assert SendingEvent.objects.count() == 400
