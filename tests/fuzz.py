"""``python -m tests.fuzz NAME [--seconds N]``: a parser against mutated input, until time is up or something escapes.

Mutation of known-good records, without coverage guidance: bytes flipped, cut, doubled and spliced, JSON values replaced
by hostile ones. What a parser may do is return or raise ParseError; anything else is printed with its input, and the
exit code is 1. `make fuzz` runs all of them side by side.
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import random
import sys
import time
import traceback
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "reputation_site.settings")
django.setup()

from telemetry.domain import postfix_log  # noqa: E402
from telemetry.domain.errors import ParseError  # noqa: E402
from telemetry.parsers import report_mail, stalwart  # noqa: E402
from telemetry.parsers.registry import PARSERS  # noqa: E402

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
HOSTILE = [
    None,
    True,
    -1,
    0,
    2**64,
    10**400,
    1e308,
    "",
    "\x00",
    "\ud800",
    "<>",
    "0.0.0.0",
    "::ffff:1.2.3.4",
    [],
    {},
    [[]],
    "9" * 5000,
    "2026-11-20T12:00:00",
    "ü@bücher.example",
    "a@" + "b." * 200,
]
DATA = {
    "ip": "192.0.2.1",
    "recipient": "a@gmail.com",
    "smtp_code": 550,
    "enhanced_code": "5.7.1",
    "reason": "no",
    "mx": "mx.example",
    "attempt_number": 1,
    "sender": "b@c.example",
}
SPAN = {
    "spanId": 212008089975525379,
    "queueId": 212008089975525120,
    "hostname": "mx.example",
    "to": "b@gmail.com",
    "from": "a@b.example",
    "size": 1,
    "total": 2,
}
SEEDS: dict[str, list[Any]] = {
    "documented": [{"id": "1", "createdAt": "2026-11-20T12:00:00Z", "type": "smtp.delivery.failure", "data": DATA}],
    "generic": [{"type": "defer", "occurred_at": 1763640000, "sending_ip": "192.0.2.1", "recipient": "a@b.example", "smtp_code": 451, "enhanced_code": "4.7.1", "message_id": "q", "event_id": 7}],
    "kumomta": [
        {"type": kind, "id": "d7ef", "sender": "news@example.com", "recipient": ["a@outlook.com", "b@outlook.com"], "queue": "c:t@outlook.com", "site": "ip-1->mx.", "size": 1, "response": {"code": 451, "enhanced_code": {"class": 4, "subject": 7, "detail": 650}, "content": "limited", "command": "MAIL"}, "peer_address": {"name": "mx.", "addr": "192.0.2.9"}, "timestamp": 1763640000, "event_time": "2026-11-20T12:00:00.123456789Z", "created": 1763639990, "num_attempts": 0, "egress_source": "ip-1", "source_address": {"address": "203.0.113.10:41234"}, "feedback_report": {"feedback_type": "abuse", "source_ip": "203.0.113.10", "original_mail_from": "a@b.example", "original_rcpto_to": ["c@d.example"], "reported_domain": ["b.example"], "incidents": 2}, "nodeid": "n"}
        for kind in ("TransientFailure", "Feedback", "OOB", "Delivery")
    ],
    "stalwart": [
        {"id": "17", "createdAt": "2026-11-20T12:00:00Z", "type": kind, "data": SPAN | more}
        for kind, more in (
            ("delivery.connect", {"localIp": "203.0.113.10", "remoteIp": "192.0.2.2", "to": ["b@gmail.com"], "domain": "gmail.com"}),
            ("delivery.dsn-perm-fail", {"details": "Unexpected response for RCPT TO:<b@gmail.com>: Code: 550, Enhanced code: 5.1.1, Message: no."}),
            ("delivery.mail-from-rejected", {"causedBy": {"type": "smtp.error", "data": {"details": "x", "code": 550, "reason": "S3150"}}, "to": ["c@outlook.com"]}),
            ("incoming-report.abuse-report", {"rangeFrom": "2026-11-20T11:58:00Z", "domain": ["example.com"], "remoteIp": "203.0.113.10", "total": 1}),
        )
    ],
    "powermta": [{"type": "b", "timeLogged": "2026-11-20 12:00:00+0000", "orig": "a@b.example", "rcpt": "c@d.example", "dsnStatus": "5.7.1 (policy)", "dsnDiag": "smtp;550 5.7.1 no", "dsnMta": "mx.example (192.0.2.2)", "dlvSourceIp": "203.0.113.10", "jobId": "j", "vmta": "v"}],
    "postfix": [
        b"Nov 20 15:00:19 mta postfix/smtp[20006]: 3C3DF224138: to=<block@gmail.test>, relay=mx[192.0.2.1]:25, delay=0.03, delays=0.01/0.01/0/0.01, dsn=5.7.1, status=bounced (host mx[192.0.2.1] said: 550 5.7.1 [IP] blocked (in reply to RCPT TO command))",
        b"2026-11-20T15:00:18.1+01:00 mta postfix-ip10/qmgr[9]: 4hXy2z0Zz8zBT: from=<news@good.example>, size=304, nrcpt=2 (queue active)",
    ],
    "report_mail": [
        b"From: fbl@isp.example\r\nDate: Fri, 20 Nov 2026 12:00:00 +0000\r\nMIME-Version: 1.0\r\nContent-Type: multipart/report; report-type=feedback-report; boundary=\"b\"\r\n\r\n--b\r\nContent-Type: text/plain\r\n\r\nHi\r\n--b\r\nContent-Type: message/feedback-report\r\n\r\nFeedback-Type: abuse\r\nUser-Agent: x/1\r\nVersion: 1\r\nSource-IP: 203.0.113.10\r\nOriginal-Mail-From: <a@b.example>\r\nOriginal-Rcpt-To: <c@d.example>\r\nIncidents: 2\r\n\r\n--b\r\nContent-Type: message/rfc822\r\n\r\nFrom: a@b.example\r\nSubject: =?utf-8?q?s?=\r\n\r\nbody\r\n--b--\r\n",
        b"From: MAILER-DAEMON@mx.example\r\nDate: Fri, 20 Nov 2026 12:00:00 +0000\r\nMIME-Version: 1.0\r\nContent-Type: multipart/report; report-type=delivery-status; boundary=\"b\"\r\n\r\n--b\r\nContent-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; mx.example\r\n\r\nFinal-Recipient: rfc822; c@d.example\r\nAction: failed\r\nStatus: 5.1.1\r\nDiagnostic-Code: smtp; 550-5.1.1 no\r\n 550 5.1.1 such user\r\nRemote-MTA: dns; mx.d.example\r\n\r\n--b\r\nContent-Type: text/rfc822-headers\r\n\r\nFrom: a@b.example\r\n\r\n--b--\r\n",
    ],
}  # fmt: skip


def parse_with(name: str) -> Callable[[bytes], object]:
    """How this format is read."""
    if name == "postfix":

        def read(raw: bytes) -> object:
            line = postfix_log.split(raw.decode("utf-8", "replace"))
            return None if line is None else postfix_log.read(line)

        return read
    if name == "report_mail":
        return lambda raw: report_mail.read_mail(raw, NOW, {})
    if name == "stalwart":
        return lambda raw: stalwart.parse(raw, NOW)
    return lambda raw: PARSERS[name].events(raw, NOW, {"ip-1": "203.0.113.9", "v": "203.0.113.8"})


def spoilt(seed: Any, chance: random.Random) -> bytes:
    """The seed with some of it replaced."""
    if isinstance(seed, dict) and chance.random() < 0.7:
        value = json.loads(json.dumps(seed))
        for _ in range(chance.randint(1, 4)):
            place = value
            while True:
                key = chance.choice(list(place)) if isinstance(place, dict) else chance.randrange(len(place))
                if not isinstance(place[key], dict | list) or not place[key] or chance.random() < 0.3:
                    break
                place = place[key]
            place[key] = copy.deepcopy(chance.choice(HOSTILE))
        return json.dumps(value).encode()
    raw = bytearray(seed if isinstance(seed, bytes) else json.dumps(seed).encode())
    for _ in range(chance.randint(1, 8)):
        at, end = sorted((chance.randrange(len(raw) + 1), chance.randrange(len(raw) + 1)))
        how = chance.randrange(5)
        if how == 0 and raw:
            raw[chance.randrange(len(raw))] = chance.randrange(256)
        elif how == 1:
            del raw[at : min(end, at + 12)]
        elif how == 2:
            raw[at:at] = raw[at : min(end, at + 40)]
        elif how == 3:
            raw[at:at] = bytes(chance.randrange(256) for _ in range(chance.randint(1, 4)))
        else:
            raw[at:at] = chance.choice(
                [b"\x00", b"\xff\xfe", b"\r\n\r\n", b"--b\r\n", b'"', b"=?x?q?", b"[[[[", b"9" * 300, b"(", b"<>"]
            )
    return bytes(raw)


def main() -> int:
    """Fuzz one parser; exit code 1 when something escaped."""
    options = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    options.add_argument("name", choices=sorted(SEEDS))
    options.add_argument("--seconds", type=float, default=600)
    options.add_argument("--seed", type=int, default=int(time.time()))
    given = options.parse_args()
    chance, parse, tried = random.Random(given.seed), parse_with(given.name), 0
    ends = time.monotonic() + given.seconds
    while time.monotonic() < ends:
        raw = spoilt(chance.choice(SEEDS[given.name]), chance)
        tried += 1
        try:
            parse(raw)
        except ParseError:
            continue
        except Exception:  # noqa: BLE001 - that is what is looked for
            traceback.print_exc()
            print(f"{given.name}: escaped at {raw!r}", file=sys.stderr)
            return 1
    print(f"{given.name}: {tried:,} inputs, nothing escaped")
    return 0


if __name__ == "__main__":
    sys.exit(main())
