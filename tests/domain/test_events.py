"""What makes two reports the same event, whose mailbox it is, and where a cell's key lies."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from telemetry.domain.cells import HOUR, ceil_to, cell_key, first_key
from telemetry.domain.coverage import Report, covered_stretch
from telemetry.domain.event import Event, event_key, message_key
from telemetry.domain.mailbox_providers import ProviderDirectory
from telemetry.domain.reply import failure_type
from telemetry.domain.vocab import EventType
from telemetry.mailbox_providers import DATA

NOON = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
REFUSED = Event(
    type=EventType.BOUNCE,
    occurred_at=NOON,
    sending_ip="192.0.2.1",
    sending_domain="a.example",
    recipient="r@gmail.com",
    recipient_domain="gmail.com",
    smtp_code=550,
    enhanced_code="5.7.1",
    reply="no",
    message_id="q1",
)


def test_a_stable_id_decides_alone() -> None:
    one = replace(REFUSED, event_id="7")
    assert event_key(1, one) == event_key(1, replace(one, reply="other words", occurred_at=NOON + timedelta(days=1)))
    assert event_key(1, one) != event_key(2, one)
    assert event_key(1, one) != event_key(1, replace(one, event_id="8"))


@pytest.mark.parametrize(
    "change",
    [
        {"type": EventType.DEFER},
        {"occurred_at": NOON + timedelta(microseconds=1)},
        {"sending_ip": "192.0.2.2"},
        {"sending_domain": "b.example"},
        {"recipient": "s@gmail.com"},
        {"smtp_code": 551},
        {"enhanced_code": "5.7.10"},
        {"reply": "No"},
        {"message_id": "q2"},
        {"attempt_number": 2},
        {"mx_host": "mx"},
    ],
)
def test_without_an_id_every_part_of_the_content_counts(change: dict[str, object]) -> None:
    assert event_key(1, REFUSED) == event_key(1, replace(REFUSED))
    assert event_key(1, REFUSED) != event_key(1, replace(REFUSED, **change))  # type: ignore[arg-type]


def test_neighbouring_fields_do_not_run_together() -> None:
    one = replace(REFUSED, mx_host="ab", enhanced_code="", reply="c")
    other = replace(REFUSED, mx_host="a", enhanced_code="", reply="bc")
    assert event_key(1, one) != event_key(1, other)


def test_a_message_is_the_same_at_each_attempt_and_for_each_recipient_another() -> None:
    assert message_key(1, REFUSED) == message_key(1, replace(REFUSED, attempt_number=3, type=EventType.DELIVERY))
    assert message_key(1, REFUSED) != message_key(1, replace(REFUSED, recipient="s@gmail.com"))


@given(
    st.datetimes(datetime(1990, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001
    st.integers(1, 10_000),
)
def test_keys_of_later_buckets_are_larger_so_that_a_range_of_keys_is_a_range_of_time(at: datetime, later: int) -> None:
    bucket = at.replace(second=0, microsecond=0)
    after = bucket + timedelta(minutes=later)
    assert first_key(bucket) <= cell_key(bucket, "192.0.2.1", "x") < first_key(after) <= cell_key(after, "a")
    assert timedelta(0) <= ceil_to(at, HOUR) - at < HOUR


def test_every_provider_of_the_directory_has_a_title() -> None:
    directory = ProviderDirectory.from_toml(DATA.read_text(encoding="utf-8"))
    providers = set(directory.suffixes.values()) | set(directory.domains.values())
    assert len(providers) > 30
    assert providers <= set(directory.titles)


@pytest.mark.parametrize(
    ("smtp_code", "enhanced", "kind"),
    [
        (550, "", EventType.BOUNCE),
        (451, "5.7.1", EventType.DEFER),
        (None, "5.1.1", EventType.BOUNCE),
        (None, "4.2.2", EventType.DEFER),
        (250, "5.1.1", None),
        (None, "", None),
    ],
)
def test_the_reply_code_rules_where_the_codes_disagree(
    smtp_code: int | None, enhanced: str, kind: EventType | None
) -> None:
    assert failure_type(smtp_code, enhanced) is kind


def reports(*stretches: tuple[int, int, int]) -> list[Report]:
    return [
        Report(NOON - timedelta(minutes=start), NOON - timedelta(minutes=end), sent) for start, end, sent in stretches
    ]


@pytest.mark.parametrize(
    ("given_reports", "length", "sent"),
    [
        (reports((15, 0, 100)), 15, 100),
        (reports((15, 10, 1), (10, 5, 2), (5, 0, 4)), 15, 7),
        (reports((20, 15, 8), (15, 10, 1), (10, 5, 2), (5, 0, 4)), 15, 7),
        (reports((60, 0, 500)), 60, 500),
        (reports((30, 14, 9)), 16, 9),
    ],
)
def test_gapless_reports_cover_a_window(given_reports: list[Report], length: int, sent: int) -> None:
    found = covered_stretch(given_reports, window=timedelta(minutes=15), now=NOON)
    assert found is not None
    assert (found.end - found.start, found.sent) == (timedelta(minutes=length), sent)


@pytest.mark.parametrize(
    "given_reports",
    [[], reports((14, 0, 1)), reports((15, 10, 1), (5, 0, 4)), reports((45, 16, 9)), reports((150, 0, 1))],
    ids=["none", "too short", "a gap", "too old", "too long"],
)
def test_reports_that_do_not_cover_the_window_leave_it_unknown(given_reports: list[Report]) -> None:
    assert covered_stretch(given_reports, window=timedelta(minutes=15), now=NOON) is None
