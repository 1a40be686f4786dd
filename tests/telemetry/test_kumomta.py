"""KumoMTA's records as its log hook posts them."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from hypothesis import given, settings
from hypothesis import strategies as st

from telemetry.domain.errors import ParseError
from telemetry.domain.event import Event
from telemetry.domain.vocab import EventType
from telemetry.models import RejectedEvent, SendingEvent, Source
from telemetry.models.counters import TrafficMinute
from telemetry.parsers.kumomta import KUMOMTA, MOST_INCIDENTS, TYPES
from telemetry.tokens import find_source_token
from tests.conftest import NOON
from tests.telemetry.parser_cases import ParserCase
from tests.telemetry.test_hostile_input import JSON

IGNORED = [
    *("Reception", "Rejection", "AdminBounce", "AdminRebind"),
    *("DeferredInjectionRebind", "Delayed", "XferOut", "XferIn"),
]
FEEDBACK = {
    "feedback_type": "abuse",
    "user_agent": "SomeGenerator/1.0",
    "version": "1",
    "arrival_date": "2026-11-20T11:58:00Z",
    "incidents": None,
    "original_envelope_id": None,
    "original_mail_from": "<news@example.com>",
    "reporting_mta": {"mta_type": "dns", "name": "mail.example.net"},
    "source_ip": "203.0.113.10",
    "authentication_results": [],
    "original_rcpto_to": ["<a@outlook.com>"],
    "reported_domain": ["example.org"],
    "reported_uri": [],
    "extensions": {},
    "original_message": None,
    "supplemental_trace": None,
}


def record(kind: str = "TransientFailure", **changed: Any) -> dict[str, Any]:
    """The sample record of a deferral, changed."""
    return {
        "type": kind,
        "id": "d7ef132b5d7711eea8c8000c29c33806",
        "sender": "news@example.com",
        "recipient": "a@outlook.com",
        "queue": "camp1:tenant1@outlook.com",
        "site": "ip-1->outlook-com.olc.protection.outlook.com.",
        "size": 1047,
        "response": {
            "code": 451,
            "enhanced_code": {"class": 4, "subject": 7, "detail": 650},
            "content": "The mail server [203.0.113.10] has been temporarily rate limited due to IP reputation.",
            "command": "MAIL FROM:<news@example.com>",
        },
        "peer_address": {"name": "outlook-com.olc.protection.outlook.com.", "addr": "52.101.73.8"},
        "timestamp": 1795176000,
        "event_time": "2026-11-20T12:00:00.123456789Z",
        "created": 1795175990,
        "created_time": "2026-11-20T11:59:50Z",
        "num_attempts": 0,
        "bounce_classification": "Uncategorized",
        "egress_pool": "pool0",
        "egress_source": "ip-1",
        "source_address": {"address": "203.0.113.10:41234", "protocol": None, "server": None},
        "feedback_report": FEEDBACK if kind == "Feedback" else None,
        "meta": {},
        "headers": {},
        "delivery_protocol": "ESMTP",
        "reception_protocol": "HTTP",
        "nodeid": "557f3ad4-2c8c-11ee-976e-782d7e12e173",
        "provider_name": "Outlook",
        "session_id": None,
    } | changed


def parse(ip_map: dict[str, str] | None = None, **changed: Any) -> list[Event]:
    raw = json.dumps(record(changed.pop("type", "TransientFailure"), **changed)).encode()
    return list(KUMOMTA.events(raw, NOON, ip_map or {}))


def response(code: int, enhanced: tuple[int, int, int] | None, content: str) -> dict[str, Any]:
    parts = dict(zip(("class", "subject", "detail"), enhanced, strict=True)) if enhanced else None
    return {"code": code, "enhanced_code": parts, "content": content, "command": "."}


class TestKumoMta(ParserCase):
    url = "/api/webhooks/kumomta"
    kind = "kumomta"
    parser = KUMOMTA
    types = {
        "Delivery": "delivery",
        "TransientFailure": "defer",
        "Bounce": "bounce",
        "Expiration": "bounce",
        "OOB": "bounce",
        "Feedback": "complaint",
        **dict.fromkeys(IGNORED),
    }
    bad_field = "recipient"

    def event(self, number: int, kind: str | None = None) -> dict[str, Any]:
        return record(kind or "Delivery", id=f"{number:032x}", recipient=f"someone{number}@gmail.com")

    def bad(self) -> dict[str, Any]:
        return record("Delivery", recipient="nobody")

    def body(self, events: list[Any]) -> Any:
        return events

    def test_one_record_a_request_is_taken_too(self) -> None:
        assert self.post(self.event(1)).json()["processed"] == 1
        assert self.post(self.event(1)).json()["duplicates"] == 1

    def test_a_message_deferred_twice_and_then_delivered_was_sent_once_and_not_refused(self) -> None:
        attempts = [
            record(num_attempts=0, event_time="2026-11-20T10:00:00Z"),
            record(num_attempts=1, event_time="2026-11-20T10:20:00Z"),
            record("Delivery", num_attempts=2, event_time="2026-11-20T11:00:00Z"),
        ]
        for number in (2, 0, 1):
            self.send(attempts[number])
        cells = TrafficMinute.objects.values_list("delivered", "bounced", "deferred", "superseded")
        delivered, bounced, deferred, superseded = (sum(column) for column in zip(*cells, strict=True))
        assert (delivered, bounced, deferred, superseded) == (1, 0, 2, 2)

    def test_an_expired_message_was_refused_once_even_where_a_restart_forgot_its_attempts(self) -> None:
        self.send(record(num_attempts=0, event_time="2026-11-20T10:00:00Z"))
        expired = response(551, (5, 4, 7), "Delivery time P5D > P3D")
        ended = record("Expiration", num_attempts=0, response=expired, source_address=None, egress_source=None)
        self.send(ended | {"peer_address": None, "delivery_protocol": None})
        cells = TrafficMinute.objects.values_list("bounced", "deferred", "superseded")
        assert tuple(sum(column) for column in zip(*cells, strict=True)) == (1, 1, 1)

    def test_an_attempt_whose_number_a_restart_repeats_is_another_attempt(self) -> None:
        self.send(record(num_attempts=0, event_time="2026-11-20T10:00:00Z"))
        assert self.send(record(num_attempts=0, event_time="2026-11-20T11:00:00Z"))["duplicates"] == 0
        old = record(num_attempts=0, event_time=None, timestamp=1795170000)
        assert self.send(old, old | {"timestamp": 1795170001}, old)["duplicates"] == 1

    def test_an_id_tells_nobody_who_the_recipient_was(self) -> None:
        self.send(record("Delivery"))
        stored = SendingEvent.objects.get()
        assert stored.recipient == ""
        assert "a@outlook.com" not in repr(SendingEvent.objects.values().get())

    def test_recipients_of_one_record_are_events_of_their_own_and_count_once_each(self) -> None:
        several = record("Delivery", recipient=["a@gmail.com", "b@gmail.com", "a@gmail.com"])
        assert self.send(several)["processed"] == 2
        assert self.send(several)["duplicates"] == 2
        assert SendingEvent.objects.count() == 2

    def test_a_record_with_one_bad_recipient_is_kept_and_can_be_mended(self) -> None:
        from telemetry.intake import replay

        self.send(record("Delivery", recipient=["a@gmail.com", "nobody"]))
        kept = RejectedEvent.objects.get()
        assert not SendingEvent.objects.exists()
        kept.payload = kept.payload.replace('"nobody"', '"b@gmail.com"')
        assert replay(kept, now=NOON) is None
        assert SendingEvent.objects.count() == 2

    def test_the_ip_mapping_of_the_source_is_used(self) -> None:
        self.source.ip_map = {"ip-1": "198.51.100.7"}
        self.source.save()
        self.send(record(source_address=None))
        assert SendingEvent.objects.get().sending_ip == "198.51.100.7"


def test_a_deferral_is_read_whole() -> None:
    (event,) = parse()
    assert (event.type, event.occurred_at) == (EventType.DEFER, datetime(2026, 11, 20, 12, 0, 0, 123456, tzinfo=UTC))
    assert (event.sending_ip, event.sending_domain) == ("203.0.113.10", "example.com")
    assert (event.recipient, event.recipient_domain) == ("a@outlook.com", "outlook.com")
    assert event.mx_host == "outlook-com.olc.protection.outlook.com"
    assert (event.smtp_code, event.enhanced_code) == (451, "4.7.650")
    assert event.reply.endswith("due to IP reputation.")
    assert (event.attempt_number, event.message_id) == (1, "d7ef132b5d7711eea8c8000c29c33806")
    assert (event.classification, event.node) == ("Uncategorized", "557f3ad4-2c8c-11ee-976e-782d7e12e173")


def test_what_kumomta_said_to_itself_is_no_refusal() -> None:
    internal = response(451, (4, 4, 1), "KumoMTA internal: failed to connect to any candidate hosts")
    assert parse(response=internal) == []
    assert parse(type="Bounce", response=internal) == []
    assert len(parse(type="Expiration", response=internal)) == 1
    quoting = response(451, None, "we do not like KumoMTA internal: things")
    assert len(parse(response=quoting)) == 1


def test_the_delivery_of_log_records_themselves_is_passed_over() -> None:
    assert parse(type="Delivery", reception_protocol="LogRecord") == []
    assert parse(type="Delivery", delivery_protocol="Lua") == []
    assert parse(type="Delivery", delivery_protocol="Maildir") == []


@pytest.mark.parametrize(
    ("address", "found"),
    [
        ("203.0.113.10:41234", "203.0.113.10"),
        ("203.0.113.10:0", "203.0.113.10"),
        ("203.0.113.10", "203.0.113.10"),
        ("[2001:db8::1]:25", "2001:db8::1"),
        ("[::1]:25", "::1"),
        ("2001:db8::1", "2001:db8::1"),
        ("[::ffff:203.0.113.10]:25", "203.0.113.10"),
        ("0.0.0.0:0", "198.51.100.7"),
        ("[::]:0", "198.51.100.7"),
        ("", "198.51.100.7"),
        ("10.0.0.1:53210", "198.51.100.7"),  # behind NAT; the world sees the mapped one
        ("[fd00::1]:25", "198.51.100.7"),
    ],
)
def test_the_sending_ip_is_the_source_address_or_what_its_name_is_mapped_to(address: str, found: str) -> None:
    assert parse({"ip-1": "198.51.100.7"}, source_address={"address": address})[0].sending_ip == found


def test_without_address_and_mapping_the_ip_is_unknown_and_a_private_one_stays() -> None:
    assert parse({"other": "198.51.100.7"}, source_address=None)[0].sending_ip == "0.0.0.0"
    assert parse(source_address={"address": "10.0.0.1:1"})[0].sending_ip == "10.0.0.1"


def test_old_versions_have_whole_seconds_only() -> None:
    assert parse(event_time=None, timestamp=1795176000)[0].occurred_at == datetime(2026, 11, 20, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("given_response", "codes"),
    [
        (response(550, (5, 7, 606), "x"), (550, "5.7.606")),
        (response(550, None, "x"), (550, "")),
        (response(550, (0, 0, 0), "x"), (550, "")),
        (response(550, (9, 1, 1), "x"), (550, "")),
        (response(999, (5, 1, 1), "x"), (None, "5.1.1")),
        (response(0, None, ""), (None, "")),
        (None, (None, "")),
    ],
)
def test_codes_that_a_remote_made_up_cost_no_event(given_response: Any, codes: tuple[Any, str]) -> None:
    (event,) = parse(type="Bounce", response=given_response)
    assert (event.smtp_code, event.enhanced_code) == codes


def test_an_out_of_band_bounce_names_no_attempt_of_ours_and_no_mx() -> None:
    (event,) = parse(type="OOB", source_address=None, egress_source=None, sender="news@example.com")
    assert (event.type, event.sending_domain, event.recipient) == (EventType.BOUNCE, "example.com", "a@outlook.com")
    assert (event.attempt_number, event.mx_host, event.is_tracked) == (None, "", False)


def test_a_complaint_is_about_the_reported_message_and_not_about_the_report() -> None:
    (event,) = parse(type="Feedback", sender="fbl@provider.example", recipient="fbl@example.com", source_address=None)
    assert (event.type, event.sending_ip, event.sending_domain) == (EventType.COMPLAINT, "203.0.113.10", "example.com")
    assert (event.recipient, event.classification) == ("a@outlook.com", "abuse")


@pytest.mark.parametrize("kind", ["not-spam", "auth-failure", "opt-out", "Not-Spam"])
def test_a_report_by_which_nobody_complains_is_none(kind: str) -> None:
    assert parse(type="Feedback", feedback_report=FEEDBACK | {"feedback_type": kind}) == []


@pytest.mark.parametrize(("incidents", "events"), [(None, 1), (0, 1), (-5, 1), (3, 3), (10**9, MOST_INCIDENTS)])
def test_incidents_count_and_are_not_believed_without_end(incidents: int | None, events: int) -> None:
    found = parse(type="Feedback", feedback_report=FEEDBACK | {"incidents": incidents})
    assert len(found) == len({event.event_id for event in found}) == events


def test_a_redacted_report_still_counts_and_falls_back_to_what_it_names() -> None:
    redacted = {"original_rcpto_to": ["redacted"], "original_mail_from": "<>"}
    (event,) = parse(type="Feedback", feedback_report=FEEDBACK | redacted)
    assert (event.recipient, event.sending_domain) == ("", "example.org")
    traced = {"original_rcpto_to": None, "supplemental_trace": {"recipient": "b@yahoo.com"}}
    assert parse(type="Feedback", feedback_report=FEEDBACK | traced)[0].recipient == "b@yahoo.com"


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"id": ""}, "id"),
        ({"id": "x" * 101}, "id"),
        ({"recipient": None}, "recipient"),
        ({"recipient": []}, "recipient"),
        ({"recipient": ["<>"]}, "recipient"),
        ({"recipient": [f"a{number}@b.example" for number in range(10_001)]}, "recipient"),
        ({"sender": "nobody"}, "sender"),
        ({"source_address": {"address": "host:25"}}, "source_address.address"),
        ({"num_attempts": -7}, None),
        ({"num_attempts": 10**9}, "num_attempts"),
        ({"event_time": "yesterday"}, "event_time"),
        ({"event_time": None, "timestamp": None}, "timestamp"),
        ({"response": "550 no"}, "response"),
        ({"type": "Feedback", "feedback_report": None}, "feedback_report"),
    ],
)
def test_what_is_wrong_is_named(changed: dict[str, Any], field: str | None) -> None:
    if field is None:
        assert parse(**changed)[0].attempt_number == 1
        return
    with pytest.raises(ParseError) as caught:
        parse(**changed)
    assert caught.value.field == field


@st.composite
def spoilt(draw: st.DrawFn) -> bytes:
    """A record with some fields replaced or dropped, or something else altogether, or cut off."""
    kind = draw(st.sampled_from([*TYPES, *TYPES, "Reception"]))
    event = record(kind)
    for name in draw(st.lists(st.sampled_from(sorted(event)), max_size=4)):
        event[name] = draw(JSON)
    for outer in ("response", "feedback_report", "source_address", "peer_address"):
        if isinstance(event[outer], dict) and draw(st.booleans()):
            event[outer] = event[outer] | {draw(st.sampled_from(sorted(event[outer]) or ["x"])): draw(JSON)}
    raw = json.dumps(draw(st.sampled_from([event, event, event, [event], kind]))).encode()
    return raw[: draw(st.integers(0, len(raw)))] if draw(st.booleans()) and draw(st.booleans()) else raw


@settings(max_examples=1000, deadline=None)
@given(raw=spoilt() | st.binary(max_size=100))
def test_any_record_gives_clean_events_or_names_the_field(raw: bytes) -> None:
    try:
        events = KUMOMTA.events(raw, NOON, {"ip-1": "198.51.100.7"})
    except ParseError as caught:
        named = bool(caught.field and caught.message)
        assert named
    else:
        assert all(isinstance(event, Event) and len(event.event_id) <= 512 for event in events)
        assert all("\x00" not in event.reply + event.classification for event in events)
        assert KUMOMTA.events(raw, NOON, {"ip-1": "198.51.100.7"}) == events


def config(*options: str) -> tuple[str, str]:
    out, err = StringIO(), StringIO()
    call_command("kumomta_config", *options, stdout=out, stderr=err)
    return out.getvalue(), err.getvalue()


@pytest.mark.django_db
def test_the_set_up_names_the_url_and_makes_a_token_that_works() -> None:
    source = Source.objects.create(name="kumo-1", kind="kumomta")
    lua, words = config("kumo-1", "--url", "https://standing.example.com/", "--new-token")
    assert ":post('https://standing.example.com/api/webhooks/kumomta')" in lua
    assert "@" not in re.sub(r"--.*", "", lua)
    token = re.search(r"gs_\S+", words)
    assert token is not None
    assert "gs_" not in lua
    found = find_source_token(token[0], now=NOON)
    assert found is not None
    assert found.source == source
    assert "gs_" not in config("kumo-1")[1]


@pytest.mark.django_db
@pytest.mark.parametrize("url", ["standing.example.com", "ftp://x", "https://x'..os.exit()..'", "http://x:99999"])
def test_the_set_up_refuses_what_is_no_address(url: str) -> None:
    Source.objects.create(name="kumo-1", kind="kumomta")
    with pytest.raises(CommandError, match="is not an address"):
        config("kumo-1", "--url", url)


@pytest.mark.django_db
def test_the_set_up_is_for_sources_of_its_kind() -> None:
    with pytest.raises(CommandError, match="create_source"):
        config("kumo-1")
    Source.objects.create(name="kumo-1", kind="postfix")
    with pytest.raises(CommandError, match="of kind postfix"):
        config("kumo-1")
