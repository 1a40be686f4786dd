"""What happens in the demo, minute by minute. Pure: the same seed and the same start tell the same story.

Rare things (an unknown user, a missing PTR record) come at even distances and not by dice, so that the window of the
last 15 minutes looks the same whenever the demo is started.
"""

from __future__ import annotations

import heapq
import math
import random
from collections import defaultdict
from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from reputation_site.demo.cast import BUSINESSES, CAST, CONSUMERS, GMAIL, YAHOO, Mailboxes, Sender, SendingIp

MINUTE = timedelta(minutes=1)
DAY = timedelta(hours=24)
MESSAGES_PER_DAY = 56_000
GREYLISTED_FOR = timedelta(minutes=5)
THROTTLED_FOR = timedelta(minutes=3)
COMPLAINT_AFTER = timedelta(minutes=10)
# Refusals per message. Far enough from the thresholds (2 % warns, 3 % and 5 % quarantine) that one more or less in a
# window of 15 minutes changes no status.
ORDINARY_RATE = 0.008
GREYLISTED_SHARE = 0.3  # of the ordinary refusals; the rest are unknown users
NO_PTR_RATE = 0.025
THROTTLED_RATE = 0.12  # most of these are delivered three minutes later and then refused no more
EVERYBODY = CONSUMERS + BUSINESSES


@dataclass(frozen=True)
class Reply:
    """How an attempt ended: the event's type and what the receiving server said."""

    type: str  # delivery, bounce, defer, complaint
    smtp_code: int | None = None
    enhanced_code: str = ""
    text: str = ""


DELIVERED = Reply("delivery", 250, "2.0.0", "Queued for delivery")
COMPLAINED = Reply("complaint", text="Marked as spam by the recipient")
UNKNOWN_USER = Reply("bounce", 550, "5.1.1", "No such mailbox here")
GREYLISTED = Reply("defer", 450, "4.2.0", "Greylisted, please come back in five minutes")
SPAM = Reply("bounce", 550, "5.7.1", "This message looks like unsolicited mail and was blocked")
SLOW_DOWN = Reply("defer", 421, "4.7.28", "Unusual rate of unsolicited mail from your IP; its mail is limited for now")
NO_PTR = Reply("bounce", 550, "5.7.25", "The sending IP has no PTR record, or it does not match the forward record")
THROTTLED = Reply("defer", 421, "4.7.0", "Messages from your IP are deferred for now because of unusual volume")


@dataclass(frozen=True, order=True)
class Outcome:
    """The end of one delivery attempt, or a complaint."""

    at: datetime
    id: str
    message_id: str
    attempt: int
    ip: str
    reported_by: str
    sending_domain: str
    recipient: str
    mx: str
    reply: Reply


class Story:
    """Tells the minutes in order; remembers what was put off until later."""

    def __init__(self, *, seed: int, peak: datetime, bad_from: datetime) -> None:
        self._dice = random.Random(seed)  # noqa: S311 - a story, no secret
        self._peak = peak
        self._bad_from = bad_from
        self._due: defaultdict[Hashable, float] = defaultdict(self._dice.random)
        self._later: list[Outcome] = []

    def minute(self, start: datetime) -> list[Outcome]:
        """Everything that happens from `start` on for one minute, in order of time."""
        outcomes = [outcome for ip in CAST for outcome in self._mail_of(ip, start)]
        while self._later and self._later[0].at < start + MINUTE:
            outcomes.append(heapq.heappop(self._later))
        return sorted(outcomes)

    def _mail_of(self, ip: SendingIp, start: datetime) -> Iterator[Outcome]:
        # Twenty-four hours have one peak and one trough, a third as high.
        hours = (start - self._peak) / timedelta(hours=1)
        per_minute = MESSAGES_PER_DAY / 1440 * (1 + 0.5 * math.cos(2 * math.pi * hours / 24))
        for number in range(self._count(("mail", ip.address), per_minute * ip.share)):
            at = start + timedelta(seconds=self._dice.random() * 60)
            sender, mailboxes, reply = self._encounter(ip, at)
            message_id = f"{start:%Y%m%d%H%M}-{ip.address}-{number}"
            first = Outcome(
                at=at,
                id=f"{message_id}-1",
                message_id=message_id,
                attempt=1,
                ip=ip.address,
                reported_by=ip.reported_by,
                sending_domain=sender.domain,
                recipient=f"reader{self._dice.randrange(40_000)}@{mailboxes.domain}",
                mx=mailboxes.mx,
                reply=reply,
            )
            yield first
            self._what_follows(sender, first)

    def _encounter(self, ip: SendingIp, at: datetime) -> tuple[Sender, Mailboxes, Reply]:
        """Who writes to whom, and what comes of it. An IP has its own trouble or the ordinary kind, not both."""
        sender = self._dice.choices(ip.senders, [one.share for one in ip.senders])[0]
        mailboxes = self._dice.choices(EVERYBODY, [one.share for one in EVERYBODY])[0]
        if ip.role == "goes bad" and at >= self._bad_from:
            reply = self._dice.choices([SPAM, SLOW_DOWN, DELIVERED], [45, 15, 40])[0]
            return sender, mailboxes, reply if mailboxes is GMAIL else DELIVERED
        if ip.role == "no PTR record":
            return (sender, GMAIL, NO_PTR) if self._count(ip, NO_PTR_RATE) else (sender, mailboxes, DELIVERED)
        if ip.role == "throttled":
            return (sender, YAHOO, THROTTLED) if self._count(ip, THROTTLED_RATE) else (sender, mailboxes, DELIVERED)
        if not self._count(ip, ORDINARY_RATE):
            return sender, mailboxes, DELIVERED
        if self._dice.random() < GREYLISTED_SHARE:
            return sender, self._dice.choice(BUSINESSES), GREYLISTED
        careless = self._dice.choices(ip.senders, [one.unknown_users for one in ip.senders])[0]
        return careless, mailboxes, UNKNOWN_USER

    def _what_follows(self, sender: Sender, first: Outcome) -> None:
        if first.reply is GREYLISTED:
            self._put_off(first, GREYLISTED_FOR, DELIVERED)
        elif first.reply is THROTTLED:
            self._put_off(first, THROTTLED_FOR, DELIVERED)
        elif first.reply is SLOW_DOWN:
            self._put_off(first, THROTTLED_FOR, SPAM)
        elif first.reply is DELIVERED and self._count((sender.domain, "complaint"), sender.complaints):
            self._put_off(first, COMPLAINT_AFTER, COMPLAINED)

    def _put_off(self, first: Outcome, wait: timedelta, reply: Reply) -> None:
        values = {**first.__dict__, "at": first.at + wait, "reply": reply, "attempt": 2, "id": f"{first.message_id}-2"}
        heapq.heappush(self._later, Outcome(**values))

    def _count(self, what: Hashable, rate: float) -> int:
        """How often it happens this time, if it happens `rate` times on average: at even distances."""
        total = self._due[what] + rate
        self._due[what] = total % 1
        return int(total)
