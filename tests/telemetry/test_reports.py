"""Complaints and bounces that come as mails: what they say is recorded once; nothing in a mail breaks the reader."""

from __future__ import annotations

import io
import mailbox
import random
import sys
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.test import Client
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from telemetry.domain.event import Event
from telemetry.domain.vocab import EventType
from telemetry.models import SendingEvent, Source, TrafficMinute, UnknownReport
from telemetry.parsers.mail_parts import LONGEST_MAIL, MOST_PARTS
from telemetry.parsers.report_mail import MOST_INCIDENTS, Kind, Reading, read_mail
from telemetry.reports import Outcome, take_in
from telemetry.retention import clean_up
from tests.conftest import NOON

URL = "/api/reports/message"

ORIGINAL = """\
Return-Path: <news-bounces@mail.shop.example>
From: "The Shop <offers>" <news@shop.example>
To: ann@inbox.example
Subject: Only today
Message-ID: <issue-77@shop.example>
Date: Fri, 20 Nov 2026 09:00:00 +0000
Content-Type: multipart/alternative; boundary=inner

--inner
Content-Type: text/plain

Buy.
--inner--
"""


def arf(
    fields: str = "Feedback-Type: abuse\nVersion: 1\nSource-IP: 192.0.2.10\nOriginal-Rcpt-To: <ann@inbox.example>\n",
    original: str = ORIGINAL,
    *,
    message_id: str = "report-1@fbl.example",
    outer: str = "",
    original_type: str = "message/rfc822",
) -> bytes:
    return f"""\
From: <feedback@fbl.example>
To: <fbl@shop.example>
Subject: FW: Only today
Date: Fri, 20 Nov 2026 11:30:00 +0100
Message-ID: <{message_id}>
{outer}MIME-Version: 1.0
Content-Type: multipart/report; report-type=feedback-report; boundary="part"

--part
Content-Type: text/plain; charset="US-ASCII"

This is a report about a mail from 192.0.2.10.

--part
Content-Type: message/feedback-report

{fields}
--part
Content-Type: {original_type}
Content-Disposition: inline

{original}
--part--
""".encode()


FAILED = """\
Final-Recipient: rfc822; gone@inbox.example
Original-Recipient: rfc822;gone@inbox.example
Action: failed
Status: 5.0.0
Remote-MTA: dns; mx1.inbox.example
Diagnostic-Code: smtp; 550-5.1.1 The mailbox gone@inbox.example does not
    550-5.1.1 exist here. Please check
    550 5.1.1 the address.
Last-Attempt-Date: Fri, 20 Nov 2026 10:15:00 +0000
"""
DELAYED = """\
Final-Recipient: rfc822;slow@other.example
Action: delayed
Status: 4.4.1 (connection refused)
Diagnostic-Code: X-Postfix; connect to mx.other.example[198.51.100.9]:25: Connection refused
Will-Retry-Until: Wed, 25 Nov 2026 10:15:00 +0000
"""
RELAYED = "Final-Recipient: rfc822;fine@third.example\nAction: relayed\nStatus: 2.0.0\n"


def dsn(
    recipients: str = f"{FAILED}\n{DELAYED}\n{RELAYED}",
    original: str = ORIGINAL,
    *,
    message: str = "Reporting-MTA: dns; mta-1.shop.example\nArrival-Date: Fri, 20 Nov 2026 10:00:00 +0000\n",
    status_header: str = "Content-Type: message/delivery-status",
    original_type: str = "message/rfc822",
) -> bytes:
    return f"""\
From: MAILER-DAEMON@mta-1.shop.example
To: news-bounces@mail.shop.example
Subject: Undelivered
Date: Fri, 20 Nov 2026 10:16:00 +0000
Message-ID: <dsn-1@mta-1.shop.example>
MIME-Version: 1.0
Content-Type: multipart/report; report-type=delivery-status;
\tboundary="=_dsn"

--=_dsn
Content-Type: text/plain

It could not be delivered.

--=_dsn
{status_header}

{message}
{recipients}
--=_dsn
Content-Type: {original_type}

{original}
--=_dsn--
""".encode()


def events_of(raw: bytes, ip_map: dict[str, str] | None = None) -> tuple[Event, ...]:
    return read_mail(raw, NOON, ip_map or {}).events


def test_a_complaint_names_the_ip_the_sender_and_the_recipient() -> None:
    (event,) = events_of(arf())
    assert (event.type, event.sending_ip, event.sending_domain) == ("complaint", "192.0.2.10", "mail.shop.example")
    assert (event.recipient, event.recipient_domain) == ("ann@inbox.example", "inbox.example")
    assert (event.message_id, event.classification) == ("issue-77@shop.example", "abuse")
    # When it was complained, and not when the mail had arrived.
    assert event.occurred_at == datetime(2026, 11, 20, 10, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("fields", "original", "domain"),
    [
        ("Original-Mail-From: <b+1@verp.example>\n", ORIGINAL, "verp.example"),
        ("", "From: news@BÜCHER.example\n", "xn--bcher-kva.example"),
        ("Reported-Domain: shop.example\n", "Subject: redacted\n", "shop.example"),
        ("Original-Mail-From: <>\n", "From: (nobody)\n", ""),
    ],
)
def test_the_sending_domain_comes_from_the_best_place_that_has_one(fields: str, original: str, domain: str) -> None:
    (event,) = events_of(arf(f"Feedback-Type: abuse\n{fields}", original))
    assert event.sending_domain == domain
    assert event.sending_ip == "0.0.0.0"  # what the report does not say is not guessed


@pytest.mark.parametrize(
    ("address", "stored"),
    [
        ("<redacted@inbox.example>", ("", "inbox.example")),
        ("[REDACTED]@inbox.example", ("", "inbox.example")),
        ("xxxxxxxx@inbox.example", ("", "inbox.example")),
        ("redacted", ("", "")),
        ("", ("", "")),
    ],
)
def test_a_redacted_recipient_leaves_its_domain_at_most(address: str, stored: tuple[str, str]) -> None:
    (event,) = events_of(arf(f"Feedback-Type: abuse\nSource-IP: 192.0.2.10\nOriginal-Rcpt-To: {address}\n"))
    assert (event.recipient, event.recipient_domain) == stored


@pytest.mark.parametrize("kind", ["fraud", "virus", "other", "Abuse"])
def test_every_accusation_is_a_complaint(kind: str) -> None:
    assert [event.type for event in events_of(arf(f"Feedback-Type: {kind}\n"))] == [EventType.COMPLAINT]


@pytest.mark.parametrize("kind", ["not-spam", "auth-failure", "opt-out"])
def test_what_accuses_nobody_is_no_complaint_and_no_unknown_mail(kind: str) -> None:
    reading = read_mail(arf(f"Feedback-Type: {kind}\nSource-IP: 192.0.2.10\n"), NOON, {})
    assert (reading.kind, reading.events) == (Kind.COMPLAINT, ())


def test_incidents_count_but_not_without_bound() -> None:
    assert len(events_of(arf("Feedback-Type: abuse\nIncidents: 3\n"))) == 3
    assert len(events_of(arf("Feedback-Type: abuse\nIncidents: 999999999\n"))) == MOST_INCIDENTS
    for nonsense in ("-4", "0", "many", "9" * 5000, "³"):
        assert len(events_of(arf(f"Feedback-Type: abuse\nIncidents: {nonsense}\n"))) == 1


def test_ipv6_mapped_and_bracketed_source_ips_have_one_form() -> None:
    for written, stored in (
        ("2001:DB8::0:1", "2001:db8::1"),
        ("::ffff:192.0.2.10", "192.0.2.10"),
        ("nonsense", "0.0.0.0"),
    ):
        assert events_of(arf(f"Feedback-Type: abuse\nSource-IP: {written}\n"))[0].sending_ip == stored


def test_outlooks_older_junk_report_is_a_complaint() -> None:
    mail = f"""\
From: <staff@hotmail.com>
Subject: complaint about message from 192.0.2.10
Date: Fri, 20 Nov 2026 10:30:00 +0000
Content-Type: multipart/mixed; boundary=b

--b
Content-Type: message/rfc822

X-HmXmrOriginalRecipient: <ann@outlook.com>
{ORIGINAL}
--b--
""".encode()
    (event,) = events_of(mail)
    assert (event.type, event.sending_ip) == (EventType.COMPLAINT, "192.0.2.10")
    assert (event.recipient, event.sending_domain) == ("ann@outlook.com", "mail.shop.example")


def test_a_bounce_mail_tells_failed_from_delayed_and_leaves_out_what_went_well() -> None:
    failed, delayed = events_of(dsn())
    assert (failed.type, failed.recipient, failed.mx_host) == ("bounce", "gone@inbox.example", "mx1.inbox.example")
    assert (failed.smtp_code, failed.enhanced_code) == (550, "5.1.1")  # the reply's own code, not the general Status
    assert failed.reply == ("550-5.1.1 The mailbox gone@inbox.example does not exist here. Please check the address.")
    assert failed.occurred_at == datetime(2026, 11, 20, 10, 15, tzinfo=UTC)
    assert failed.sending_domain == "mail.shop.example"
    assert failed.sending_ip == "0.0.0.0"
    assert (delayed.type, delayed.recipient_domain) == ("defer", "other.example")
    assert (delayed.smtp_code, delayed.enhanced_code) == (None, "4.4.1")
    assert delayed.reply.startswith("connect to mx.other.example[198.51.100.9]:25")
    assert delayed.occurred_at == datetime(2026, 11, 20, 10, 16, tzinfo=UTC)


def test_the_reporting_servers_ip_is_known_where_the_source_maps_it() -> None:
    assert {event.sending_ip for event in events_of(dsn(), {"MTA-1.shop.example": "192.0.2.10"})} == {"192.0.2.10"}
    assert {event.sending_ip for event in events_of(dsn(), {"mta-2.shop.example": "192.0.2.10"})} == {"0.0.0.0"}


def test_international_addresses_and_headers_alone() -> None:
    block = "Final-Recipient: utf-8; jörg@straße.example\nAction: failed\nStatus: 5.1.1\n"
    raw = dsn(
        block,
        "From: x@shop.example\n",
        status_header="Content-Type: message/global-delivery-status",
        original_type="text/rfc822-headers",
    )
    (event,) = events_of(raw)
    assert (event.recipient, event.sending_domain) == ("jörg@strasse.example", "shop.example")


def test_an_encoded_status_part_is_read_too() -> None:
    import base64

    status = base64.encodebytes(f"Reporting-MTA: dns; a.example\n\n{FAILED}".encode()).decode()
    header = "Content-Type: message/delivery-status\nContent-Transfer-Encoding: base64"
    assert events_of(dsn(status, message="", status_header=header))[0].recipient == "gone@inbox.example"


@pytest.mark.parametrize(
    ("diagnostic", "status", "codes"),
    [
        ("smtp; 552 4.2.2 over quota", "4.2.2", (552, "4.2.2")),
        ("smtp; 554 refused", "5.0.0", (554, "")),
        ("smtp; 554 refused", "5.7.1", (554, "5.7.1")),
        ("smtp; host mx[198.51.100.250] said: 550 5.7.606 banned", "5.0.0", (550, "5.7.606")),
        ("550 mailbox full; try later", "", (550, "")),
        ("", "5.7.1", (None, "5.7.1")),
        ("smtp; 250.1.2.3 is odd", "", (None, "")),
    ],
)
def test_codes_of_the_reply_go_before_the_status(diagnostic: str, status: str, codes: tuple[int | None, str]) -> None:
    block = f"Final-Recipient: rfc822;a@b.example\nAction: failed\nStatus: {status}\nDiagnostic-Code: {diagnostic}\n"
    (event,) = events_of(dsn(block))
    assert (event.smtp_code, event.enhanced_code) == codes


def test_the_same_report_by_another_way_has_the_same_keys() -> None:
    for raw in (arf(), dsn()):
        again = b"Received: from x by y; Fri, 20 Nov 2026 12:00:00 +0000\nX-Spam: no\n" + raw
        crlf = again.replace(b"\n", b"\r\n")
        keys = [event.event_id for event in events_of(raw)]
        assert keys == [event.event_id for event in events_of(again)] == [event.event_id for event in events_of(crlf)]


def test_two_complaints_about_two_mails_have_two_keys_though_all_else_is_redacted() -> None:
    fields = "Feedback-Type: abuse\nSource-IP: 192.0.2.10\n"
    one, two = (arf(fields, f"From: a@shop.example\nSubject: {n}\n", message_id="") for n in (1, 2))
    assert events_of(one)[0].event_id != events_of(two)[0].event_id


def post(client: Client, token: str, raw: bytes, content_type: str = "message/rfc822") -> Any:
    return client.post(URL, data=raw, content_type=content_type, headers={"Authorization": f"Bearer {token}"})


@pytest.mark.django_db
def test_a_mail_handed_in_twice_changes_no_counter(client: Client, token: str) -> None:
    first = post(client, token, dsn()).json()
    assert first == {"status": "recorded", "kind": "bounce", "recorded": 2, "duplicates": 0, "why": ""}
    counted = sorted(TrafficMinute.objects.values_list("bounced", "deferred"))
    again = post(client, token, dsn().replace(b"\n", b"\r\n"), "application/octet-stream").json()
    assert (again["status"], again["duplicates"]) == ("duplicate", 2)
    assert sorted(TrafficMinute.objects.values_list("bounced", "deferred")) == counted == [(0, 1), (1, 0)]


@pytest.mark.django_db
def test_who_and_what_is_refused(client: Client, token: str) -> None:
    assert client.post(URL, data=arf(), content_type="message/rfc822").status_code == 401
    assert post(client, token, arf(), "application/json").status_code == 415
    assert not SendingEvent.objects.exists()


@pytest.mark.django_db
def test_a_mail_that_is_no_report_is_answered_200_and_kept_once_for_a_look(client: Client, token: str) -> None:
    mail = b"From: Ann <ann@inbox.example>\nSubject: please stop\nMessage-ID: <1@x>\n\nI want out.\x00\xff\n"
    for _ in range(2):
        answer = post(client, token, mail, "text/plain")
        assert (answer.status_code, answer.json()["status"]) == (200, "kept")
    row = UnknownReport.objects.get()
    assert (row.subject, row.times, row.size) == ("please stop", 2, len(mail))
    assert "I want out." in row.raw
    assert not SendingEvent.objects.exists()


@pytest.mark.django_db
def test_addresses_of_a_kept_mail_follow_the_privacy_setting(source: Source, settings: Any) -> None:
    settings.RECIPIENTS_OF_FAILURES = "domain"
    take_in(source, b"From: ann@inbox.example\n\nWrite to bob@inbox.example\n", now=NOON)
    take_in(source, dsn(), now=NOON)
    row = UnknownReport.objects.get()
    assert "ann@" not in row.raw + row.sender
    assert "bob@" not in row.raw
    event = SendingEvent.objects.get(type="bounce")
    assert (event.recipient, "gone@" in event.reply) == ("", False)


@pytest.mark.django_db
def test_addresses_are_in_no_log(source: Source, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("DEBUG"):
        for raw in (arf(), dsn(), b"From: ann@inbox.example\n\nhello\n"):
            take_in(source, raw, now=NOON)
    assert "@" not in "".join(str(record.__dict__) for record in caplog.records if record.name.startswith("telemetry"))


@pytest.mark.django_db
def test_kept_mails_go_with_the_rejected_events(source: Source) -> None:
    take_in(source, b"Subject: one\n\n", now=NOON - timedelta(days=31))
    take_in(source, b"Subject: two\n\n", now=NOON - timedelta(days=29))
    clean_up(now=NOON)
    assert UnknownReport.objects.get().subject == "two"


def fresh(raw: bytes, number: int) -> bytes:
    """The report as if it had come just now."""
    dated = format_datetime(datetime.now(UTC) - timedelta(minutes=number))
    lines = [b"Date: " + dated.encode() if line.startswith(b"Date: ") else line for line in raw.split(b"\n")]
    return b"\n".join(lines)


def read_reports(*path: object, **options: Any) -> str:
    out = io.StringIO()
    call_command("read_reports", *map(str, path), source="mta-1", stdout=out, stderr=io.StringIO(), **options)
    return out.getvalue()


@pytest.mark.django_db
def test_a_maildir_and_an_mbox_are_read_and_reading_again_counts_nothing(source: Source, tmp_path: Path) -> None:
    maildir, mbox = mailbox.Maildir(tmp_path / "maildir"), mailbox.mbox(tmp_path / "mbox")
    for number in range(3):
        maildir.add(fresh(arf(message_id=f"m{number}"), number))
        mbox.add(fresh(arf(message_id=f"m{number + 1}"), number + 1))  # two of them are in both
    maildir.add(b"Subject: hello\n\nFrom here on it is no report.\n\nFrom me\n")
    mbox.close()
    assert read_reports(tmp_path / "maildir", tmp_path / "mbox") == (
        "7 mails: 4 recorded, 2 duplicate, 1 kept; 4 new events.\n"
    )
    assert "0 new events" in read_reports(tmp_path / "mbox", tmp_path / "maildir")
    assert SendingEvent.objects.count() == 4
    assert len(list((tmp_path / "maildir" / "new").iterdir())) == 4  # the mailbox is as it was


@pytest.mark.django_db
def test_a_mail_on_standard_input_is_read(source: Source, monkeypatch: pytest.MonkeyPatch) -> None:
    class Stdin:
        buffer = io.BytesIO(fresh(dsn(), 1))

    monkeypatch.setattr(sys, "stdin", Stdin)
    assert read_reports("-") == "1 mails: 1 recorded; 2 new events.\n"


@pytest.mark.django_db
def test_a_mail_older_than_receipts_are_kept_is_left_out_unless_asked_for(source: Source, tmp_path: Path) -> None:
    old = tmp_path / "old.eml"
    old.write_bytes(fresh(arf(), 8 * 24 * 60))
    assert "1 too old" in read_reports(old)
    assert not SendingEvent.objects.exists()
    assert "1 recorded" in read_reports(old, old=True)


@pytest.mark.django_db
def test_the_command_names_what_is_missing(source: Source, tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="cannot be read"):
        read_reports(tmp_path / "nothing")
    with pytest.raises(CommandError, match="no source named 'mta-9'"):
        call_command("read_reports", "-", source="mta-9")


# --- whatever the bytes ---------------------------------------------------------------------------------------------

SEEDS = (
    arf(),
    dsn(),
    arf(original_type="text/rfc822-headers"),
    dsn(f"{FAILED}\n" * 20),
    b"Content-Type: message/delivery-status\n\nReporting-MTA: dns; x\n\nAction: failed\nStatus: 5.1.1\n",
    b"Content-Type: message/feedback-report\n\nFeedback-Type: abuse\n\nSource-IP: 192.0.2.1\n",
)
SPLICES = (
    b"\x00", b"\xff\xfe", b"\r", b"\n\n", b"--part", b"--=_dsn", b"boundary=", b"Content-Type: multipart/mixed; boundary=x\n\n",
    b"Content-Type: message/rfc822\n\n", b"Content-Transfer-Encoding: base64\n", b"; charset*0*=utf-7''%ff", b"; x*" + b"9" * 5000 + b"=1",
    b"=?utf-8?q?=ff?=", b"From ", b"Date: Fri, 99 Nov 99999 99:99:99 +9999\n", b"<" * 50, b'"', b"5.7.99999 ", b"999 ", "ü".encode(), b"\xed\xa0\x80",
    b"Content-Type: text/plain; charset=punycode\n", b"Content-Transfer-Encoding: x-uuencode\n", b"Source-IP: fe80::1%eth0\n",
    b"Final-Recipient: rfc822; <@@>\n", b"Action: failed\n\n", b"Date: Mon, 1 Jan 0001 00:00:00 +1400\n",
)  # fmt: skip


@st.composite
def spoilt_mail(draw: st.DrawFn) -> bytes:
    raw = draw(st.sampled_from(SEEDS))
    for _ in range(draw(st.integers(0, 6))):
        at = draw(st.integers(0, len(raw)))
        gone = draw(st.sampled_from((0, 0, 1, 10, 200)))
        raw = raw[:at] + draw(st.sampled_from(SPLICES) | st.binary(max_size=12)) + raw[at + gone :]
    return raw


def is_sound(reading: Reading) -> None:
    assert (reading.kind is Kind.NO_REPORT) <= (not reading.events)
    assert reading.events or reading.why
    for event in reading.events:
        assert event.occurred_at.tzinfo is not None
        assert len(event.event_id) <= 512
        assert "\x00" not in repr((event.recipient, event.reply, event.message_id, event.mx_host, event.node))


@settings(max_examples=600, deadline=None)
@given(raw=spoilt_mail() | st.binary(max_size=300))
def test_no_mail_is_an_exception(raw: bytes) -> None:
    is_sound(read_mail(raw, NOON, {"x": "192.0.2.1"}))


@pytest.mark.django_db
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(raw=spoilt_mail())
def test_whatever_is_read_can_be_stored_and_the_second_time_is_a_duplicate(
    db: None, source: Source, raw: bytes
) -> None:
    first = take_in(source, raw, now=NOON)
    again = take_in(source, raw, now=NOON)
    assert (first.outcome is Outcome.RECORDED) <= (again.outcome is Outcome.DUPLICATE)
    assert again.recorded == 0


def nested(depth: int, filling: bytes) -> bytes:
    head = b"".join(b"Content-Type: multipart/mixed; boundary=b%d\n\n--b%d\n" % (n, n) for n in range(depth))
    return head + filling * (LONGEST_MAIL // len(filling))


SLOW = {
    "deeper than Python's stack": nested(9000, b"\n"),
    "deep multiparts": nested(330, b"x\n"),
    "as deep as is read": nested(MOST_PARTS, b"x\n"),
    "deep mails": b"Content-Type: message/rfc822\n\n" * 9000,
    "deep statuses": b"Content-Type: message/delivery-status\n\n" * MOST_PARTS + b"a\n\n" * LONGEST_MAIL,
    "blank lines": b"Content-Type: message/delivery-status\n\n" + b"\n" * LONGEST_MAIL,
    "semicolons": b"Content-Type: multipart/mixed" + b";" * LONGEST_MAIL,
    "an open quote": b'Content-Type: multipart/mixed; a="' + b";" * LONGEST_MAIL,
    "a long header": b"X: " + b"y" * 5_000_000,
    "many headers": b"X: 1\n" * 400_000,
    "a folded field": b"Content-Type: message/feedback-report\n\nFeedback-Type: abuse\nX: a\n" + b" b\n" * 100_000,
    "open brackets": b"Content-Type: message/feedback-report\n\nFeedback-Type: abuse\nOriginal-Mail-From: " + b"<a" * 100_000,
    "codes": b"Content-Type: message/delivery-status\n\nA: b\n\nAction: failed\nDiagnostic-Code: smtp; " + b"550-" * 60_000,
    "many parts": b"Content-Type: multipart/mixed; boundary=x\n\n" + b"--x\n\n" * 100_000,
    "a slow charset": b"Content-Type: text/plain; charset=punycode\n\n" + bytes(random.Random(1).choices(range(1, 256), k=250_000)),
}  # fmt: skip


@pytest.mark.parametrize("shape", SLOW)
def test_no_mail_takes_long(shape: str) -> None:
    started = time.process_time()
    is_sound(read_mail(SLOW[shape], NOON, {}))
    assert time.process_time() - started < 2  # an open quote alone takes a dozen without its bound


def test_more_parts_than_any_report_has_are_not_read() -> None:
    assert read_mail(SLOW["deep multiparts"], NOON, {}).why == "It has too many parts."
    assert read_mail(nested(MOST_PARTS, b"x\n"), NOON, {}).why != "It has too many parts."
