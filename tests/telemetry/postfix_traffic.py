"""A believable Postfix log, and what a plain reader of its text counts in it."""

from __future__ import annotations

import heapq
import random
import re
from collections import Counter
from datetime import datetime, timedelta
from typing import NamedTuple

NAMES = {"postfix-ip-a": "192.0.2.11", "postfix-ip-b": "192.0.2.12", "postfix-ip-c": "192.0.2.13"}
DOMAINS = ("gmail.com", "outlook.com", "yahoo.com", "company.example")
SENDERS = ("news@good.example", "shop@other.example", "")
OUTCOMES = {
    "sent": ("2.0.0", "250 2.0.0 OK  1763640001 - gsmtp"),
    "deferred": ("4.7.1", "host {mx} said: 451 4.7.1 Greylisted (in reply to RCPT TO command)"),
    "bounced": ("5.7.1", "host {mx} said: 550 5.7.1 [192.0.2.11] blocked (in reply to RCPT TO command)"),
}


def log_of(messages: int, *, end: datetime, seed: int = 1) -> list[bytes]:
    """Lines of that many messages over the ten minutes before `end` (UTC): retried, refused, given up, still waiting."""
    chance = random.Random(seed)
    lines: list[tuple[datetime, int, str]] = []
    for number in range(messages):
        at = end - timedelta(seconds=chance.uniform(1, 600))
        queue_id = f"4jW{number:05d}z{chance.randint(1000, 9999)}"
        name = chance.choice(list(NAMES))
        recipients = [f"r{number}-{place}@{chance.choice(DOMAINS)}" for place in range(chance.choice([1, 1, 1, 2, 3]))]
        tries = {recipient: _tries(chance) for recipient in recipients}
        _add(lines, at, f"postfix/smtpd[7]: {queue_id}: client=localhost[127.0.0.1]")
        for attempt in range(max(map(len, tries.values()))):
            size = f"size={chance.randint(300, 90000)}, nrcpt={len(recipients)} (queue active)"
            _add(lines, at, f"postfix/qmgr[9]: {queue_id}: from=<{SENDERS[number % len(SENDERS)]}>, {size}")
            for recipient, statuses in tries.items():
                if attempt < len(statuses):
                    _add(
                        lines,
                        at,
                        f"{name}/smtp[{chance.randint(20, 40)}]: {_outcome(queue_id, recipient, statuses[attempt])}",
                    )
            at += timedelta(seconds=chance.uniform(5, 40))
        if all(statuses[-1] != "deferred" for statuses in tries.values()):
            _add(lines, at, f"postfix/qmgr[9]: {queue_id}: removed")
        if number % 9 == 0:
            _add(
                lines,
                at,
                f"postfix/local[3]: {queue_id}: to=<root@mta>, relay=local, delay=0, dsn=2.0.0, status=sent (ok)",
            )
    heapq.heapify(lines)
    return [heapq.heappop(lines)[2].encode() for _ in range(len(lines))]


def _tries(chance: random.Random) -> list[str]:
    deferred = ["deferred"] * chance.choice([0, 0, 0, 1, 2, 3])
    still_waits = deferred and chance.random() < 0.2
    return deferred if still_waits else [*deferred, chance.choice(["sent", "sent", "bounced"])]


def _outcome(queue_id: str, recipient: str, status: str) -> str:
    mx = f"mx.{recipient.partition('@')[2]}[198.51.100.7]"
    dsn, text = OUTCOMES[status]
    return f"{queue_id}: to=<{recipient}>, relay={mx}:25, delay=1, delays=0/0/0/1, dsn={dsn}, status={status} ({text.format(mx=mx)})"


def _add(lines: list[tuple[datetime, int, str]], at: datetime, text: str) -> None:
    lines.append((at, len(lines), f"{at:%b} {at.day:2d} {at:%H:%M:%S} mta {text}"))


class Counts(NamedTuple):
    """By syslog name and status, and by syslog name the deferrals after which the log shows more of the message."""

    outcomes: Counter[tuple[str, str]]
    superseded: Counter[str]


def count(lines: list[bytes]) -> Counts:
    """What a reader with grep sees. Knows nothing of the product's code."""
    outcomes: Counter[tuple[str, str]] = Counter()
    superseded: Counter[str] = Counter()
    waiting: dict[tuple[str, str], str] = {}
    for line in lines:
        if b"/smtp[" not in line or b" to=<" not in line:
            continue
        name, queue_id, recipient = re.search(rb" (\S+)/smtp\[\d+\]: (\w+): to=<([^>]*)>", line).groups()  # type: ignore[union-attr]
        status = line.split(b"status=")[1].split(b" ")[0].decode()
        outcomes[name.decode(), status] += 1
        if before := waiting.pop((queue_id.decode(), recipient.decode()), ""):
            superseded[before] += 1
        if status == "deferred":
            waiting[queue_id.decode(), recipient.decode()] = name.decode()
    return Counts(outcomes, superseded)
