"""Load over HTTP: requests at fixed moments (open loop) or as fast as they are answered, from a process of its own.

In the open loop the moments do not wait for answers: a request that finds no free connection waits in line, and its
latency counts from the moment at which it was due. A server that stalls is charged for everybody who came meanwhile.

Run as ``python -m bench.load URL TOKEN --size N --seconds S [--rate R] [--connections C]``; prints one JSON object.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import secrets
import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

RECIPIENTS = ("gmail.com", "outlook.com", "yahoo.com", "web.de", "d1.example", "d2.example", "d3.example", "d4.example")
# Different events that the generator goes through; ids are new in each.
VARIETY = 400
TICK = 0.001


def event(number: int, mark: str, at: str) -> bytes:
    """One documented event of 20 sending IPs and 50 senders, 5 % refused; `mark` stands where its id goes."""
    refused = number % 20 == 0
    domain = RECIPIENTS[number % len(RECIPIENTS)]
    data = {
        "ip": f"192.0.2.{number % 20 + 1}",
        "recipient": f"recipient{number}@{domain}",
        "smtp_code": 550 if refused else 250,
        "enhanced_code": "5.7.1" if refused else "2.0.0",
        "reason": "refused for reasons of policy" if refused else "OK queued as 4711",
        "mx": "gmail-smtp-in.l.google.com" if domain == "gmail.com" else f"mx.{domain}",
        "attempt_number": 1,
        "sender": f"news@sender{number % 50}.example",
        "message_id": f"queue-{number}",
    }
    kind = "smtp.delivery.failure" if refused else "smtp.delivery.success"
    return json.dumps({"id": mark, "createdAt": at, "type": kind, "data": data}).encode()


def bodies(size: int) -> Callable[[], bytes]:
    """A function that returns the next body of that many events, none of them like an earlier one."""
    run, at = secrets.token_hex(6), datetime.now(UTC).isoformat()
    parts = [event(number, "#", at).split(b"#") for number in range(VARIETY)]
    count = 0

    def body() -> bytes:
        nonlocal count
        pieces = []
        for _ in range(size):
            head, tail = parts[count % VARIETY]
            pieces.append(b"%b%b-%012d%b" % (head, run.encode(), count, tail))
            count += 1
        return b'{"events":[%b]}' % b",".join(pieces)

    return body


@dataclass
class Outcome:
    """What came back: statuses, and the latency of each answered request in seconds."""

    statuses: Counter[int] = field(default_factory=Counter)
    latencies: list[float] = field(default_factory=list)
    broken: int = 0


class Connection(asyncio.Protocol):
    """One keep-alive connection with one request under way."""

    def __init__(self, load: Load) -> None:
        self.load = load
        self.transport: Any = None
        self.due = 0.0
        self.buffer = b""

    def connection_made(self, transport: Any) -> None:
        """Ready for work."""
        self.transport = transport
        self.load.idle.append(self)

    def send(self, request: bytes, due: float) -> None:
        """Send a request that was due at that moment."""
        self.due = due
        self.transport.write(request)

    def data_received(self, data: bytes) -> None:
        """Collect an answer; at its end take the next request."""
        self.buffer = self.buffer + data if self.buffer else data
        head = self.buffer.find(b"\r\n\r\n")
        if head == -1:
            return
        headers = self.buffer[:head].lower()
        at = headers.find(b"content-length:")
        length = int(headers[at + 15 :].split(b"\r\n", 1)[0]) if at != -1 else 0
        if len(self.buffer) < head + 4 + length:
            return
        status = int(self.buffer[9:12])
        self.buffer = b""
        self.load.answered(self, status)

    def connection_lost(self, error: Exception | None) -> None:
        """A connection that breaks takes its request with it."""
        self.load.lost(self)


class Load:
    """Sends requests over a fixed number of connections."""

    connection: type[Connection] = Connection
    tick = TICK
    """How long to sleep between looks at the clock, in seconds; 0 for a generator that has a core to itself."""

    def __init__(self, url: str, token: str, size: int, rate: float | None, connections: int) -> None:
        parts = urlsplit(url)
        self.host, self.port, self.path = parts.hostname or "127.0.0.1", parts.port or 80, parts.path
        self.body = bodies(size)
        self.rate, self.connections = rate, connections
        self.header = (
            f"POST {self.path} HTTP/1.1\r\nHost: {self.host}:{self.port}\r\nAuthorization: Bearer {token}\r\n"
            "Content-Type: application/json\r\nContent-Length: "
        ).encode()
        self.idle: deque[Connection] = deque()
        self.waiting: deque[float] = deque()
        self.outcome = Outcome()
        self.ends = 0.0
        self.under_way = 0

    def request(self) -> bytes:
        """The next request."""
        body = self.body()
        return b"%b%d\r\n\r\n%b" % (self.header, len(body), body)

    def answered(self, connection: Connection, status: int) -> None:
        """Note an answer and give the connection its next request, if one is due."""
        now = time.perf_counter()
        self.outcome.statuses[status] += 1
        self.outcome.latencies.append(now - connection.due)
        self.under_way -= 1
        if self.rate is None:
            if now < self.ends:
                self.under_way += 1
                connection.send(self.request(), now)
        elif self.waiting:
            self.under_way += 1
            connection.send(self.request(), self.waiting.popleft())
        else:
            self.idle.append(connection)

    def lost(self, connection: Connection) -> None:
        """Count a broken connection."""
        if time.perf_counter() < self.ends:
            self.outcome.broken += 1
            if connection in self.idle:
                self.idle.remove(connection)
            else:
                self.under_way -= 1

    async def run(self, seconds: float) -> Outcome:
        """Send for that long, then wait for what is under way."""
        loop = asyncio.get_running_loop()
        for _ in range(self.connections):
            await loop.create_connection(lambda: self.connection(self), self.host, self.port)
        start = time.perf_counter()
        self.ends = start + seconds
        if self.rate is None:
            for connection in list(self.idle):
                self.under_way += 1
                connection.send(self.request(), time.perf_counter())
            self.idle.clear()
            await asyncio.sleep(seconds)
        else:
            await self._at_fixed_moments(start, self.rate)
        patience = time.perf_counter() + 30
        while (self.under_way or self.waiting) and time.perf_counter() < patience:
            await asyncio.sleep(0.01)
        return self.outcome

    async def _at_fixed_moments(self, start: float, rate: float) -> None:
        sent = 0
        while (now := time.perf_counter()) < self.ends:
            while (due := start + sent / rate) <= now:
                sent += 1
                if self.idle:
                    self.under_way += 1
                    self.idle.popleft().send(self.request(), due)
                else:
                    self.waiting.append(due)
            await asyncio.sleep(self.tick)


def percentile(values: list[float], share: float) -> float:
    """The value that this share of the sorted values does not exceed, in milliseconds."""
    return 1000 * values[min(len(values) - 1, int(share * len(values)))] if values else float("nan")


def main() -> None:
    """Parse the command line, send, print what came back."""
    parser = argparse.ArgumentParser(prog="python -m bench.load", description=__doc__)
    parser.add_argument("url")
    parser.add_argument("token")
    parser.add_argument("--size", type=int, default=1, help="events per request")
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--rate", type=float, help="requests per second offered; without it as fast as answered")
    parser.add_argument("--connections", type=int, default=64)
    options = parser.parse_args()
    load = Load(options.url, options.token, options.size, options.rate, options.connections)
    start = time.perf_counter()
    outcome = asyncio.run(load.run(options.seconds))
    took = time.perf_counter() - start
    latencies = sorted(outcome.latencies)
    answers = {
        "requests": len(latencies),
        "seconds": took,
        "statuses": {str(status): count for status, count in outcome.statuses.items()},
        "broken": outcome.broken,
        "requests_per_second": outcome.statuses[200] / took,
        "events_per_second": outcome.statuses[200] * options.size / took,
        "cpu": time.process_time(),
        **{f"p{int(share * 100)}": percentile(latencies, share) for share in (0.5, 0.95, 0.99)},
        "max": percentile(latencies, 1),
    }
    print(json.dumps(answers))


if __name__ == "__main__":
    main()
