"""What one event of Stalwart's says, and how an attempt is judged; anything odd is named, never an exception."""

from __future__ import annotations

import json
import random
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from telemetry.domain.errors import ParseError
from telemetry.domain.stalwart_joins import (
    GIVE_UP_AFTER,
    SETTLE_AFTER,
    Complaint,
    Connect,
    Evidence,
    Held,
    Ignored,
    Note,
    Outcome,
    Setting,
    judge,
)
from telemetry.domain.vocab import UNKNOWN_IP, EventType
from telemetry.parsers.stalwart import MOST_INCIDENTS, USED, parse
from tests.conftest import NOON
from tests.telemetry.stalwart_events import BLOCKED, MX, Attempt, again, caused, event, sample

SETTING = Setting({}, "", lambda recipient: recipient)


def read(one: Any) -> Note:
    return parse(json.dumps(one).encode(), NOON)


def named(raw: bytes) -> Note | ParseError:
    """What is read, or an error that names its field."""
    try:
        return parse(raw, NOON)
    except ParseError as caught:
        error = caught
    assert error.field
    assert error.message
    return error


def outcome(one: dict[str, Any]) -> Outcome:
    found = read(one)
    assert isinstance(found, Outcome)
    return found


def test_the_kinds_of_the_sample() -> None:
    connect, rejected, delivered, notice, mail_from, report = [read(one) for one in sample()]
    assert isinstance(connect, Connect)
    assert (connect.mx_host, connect.domain, connect.local_ip) == (MX, "gmail.com", "203.0.113.10")
    assert connect.span == "212008089975525379"
    assert isinstance(rejected, Outcome)
    assert (rejected.evidence, rejected.recipients, rejected.failure) == (
        Evidence.REJECTED, ("b@gmail.com",), EventType.BOUNCE
    )  # fmt: skip
    assert isinstance(delivered, Outcome)
    assert (delivered.evidence, delivered.failure, delivered.queue_name) == (Evidence.DELIVERED, None, "remote")
    assert isinstance(notice, Outcome)
    assert (notice.smtp_code, notice.enhanced_code) == (550, "5.1.1")
    assert isinstance(mail_from, Outcome)
    assert (mail_from.evidence, mail_from.smtp_code, mail_from.reply) == (Evidence.SESSION, 550, BLOCKED)
    assert isinstance(report, Complaint)
    assert (report.events[0].sending_ip, report.events[0].sending_domain) == ("203.0.113.10", "example.com")


def test_a_retry_has_the_same_keys_and_other_content_another() -> None:
    def keys(events: list[dict[str, Any]]) -> list[Any]:
        notes = [read(one) for one in events]
        return [note.events if isinstance(note, Complaint) else note.key for note in notes]  # type: ignore[union-attr]

    events = sample()
    assert keys(events) == keys(again(events))
    one = Attempt()
    changed = [
        one.delivered(),
        one.delivered(to="b@gmail.com"),
        one.delivered(code=251),
        one.delivered(details="other"),
        one.delivered(host="other"),
        one.delivered(at="2026-11-20T12:00:01Z"),
        one.delivered(spanId=1),
        one.delivered(queueId=1),
        one.event("rcpt-to-rejected", hostname=MX, to="a@gmail.com", code=550, details="no"),
        one.event("dsn-perm-fail", hostname=MX, to="a@gmail.com", code=550, details="no"),
    ]
    assert len(set(keys(changed))) == len(changed)


def test_names_of_our_list_are_read_and_all_others_ignored() -> None:
    for name in ("delivery.attempt-start", "delivery.dsn-temp-fail", "queue.rescheduled", "x" * 5000, ""):
        assert isinstance(read(event(name, {"to": 3})), Ignored)
    for name in USED:
        with pytest.raises(ParseError):
            read(event(name, {"to": 3}))


@pytest.mark.parametrize(
    ("written", "code", "enhanced", "reply"),
    [
        ("Unexpected response for RCPT TO:<b@gmail.com>: Code: 550, Enhanced code: 5.7.1, Message: no", 550, "5.7.1", "no"),
        ("Unexpected response for DATA: Code: 550, Enhanced code: 5.7.255, Message: a\nb", 550, "5.7.255", "a\nb"),
        ("Unexpected response for EHLO: Code: 421, Enhanced code: 0.0.0, Message: busy", 421, "", "busy"),
        ("Code: 550, Enhanced code: 9.9.9, Message: odd", 550, "", "odd"),
        ("Connection error: timed out", None, "", "Connection error: timed out"),
        ("5.7.1 with its code in front", None, "5.7.1", "5.7.1 with its code in front"),
    ],
)  # fmt: skip
def test_the_words_of_a_notice(written: str, code: int | None, enhanced: str, reply: str) -> None:
    found = outcome(Attempt().notice(details=written))
    assert (found.smtp_code, found.enhanced_code, found.reply) == (code, enhanced, reply)
    assert found.failure is EventType.BOUNCE


@pytest.mark.parametrize(
    ("kind", "own", "evidence", "failure"),
    [
        ("rcpt-to-rejected", {"to": "a@gmail.com", "code": 452}, Evidence.DEFERRED, EventType.DEFER),
        ("rcpt-to-rejected", {"to": "a@gmail.com", "code": 554}, Evidence.REJECTED, EventType.BOUNCE),
        ("rcpt-to-failed", {"to": "a@gmail.com", "causedBy": caused(None, "io")}, Evidence.DEFERRED, EventType.DEFER),
        ("message-rejected", {"code": 554, "details": "spam"}, Evidence.SESSION, EventType.BOUNCE),
        ("message-rejected", {"causedBy": caused(None, "connection lost")}, Evidence.SESSION, EventType.DEFER),
        ("mail-from-rejected", {"causedBy": caused(421, "busy")}, Evidence.SESSION, EventType.DEFER),
        ("ehlo-rejected", {"causedBy": caused(554, "no")}, Evidence.SESSION, EventType.BOUNCE),
        ("ehlo-rejected", {"domain": "gmail.com", "details": "no"}, Evidence.HOST, EventType.DEFER),
        ("greeting-failed", {"domain": "gmail.com", "details": "no"}, Evidence.HOST, EventType.DEFER),
        ("connect-error", {"domain": "gmail.com", "localIp": "192.0.2.1"}, Evidence.UNREACHED, EventType.DEFER),
        ("failed", {"to": "a@gmail.com", "reason": caused(451, "x"), "details": 1}, Evidence.EXPIRED, EventType.BOUNCE),
    ],
)
def test_what_each_failure_proves(kind: str, own: dict[str, Any], evidence: Evidence, failure: EventType) -> None:
    found = outcome(Attempt().event(kind, hostname=MX, **own))
    assert (found.evidence, found.failure) == (evidence, failure)
    assert len(found.recipients) == (1 if "to" in own else 2)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"to": None}, "data.to"),
        ({"to": []}, "data.to"),
        ({"to": ["a@x.example", "b@x.example"]}, "data.to"),
        ({"to": "nobody"}, "data.to"),
        ({"to": "a@-x-.example"}, "data.to"),
        ({"to": {"a": 1}}, "data.to"),
        ({"spanId": -1}, "data.spanId"),
        ({"spanId": 2**64}, "data.spanId"),
        ({"spanId": 1.5e19}, "data.spanId"),
        ({"spanId": True}, "data.spanId"),
        ({"queueId": "x"}, "data.queueId"),
        ({"code": 99}, "data.code"),
        ({"code": 10**40}, "data.code"),
        ({"code": "550"}, "data.code"),
        ({"code": None}, "data.code"),
        ({"host": 3}, "data.hostname"),
        ({"from": 3}, "data.from"),
    ],
)
def test_each_bad_field_is_named(change: dict[str, Any], field: str) -> None:
    with pytest.raises(ParseError) as caught:
        read(Attempt().rejected(**change))
    assert caught.value.field == field


@pytest.mark.parametrize("change", [{"createdAt": "yesterday"}, {"data": [1]}, {"data": None}, {"type": 3}])
def test_a_bad_envelope_is_named(change: dict[str, Any]) -> None:
    with pytest.raises(ParseError):
        read(Attempt().rejected() | change)


def test_null_senders_odd_senders_relays_and_incidents() -> None:
    assert outcome(Attempt(sender="<>").delivered()).sending_domain == ""
    assert outcome(Attempt(sender="root").delivered()).sending_domain == ""
    assert outcome(Attempt(sender="n@BÜCHER.example").delivered()).sending_domain == "xn--bcher-kva.example"
    relay = read(Attempt().connect(domain="relay.example"))
    assert isinstance(relay, Connect)
    assert relay.domain == ""
    report = sample()[-1]
    for total, number in ((3, 3), (0, 1), (None, 1), ("many", 1), (10**12, MOST_INCIDENTS)):
        found = read(report | {"data": report["data"] | {"total": total}})
        assert isinstance(found, Complaint)
        assert len({one.event_id for one in found.events}) == number


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec=None), max_size=40)
    | st.sampled_from(
        ["\x00", "0.0.0.0", "::1%eth0", "Code: 550, Enhanced code: 5.7.1", "a@b.c", "<>", "9" * 400, 2**64]
    ),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
KEYS = [
    "spanId", "queueId", "queueName", "hostname", "domain", "localIp", "remoteIp", "from", "to", "code", "details",
    "causedBy", "reason", "url", "total", "rangeFrom",
]  # fmt: skip


@settings(max_examples=800, deadline=None)
@given(st.data())
def test_whatever_comes_is_read_or_named(data: st.DataObject) -> None:
    one = data.draw(st.sampled_from(sample())) | {"type": data.draw(st.sampled_from(USED))}
    one["data"] = one["data"] | data.draw(st.dictionaries(st.sampled_from(KEYS), JSON, max_size=4))
    for name in data.draw(st.lists(st.sampled_from(["createdAt", "type", "data"]), max_size=1)):
        one[name] = data.draw(JSON)
    found = named(json.dumps(one).encode())
    if isinstance(found, Outcome):
        assert len(found.span) <= 24
        assert found.recipients
        judge([Held(found, NOON)], [], SETTING, now=NOON + GIVE_UP_AFTER)


@settings(max_examples=500, deadline=None)
@given(st.binary(max_size=300), st.integers(0, 200))
def test_any_bytes_are_read_or_named(noise: bytes, position: int) -> None:
    whole = json.dumps(Attempt().notice()).encode()
    for raw in (noise, whole[:position] + noise + whole[position:]):
        named(raw)


def test_deep_nesting_is_named() -> None:
    for depth in (100, 900, 990, 1000, 100_000):
        raw = json.dumps(Attempt().notice(details="DEEP")).replace('"DEEP"', "[" * depth + "]" * depth)
        error = named(raw.encode())
        if isinstance(error, ParseError):
            assert "deeply" in error.message


def connect(ip: str, seconds: int, host: str = MX, domain: str = "gmail.com") -> Connect:
    return Connect(
        f"{ip}{seconds}{host}{domain}", "212008089975525379", host, domain, ip, NOON + timedelta(seconds=seconds)
    )


@pytest.mark.parametrize(
    ("connects", "expected"),
    [
        ([connect("192.0.2.1", 0)], "192.0.2.1"),
        ([connect("192.0.2.1", 0), connect("192.0.2.2", 0, "mx2")], "192.0.2.1"),
        ([connect("192.0.2.1", 0), connect("192.0.2.2", 0, domain="corp.example")], "192.0.2.1"),
        ([connect("192.0.2.1", 0, domain="")], "192.0.2.1"),
        ([connect("192.0.2.1", 0), connect("192.0.2.2", 5), connect("192.0.2.3", 20)], "192.0.2.2"),
        ([connect("192.0.2.3", 20)], "192.0.2.3"),
        ([connect("192.0.2.1", 5), connect("192.0.2.2", 5)], "192.0.2.2"),
        ([connect("192.0.2.2", 0, domain="corp.example")], None),
        ([], None),
    ],
)
def test_which_connection_an_outcome_belongs_to(connects: list[Connect], expected: str | None) -> None:
    said = outcome(Attempt().delivered(at="2026-11-20T12:00:10Z"))
    for seed in range(3):
        random.Random(seed).shuffle(connects)
        verdict = judge([Held(said, NOON)], connects, SETTING, now=NOON)
        if expected is None:
            assert verdict.certain == []
            assert verdict.due == {said.key: NOON + GIVE_UP_AFTER}
        else:
            assert [one.sending_ip for one in verdict.certain] == [expected]
            assert verdict.done == {said.key}
    late = judge([Held(said, NOON)], connects, SETTING, now=NOON + GIVE_UP_AFTER)
    fallback = connects[0].local_ip if connects else UNKNOWN_IP
    assert [one.sending_ip for one in late.certain] == [expected or fallback]


def test_a_refusal_waits_for_its_notice_and_the_notice_for_nothing() -> None:
    rejected, notice = outcome(Attempt().rejected()), outcome(Attempt().notice())
    connects = [connect("192.0.2.1", 0)]
    alone = judge([Held(rejected, NOON)], connects, SETTING, now=NOON)
    assert (alone.certain, alone.due) == ([], {rejected.key: NOON + SETTLE_AFTER})
    both = judge([Held(rejected, NOON), Held(notice, NOON)], connects, SETTING, now=NOON)
    assert both.certain == judge([Held(notice, NOON)], connects, SETTING, now=NOON).certain
    assert both.done == {rejected.key, notice.key}
    assert both.certain[0].enhanced_code == "5.1.1"
    in_the_end = judge([Held(rejected, NOON)], connects, SETTING, now=NOON + SETTLE_AFTER)
    assert in_the_end.certain[0].event_id == both.certain[0].event_id


def test_a_notice_without_a_code_and_the_refusal_make_up_for_each_other_in_any_order() -> None:
    rejected, notice = outcome(Attempt().rejected(details="")), outcome(Attempt().notice(details="was refused"))
    pair = [Held(rejected, NOON), Held(notice, NOON)]
    found = [judge(some, [connect("192.0.2.1", 0)], SETTING, now=NOON).certain for some in (pair, pair[::-1])]
    assert found[0] == found[1]
    assert (found[0][0].smtp_code, found[0][0].reply) == (550, "was refused")


def test_thousands_of_recipients_and_connections_are_judged_in_a_moment() -> None:
    to = tuple(f"r{number}@d{number % 50}.example" for number in range(5000))
    attempt = Attempt(to=to)
    held = [Held(outcome(attempt.refused("message-rejected", code=554)), NOON)]
    held += [Held(outcome(Attempt(to=()).delivered(who)), NOON) for who in to[:2500]]
    connects = [connect("192.0.2.1", number, domain=f"d{number % 50}.example") for number in range(5000)]
    verdict = judge(held, connects, SETTING, now=NOON + GIVE_UP_AFTER)
    assert (len(verdict.certain), len(verdict.presumed)) == (2500, 2500)
