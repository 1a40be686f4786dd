"""The midnight rule, days in an operator's time zone, schedules, and who is new."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reputation.domain.breaker_policy import State as BreakerState
from reputation.domain.policy import Status
from reputation.domain.warmup import (
    HOUR,
    Course,
    DayFacts,
    Schedule,
    Unit,
    day_window,
    from_shares,
    hour_windows,
    is_time_zone,
    judge,
    local_date,
    next_date,
    window_at,
)
from reputation.domain.warmup_policy import Found, Past, Step, WarmupPolicy, judge_domain, judge_ip
from reputation.domain.warmup_standing import Stood, of_breaker, of_score, of_statuses, worst

DAY = timedelta(days=1)
NOW = datetime(2026, 11, 20, 1, 0, tzinfo=UTC)
TODAY = date(2026, 11, 20)
SCHEDULE = Schedule((100, 200, 500))
POLICY = WarmupPolicy()
ZONES = ["UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata", "Australia/Lord_Howe", "Africa/Cairo"]


def course(day: int, idle_days: int = 0) -> Course:
    return Course(day, TODAY, TODAY - idle_days * DAY)


# The midnight rule


@pytest.mark.parametrize(
    ("day", "used", "standing", "step", "becomes"),
    [
        (1, 100, Status.HEALTHY, Step.ADVANCED, 2),
        (1, 80, Status.HEALTHY, Step.ADVANCED, 2),
        (1, 79, Status.HEALTHY, Step.HELD, 1),
        (1, 5000, Status.HEALTHY, Step.ADVANCED, 2),
        (2, 200, Status.WARNING, Step.HELD, 2),
        (2, 0, Status.WARNING, Step.HELD, 2),
        (2, 200, Status.QUARANTINE, Step.STEPPED_BACK, 1),
        (3, 500, Status.BLACKLISTED, Step.STEPPED_BACK, 2),
        (3, 0, Status.QUARANTINE, Step.STEPPED_BACK, 2),
        (1, 100, Status.QUARANTINE, Step.HELD, 1),
        (2, 200, None, Step.HELD, 2),
        (2, 0, Status.HEALTHY, Step.HELD, 2),
        (3, 399, Status.HEALTHY, Step.HELD, 3),
        (3, 400, Status.HEALTHY, Step.COMPLETED, 3),
        (3, 400, Status.WARNING, Step.HELD, 3),
    ],
)
def test_midnight(day: int, used: int, standing: Status | None, step: Step, becomes: int) -> None:
    verdict = judge(course(day), SCHEDULE, DayFacts(used, standing, "because."), POLICY)
    assert (verdict.step, verdict.day) == (step, becomes)


def test_idle_for_thirty_days_begins_anew_but_day_one_only_waits() -> None:
    nothing = DayFacts(0)
    assert judge(course(3, 29), SCHEDULE, nothing, POLICY).step is Step.HELD
    assert judge(course(3, 30), SCHEDULE, nothing, POLICY) == judge(course(2, 30), SCHEDULE, nothing, POLICY)
    assert judge(course(3, 30), SCHEDULE, nothing, POLICY).day == 1
    assert judge(course(1, 99), SCHEDULE, nothing, POLICY).step is Step.HELD


def test_the_share_compares_exactly() -> None:
    third = replace(POLICY, advance_share=Decimal("0.333334"))
    assert judge(course(1), Schedule((3,)), DayFacts(1), third).step is Step.HELD
    assert judge(course(1), Schedule((3,)), DayFacts(1), replace(POLICY, advance_share=Decimal("0.3"))).step is (
        Step.COMPLETED
    )


@given(
    amounts=st.lists(st.integers(1, 10**6), min_size=1, max_size=20).map(sorted),
    days=st.lists(st.tuples(st.integers(0, 10**7), st.sampled_from([*Status, None])), max_size=40),
)
def test_whatever_happens_the_day_stays_in_the_schedule_and_health_leads_to_its_end(
    amounts: list[int], days: list[tuple[int, Status | None]]
) -> None:
    schedule, where = Schedule(tuple(amounts)), Course(1, TODAY, TODAY)
    for used, standing in days:
        verdict = judge(where, schedule, DayFacts(used, standing), POLICY)
        assert 1 <= verdict.day <= schedule.days
        assert abs(verdict.day - where.day) <= 1 or verdict.step is Step.RESTARTED
        if verdict.step is Step.COMPLETED:
            return
        last_used = where.on_date if used else where.last_used_on
        where = Course(verdict.day, where.on_date + DAY, last_used)
    steps = []
    for _ in range(schedule.days):
        verdict = judge(where, schedule, DayFacts(schedule.limit(where.day)), POLICY)
        steps.append(verdict.step)
        where = Course(verdict.day, where.on_date + DAY, where.on_date)
        if verdict.step is Step.COMPLETED:
            break
    assert steps[-1] is Step.COMPLETED


# Days


@pytest.mark.parametrize(
    ("zone", "on", "hours"),
    [
        ("Europe/Berlin", date(2026, 3, 29), 23),
        ("Europe/Berlin", date(2026, 10, 25), 25),
        ("Europe/Berlin", date(2026, 11, 20), 24),
        ("America/New_York", date(2026, 3, 8), 23),
        ("America/New_York", date(2026, 11, 1), 25),
        ("Australia/Lord_Howe", date(2026, 4, 5), 24.5),
        ("Asia/Kolkata", date(2026, 3, 29), 24),
    ],
)
def test_a_local_day_is_as_long_as_its_clocks_make_it(zone: str, on: date, hours: float) -> None:
    day = day_window(on, zone)
    assert (day.ends - day.starts) / HOUR == hours
    assert local_date(day.starts, zone) == on == local_date(day.ends - timedelta(microseconds=1), zone)
    assert local_date(day.ends, zone) == on + DAY


def test_the_windows_are_aware_utc_at_the_local_midnight() -> None:
    day = day_window(date(2026, 10, 25), "Europe/Berlin")
    assert day.starts == datetime(2026, 10, 24, 22, tzinfo=UTC)
    assert day.ends == datetime(2026, 10, 25, 23, tzinfo=UTC)
    assert day.starts.tzinfo is UTC


def test_where_the_clocks_skip_midnight_the_day_begins_when_they_do() -> None:
    # Cairo, 24 April 2026: 00:00 becomes 01:00.
    before, day = day_window(date(2026, 4, 23), "Africa/Cairo"), day_window(date(2026, 4, 24), "Africa/Cairo")
    assert before.ends == day.starts == datetime(2026, 4, 23, 22, tzinfo=UTC)
    assert (day.ends - day.starts) == 23 * HOUR


def test_a_date_that_never_was_is_passed_over() -> None:
    assert next_date(date(2011, 12, 29), "Pacific/Apia") == date(2011, 12, 31)
    assert next_date(date(2026, 10, 25), "Europe/Berlin") == date(2026, 10, 26)


@pytest.mark.parametrize(
    ("zone", "on", "count"),
    [("Europe/Berlin", date(2026, 3, 29), 23), ("America/New_York", date(2026, 11, 1), 25)],
)
def test_hours_of_a_changed_day_are_as_many_as_it_has(zone: str, on: date, count: int) -> None:
    day = day_window(on, zone)
    hours = hour_windows(day)
    assert len(hours) == count
    assert (hours[0].starts, hours[-1].ends) == (day.starts, day.ends)


@given(
    moment=st.datetimes(datetime(2024, 1, 1), datetime(2030, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001
    zone=st.sampled_from(ZONES),
)
def test_every_moment_lies_in_one_day_and_one_hour_of_it(moment: datetime, zone: str) -> None:
    day, hour = window_at(moment, zone, Unit.DAY), window_at(moment, zone, Unit.HOUR)
    assert day.starts <= hour.starts <= moment < hour.ends <= day.ends
    assert hour in hour_windows(day)
    assert hour.ends - hour.starts <= HOUR
    assert day_window(local_date(moment, zone), zone) == day
    assert window_at(day.ends, zone, Unit.DAY).starts == day.ends


def test_only_names_of_the_iana_database_are_time_zones() -> None:
    assert is_time_zone("Europe/Berlin")
    assert not any(is_time_zone(name) for name in ("", "Europe", "Berlin", "../UTC", "CEST", "UTC+1"))


# Schedules


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: Schedule(()),
        lambda: Schedule((0,)),
        lambda: Schedule((200, 100)),
        lambda: Schedule((1,) * 367),
        lambda: Schedule((100, 200), Unit.DAY, {"google": (50,)}),
        lambda: from_shares({}, 100),
        lambda: from_shares({"google": (5, 10)}, 0),
        lambda: from_shares({"google": (5, 101)}, 100),
        lambda: from_shares({"google": (0,)}, 100),
        lambda: from_shares({"google": (5,), "yahoo": (5, 6)}, 100),
        lambda: WarmupPolicy(advance_share=Decimal(0)),
        lambda: WarmupPolicy(new_ip_within=HOUR),
        lambda: WarmupPolicy(domain_idle=119 * DAY),
    ],
)
def test_numbers_that_cannot_be_meant_are_refused(wrong: object) -> None:
    with pytest.raises(ValueError, match=r"."):
        wrong()  # type: ignore[operator]


def test_shares_become_recipients_rounded_up_and_the_whole_follows_the_most_patient() -> None:
    schedule = from_shares({"google": (5, 15), "apple": (0.5, 1)}, 1000)
    assert schedule.amounts == (50, 150)
    assert schedule.provider_limits(1) == {"google": 50, "apple": 5}
    assert from_shares({"apple": (0.5,)}, 10).amounts == (1,)


# How a sender stood


def test_a_day_is_as_good_as_its_worst_moment_unless_a_person_spoke() -> None:
    assert of_statuses(["healthy", "quarantine", "warning"], None).status is Status.QUARANTINE
    assert of_statuses(["healthy", "quarantine"], "healthy").status is Status.HEALTHY
    assert of_statuses([], "quarantine").status is Status.QUARANTINE


@pytest.mark.parametrize(("score", "status"), [(100, "healthy"), (85, "healthy"), (84, "warning"), (59, "quarantine")])
def test_a_domain_stands_by_its_score(score: int, status: str) -> None:
    assert of_score(score).status == status


def test_an_open_breaker_is_as_bad_as_quarantine_and_a_closed_one_says_nothing() -> None:
    said = [of_breaker(state, "") for state in (BreakerState.OPEN, BreakerState.HALF_OPEN, BreakerState.CLOSED)]
    assert [entry and entry.status for entry in said] == [Status.QUARANTINE, Status.WARNING, None]
    assert worst(None, Stood(Status.WARNING), Stood(Status.HEALTHY)) == Stood(Status.WARNING)
    assert worst(None, None) is None


# Who is new


LONG = NOW - 100 * DAY


@pytest.mark.parametrize(
    ("first_seen", "past", "found"),
    [
        (NOW - DAY, Past(watched_since=LONG), Found.NEW_IP),
        (NOW - DAY, Past(watched_since=None), None),
        (NOW - DAY, Past(watched_since=NOW - 2 * DAY), None),
        (NOW - DAY, Past(watched_since=NOW - 8 * DAY), Found.NEW_IP),
        (NOW - 8 * DAY, Past(watched_since=LONG), None),
        (NOW - DAY, Past(first_mail=NOW - 20 * DAY, last_mail=NOW, watched_since=LONG), None),
        (NOW - DAY, Past(first_mail=NOW - DAY, last_mail=NOW, watched_since=LONG), Found.NEW_IP),
        (LONG, Past(0, LONG, NOW - 40 * DAY, LONG), Found.IDLE_IP),
        (LONG, Past(5, LONG, NOW, LONG), None),
        (LONG, Past(0, LONG, NOW - 40 * DAY, NOW - 20 * DAY), None),
        (LONG, Past(watched_since=LONG), None),
    ],
)
def test_which_ips_are_new_or_idle(first_seen: datetime, past: Past, found: Found | None) -> None:
    judged = judge_ip(first_seen, past, POLICY, NOW)
    assert (judged and judged[0]) == found


@pytest.mark.parametrize(
    ("past", "found"),
    [
        (Past(0, LONG, NOW - 40 * DAY, LONG), Found.IDLE_DOMAIN),
        (Past(0, NOW, NOW, LONG), Found.IDLE_DOMAIN),
        (Past(99, LONG, NOW, LONG), Found.QUIET_DOMAIN),
        (Past(100, LONG, NOW, LONG), None),
        (Past(0, NOW, NOW, NOW - 31 * DAY), None),
        (Past(0, NOW, NOW, NOW - 32 * DAY), Found.IDLE_DOMAIN),
        (Past(0, NOW, NOW, LONG, is_volume_known=False), None),
        (Past(watched_since=LONG), None),
        (Past(0, NOW, NOW, None), None),
    ],
)
def test_which_domains_are_cold(past: Past, found: Found | None) -> None:
    judged = judge_domain(past, POLICY, NOW)
    assert (judged and judged[0]) == found
