"""Counting anew: right counters are found right whatever happened, wrong ones are told and set right."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
from django.core.management import call_command
from django.db.models import F
from django.utils import timezone

from telemetry import causes, recount, sql
from telemetry.counters import roll_up
from telemetry.domain.cells import floor_hour, floor_minute
from telemetry.domain.event import Event
from telemetry.domain.recount import EVER, FAR, Kept, stretches
from telemetry.domain.vocab import EventType
from telemetry.ingest import record_batch
from telemetry.models import (
    CauseRule,
    Lease,
    MessageState,
    RefusalDay,
    RefusalHour,
    RefusalMinute,
    RetentionPolicy,
    SendingEvent,
    Source,
    TrafficDay,
    TrafficHour,
    TrafficMinute,
)
from telemetry.reclassify import reclassify
from telemetry.retention import clean_up, forget_cached
from tests.conftest import NOON
from tests.telemetry.crowd import day_of_events, finish, in_batches, picture, start

pytestmark = pytest.mark.django_db
Make = Callable[..., Event]
DAY = timedelta(days=1)
KEPT = Kept(events=30 * DAY, states=7 * DAY, minute=2 * DAY, hour=90 * DAY, day=730 * DAY)


@pytest.fixture(autouse=True)
def _fresh_rules() -> Iterator[None]:
    causes.forget_cached()
    yield
    causes.forget_cached()


def checked(**more: Any) -> recount.Report:
    return recount.verify(now=more.pop("now", NOON), **more)


def store_a_day(source: Source, *, number: int = 600, seed: int = 1, now: Any = NOON) -> list[Event]:
    """A day of events in random batches, with the roll-up running between them: some are late, some sent twice."""
    chance = random.Random(seed)
    events = day_of_events(number, now=now, seed=seed)
    sent = events + chance.sample(events, number // 5)
    chance.shuffle(sent)
    for batch in in_batches(sent, [1, 7, 40, 100], chance):
        record_batch(source, batch, now=now)
        if chance.random() < 0.3:
            roll_up(now=now - timedelta(minutes=chance.randint(0, 1400)))
    return events


@pytest.mark.parametrize("seed", range(4))
def test_after_random_batches_late_events_retries_and_roll_ups_no_counter_differs(source: Source, seed: int) -> None:
    store_a_day(source, seed=seed)
    for _ in range(2):
        report = checked()
        assert not report.differences
        by_level = {(tally.kind, tally.stretch.level): tally for tally in report.tallies if tally.cells}
        assert by_level["traffic", "minute"].expected == by_level["traffic", "minute"].found == 600
        refused = SendingEvent.objects.filter(type__in=("bounce", "defer")).count()
        assert by_level["refusals", "minute"].found == refused
        assert by_level["traffic", "hour"].found > 0
        roll_up(now=NOON + timedelta(minutes=10))
    assert TrafficMinute.objects.filter(superseded__gt=0).exists()


@pytest.mark.parametrize("table", [TrafficMinute, TrafficHour, TrafficDay])
@pytest.mark.parametrize("measure", sql.TRAFFIC_MEASURES)
def test_each_measure_of_each_level_is_told_when_it_is_wrong_and_set_right(
    source: Source, table: Any, measure: str
) -> None:
    store_a_day(source, number=200)
    roll_up(now=NOON + timedelta(minutes=10))
    right = picture()
    row = table.objects.order_by("id").first()
    for wrong in (3, -1):
        table.objects.filter(pk=row.pk).update(**{measure: F(measure) + wrong})
        report = checked()
        assert report.differing == 1
        (difference,) = report.differences
        position = sql.TRAFFIC_MEASURES.index(measure)
        assert (difference.cell.bucket, difference.cell.sending_ip) == (row.bucket, row.sending_ip)
        assert difference.missing == tuple(-wrong if number == position else 0 for number in range(5))
        corrected, after = recount.repair(now=NOON)
        assert (corrected, after.differing) == (1, 0)
        assert picture() == right


@pytest.mark.parametrize("table", [RefusalMinute, RefusalHour, RefusalDay])
def test_lost_invented_and_misnamed_refusals_are_told_and_set_right(source: Source, table: Any) -> None:
    store_a_day(source, number=200)
    roll_up(now=NOON + timedelta(minutes=10))
    right = picture()
    first, second, third = table.objects.order_by("id")[:3]
    table.objects.filter(pk=first.pk).delete()
    table.objects.filter(pk=second.pk).update(count=F("count") + 5)
    level = table.__name__.removeprefix("Refusal").lower()
    cell = (third.bucket, "198.51.100.99", "nobody.example", "x.example", "x.example", "5.0.0", "other")
    sql.add_refusals(level, [(recount.cell_key(*cell), *cell, 2)])
    assert {difference.missing for difference in checked().differences} == {(first.count,), (-5,), (-2,)}
    assert recount.repair(now=NOON)[1].differing == 0
    assert picture() == right


def test_a_lost_raw_row_and_one_that_was_never_counted_are_told(source: Source, make_event: Make) -> None:
    record_batch(source, [make_event(event_id="a"), make_event(event_id="b", sending_ip="192.0.2.77")], now=NOON)
    SendingEvent.objects.filter(event_id="a").delete()
    (difference,) = checked().differences
    assert (difference.expected[0], difference.found[0]) == (0, 1)
    row = SendingEvent.objects.get(event_id="b")
    for _ in range(2):
        row.pk = None
        row.save(force_insert=True)
    assert {(entry.expected[0], entry.found[0]) for entry in checked().differences} == {(0, 1), (3, 1)}


def test_a_wrong_last_delivery_is_told_and_set_right_whether_too_early_too_late_or_missing(
    source: Source, make_event: Make
) -> None:
    record_batch(source, [make_event(event_id="a")], now=NOON)
    right = TrafficMinute.objects.get().last_delivered_at
    assert right is not None
    for wrong in (None, right - timedelta(seconds=20), right + timedelta(seconds=20)):
        TrafficMinute.objects.update(last_delivered_at=wrong)
        assert checked().differing == 1
        assert recount.repair(now=NOON) == (1, checked())
        assert TrafficMinute.objects.get().last_delivered_at == right


def test_refusals_that_follow_changed_rules_leave_no_difference(source: Source, make_event: Make) -> None:
    store_a_day(source)
    reply = "550 5.7.1 the moon is in the wrong house today"
    fields: dict[str, Any] = {"type": EventType.BOUNCE, "smtp_code": 550, "enhanced_code": "5.7.1", "reply": reply}
    record_batch(source, [make_event(event_id=f"moon{number}", **fields) for number in range(9)], now=NOON)
    rule = CauseRule(name="moon", order=500, text="moon is in the wrong house", category="other", scope="unknown")
    rule.full_clean()
    rule.save()
    reclassify(now=NOON, batch=5, most_batches=2)
    assert checked().differing == 0
    reclassify(now=NOON)
    assert SendingEvent.objects.filter(cause="other").exists()
    assert checked().differing == 0


def test_a_minute_rolled_up_while_it_was_wrong_is_repaired_in_every_level(source: Source, make_event: Make) -> None:
    record_batch(source, [make_event(event_id=str(number)) for number in range(5)], now=NOON)
    TrafficMinute.objects.update(delivered=9)
    report = recount.Report()
    mark = recount._compare(report, "traffic", "minute", now=NOON, since=EVER, until=FAR, most=recount.MOST_IN_A_ROUND)
    Lease.objects.create(pk=recount.TURN, holder="me")
    # Between looking and correcting the minute is rolled up, and counted on.
    roll_up(now=NOON + timedelta(minutes=10))
    record_batch(source, [make_event(event_id="late")], now=NOON)
    recount._correct("traffic", "minute", report.differences, mark, "me")
    assert checked().differing == 0
    assert [table.objects.get().delivered for table in (TrafficMinute, TrafficHour, TrafficDay)] == [6, 6, 6]


def test_a_repair_gives_way_to_one_that_began_later(source: Source, make_event: Make) -> None:
    record_batch(source, [make_event(event_id="a")], now=NOON)
    TrafficMinute.objects.update(delivered=9)
    report = checked(levels=["minute"])
    recount.repair(now=NOON)
    with pytest.raises(recount.AnotherRepairError):
        recount._correct("traffic", "minute", report.differences, NOON - DAY, "an earlier one")
    assert TrafficMinute.objects.get().delivered == 1


def test_superseded_is_checked_as_far_as_recipients_are_kept(source: Source, make_event: Make, settings: Any) -> None:
    def deferral(message: str, attempt: int) -> Event:
        return make_event(
            type=EventType.DEFER,
            smtp_code=451,
            message_id=message,
            attempt_number=attempt,
            event_id=f"{message}{attempt}",
        )

    settings.RECIPIENTS_OF_FAILURES = "hashed"
    record_batch(source, [deferral("m", 1), deferral("m", 2)], now=NOON)
    TrafficMinute.objects.update(superseded=2)
    assert checked().differing == 1
    TrafficMinute.objects.update(superseded=0)
    assert recount.repair(now=NOON)[1].differing == 0
    assert TrafficMinute.objects.get().superseded == 1

    # Rows without a recipient: the message may have been told apart or not, so one to two more may be superseded.
    settings.RECIPIENTS_OF_FAILURES = "domain"
    record_batch(source, [deferral("n", 1), deferral("n", 2)], now=NOON)
    assert TrafficMinute.objects.get().superseded == 2
    assert checked().differing == 0
    TrafficMinute.objects.update(superseded=4)
    assert checked().differing == 1
    recount.repair(now=NOON)
    assert TrafficMinute.objects.get().superseded == 2


def test_a_forgotten_state_of_a_message_makes_no_difference_of_old_deferrals(source: Source, make_event: Make) -> None:
    then = NOON - 10 * DAY
    event = make_event(type=EventType.DEFER, occurred_at=then, message_id="m", attempt_number=1, event_id="m1")
    record_batch(source, [event], now=then)
    roll_up(now=NOON)
    clean_up(now=NOON)
    assert not MessageState.objects.exists()
    report = checked()
    assert report.differing == 0
    assert sum(tally.cells for tally in report.tallies if tally.kind == "traffic") == 2
    TrafficDay.objects.update(superseded=1)
    assert checked().differing == 0
    TrafficDay.objects.update(deferred=2)
    assert checked().differing == 1
    recount.repair(now=NOON)
    row = TrafficDay.objects.get()
    assert (row.deferred, row.superseded) == (1, 1)


def test_where_events_are_gone_hours_are_held_against_minutes_and_days_against_hours(source: Source) -> None:
    RetentionPolicy.objects.filter(what__startswith="events").update(keep=timedelta(hours=1))
    forget_cached()
    store_a_day(source, number=300)
    # As if each had been received when it happened: what was received is kept for so long.
    SendingEvent.objects.update(received_at=F("occurred_at"))
    roll_up(now=NOON)
    clean_up(now=NOON)
    assert SendingEvent.objects.count() < 200
    report = checked()
    assert report.differing == 0
    assert {tally.stretch.basis for tally in report.tallies if tally.cells} >= {"raw", "minute", "hour"}
    right = picture()
    TrafficHour.objects.filter(pk=TrafficHour.objects.order_by("id")[2].pk).update(bounced=F("bounced") + 1)
    # The hour differs from its minutes, and the day from its hours.
    assert {difference.level for difference in checked().differences} == {"hour", "day"}
    recount.repair(now=NOON, levels=["hour"])
    assert checked().differing == 0
    assert picture() == right


def test_a_given_stretch_is_looked_at_in_whole_buckets_only(source: Source) -> None:
    store_a_day(source)
    roll_up(now=NOON)
    hour = floor_hour(NOON - timedelta(hours=5))
    wrong = TrafficHour.objects.filter(bucket=hour).first()
    assert wrong is not None
    TrafficHour.objects.filter(pk=wrong.pk).update(delivered=99)
    for since, until, found in (
        (hour, hour + timedelta(hours=1), 1),
        (hour + timedelta(minutes=1), NOON, 0),
        (hour - timedelta(hours=3), hour + timedelta(minutes=59), 0),
        (hour, FAR, 1),
    ):
        assert checked(since=since, until=until, levels=["hour"]).differing == found


def test_what_can_be_counted_anew_follows_from_what_is_kept() -> None:
    mark = floor_minute(NOON - timedelta(minutes=7))
    everything = {"since": EVER, "until": FAR, "now": NOON, "mark": mark, "kept": KEPT}
    (minutes,) = stretches(["minute"], **everything)  # type: ignore[arg-type]
    assert (minutes.basis, minutes.start) == ("raw", NOON - 2 * DAY + timedelta(minutes=10))
    hours = stretches(["hour"], **everything)  # type: ignore[arg-type]
    assert [(entry.basis, entry.superseded, entry.counted_to) for entry in hours] == [
        ("raw", False, hours[1].start),
        ("raw", True, mark),
    ]
    assert hours[0].start == NOON - 30 * DAY + timedelta(hours=1)
    assert hours[1].start == NOON - 7 * DAY + timedelta(hours=1)
    days = stretches(["day"], **everything)  # type: ignore[arg-type]
    assert [entry.basis for entry in days] == ["hour", "raw", "raw"]
    assert days[0].end == days[1].start
    # A roll-up that stood still for a week leaves a week of minutes.
    late = stretches(["minute"], **(everything | {"mark": NOON - 9 * DAY}))  # type: ignore[arg-type]
    assert [(entry.start, entry.superseded) for entry in late] == [
        (NOON - 9 * DAY, False),
        (NOON - 7 * DAY + timedelta(minutes=10), True),
    ]


@pytest.mark.django_db(transaction=True)
def test_the_command_tells_the_cells_and_its_exit_code_says_whether_any_differ(
    source: Source, make_event: Make
) -> None:
    now = timezone.now()
    event = make_event(event_id="a", occurred_at=now - timedelta(minutes=3), sending_ip="192.0.2.88")
    record_batch(source, [event], now=now)

    def run(*arguments: str) -> tuple[int, str]:
        out = StringIO()
        try:
            call_command("verify_counters", *arguments, stdout=out)
        except SystemExit as end:
            return int(str(end.code)), out.getvalue()
        return 0, out.getvalue()

    code, told = run()
    assert (code, told.splitlines()[-1]) == (0, "No counter differs.")
    assert "1 events, counted 1" in told
    TrafficMinute.objects.update(delivered=4)
    code, told = run("--days", "1", "--level", "minute")
    assert code == 1
    assert "192.0.2.88 good.example" in told
    assert "delivered 1 expected, 4 found" in told
    code, told = run("--json")
    assert (code, json.loads(told)["differences"][0]["found"]) == (1, [4, 0, 0, 0, 0])
    code, told = run("--repair")
    assert code == 0
    assert "1 cells corrected" in told
    assert run("--from", "2026-11-20")[0] == 0
    assert TrafficMinute.objects.get().delivered == 1


@pytest.mark.slow
@pytest.mark.django_db(transaction=True)
def test_beside_writers_and_the_roll_up_nothing_seems_to_differ_and_a_repair_is_exact() -> None:
    events = day_of_events(4_000, now=NOON)
    source_id = Source.objects.create(name="mta-1", kind="generic").pk
    record_batch(Source.objects.get(), events[:500], now=NOON)
    # Wrong from the beginning: one cell too much, one that nobody counted, one that is gone.
    first, second, *_ = TrafficMinute.objects.order_by("-id")
    TrafficMinute.objects.filter(pk=first.pk).update(delivered=F("delivered") + 7, superseded=F("superseded") + 1)
    TrafficMinute.objects.filter(pk=second.pk).delete()
    cell = (NOON - timedelta(hours=1), "198.51.100.99", "nobody.example", "x.example", "x.example", "5.0.0", "other")
    sql.add_refusals("minute", [(recount.cell_key(*cell), *cell, 2)])

    def write(share: list[list[Event]]) -> None:
        mine = Source.objects.get(pk=source_id)
        for batch in share:
            record_batch(mine, batch, now=NOON)

    def roll() -> None:
        for minutes in range(1400, 0, -100):
            roll_up(now=NOON - timedelta(minutes=minutes))

    batches = in_batches(events[500:], [1, 10, 50], random.Random(3))
    writers = [start(lambda share=batches[number::2]: write(share)) for number in range(2)]  # type: ignore[misc]
    writers.append(start(roll))
    recount.repair(now=NOON)
    while any(writer.is_alive() for writer in writers):
        assert checked().differences == []
    finish(writers)
    roll_up(now=NOON + timedelta(minutes=5))
    assert checked().differences == []
    assert SendingEvent.objects.count() == 4_000
