"""What a Postfix log says, line by line and joined. Lines without a comment were written by a real Postfix 3.7."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from telemetry.domain import postfix_log
from telemetry.domain.errors import ParseError
from telemetry.domain.event import Event
from telemetry.domain.postfix_joins import Message, Setting, Tally, join, records_of
from telemetry.domain.postfix_log import Attempt, Queued, Removed
from telemetry.domain.vocab import UNKNOWN_IP, EventType

pytestmark = pytest.mark.one_database
NOW = datetime(2026, 11, 20, 16, 0, tzinfo=UTC)
BERLIN = ZoneInfo("Europe/Berlin")
HEAD = "Nov 20 15:00:19 mta postfix/smtp[20006]: 3C3DF224138: "
REFUSED = (
    HEAD + "to=<block@gmail.test>, relay=127.0.0.1[127.0.0.1]:2626, delay=0.03, delays=0.01/0.01/0/0.01, dsn=5.7.1, "
    "status=bounced (host 127.0.0.1[127.0.0.1] said: 550 5.7.1 [IP] blocked by reputation "
    "(in reply to RCPT TO command))"
)
SLOWED = (
    HEAD + "to=<slow@yahoo.test>, relay=127.0.0.1[127.0.0.1]:2626, delay=0.04, delays=0.01/0.01/0/0.02, dsn=4.7.0, "
    "status=deferred (host 127.0.0.1[127.0.0.1] said: 421 4.7.0 try later (in reply to RCPT TO command))"
)


def read(text: str) -> Any:
    line = postfix_log.split(text)
    return postfix_log.read(line) if line is not None else None


def attempt(rest: str, head: str = HEAD) -> Attempt:
    found = read(head + rest)
    assert isinstance(found, Attempt), rest
    return found


def outcome(
    dsn: str, status: str, text: str, *, relay: str = "mx.example[192.0.2.1]:25", to: str = "a@b.example"
) -> Attempt:
    return attempt(f"to=<{to}>, relay={relay}, delay=1, delays=0/0/0/1, dsn={dsn}, status={status} ({text})")


def events(*lines: str, messages: Any = None, ip_map: Any = None, now: datetime = NOW) -> tuple[list[Event], Tally]:
    records, _ = records_of([line.encode() for line in lines])
    setting = Setting(UTC, ip_map or {}, lambda address: address[::-1])
    return join(records, {} if messages is None else messages, setting, now=now)


def test_a_refusal_gives_codes_text_host_and_recipient() -> None:
    found = read(REFUSED)
    assert isinstance(found, Attempt)
    assert (found.host, found.name, found.queue_id) == ("mta", "postfix", "3C3DF224138")
    assert (found.recipient, found.type, found.mx_host) == ("block@gmail.test", EventType.BOUNCE, "127.0.0.1")
    assert (found.smtp_code, found.enhanced_code, found.reply) == (550, "5.7.1", "[IP] blocked by reputation")


def test_a_deferral_is_a_deferral() -> None:
    found = read(SLOWED)
    assert (found.type, found.smtp_code, found.enhanced_code, found.reply) == (
        EventType.DEFER,
        421,
        "4.7.0",
        "try later",
    )


@pytest.mark.parametrize(
    ("text", "codes", "reply"),
    [
        ("host mx[1.2.3.4] said: 550 no (in reply to end of DATA command)", (550, ""), "no"),
        ("host mx[1.2.3.4]:25 said: 554 5.7.1 <a@b>: (see (this)) (in reply to RCPT TO command)", (554, "5.7.1"), "<a@b>: (see (this))"),
        ("host mx[1.2.3.4] refused to talk to me: 554-mx.example 554 Your access is denied.", (554, ""), "mx.example Your access is denied."),
        ("host mx[IPv6:2001:db8::1] said: 550 5.7.606 Access denied", (550, "5.7.606"), "Access denied"),
        (
            "host mx[1.2.3.4] said: 550-5.7.26 This mail 550-5.7.26 is not 550 5.7.26 signed - gsmtp (in reply to end of DATA command)",
            (550, "5.7.26"),
            "This mail is not signed - gsmtp",
        ),
        ("host mx[1.2.3.4] said: 550 5.1.1 room 550 does not exist", (550, "5.1.1"), "room 550 does not exist"),
        # Cut off by syslog in the middle of the closing words.
        ("host mx[1.2.3.4] said: 451 4.7.1 later (in reply to end of DA", (451, "4.7.1"), "later"),
        ("host mx[1.2.3.4] said: 450", (450, ""), ""),
    ],
)  # fmt: skip
def test_codes_come_from_what_the_receiver_said(text: str, codes: tuple[int, str], reply: str) -> None:
    found = outcome("5.0.0", "bounced", text)
    assert ((found.smtp_code, found.enhanced_code), found.reply) == (codes, reply)


@pytest.mark.parametrize(
    ("relay", "text", "dsn", "mx_host", "kind"),
    [
        ("none", "connect to mx.b.example[192.0.2.1]:25: Connection timed out", "4.4.1", "mx.b.example", EventType.DEFER),
        ("none", "Host or domain name not found. Name service error for name=b.example type=MX: Host not found", "5.4.4", "", EventType.BOUNCE),
        ("mx.b.example[192.0.2.1]:25", "lost connection with mx.b.example[192.0.2.1] while receiving the initial server greeting", "4.4.2", "mx.b.example", EventType.DEFER),
    ],
)  # fmt: skip
def test_where_no_receiver_answered_there_is_no_reply_code_and_postfix_own_status_stands(
    relay: str, text: str, dsn: str, mx_host: str, kind: EventType
) -> None:
    found = outcome(dsn, "bounced" if kind is EventType.BOUNCE else "deferred", text, relay=relay)
    assert (found.smtp_code, found.enhanced_code, found.mx_host, found.type) == (None, dsn, mx_host, kind)
    assert found.reply == text


def test_an_empty_status_of_postfix_is_no_enhanced_code() -> None:
    found = outcome("4.0.0", "deferred", "unknown mail transport error", relay="none")
    assert (found.smtp_code, found.enhanced_code) == (None, "")


def test_a_delivery_keeps_what_the_receiver_said() -> None:
    found = outcome(
        "2.0.0", "sent", "250 2.0.0 OK  1763640001 x-gsmtp", relay="GMAIL-smtp-in.l.google.com.[142.250.1.1]:25"
    )
    assert (found.type, found.smtp_code, found.mx_host) == (EventType.DELIVERY, 250, "gmail-smtp-in.l.google.com")


def test_optional_fields_may_stand_between() -> None:
    found = attempt(
        "to=<a@b.example>, orig_to=<root>, relay=mx.example[192.0.2.1]:25, conn_use=3, delay=0.1, delays=0/0/0/0, "
        "tls=verified, dsn=2.0.0, status=sent (250 ok)"
    )
    assert (found.recipient, found.type) == ("a@b.example", EventType.DELIVERY)


@pytest.mark.parametrize(
    "to",
    [
        '"odd > user, \\" x"@yahoo.com',
        '">, relay=mx[1.1.1.1]:25, dsn=2.0.0, status=sent (250 ok"@evil.example',
        'single"quote@old.example',  # Postfix before 3.5 does not quote
        "",
    ],
)
def test_a_recipient_cannot_pretend_to_be_the_rest_of_the_line(to: str) -> None:
    found = outcome("5.7.1", "bounced", "host mx.example[192.0.2.1] said: 550 5.7.1 no", to=to)
    assert (found.recipient, found.type, found.mx_host, found.smtp_code) == (to, EventType.BOUNCE, "mx.example", 550)


@pytest.mark.parametrize(
    "line",
    [
        "Nov 20 15:00:19 mta postfix/local[1]: 3C3DF: to=<a@b.c>, relay=local, delay=0, dsn=5.1.1, status=bounced (unknown user)",
        "Nov 20 15:00:19 mta postfix/lmtp[1]: 3C3DF: to=<a@b.c>, relay=mda[1.1.1.1]:24, delay=0, dsn=2.0.0, status=sent (250 ok)",
        "Nov 20 15:00:19 mta postfix/pipe[1]: 3C3DF: to=<a@b.c>, relay=uucp, delay=0, dsn=2.0.0, status=sent (delivered)",
        "Nov 20 15:00:19 mta postfix/virtual[1]: 3C3DF: to=<a@b.c>, relay=virtual, delay=0, dsn=2.0.0, status=sent (delivered)",
        "Nov 20 15:00:19 mta postfix/error[1]: 3C3DF: to=<a@b.c>, relay=none, delay=0, dsn=4.4.1, status=deferred (delivery temporarily suspended: host mx[1.1.1.1] said: 421 no)",
        HEAD + "to=<a@b.c>, relay=mx[1.1.1.1]:25, delay=0, dsn=2.1.5, status=deliverable (250 2.1.5 Ok)",
        HEAD + "to=<a@b.c>, relay=mx[1.1.1.1]:25, delay=0, dsn=5.1.1, status=undeliverable (host mx[1.1.1.1] said: 550 no)",
        HEAD + "to=<a@b.c>, relay=none, delay=0, dsn=5.4.6, status=bounced (mail for b.c loops back to myself)",
        HEAD + "host mx[1.1.1.1] said: 421 try another (in reply to RCPT TO command)",
        HEAD + "to=<a@b.c>, relay=mx[1.1.1.1]:25, delay=0, dsn=4.7.1, stat",
        "Nov 20 15:00:19 mta postfix/smtp[1]: connect to mx[1.1.1.1]:25: Connection refused",
        "Nov 20 15:00:19 mta postfix/cleanup[1]: 3C3DF224138: message-id=<x@mta>",
        "Nov 20 15:00:19 mta postfix/qmgr[1]: 3C3DF224138: skipped, still being delivered",
        "Nov 20 15:00:19 mta dovecot: lmtp(a): saved mail",
        "\x00\x00\x00\x00",
        "",
    ],
)  # fmt: skip
def test_what_is_not_an_outbound_attempt_is_passed_over(line: str) -> None:
    assert read(line) is None


@pytest.mark.parametrize(
    ("tag", "name", "program"),
    [
        ("postfix/smtp[20006]:", "postfix", "smtp"),
        ("postfix-out/smtp[1]:", "postfix-out", "smtp"),
        ("postfix/relay/smtp[1]:", "postfix/relay", "smtp"),
        ("postfix-ip10/smtp:", "postfix-ip10", "smtp"),
    ],
)
def test_the_syslog_name_tells_the_transport(tag: str, name: str, program: str) -> None:
    line = postfix_log.split(f"Nov 20 15:00:19 mta {tag} 3C3DF: removed")
    assert line is not None
    assert (line.name, line.program, line.message) == (name, program, "3C3DF: removed")


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        ("Nov 20 15:00:19 mta postfix/qmgr[1]:", datetime(2026, 11, 20, 14, 0, 19, tzinfo=UTC)),
        ("Nov  2 15:00:19 mta postfix/qmgr[1]:", datetime(2026, 11, 2, 14, 0, 19, tzinfo=UTC)),
        ("<22>Nov 20 15:00:19 mta postfix/qmgr[1]:", datetime(2026, 11, 20, 14, 0, 19, tzinfo=UTC)),
        ("2026-11-20T15:00:19.123+01:00 mta postfix/qmgr[1]:", datetime(2026, 11, 20, 14, 0, 19, 123000, tzinfo=UTC)),
        ("2026-11-20T14:00:19.123456Z mta postfix/qmgr[1]:", datetime(2026, 11, 20, 14, 0, 19, 123456, tzinfo=UTC)),
        ("2026-11-20T15:00:19+0100 mta postfix/qmgr[1]:", datetime(2026, 11, 20, 14, 0, 19, tzinfo=UTC)),
        ("2026-11-20T15:00:19 mta postfix/qmgr[1]:", datetime(2026, 11, 20, 14, 0, 19, tzinfo=UTC)),
        ("<22>1 2026-11-20T15:00:19.1+01:00 mta postfix/qmgr 20 - -", datetime(2026, 11, 20, 14, 0, 19, 100000, tzinfo=UTC)),
        ('<22>1 2026-11-20T14:00:19Z mta postfix/qmgr - - [x a="]"] \ufeff', datetime(2026, 11, 20, 14, 0, 19, tzinfo=UTC)),
    ],
)  # fmt: skip
def test_time_stamps_of_every_logger_are_read(head: str, expected: datetime) -> None:
    line = postfix_log.split(f"{head} 3C3DF224138: removed".replace("\ufeff ", "\ufeff"))
    assert line is not None
    assert postfix_log.read(line) == Removed("mta", "3C3DF224138")
    assert postfix_log.moment(line.time, now=NOW, zone=BERLIN) == expected


@pytest.mark.parametrize(
    ("text", "now", "expected"),
    [
        ("Dec 31 23:59:59", datetime(2027, 1, 1, 0, 0, 5, tzinfo=UTC), datetime(2026, 12, 31, 23, 59, 59, tzinfo=UTC)),
        ("Jan  1 00:00:01", datetime(2026, 12, 31, 23, 59, 59, tzinfo=UTC), datetime(2027, 1, 1, 0, 0, 1, tzinfo=UTC)),
        ("Nov 22 15:00:00", NOW, datetime(2025, 11, 22, 15, 0, tzinfo=UTC)),
        ("Feb 29 12:00:00", NOW, datetime(2024, 2, 29, 12, 0, tzinfo=UTC)),
        ("Nov 20 15:00:60", NOW, datetime(2026, 11, 20, 15, 0, 59, tzinfo=UTC)),
    ],
)
def test_the_missing_year_is_the_latest_that_is_not_ahead(text: str, now: datetime, expected: datetime) -> None:
    assert postfix_log.moment(text, now=now, zone=UTC) == expected


@pytest.mark.parametrize("text", ["Feb 30 12:00:00", "Xyz 10 12:00:00", "2026-13-01T00:00:00Z", "Nov 20 25:00:00"])
def test_a_time_that_does_not_exist_is_refused(text: str) -> None:
    with pytest.raises(ParseError):
        postfix_log.moment(text, now=NOW, zone=UTC)


QUEUED = "Nov 20 15:00:18 mta postfix/qmgr[9]: 3C3DF224138: from=<news@Good.example>, size=304, nrcpt=2 (queue active)"
REMOVED = "Nov 20 15:00:20 mta postfix/qmgr[9]: 3C3DF224138: removed"


def test_the_queue_managers_lines_tell_sender_and_end() -> None:
    assert read(QUEUED) == Queued("mta", "3C3DF224138", "news@Good.example")
    null = "Nov 20 15:00:18 mta postfix/qmgr[9]: 4jWcPQ0LgCz1T1V1: from=<>, size=294, nrcpt=1 (queue active)"
    assert read(null) == Queued("mta", "4jWcPQ0LgCz1T1V1", "")
    assert read(REMOVED) == Removed("mta", "3C3DF224138")


def test_sender_and_sending_ip_are_joined_to_the_attempt() -> None:
    found, tally = events(QUEUED, REFUSED, SLOWED, ip_map={"postfix": "192.0.2.10"})
    assert [event.sending_domain for event in found] == ["good.example", "good.example"]
    assert [event.sending_ip for event in found] == ["192.0.2.10", "192.0.2.10"]
    assert [event.recipient_domain for event in found] == ["gmail.test", "yahoo.test"]
    assert (found[0].node, found[0].message_id, found[0].classification) == ("mta", "3C3DF224138", "bounced")
    assert found[0].occurred_at == datetime(2026, 11, 20, 15, 0, 19, tzinfo=UTC)
    assert (tally.events, tally.without_sender, tally.unmapped) == (2, 0, {})


def test_an_unmapped_name_and_an_unknown_sender_are_counted_and_the_event_is_kept() -> None:
    found, tally = events(REFUSED)
    assert (found[0].sending_ip, found[0].sending_domain) == (UNKNOWN_IP, "")
    assert (tally.unmapped, tally.without_sender) == ({"postfix": 1}, 1)


def test_the_null_sender_is_known_and_has_no_domain() -> None:
    found, tally = events(QUEUED.replace("news@Good.example", ""), REFUSED)
    assert (found[0].sending_domain, tally.without_sender) == ("", 0)


def test_attempts_are_numbered_per_recipient_until_the_outcome() -> None:
    delivered = SLOWED.replace("dsn=4.7.0, status=deferred (host 127.0.0.1[127.0.0.1] said: 421 4.7.0 try later (in reply to RCPT TO command))", "dsn=2.0.0, status=sent (250 ok)")  # fmt: skip
    messages: dict[Any, Message] = {}
    found, _ = events(QUEUED, SLOWED, REFUSED, SLOWED.replace(":19", ":29"), messages=messages)
    assert [event.attempt_number for event in found] == [1, 1, 2]
    assert messages["mta", "3C3DF224138"].attempts == {"tset.oohay@wols": 2}
    found, _ = events(delivered.replace(":19", ":39"), messages=messages)
    assert [(event.attempt_number, event.type) for event in found] == [(3, EventType.DELIVERY)]
    assert messages["mta", "3C3DF224138"].attempts == {}
    events(REMOVED, messages=messages)
    assert messages == {}


def test_a_queue_id_used_again_by_another_sender_is_another_message() -> None:
    found, _ = events(QUEUED, SLOWED, QUEUED.replace("Good", "other"), SLOWED.replace(":19", ":29"))
    assert [(event.sending_domain, event.attempt_number) for event in found] == [
        ("good.example", 1),
        ("other.example", 1),
    ]


def test_a_message_taken_up_again_goes_on_counting() -> None:
    found, _ = events(SLOWED, QUEUED, SLOWED.replace(":19", ":29"))
    assert [(event.sending_domain, event.attempt_number) for event in found] == [("", 1), ("good.example", 2)]


def test_the_same_line_has_the_same_id_whenever_it_is_read_and_every_other_has_another() -> None:
    (again,), _ = events(REFUSED, now=NOW + timedelta(days=3))
    (first,), _ = events(REFUSED)
    assert first.event_id == again.event_id
    others = [
        REFUSED.replace("block@", "blick@"),
        REFUSED.replace(":19 mta", ":20 mta"),
        REFUSED.replace(" mta ", " mtb "),
        REFUSED.replace("3C3DF224138", "3C3DF224139"),
        REFUSED.replace("blocked", "refused"),
    ]
    found, _ = events(*others)
    assert len({event.event_id for event in found} | {first.event_id}) == len(others) + 1


@pytest.mark.parametrize(("to", "domain"), [("root", ""), ("a b@Ü.example", "xn--tda.example"), ("x@bad_-.", "")])
def test_an_odd_recipient_is_still_an_attempt(to: str, domain: str) -> None:
    found, tally = events(SLOWED.replace("slow@yahoo.test", to))
    assert (tally.events, found[0].recipient_domain) == (1, domain)


def test_a_line_from_the_future_is_taken_at_the_receive_time() -> None:
    found, _ = events(REFUSED.replace("15:00:19", "17:00:19"))
    assert (found[0].occurred_at, found[0].future) == (NOW, True)


def test_an_impossible_time_costs_only_its_own_line() -> None:
    found, tally = events(REFUSED.replace("Nov 20", "Nov 31"), SLOWED)
    assert (len(found), tally.unreadable) == (1, 1)


PIECES = st.sampled_from(
    [*REFUSED.split(" "), "to=<", ">, relay=", '"', "\\", "(", ")", "\x00", "\udcff", "550-", "said:", "[", "]", ", "]
)


@given(st.lists(PIECES, max_size=40).map(" ".join) | st.text(max_size=200))
def test_no_line_can_break_the_reading(rest: str) -> None:
    for line in (rest, HEAD + rest, HEAD + "to=<" + rest):
        found, _ = events(line.encode("utf-8", "replace").decode())
        for event in found:
            assert "\x00" not in event.reply + event.mx_host + event.recipient + event.node
