"""A real Postfix, a receiver that refuses one sending IP and greylists another, and what the product makes of the log."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from django.core.management import call_command
from django.db.models import Sum
from django.utils import timezone

from reputation.models import IpStanding
from reputation.standing import score_ips
from telemetry.models import FollowedFile, PostfixQueueEntry, RefusalMinute, SendingEvent, Source, TrafficMinute
from tests.e2e.postfix_rig import PostfixRig, why_not
from tests.e2e.smtp_receiver import ACCEPT, GREYLIST, REFUSE, Asked, Receiver
from tests.site.served import until
from tests.telemetry.test_follow_postfix import manage

BURNT, CLEAN = "127.0.0.11", "127.0.0.12"
NAMES = {"postfix-ip-a": BURNT, "postfix-ip-b": CLEAN}
PROVIDERS = ("gmail.com", "outlook.com", "yahoo.com")
EACH = 60
"""Messages from each sending IP, a third to each provider."""
REFUSED = 12
"""Of these, how many the burnt IP's receivers refuse."""

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.slow,
    pytest.mark.skipif(bool(why_not()) and os.environ.get("CI") != "true", reason=why_not() or "Postfix is there"),
]


def script(asked: Asked) -> str:
    """Some of the burnt IP's mail is refused; every third message of the clean one is greylisted once."""
    number = int(asked.recipient.partition("@")[0].removeprefix("user"))
    if asked.client == BURNT:
        return REFUSE if number < REFUSED else ACCEPT
    return GREYLIST if number % 3 == 0 and asked.before == 0 else ACCEPT


@dataclass
class Delivered:
    postfix: PostfixRig
    receiver: Receiver

    @property
    def lines(self) -> list[str]:
        return self.postfix.log.read_text().splitlines()


@pytest.fixture
def source(db: Any) -> Source:
    return Source.objects.create(name="mta-1", kind="postfix", ip_map=NAMES)


@pytest.fixture
def delivered(request: pytest.FixtureRequest) -> Iterator[Delivered]:
    """The mail is through: everything delivered or bounced, the greylisted at the second attempt."""
    assert not why_not(), why_not()
    transports = {"@burnt.example": ("postfix-ip-a", BURNT), "@clean.example": ("postfix-ip-b", CLEAN)}
    with (
        Receiver(script) as receiver,
        PostfixRig(receiver.port, transports, long_queue_ids=getattr(request, "param", True)) as postfix,
    ):
        recipients = [f"user{number}@{PROVIDERS[number % 3]}" for number in range(EACH)]
        postfix.send("news@burnt.example", recipients)
        postfix.send("news@clean.example", recipients)
        postfix.send("", ["somebody@local.test"])  # a local delivery, which is none of ours
        run = Delivered(postfix, receiver)

        def through() -> bool:
            ends = re.findall(r"/smtp\[\d+\]: \w+: to=<.*status=(?:sent|bounced) ", "\n".join(run.lines))
            return len(ends) == 2 * EACH and postfix.waiting() == 0

        until(through, within=60, what="the end of the queue")
        yield run


def outcomes(lines: list[str]) -> Counter[tuple[str, str, str]]:
    """What Postfix logged: by syslog name, recipient domain and status, found by plain search."""
    found: Counter[tuple[str, str, str]] = Counter()
    for line in lines:
        if match := re.search(r" (postfix-ip-[ab])/smtp\[\d+\]: \w+: to=<\w+@([\w.]+)>.* status=(\w+) ", line):
            found[match[1], match[2], match[3]] += 1
    return found


def recorded() -> Counter[tuple[str, str, str]]:
    """The same from the raw events."""
    names = {address: name for name, address in NAMES.items()}
    words = {"delivery": "sent", "defer": "deferred", "bounce": "bounced"}
    rows = SendingEvent.objects.values_list("sending_ip", "recipient_domain", "type")
    return Counter((names[ip], domain, words[kind]) for ip, domain, kind in rows)


@pytest.mark.parametrize("delivered", [True, False], indirect=True, ids=["long queue ids", "short queue ids"])
def test_the_refused_ip_reaches_quarantine_the_greylisted_one_does_not_and_counts_equal_the_log(
    source: Source, delivered: Delivered
) -> None:
    follow = ("follow_postfix", str(delivered.postfix.log), "--source", "mta-1", "--timezone", "UTC", "--once")
    call_command(*follow, "--batch", "50")
    call_command(*follow)

    logged = outcomes(delivered.lines)
    assert recorded() == logged
    assert sum(logged[name, domain, "bounced"] for name, domain, _ in {*logged} if name == "postfix-ip-b") == 0
    answers = delivered.receiver.answers
    assert (answers[BURNT, "550"], answers[BURNT, "250"]) == (REFUSED, EACH - REFUSED)
    assert (answers[CLEAN, "451"], answers[CLEAN, "250"]) == (EACH // 3, EACH)

    assert counters(BURNT) == {"delivered": EACH - REFUSED, "bounced": REFUSED, "deferred": 0, "superseded": 0}
    assert counters(CLEAN) == {"delivered": EACH, "bounced": 0, "deferred": EACH // 3, "superseded": EACH // 3}
    codes = RefusalMinute.objects.order_by().values_list("sending_ip", "code").annotate(Sum("count"))
    assert sorted(codes) == [(BURNT, "5.7.1", REFUSED), (CLEAN, "4.7.1", EACH // 3)]

    score_ips(now=timezone.now())
    standing = {row.sending_ip: row for row in IpStanding.objects.all()}
    assert standing[BURNT].status in ("quarantine", "blacklisted"), standing[BURNT].why
    assert standing[CLEAN].status not in ("quarantine", "blacklisted"), standing[CLEAN].why
    assert (standing[BURNT].total_sent, standing[BURNT].total_rejected) == (EACH, REFUSED)
    assert (standing[CLEAN].total_sent, standing[CLEAN].total_rejected) == (EACH, 0)

    senders = set(SendingEvent.objects.values_list("sending_ip", "sending_domain"))
    assert senders == {(BURNT, "burnt.example"), (CLEAN, "clean.example")}
    reply = SendingEvent.objects.filter(type="bounce").values_list("reply", flat=True)[0]
    assert reply == f"[{BURNT}] blocked, see https://receiver.example/why (reputation)"
    # Whatever left the queue is not remembered.
    assert not PostfixQueueEntry.objects.exists()


def counters(ip: str) -> dict[str, int]:
    names = ("delivered", "bounced", "deferred", "superseded")
    return TrafficMinute.objects.filter(sending_ip=ip).aggregate(**{name: Sum(name) for name in names})


def test_followed_live_through_postfix_own_log_rotation_nothing_is_lost(source: Source) -> None:
    """The follower runs while Postfix writes, and `postfix logrotate` renames the log under both."""
    assert not why_not(), why_not()
    with (
        Receiver(script) as receiver,
        PostfixRig(receiver.port, {"@clean.example": ("postfix-ip-b", CLEAN)}) as postfix,
    ):
        arguments = (str(postfix.log), "--source", "mta-1", "--timezone", "UTC", "--interval", "0.05")
        with manage(*arguments) as follower:
            until(FollowedFile.objects.exists, within=30, what="the follower's start")
            for part in range(3):
                recipients = [f"user{number}@gmail.com" for number in range(100 * part, 100 * part + 25)]
                postfix.send("news@clean.example", recipients)
                postfix.rotate_log()
            # After a reload the queue manager leaves alone for a minute what it had in hand; we do not wait for that.
            until(lambda: "/smtp[" in postfix.log.read_text(), within=30, what="an attempt after the last rotation")
            postfix.stop()
            logged = outcomes([line for log in postfix.logs() for line in log.read_text().splitlines()])
            until(lambda: recorded() == logged, within=30, what="the log's last line")
            follower.terminate()
            assert follower.wait(20) == 0
        assert len(postfix.logs()) == 4
        assert recorded() == logged
        assert logged.total() > 50
