"""Stalwart's own webhook: whatever order, batches and repetitions its events come in, they become the same events."""

from __future__ import annotations

import base64
import hashlib
import hmac
import itertools
import json
import random
from collections.abc import Iterable
from datetime import datetime, timedelta
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.test import Client

from telemetry import intake, stalwart
from telemetry.counters import roll_up
from telemetry.domain.stalwart_joins import GIVE_UP_AFTER, SETTLE_AFTER
from telemetry.domain.vocab import UNKNOWN_IP, SourceKind
from telemetry.models import (
    RejectedEvent,
    SendingEvent,
    Source,
    SourceToken,
    StalwartConnect,
    StalwartHeld,
    TrafficMinute,
    UnusedEventType,
)
from telemetry.parsers.stalwart import USED
from tests.conftest import NOON
from tests.telemetry.crowd import FORK, finish, picture, start
from tests.telemetry.stalwart_events import MX, SPAN, Attempt, again, body, caused, event, sample
from tests.telemetry.test_webhook import post

pytestmark = pytest.mark.django_db
WEBHOOK = "/api/webhooks/stalwart"
NOW = NOON + timedelta(seconds=30)
OUTLOOK = "outlook-com.olc.protection.outlook.com"
Events = list[dict[str, Any]]


@pytest.fixture
def source(db: Any) -> Source:
    return Source.objects.create(name="mail-1", kind=SourceKind.STALWART)


def send(source: Source, events: Events, *, now: datetime = NOW) -> stalwart.Taken:
    return stalwart.take_in(source, intake.split_envelope(body(events)), now=now)


def wait(length: timedelta = GIVE_UP_AFTER) -> dict[str, int]:
    return stalwart.settle_due(now=NOW + length)


def outcomes() -> list[tuple[str, str, str]]:
    """Every recorded event as (type, sending IP, recipient or its domain)."""
    rows = SendingEvent.objects.values_list("type", "sending_ip", "recipient", "recipient_domain")
    return sorted((kind, ip, recipient or domain) for kind, ip, recipient, domain in rows)


def counted() -> dict[str, int]:
    names = ("delivered", "bounced", "deferred", "complained")
    sums = dict.fromkeys(names, 0)
    for row in TrafficMinute.objects.values(*names):
        for name in names:
            sums[name] += row[name]
    return sums


def whole() -> dict[str, list[Any]]:
    """The whole state but the receipts' number, with nothing waiting."""
    roll_up(now=NOW + timedelta(hours=1))
    return picture()


class StartOver(Exception):  # noqa: N818
    """Rolls a savepoint back."""


def after(source: Source, batches: Iterable[Events], *, retried: bool = False) -> dict[str, list[Any]]:
    """The state after these batches and the wait, in a savepoint that is rolled back."""
    from django.db import transaction

    found: dict[str, list[Any]] = {}
    try:
        with transaction.atomic():
            for number, batch in enumerate(batches):
                send(source, batch, now=NOW + timedelta(seconds=number))
                if retried:
                    send(source, again(batch), now=NOW + timedelta(seconds=number))
            wait(GIVE_UP_AFTER + timedelta(minutes=1))
            assert not StalwartHeld.objects.exists()
            if retried:
                for batch in batches:
                    send(source, again(batch), now=NOW + timedelta(minutes=12))
                stalwart.settle_due(now=NOW + timedelta(minutes=30))
                assert not StalwartHeld.objects.exists()
            found = whole()
            raise StartOver
    except StartOver:
        return found


def splits(events: Events, chance: random.Random) -> list[Events]:
    """The events in batches of random sizes."""
    batches, position = [], 0
    while position < len(events):
        size = chance.randint(1, len(events))
        batches.append(events[position : position + size])
        position += size
    return batches


def test_the_sample_becomes_a_delivery_a_bounce_and_a_complaint_at_once_and_a_bounce_without_an_ip_later(
    source: Source,
) -> None:
    taken = send(source, sample())
    assert (taken.intake.recorded, taken.held, taken.as_answer()["processed"]) == (3, 1, 6)
    assert outcomes() == [
        ("bounce", "203.0.113.10", "b@gmail.com"),
        ("complaint", "203.0.113.10", ""),
        ("delivery", "203.0.113.10", "gmail.com"),
    ]
    bounce = SendingEvent.objects.get(type="bounce")
    assert (bounce.smtp_code, bounce.enhanced_code, bounce.mx_host) == (550, "5.1.1", MX)
    assert bounce.reply == "The email account that you tried to reach does not exist."
    assert (bounce.sending_domain, bounce.message_id) == ("example.com", "212008089975525120")
    complaint = SendingEvent.objects.get(type="complaint")
    assert (complaint.sending_domain, complaint.mx_host) == ("example.com", "mx.example.net")
    assert wait()["recorded"] == 1
    late = SendingEvent.objects.get(recipient="c@outlook.com")
    assert (late.type, late.sending_ip, late.smtp_code, late.mx_host) == ("bounce", UNKNOWN_IP, 550, OUTLOOK)
    assert "S3150" in late.reply
    assert counted() == {"delivered": 1, "bounced": 2, "deferred": 0, "complained": 1}


def test_the_sample_in_every_order_of_its_first_span_and_any_split_is_the_same(source: Source) -> None:
    events = sample()
    chance = random.Random(3)
    expected = after(source, [events])
    assert len(expected["raw"]) == 4
    for order in itertools.permutations(events[:4]):
        rest = events[4:]
        chance.shuffle(rest)
        shuffled = [*order, *rest]
        for batches in ([[one] for one in shuffled], splits(shuffled, chance)):
            assert after(source, batches) == expected, [one["type"] for one in shuffled]


def test_the_sample_in_random_orders_with_every_batch_retried_under_new_ids_is_the_same(source: Source) -> None:
    events = sample()
    chance = random.Random(4)
    expected = after(source, [events])
    for _ in range(25):
        chance.shuffle(events)
        found = after(source, splits(events, chance), retried=True)
        assert found == expected, [one["type"] for one in events]


def hundred_spans() -> Events:
    """Spans of every kind: two domains at one MX from two IPs, fall-back to a second MX, mail from and data refused."""
    events: Events = []
    for number in range(100):
        ip = f"203.0.113.{number % 7 + 1}"
        attempt = Attempt(number * 2, to=(f"a{number}@gmail.com", f"b{number}@gmail.com"))
        a, b = attempt.inherited["to"]
        match number % 7:
            case 0:
                events += [attempt.connect(ip), attempt.delivered(a), attempt.rejected(b), attempt.notice(b)]
            case 1:
                events += [attempt.connect(ip), attempt.delivered(a), attempt.rejected(b, code=451)]
            case 2:
                attempt = Attempt(number * 2, to=(a, f"b{number}@corp.example"))
                events += [
                    attempt.connect(ip),
                    attempt.connect("198.51.100.9", domain="corp.example", at="2026-11-20T12:00:05Z"),
                    attempt.delivered(a, at="2026-11-20T12:00:09Z"),
                    attempt.delivered(f"b{number}@corp.example", at="2026-11-20T12:00:09Z"),
                ]
            case 3:
                failed = attempt.connect(ip, "mx1.example", causedBy=caused(None, "timed out"))
                events += [failed | {"type": "delivery.connect-error"}]
                events += [attempt.connect("198.51.100.7", "mx2.example", at="2026-11-20T12:00:09Z")]
                events += [attempt.delivered(who, "mx2.example", at="2026-11-20T12:00:10Z") for who in (a, b)]
            case 4:
                events += [attempt.connect(ip), attempt.refused("mail-from-rejected", causedBy=caused(451, "later"))]
            case 5:
                words = "Unexpected response for DATA: Code: 554, Enhanced code: 5.7.1, Message: spam"
                events += [attempt.connect(ip), attempt.refused("message-rejected", code=554, details="spam")]
                events += [attempt.notice(a, details=words), attempt.notice(b, details=words)]
            case _:
                events += [attempt.connect("0.0.0.0"), attempt.delivered(a), attempt.rejected(b)]
    return events


@pytest.mark.slow
def test_a_hundred_spans_interleaved_in_any_split_are_the_same(source: Source) -> None:
    source.ip_map = {"remote": "192.0.2.77"}
    source.save()
    events = hundred_spans()
    expected = after(source, [events])
    sums = [sum(column) for column in zip(*(row[4:] for row in expected["TrafficMinute"]), strict=True)]
    # delivered: kinds 0, 1, 6 one each, 2 and 3 two; bounced: 0 and 6 one, 5 two; deferred: 1 one, 4 two
    assert sums == [15 + 15 + 14 + 28 + 28, 15 + 14 + 28, 15 + 28, 0, 0]
    ips = {row[1] for row in expected["TrafficMinute"]}
    assert {"192.0.2.77", "198.51.100.9", "198.51.100.7"} <= ips
    assert UNKNOWN_IP not in ips
    chance = random.Random(5)
    for _ in range(4):
        chance.shuffle(events)
        batches = [events[start : start + 37] for start in range(0, len(events), 37)]
        assert after(source, batches, retried=True) == expected


def test_an_outcome_waits_for_its_connection_and_is_recorded_when_it_comes(source: Source) -> None:
    attempt = Attempt()
    assert send(source, [attempt.delivered()]).held == 1
    wait(timedelta(minutes=9))
    assert outcomes() == []
    taken = send(source, [attempt.connect()], now=NOW + timedelta(minutes=9))
    assert (taken.intake.recorded, taken.held) == (1, 0)
    assert outcomes() == [("delivery", "203.0.113.10", "gmail.com")]
    assert not StalwartHeld.objects.exists()


@pytest.mark.parametrize(
    ("ip_map", "node", "expected"),
    [
        ({}, "", UNKNOWN_IP),
        ({"remote": "192.0.2.1", "mx-a": "192.0.2.2", "*": "192.0.2.3"}, "mx-a", "192.0.2.1"),
        ({"mx-a": "192.0.2.2", "*": "192.0.2.3"}, "mx-a", "192.0.2.2"),
        ({"mx-a": "192.0.2.2", "*": "192.0.2.3"}, "", "192.0.2.3"),
    ],
)
def test_without_a_connection_or_with_an_unspecified_one_the_mapping_tells_the_ip(
    source: Source, ip_map: dict[str, str], node: str, expected: str
) -> None:
    source.ip_map, source.node = ip_map, node
    source.save()
    never, unspecified = Attempt(), Attempt(1)
    send(source, [never.delivered(), unspecified.connect("0.0.0.0"), unspecified.delivered()])
    assert outcomes() == [("delivery", expected, "gmail.com")]
    wait()
    assert outcomes() == [("delivery", expected, "gmail.com")] * 2


def test_a_connection_that_comes_after_the_limit_records_nothing_twice(source: Source) -> None:
    attempt = Attempt()
    events = [attempt.delivered(), attempt.rejected(), attempt.notice()]
    send(source, events)
    wait()
    expected = [("bounce", UNKNOWN_IP, "b@gmail.com"), ("delivery", UNKNOWN_IP, "gmail.com")]
    assert outcomes() == expected
    later = NOW + timedelta(minutes=11)
    send(source, [attempt.connect(), *again(events)], now=later)
    stalwart.settle_due(now=later + GIVE_UP_AFTER)
    assert outcomes() == expected
    assert counted() == {"delivered": 1, "bounced": 1, "deferred": 0, "complained": 0}
    assert not StalwartHeld.objects.exists()


def test_a_refusal_without_its_notice_is_one_bounce_after_a_minute_and_a_late_notice_changes_nothing(
    source: Source,
) -> None:
    attempt = Attempt()
    assert send(source, [attempt.connect(), attempt.rejected()]).held == 1
    wait(SETTLE_AFTER)
    assert outcomes() == [("bounce", "203.0.113.10", "b@gmail.com")]
    assert send(source, [attempt.notice()], now=NOW + timedelta(minutes=2)).intake.duplicates == 1
    assert counted()["bounced"] == 1
    assert SendingEvent.objects.get().enhanced_code == ""


def test_the_same_recipient_refused_in_two_attempts_is_two_bounces(source: Source) -> None:
    for number in (1, 2):
        attempt = Attempt(number)
        send(source, [attempt.connect(), attempt.rejected(), attempt.notice()])
    assert counted()["bounced"] == 2


def test_expiry_and_its_notice_are_one_bounce_though_the_last_answer_was_temporary(source: Source) -> None:
    attempt = Attempt()
    last = caused(451, "try again later")
    words = "Unexpected response for RCPT TO:<b@gmail.com>: Code: 451, Enhanced code: 4.7.1, Message: try again later"
    expired = attempt.event("failed", to="b@gmail.com", reason=last, details="2026-11-20T12:00:00Z")
    send(source, [expired, attempt.notice(details=words)])
    wait()
    assert outcomes() == [("bounce", UNKNOWN_IP, "b@gmail.com")]
    row = SendingEvent.objects.get()
    assert (row.smtp_code, row.enhanced_code, row.reply) == (451, "4.7.1", "try again later")


def test_a_refused_message_bounces_for_those_of_that_domain_who_were_not_answered_themselves(source: Source) -> None:
    to = ("a@gmail.com", "b@gmail.com", "c@gmail.com", "d@web.example")
    attempt = Attempt(to=to)
    events = [
        attempt.connect(),
        attempt.rejected("b@gmail.com", code=452),
        attempt.connect("198.51.100.4", "mx.web.example", "web.example"),
        attempt.delivered("d@web.example", "mx.web.example"),
        attempt.refused("message-rejected", code=554, details="5.7.1 looks like spam"),
    ]
    chance = random.Random(6)
    for _ in range(10):
        found = after(source, splits(events, chance))
        kinds = sorted((row[0], row[3], row[4]) for row in found["raw"])
        assert kinds == [
            ("bounce", "example.com", "a@gmail.com"),
            ("bounce", "example.com", "c@gmail.com"),
            ("defer", "example.com", "b@gmail.com"),
            ("delivery", "example.com", ""),
        ]
        chance.shuffle(events)


def test_a_host_that_was_not_reached_counts_only_where_no_other_host_answered(source: Source) -> None:
    saved, lost = Attempt(to=("a@gmail.com",)), Attempt(1, to=("a@gmail.com", "z@other.example"))
    unreached = [
        one.connect("203.0.113.10", host, causedBy=caused(None, "timed out")) | {"type": "delivery.connect-error"}
        for one in (saved, lost)
        for host in ("mx1.example", "mx2.example")
    ]
    send(source, [*unreached, saved.connect(), saved.delivered()])
    assert counted() == {"delivered": 1, "bounced": 0, "deferred": 0, "complained": 0}
    wait()
    # One deferral for the attempt at two hosts, and none for the recipient of another domain.
    assert counted() == {"delivered": 1, "bounced": 0, "deferred": 1, "complained": 0}
    assert SendingEvent.objects.get(type="defer").sending_ip == "203.0.113.10"


def test_the_last_hosts_answer_is_the_attempts(source: Source) -> None:
    attempt = Attempt(to=("a@yahoo.com",))
    words = "Unexpected response for greeting: Code: {}, Enhanced code: 0.0.0, Message: {}"
    events = []
    for host, code, text, at in (("mx1", 421, "busy", "00"), ("mx2", 554, "go away", "05")):
        details = words.format(code, text)
        when = f"2026-11-20T12:00:{at}Z"
        events.append(attempt.connect(host=host, domain="yahoo.com", at=when))
        events.append(attempt.refused("greeting-failed", host, domain="yahoo.com", details=details, at=when))
    for order in itertools.permutations(events):
        found = after(source, [[one] for one in order])["raw"]
        assert [(row[0], row[8]) for row in found] == [("bounce", 554)], [one["data"] for one in order]


def test_a_greeting_refused_is_a_deferral_of_the_domains_recipients_with_the_answer(source: Source) -> None:
    attempt = Attempt(to=("a@yahoo.com", "b@other.example"))
    details = "Unexpected response for greeting: Code: 421, Enhanced code: 4.7.0, Message: [TSS04] Messages deferred"
    greeting = attempt.refused("greeting-failed", "mx-a", domain="yahoo.com", details=details)
    send(source, [attempt.connect(host="mx-a", domain="yahoo.com"), greeting])
    wait(SETTLE_AFTER)
    row = SendingEvent.objects.get()
    assert (row.type, row.recipient, row.smtp_code, row.enhanced_code) == ("defer", "a@yahoo.com", 421, "4.7.0")
    assert (row.sending_ip, row.reply) == ("203.0.113.10", "[TSS04] Messages deferred")


def test_connections_are_forgotten_after_hours_and_nothing_is_held_for_ever(source: Source) -> None:
    send(source, sample())
    assert StalwartConnect.objects.count() == 1
    wait(stalwart.CONNECTS_KEPT + timedelta(minutes=1))
    assert not StalwartConnect.objects.exists()
    assert not StalwartHeld.objects.exists()


def test_ids_of_64_bits_are_exact_on_both_databases(source: Source) -> None:
    for number in (2**64 - 1, 2**64 - 2):
        attempt = Attempt(number - SPAN, queueId=number)
        send(source, [attempt.connect(f"203.0.113.{number % 2 + 1}")])
    for number in (2**64 - 1, 2**64 - 2):
        send(source, [Attempt(number - SPAN, queueId=number).delivered()])
    assert {row.message_id: row.sending_ip for row in SendingEvent.objects.all()} == {
        str(2**64 - 1): "203.0.113.2",
        str(2**64 - 2): "203.0.113.1",
    }


def test_unknown_and_unneeded_events_are_counted_and_answered_2xx(client: Client, source: Source, token: str) -> None:
    events = [event("delivery.attempt-start", {}), event("store.new-thing", {"to": 7}), event("store.new-thing", {})]
    answer = post(client, token, {"events": events}, url=WEBHOOK)
    assert (answer.status_code, answer.json()["ignored"], answer.json()["processed"]) == (200, 3, 3)
    assert dict(UnusedEventType.objects.values_list("name", "count")) == {
        "delivery.attempt-start": 1, "store.new-thing": 2
    }  # fmt: skip
    many = [event(f"made.up-{number}", {}) for number in range(stalwart.MOST_UNUSED_TYPES * 2)]
    post(client, token, {"events": many}, url=WEBHOOK)
    assert UnusedEventType.objects.count() == stalwart.MOST_UNUSED_TYPES + 1
    assert not SendingEvent.objects.exists()


def test_a_bad_event_is_kept_beside_good_ones_and_can_be_mended_and_replayed(
    client: Client, source: Source, token: str
) -> None:
    good = Attempt()
    events = [good.connect(), good.delivered(to="nobody"), good.delivered(), good.connect("999.1.1.1")]
    answer = post(client, token, {"events": events}, url=WEBHOOK).json()
    assert [(entry["index"], entry["field"]) for entry in answer["errors"]] == [(1, "data.to"), (3, "data.localIp")]
    assert (answer["status"], answer["recorded"]) == ("partial", 1)
    rejected = RejectedEvent.objects.get(field="data.to")
    assert intake.replay(rejected, now=NOW) is not None
    rejected.payload = json.dumps(good.delivered(to="b@gmail.com"))
    assert intake.replay(rejected, now=NOW) is None
    assert intake.replay(rejected, now=NOW) is None
    assert counted()["delivered"] == 2


@pytest.mark.parametrize("spoil", ["none", "unsigned", "wrong key", "changed body", "signature of another body"])
def test_a_signed_source_takes_only_bodies_signed_as_they_are(
    client: Client, source: Source, token: str, spoil: str
) -> None:
    source.hmac_key = "a key of the webhook"
    source.save()
    data = body(sample())
    key = b"another key" if spoil == "wrong key" else b"a key of the webhook"
    signed = b'{"events":[]}' if spoil == "signature of another body" else data
    signature = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    headers = {"Authorization": f"Bearer {token}", "X-Signature": signature}
    if spoil == "unsigned":
        del headers["X-Signature"]
    sent = data.replace(b"203.0.113.10", b"203.0.113.11") if spoil == "changed body" else data
    answer = post(client, token, sent, url=WEBHOOK, headers=headers)
    if spoil == "none":
        assert answer.status_code == 200
        # A replay of what was signed is a repetition and counts nothing.
        replayed = post(client, token, sent, url=WEBHOOK, headers=headers).json()
        assert (replayed["recorded"], replayed["duplicates"]) == (0, 3)
    else:
        assert answer.status_code == 401
        assert not SendingEvent.objects.exists()
        assert not StalwartConnect.objects.exists()


def test_who_and_what_is_refused(client: Client, source: Source, token: str) -> None:
    assert client.post(WEBHOOK, body(sample()), content_type="application/json").status_code == 401
    assert post(client, token, body(sample()), url=WEBHOOK, content_type="text/plain").status_code == 415
    basic = base64.b64encode(f"any:{token}".encode()).decode()
    assert post(client, token, body([]), url=WEBHOOK, headers={"Authorization": f"Basic {basic}"}).status_code == 200
    for odd in (b" ", b"[]", b'{"events": 3}', b'{"events": [', b"\xff"):
        assert post(client, token, odd, url=WEBHOOK).status_code == 400
    assert post(client, token, b'{"events":[1,null,{},{"type":3},"x",[]]}', url=WEBHOOK).json()["failed"] == 6


def test_a_body_of_several_megabytes_is_taken(client: Client, source: Source, token: str) -> None:
    events = [Attempt(0, to=("a@gmail.com",)).connect()]
    events += [Attempt(0, to=()).delivered(f"{number}-{'x' * 50}@gmail.com") for number in range(9_000)]
    data = body(events)
    assert 3_000_000 < len(data) < 5_000_000
    assert post(client, token, data, url=WEBHOOK).json()["recorded"] == 9_000
    assert counted()["delivered"] == 9_000


def test_a_source_that_was_deleted_or_mapped_to_nonsense_stops_nobody(source: Source) -> None:
    gone = Source.objects.create(name="gone", kind=SourceKind.STALWART, ip_map={"remote": "nonsense"})
    assert send(gone, [Attempt(1).connect("0.0.0.0"), Attempt(1).delivered()]).intake.recorded == 1
    for one in (gone, source):
        send(one, [Attempt().delivered()])
    Source.objects.filter(pk=gone.pk)._raw_delete("default")
    assert wait()["recorded"] == 1
    assert not StalwartHeld.objects.exists()


def test_incidents_of_a_report_are_counted_and_bounded(source: Source) -> None:
    report = sample()[-1]
    send(source, [report | {"data": report["data"] | {"total": 3}}])
    assert counted()["complained"] == 3
    send(source, [report | {"data": report["data"] | {"total": 10**9}}])
    assert counted()["complained"] == 1003


@pytest.mark.django_db(transaction=True)
def test_connections_and_outcomes_that_race_in_two_processes_are_joined_and_retries_count_once() -> None:
    source_id = Source.objects.create(name="mail-1", kind=SourceKind.STALWART).pk
    attempts = [Attempt(number, to=(f"a{number}@gmail.com", f"b{number}@gmail.com")) for number in range(120)]
    first = [one.connect() for one in attempts] + [one.notice(one.inherited["to"][1]) for one in attempts[::-1]]
    second = [one.delivered(one.inherited["to"][0]) for one in attempts[::-1]]
    second += [one.rejected(one.inherited["to"][1]) for one in attempts]

    def write(events: Events, seed: int) -> None:
        mine, chance = list(events), random.Random(seed)
        chance.shuffle(mine)
        source = Source.objects.get(pk=source_id)
        for start_at in range(0, len(mine), 20):
            send(source, mine[start_at : start_at + 20])

    def tick() -> None:
        for _ in range(20):
            stalwart.settle_due(now=NOW + timedelta(seconds=5))

    finish(
        [start(lambda: write(first, 1)), start(lambda: write(second, 2)), start(lambda: write(second, 3)), start(tick)]
    )
    # All has come, so all is joined: nothing has missed its connection in another transaction and waits for the limit.
    assert counted() == {"delivered": 120, "bounced": 120, "deferred": 0, "complained": 0}
    wait()
    assert counted() == {"delivered": 120, "bounced": 120, "deferred": 0, "complained": 0}
    assert set(SendingEvent.objects.values_list("sending_ip", flat=True)) == {"203.0.113.10"}
    assert not StalwartHeld.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_an_outcome_waits_for_a_batch_that_is_about_to_commit_its_connection() -> None:
    source_id = Source.objects.create(name="mail-1", kind=SourceKind.STALWART).pk
    attempt = Attempt()
    inside, go_on = FORK.Semaphore(0), FORK.Semaphore(0)

    def connect_slowly() -> None:
        real = stalwart._settle

        def then_wait(*arguments: Any) -> Any:
            result = real(*arguments)
            inside.release()
            go_on.acquire()
            return result

        stalwart._settle = then_wait  # type: ignore[assignment]
        send(Source.objects.get(pk=source_id), [attempt.connect()])

    first = start(connect_slowly)
    assert inside.acquire(timeout=30)
    second = start(lambda: send(Source.objects.get(pk=source_id), [attempt.delivered()]))
    # Time enough to pass by the first if nothing holds it; it is held, so this only costs a moment.
    second.join(1)
    go_on.release()
    finish([first, second])
    assert outcomes() == [("delivery", "203.0.113.10", "gmail.com")]


def config(*arguments: str) -> str:
    out = StringIO()
    call_command("stalwart_config", *arguments, stdout=out, stderr=StringIO())
    return out.getvalue()


def test_the_configuration_names_url_events_and_a_token_that_works(client: Client, source: Source) -> None:
    import tomllib

    shown = tomllib.loads(config("mail-1", "--new-token", "--url", "https://gs.example/", "--format", "toml"))
    webhook = shown["webhook"]["good-standing"]
    assert webhook["url"] == "https://gs.example/api/webhooks/stalwart"
    assert set(USED) <= set(webhook["events"])
    assert "signature-key" not in webhook
    name, _, value = webhook["headers"][0].partition(": ")
    answer = client.post(WEBHOOK, body(sample()), content_type="application/json", headers={name: value})
    assert answer.status_code == 200

    source.hmac_key = "a key of the webhook"
    source.save()
    request = json.loads(config("mail-1", "--format", "jmap"))
    hook = request["methodCalls"][0][1]["create"]["good-standing"]
    assert hook["eventsPolicy"] == "include"
    assert all(hook["events"][name] is True for name in USED)
    assert hook["signatureKey"]["@type"] == "Value"
    assert "a key of the webhook" not in json.dumps(request)
    assert SourceToken.objects.count() == 1
    assert config("mail-1").count("good-standing") == 2


@pytest.mark.parametrize(
    "arguments", [["nobody"], ["mail-1", "--url", "gs.example"], ["mail-1", "--url", "http://a b/"], ["other"]]
)
def test_the_configuration_says_what_is_wrong_with_its_arguments(source: Source, arguments: list[str]) -> None:
    Source.objects.create(name="other", kind=SourceKind.POSTFIX)
    with pytest.raises(CommandError):
        config(*arguments)
    assert not SourceToken.objects.exists()
