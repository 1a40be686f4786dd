"""The closed loop with a real Postfix: a provider refuses one IP, its mail leaves by the other, probes bring it back.

Postfix asks our policy service and our socketmap, we follow its log, and everything is read from that log. The clock of
all processes, Postfix's too, is set forward where a pause would have to be waited for.
"""

from __future__ import annotations

import math
import os
import re
import smtplib
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.house import ROOT, House, house, until
from tests.e2e.postfix_rig import PostfixRig, why_not
from tests.e2e.smtp_receiver import ACCEPT, REFUSE, Asked, Receiver
from tests.servers import free_port
from tests.torture.clock import Clock, compiler

A, B = "127.0.0.21", "127.0.0.22"
NAMES = {"ip-a": A, "ip-b": B}
SENDER = "news@good.example"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        bool(why_not() or not compiler()) and os.environ.get("CI") != "true", reason=why_not() or "needs a C compiler"
    ),
]

SET_UP = """
from reputation.models import *
from reputation.sending_policies import change_sending_policy
from telemetry.models import Source
Source.objects.create(name="mta-1", kind="postfix", ip_map={names!r})
for name, ip in {names!r}.items():
    SendingIP.objects.create(ip=ip, transport=transports[name])
policy = SendingPolicy.objects.get(pool__is_default=True)
change_sending_policy(policy, dict(mode="enforce", ip_limit_per_hour=1000), user=None, reason="test")
"""


class Loop:
    """Everything that runs: a receiver, Postfix, our processes, one clock."""

    def __init__(self, home: House, postfix: PostfixRig, clock: Clock, refused: set[tuple[str, str]]) -> None:
        self.home, self.postfix, self.clock, self.refused = home, postfix, clock, refused
        self.ahead = timedelta(0)
        self.sent = 0

    def go_on(self, by: timedelta) -> None:
        """Set all clocks forward."""
        self.ahead += by
        self.clock.set(self.ahead)

    def send(self, count: int, domain: str) -> list[str]:
        """Hand in that many messages to new recipients; returns those."""
        people = [f"r{self.sent + number}@{domain}" for number in range(count)]
        self.sent += count
        self.postfix.send(SENDER, people)
        return people

    def outcomes(self) -> dict[str, tuple[str, str]]:
        """(syslog name, status) of each recipient's last attempt, from Postfix's log."""
        found = {}
        for line in self.postfix.log.read_text().splitlines():
            if match := re.search(r" ([\w-]+)/(?:smtp|error)\[\d+\]: \w+: to=<([^>]+)>.* status=(\w+) ", line):
                found[match[2]] = (match[1], match[3])
        return found

    def delivered(self, people: list[str]) -> Counter[tuple[str, str]]:
        """How these left, once all have had an attempt."""
        until(lambda: set(people) <= set(self.outcomes()), seconds=60, what=f"{len(people)} attempts")
        return Counter(self.outcomes()[who] for who in people)

    def ask(self, code: str) -> str:
        """What the house's database says."""
        return self.home.manage("shell", "--no-imports", "-c", "from reputation.models import *\n" + code).strip()

    def state(self, ip: str = A) -> str:
        """State and step of the IP's breaker at Google."""
        found = f"Breaker.objects.filter(kind='ip', sender={ip!r}, provider='google')"
        return self.ask(f"print(*['%s %s' % (b.state, b.step) for b in {found}])")

    def comes_to(self, state: str, seconds: float = 20) -> None:
        """Wait until the breaker stands so."""
        until(lambda: self.state() == state, seconds=seconds, what=f"the breaker is {state}")


@pytest.fixture
def loop(tmp_path: Path) -> Iterator[Loop]:
    assert not why_not(), why_not()
    command = compiler()
    assert command, "no C compiler"
    refused: set[tuple[str, str]] = set()

    def script(asked: Asked) -> str:
        return REFUSE if (asked.client, asked.recipient.partition("@")[2]) in refused else ACCEPT

    transports = {f"@{name}.invalid": (name, ip) for name, ip in NAMES.items()}
    with house(tmp_path) as home, Receiver(script) as receiver:
        postfix = PostfixRig(receiver.port, transports)
        clock = Clock(postfix.folder, command)
        policy, socketmap = free_port(), free_port()
        imported = " ".join(f"{name}={value}" for name, value in clock.environment.items())
        postfix.set(
            import_environment=f"MAIL_CONFIG MAIL_LOGTAG TZ LANG=C {imported}",
            sender_dependent_default_transport_maps="",
            transport_maps=f"socketmap:inet:127.0.0.1:{socketmap}:recipient",
            smtpd_recipient_restrictions=f"check_policy_service inet:127.0.0.1:{policy}, permit_mynetworks, reject",
        )
        home.environment |= clock.environment | {
            "GS_POLICYD_LISTEN": f"127.0.0.1:{policy}",
            "GS_SOCKETMAP_LISTEN": f"127.0.0.1:{socketmap}",
            "TZ": "UTC",
        }
        out = {name: f"out{number}:[127.0.0.1]:{receiver.port}" for number, name in enumerate(NAMES)}
        home.manage("shell", "--no-imports", "-c", f"transports = {out!r}\n" + SET_UP.format(names=NAMES))
        with postfix:
            for line in ("worker", "beat", "policyd"):
                home.start(line)
            follow = ["follow_postfix", str(postfix.log), "--source", "mta-1", "--timezone", "UTC", "--interval", "0.2"]
            home.processes["follower"] = subprocess.Popen(
                [sys.executable, "manage.py", *follow],
                cwd=ROOT,
                env=home.environment,
                stdout=(tmp_path / "follower.log").open("ab"),
                stderr=subprocess.STDOUT,
            )
            made = Loop(home, postfix, clock, refused)
            until(lambda: _answers(policy) and _answers(socketmap), seconds=30, what="policyd answers")
            yield made
            home.stop()
        clock.close()


def _answers(port: int) -> bool:
    import socket

    try:
        socket.create_connection(("127.0.0.1", port), timeout=2).close()
    except OSError:
        return False
    return True


def by_ip(counts: Counter[tuple[str, str]]) -> dict[str, int]:
    return {name: sum(count for (at, _), count in counts.items() if at == name) for name in NAMES}


def test_a_refused_ip_is_left_out_at_that_provider_and_comes_back_in_steps(loop: Loop) -> None:
    before = loop.delivered(loop.send(60, "gmail.com") + loop.send(40, "outlook.com"))
    assert set(before) == {("ip-a", "sent"), ("ip-b", "sent")}, before
    # What it delivered must be known before, or "nothing delivered between the refusals" would be a guess.
    known = "from telemetry.models import SendingEvent\nprint(SendingEvent.objects.filter(type='delivery').count())"
    until(lambda: loop.ask(known) == "100", seconds=20, what="the deliveries are known")

    loop.refused.add((A, "gmail.com"))
    people: list[str] = []
    while sum(outcome == ("ip-a", "bounced") for outcome in loop.outcomes().values()) < 3:
        people += loop.send(1, "gmail.com")
        loop.delivered(people[-1:])
    third = datetime.now().astimezone()
    loop.comes_to("open 0", seconds=15)
    opened = loop.ask("e = BreakerEvent.objects.get(); print(e.at.isoformat(), e.trigger, e.breaker.scope)")
    at, trigger, scope = opened.split(" ", 2)
    assert (trigger, scope) == ("provider_block", f"{A} at google")
    took = datetime.fromisoformat(at) - third
    print(f"opened {took.total_seconds():.1f} s after the third refusal")
    assert took < timedelta(seconds=10)

    # The next mail to that provider leaves by the other IP, within a second of the book; others are untouched.
    until(lambda: by_ip(loop.delivered(loop.send(10, "gmail.com")))["ip-a"] == 0, seconds=20, what="A is left out")
    assert loop.delivered(loop.send(40, "gmail.com")) == Counter({("ip-b", "sent"): 40})
    others = by_ip(loop.delivered(loop.send(40, "outlook.com")))
    assert min(others.values()) >= 8, others

    # A sender that a person pauses is deferred by Postfix with our reason; the null sender is not.
    loop.ask(
        "from django.contrib.auth.models import User; from django.utils import timezone\n"
        "from reputation import breaker_acts; from reputation.domain.breaker_policy import Scope\n"
        "breaker_acts.open_by_hand(Scope('domain', 'paused.example', ''), reason='a bought list',"
        " user=User.objects.create(username='ops'), now=timezone.now())"
    )

    def refusal() -> str:
        with smtplib.SMTP("127.0.0.1", loop.postfix.port, timeout=20) as session:
            session.ehlo()
            session.mail("news@paused.example")
            code, text = session.rcpt("someone@yahoo.com")
        return "" if code == 250 else f"{code} {text.decode()}"

    told = until(refusal, seconds=5, what="the paused domain is deferred")
    assert told.startswith("450 4.7.1 "), told
    assert "Mail of paused.example is paused: a bought list" in told, told
    until(lambda: "NOQUEUE: reject: RCPT" in loop.postfix.log.read_text(), seconds=5, what="Postfix logs it")
    assert loop.delivered([_bounce(loop)]).total() == 1

    # The receiver heals; after the hour, 5, 25 and 50 % of the normal share go by A, and then all of it.
    loop.refused.clear()
    loop.go_on(timedelta(hours=1, minutes=1))
    loop.comes_to("half_open 1")
    for step, share, becomes in ((1, 0.05, "half_open 2"), (2, 0.25, "half_open 3"), (3, 0.5, "closed 0")):
        # A step is judged by the traffic from its first whole minute on; the book is a second old at most.
        loop.go_on(timedelta(minutes=1))
        until(partial(_share_known, loop, step), seconds=10, what="the step is known")
        counts: Counter[tuple[str, str]] = Counter()
        while by_ip(counts)["ip-a"] < 10:
            assert counts.total() < 1_000, counts
            counts += loop.delivered(loop.send(20, "gmail.com"))
        print(f"step {step}: {by_ip(counts)}")
        # Beside B's whole share. Which recipients are drawn depends on the date: five standard deviations.
        expected = counts.total() * share / (1 + share)
        assert abs(by_ip(counts)["ip-a"] - expected) < 5 * math.sqrt(expected) + 20 * share, counts
        assert set(counts) == {("ip-a", "sent"), ("ip-b", "sent")}
        loop.comes_to(becomes)
    after = until(
        lambda: (c := by_ip(loop.delivered(loop.send(40, "gmail.com"))))["ip-a"] >= 10 and c,
        seconds=20,
        what="A sends again",
    )
    print(f"afterwards {after}")
    trail = loop.ask(
        "print(*[f'{e.from_state}>{e.to_state}:{e.step}' for e in BreakerEvent.objects.filter(breaker__provider='google').order_by('id')])"
    )
    assert trail.split() == [
        "closed>open:0",
        "open>half_open:1",
        "half_open>half_open:2",
        "half_open>half_open:3",
        "half_open>closed:0",
    ]


def _bounce(loop: Loop) -> str:
    """A report from the null sender to somebody at the provider that refuses A."""
    loop.postfix.send("", ["sender@gmail.com"])
    return "sender@gmail.com"


def _share_known(loop: Loop, step: int) -> Any:
    share = {1: "5", 2: "25", 3: "50"}[step]
    code = (
        "from django.utils import timezone; from reputation.breakers import standing_for\n"
        "print(*[round(a.share * 100) for s, a in standing_for(now=timezone.now()).by_scope.items() if s.provider])"
    )
    return loop.ask(code) == share
