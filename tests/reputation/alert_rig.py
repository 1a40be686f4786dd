"""Real servers on loopback that alerts are sent to: a web server that answers as a script says, and a mail server."""

from __future__ import annotations

import json
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from email import message_from_bytes
from email.message import Message
from email.policy import default
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from reputation.domain.alerting import Kind, Severity, Signal, SubjectKind
from reputation.models import AlertChannel
from tests.telemetry.metrics_page import reply

BAD = "192.0.2.66"


@dataclass
class Got:
    """One request."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Web:
    """What arrived; `statuses` are answered one after the other, then `status`."""

    port: int
    got: list[Got] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)
    status: int = 200
    location: str = ""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook"


@contextmanager
def web() -> Iterator[Web]:
    """A web server, until the test is over."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            seen.got.append(Got(self.path, dict(self.headers.items()), body))
            headers = {"Location": seen.location} if seen.location else {}
            reply(self, seen.statuses.pop(0) if seen.statuses else seen.status, b"{}", **headers)

        def do_GET(self) -> None:
            self.do_POST()

        def log_message(self, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    seen = Web(server.server_address[1])
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        yield seen
    finally:
        server.shutdown()
        server.server_close()


@dataclass
class Mail:
    """What a mail server took: (envelope recipients, message)."""

    port: int
    got: list[tuple[list[str], Message]] = field(default_factory=list)
    greeting: str = "220 mail.example ESMTP"
    answer_to_data: str = "250 2.0.0 Ok"


@contextmanager
def mail_server() -> Iterator[Mail]:
    """A mail server without TLS, until the test is over."""

    class Session(socketserver.StreamRequestHandler):
        def say(self, line: str) -> None:
            self.wfile.write(f"{line}\r\n".encode())

        def handle(self) -> None:
            recipients: list[str] = []
            self.say(seen.greeting)
            for raw in self.rfile:
                verb = raw[:4].upper()
                if verb == b"RCPT":
                    recipients.append(raw.decode().partition("<")[2].partition(">")[0])
                if verb == b"DATA":
                    self.say("354 Go ahead")
                    lines = []
                    while (line := self.rfile.readline()).rstrip(b"\r\n") != b".":
                        lines.append(line)
                    seen.got.append((recipients, message_from_bytes(b"".join(lines), policy=default)))
                    self.say(seen.answer_to_data)
                elif verb == b"QUIT":
                    self.say("221 Bye")
                    return
                else:
                    self.say("250 Ok")

    server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Session)
    server.daemon_threads = True
    seen = Mail(server.server_address[1])
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        yield seen
    finally:
        server.shutdown()
        server.server_close()


def channel(url: str, name: str = "ops", **fields: Any) -> AlertChannel:
    """A channel to that address."""
    key = fields.pop("key", "")
    row = AlertChannel(name=name, **fields)
    row.url, row.key = url, key
    row.save()
    return row


def signal(at: datetime, subject: str = BAD, **fields: Any) -> Signal:
    """News of a sending IP's status, unless told otherwise."""
    known: dict[str, Any] = {
        "kind": Kind.STATUS,
        "subject": subject,
        "subject_kind": SubjectKind.IP,
        "key": f"status:{subject}",
        "severity": Severity.WARNING,
        "sentence": f"{subject} went from healthy to warning.",
        "link": f"/ips/{subject}/",
    }
    return Signal(at=at, **(known | fields))
