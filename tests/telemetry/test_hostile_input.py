"""Whatever a sender posts: never a server error, and never a good event lost beside a bad one."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.test import Client
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from telemetry.domain import clean
from telemetry.domain.errors import ParseError
from telemetry.domain.event import Event
from telemetry.models import RejectedEvent, SendingEvent, Source
from telemetry.parsers.registry import PARSERS
from telemetry.tokens import issue_token
from tests.conftest import NOON
from tests.telemetry.broken import unwritable_database
from tests.telemetry.test_webhook import failure, post

pytestmark = pytest.mark.django_db
RELAXED = settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec=None), max_size=40)
    | st.sampled_from(["\x00", "0.0.0.0", "::ffff:1.2.3.4", "5.7.1", "a@b.c", "<>", "9" * 400, "2026-11-20T12:00:00"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
NAMES = ["id", "createdAt", "type", "data"]
DATA = ["ip", "recipient", "smtp_code", "enhanced_code", "reason", "mx", "attempt_number", "sender", "message_id"]


@st.composite
def spoilt(draw: st.DrawFn) -> Any:
    """A documented event with some fields replaced, dropped, or something else altogether."""
    event = failure(draw(st.text(max_size=10)))
    for name in draw(st.lists(st.sampled_from(DATA), max_size=4)):
        event["data"][name] = draw(JSON)
    for name in draw(st.lists(st.sampled_from(NAMES), max_size=1)):
        event[name] = draw(JSON)
    return draw(st.sampled_from([event, event, event, event["data"], [event]]))


def dumps(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=True).encode()


@RELAXED
@given(bad=st.lists(spoilt(), min_size=1, max_size=4), position=st.integers(0, 4))
def test_a_good_event_survives_any_neighbours(db: None, client: Client, bad: list[Any], position: int) -> None:
    source = Source.objects.create(name=f"s{Source.objects.count()}")
    events = [*bad[:position], failure("the good one"), *bad[position:]]
    answer = post(client, issue_token(source), dumps({"events": events}))
    assert answer.status_code == 200
    body = answer.json()
    assert body["processed"] + body["failed"] == body["total"] == len(events)
    assert SendingEvent.objects.filter(source=source, event_id="the good one").count() == 1
    # Everything is somewhere: stored, or kept as rejected.
    assert body["failed"] == len(body["errors"])
    assert RejectedEvent.objects.filter(source=source).exists() == bool(body["failed"])


@RELAXED
@given(body=st.binary(max_size=200) | st.text(max_size=200).map(lambda text: text.encode("utf-8", "replace")))
def test_any_bytes_are_answered_400_or_taken_never_500(db: None, client: Client, body: bytes) -> None:
    source = Source.objects.create(name=f"s{Source.objects.count()}")
    token = issue_token(source)
    assert post(client, token, body or b" ").status_code in (200, 400)
    assert post(client, token, body or b" ", url="/api/events").status_code in (200, 400)
    lines = post(client, token, body or b" ", url="/api/events", content_type="application/x-ndjson")
    assert lines.status_code == 200
    assert post(client, token, body or b" ", url="/api/volumes").status_code in (200, 400)


@settings(max_examples=500, deadline=None)
@given(event=spoilt(), name=st.sampled_from(sorted(PARSERS)))
def test_a_parser_returns_an_event_or_names_the_field(event: Any, name: str) -> None:
    try:
        parsed = PARSERS[name].parse(dumps(event), NOON)
    except ParseError as caught:
        named = caught.field and caught.message
    else:
        named = parsed is None or isinstance(parsed, Event) or all(isinstance(event, Event) for event in parsed)
    assert named


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"ip": "999.1.1.1"}, "data.ip"),
        ({"ip": "fe80::1%eth0"}, "data.ip"),
        ({"ip": "224.0.0.1"}, "data.ip"),
        ({"ip": "203.0.113.010"}, "data.ip"),
        ({"ip": None}, "data.ip"),
        ({"recipient": "nobody"}, "data.recipient"),
        ({"recipient": "<>"}, "data.recipient"),
        ({"recipient": "a\x00b@gmail.com"}, "data.recipient"),
        ({"recipient": "a@" + "x" * 300}, "data.recipient"),
        ({"recipient": "a@-bad-.example"}, "data.recipient"),
        ({"smtp_code": 10**40}, "data.smtp_code"),
        ({"smtp_code": 99}, "data.smtp_code"),
        ({"smtp_code": 250}, "data.smtp_code"),
        ({"smtp_code": True}, "data.smtp_code"),
        ({"enhanced_code": "five"}, "data.enhanced_code"),
        ({"attempt_number": -1}, "data.attempt_number"),
        ({"attempt_number": 10**12}, "data.attempt_number"),
        ({"reason": {"text": "no"}}, "data.reason"),
    ],
)
def test_each_bad_field_is_named_and_kept(client: Client, token: str, change: dict[str, Any], field: str) -> None:
    answer = post(client, token, dumps({"events": [failure("good"), failure("bad", **change)]})).json()
    assert [(entry["index"], entry["field"]) for entry in answer["errors"]] == [(1, field)]
    assert RejectedEvent.objects.get().field == field
    assert SendingEvent.objects.get().event_id == "good"


@pytest.mark.parametrize(
    ("given_ip", "stored"),
    [
        ("::ffff:203.0.113.9", "203.0.113.9"),
        ("2001:0DB8:0:0::0001", "2001:db8::1"),
        ("[2001:db8::2]", "2001:db8::2"),
        (" 203.0.113.9 ", "203.0.113.9"),
        ("0.0.0.0", "0.0.0.0"),
        ("::", "0.0.0.0"),
        ("", "0.0.0.0"),
    ],
)
def test_one_address_has_one_form(client: Client, token: str, given_ip: str, stored: str) -> None:
    assert post(client, token, {"events": [failure(ip=given_ip)]}).json()["processed"] == 1
    assert SendingEvent.objects.get().sending_ip == stored


def test_null_senders_idn_and_nul_in_texts_are_taken(client: Client, token: str) -> None:
    events = [
        failure("1", sender="<>"),
        failure("2", sender="News@BÜCHER.example", recipient="kunde@straße.example"),
        failure("3", reason="refused\x00 \ud800 here", smtp_code="550"),
    ]
    assert post(client, token, dumps({"events": events})).json()["processed"] == 3
    stored = SendingEvent.objects.in_bulk(field_name="id")
    rows = [stored[key] for key in sorted(stored)]
    assert [row.sending_domain for row in rows] == ["", "xn--bcher-kva.example", ""]
    assert rows[1].recipient_domain == "strasse.example"
    assert rows[2].reply == "refused\ufffd ? here"


def test_bytes_that_are_not_utf8_cost_neither_the_event_nor_its_neighbours(client: Client, token: str) -> None:
    body = dumps({"events": [failure("good"), failure("latin", reason="UMLAUT")]}).replace(
        b"UMLAUT", b"\xfcnzul\xe4ssig"
    )
    assert post(client, token, body).json()["processed"] == 2
    assert SendingEvent.objects.get(event_id="latin").reply == "\ufffdnzul\ufffdssig"


@pytest.mark.parametrize(
    ("written", "future"),
    [("2026-11-20T12:00:00", False), ("2199-01-01T00:00:00Z", True), ("2026-11-20T12:00:00+14:00", False)],
)
def test_naive_far_future_and_zoned_times(client: Client, token: str, written: str, future: bool) -> None:
    event = failure() | {"createdAt": written}
    before = datetime.now(UTC)
    assert post(client, token, {"events": [event]}).json()["processed"] == 1
    row = SendingEvent.objects.get()
    assert row.future is future
    expected = before if future else datetime.fromisoformat(written)
    expected = expected.replace(tzinfo=UTC) if expected.tzinfo is None else expected
    assert abs(row.occurred_at - expected) < timedelta(minutes=1)


def test_a_future_event_sent_again_is_a_duplicate(client: Client, token: str) -> None:
    event = {"type": "delivery", "occurred_at": "2199-01-01T00:00:00Z", "recipient": "a@b.example"}
    assert post(client, token, [event], url="/api/events").json()["duplicates"] == 0
    assert post(client, token, [event], url="/api/events").json()["duplicates"] == 1


@pytest.mark.parametrize(
    "written", ["1989-12-31T23:59:59Z", "0001-01-01T00:00:00+14:00", "yesterday", -1e300, 1e300, 10**400]
)
def test_a_time_that_is_none_is_named(client: Client, token: str, written: Any) -> None:
    answer = post(client, token, dumps({"events": [failure() | {"createdAt": written}]})).json()
    assert answer["errors"][0]["field"] == "createdAt"


def test_deep_nesting_is_refused_and_a_twenty_megabyte_body_too(client: Client, token: str) -> None:
    deep = b'{"events": [' + b"[" * 100_000 + b"]" * 100_000 + b"]}"
    assert post(client, token, deep).status_code in (200, 400)
    assert post(client, token, b'{"events": [' + b" " * (20 * 1024 * 1024) + b"]}").status_code == 413
    assert not SendingEvent.objects.exists()


def test_a_batch_over_the_event_limit_is_refused_whole(client: Client, token: str, settings: Any) -> None:
    settings.MAX_EVENTS_PER_REQUEST = 2
    answer = post(client, token, {"events": [failure(str(number)) for number in range(3)]})
    assert answer.status_code == 413
    assert not SendingEvent.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_a_database_that_cannot_be_written_is_answered_503_and_nothing_is_claimed(client: Client, token: str) -> None:
    with unwritable_database():
        answer = post(client, token, {"events": [failure()]})
        assert answer.status_code == 503
        assert int(answer["Retry-After"]) > 0
    assert post(client, token, {"events": [failure()]}).json()["duplicates"] == 0


def test_codes_of_any_length_are_kept_and_leading_zeros_dropped() -> None:
    assert clean.enhanced_code("5.7.606", "code") == "5.7.606"
    assert clean.enhanced_code("5.07.01", "code") == "5.7.1"
    assert clean.enhanced_code("0.0.0", "code") == ""
