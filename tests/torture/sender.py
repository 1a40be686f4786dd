"""An open-loop sender that never forgets: batches at fixed moments, each sent again until it is acknowledged.

What was answered with 200 is in the ledger; afterwards the database has to agree with it.
"""

from __future__ import annotations

import heapq
import http.client
import itertools
import json
import random
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

PATH = "/api/webhooks/stalwart/delivery-failure"
SENDERS = 10
RETRY_AFTER = 0.5
TIMEOUT = 15.0
# Of the batches whose first attempt failed every so many are given up: a sender that died with them.
GIVEN_UP = 10
# Past this many waiting batches the sender makes no new ones; a real one's spool has an end too.
LONGEST_LINE = 1_500
# 503 is "try again", 429 "slower"; nothing else is expected of a house whose parts are failing.
EXPECTED = (200, 503, 429)
DOMAINS = ("gmail.com", "outlook.com", "yahoo.com", "web.de", "company.example")


@dataclass(order=True)
class Batch:
    """Some events that go in one request, whenever that succeeds."""

    due: float
    number: int
    ids: list[str] = field(compare=False)
    body: bytes = field(compare=False)
    tries: int = field(default=0, compare=False)


@dataclass
class Rates:
    """Requests a second, by how many events they hold."""

    singles: float = 20.0
    hundreds: float = 2.0
    thousands: float = 0.5

    @property
    def events(self) -> float:
        """Events a second."""
        return self.singles + 100 * self.hundreds + 1_000 * self.thousands


class Sender:
    """Sends from `start` until `finish`; thread-safe."""

    def __init__(self, port: int, token: str, rates: Rates, seed: int = 1) -> None:
        self.port, self.token, self.rates = port, token, rates
        self.acknowledged: dict[int, list[str]] = {}
        self.given_up: dict[int, list[str]] = {}
        self.statuses: Counter[str] = Counter()
        self.odd: list[str] = []
        self.latest_answered_start = 0.0
        """When the latest request began (monotonic) that was acknowledged."""
        self.longest_gap: float = 0.0
        self._lock = threading.Condition()
        self._line: list[Batch] = []
        self._under_way = 0
        self._made = itertools.count()
        self._events = itertools.count()
        self._chance = random.Random(seed)
        self._making = threading.Event()
        self._over = threading.Event()
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        """Begin."""
        self._making.set()
        self._threads = [threading.Thread(target=self._make, daemon=True)]
        self._threads += [threading.Thread(target=self._send, daemon=True) for _ in range(SENDERS)]
        for thread in self._threads:
            thread.start()

    @property
    def refused(self) -> int:
        """How many requests were not acknowledged so far."""
        return sum(self.statuses.values()) - self.statuses["200"]

    @property
    def events_acknowledged(self) -> int:
        """How many events were acknowledged so far."""
        with self._lock:
            return sum(len(ids) for ids in self.acknowledged.values())

    def finish(self, *, seconds: float) -> bool:
        """Make no new batches and send what waits; whether everything was acknowledged in that time."""
        self._making.clear()
        deadline = time.monotonic() + seconds
        with self._lock:
            while (self._line or self._under_way) and time.monotonic() < deadline:
                self._lock.wait(0.2)
            done = not self._line and not self._under_way
        self._over.set()
        return done

    def _make(self) -> None:
        due = {1: 0.0, 100: 0.0, 1_000: 0.0}
        rates = {1: self.rates.singles, 100: self.rates.hundreds, 1_000: self.rates.thousands}
        begin = time.monotonic()
        while self._making.is_set():
            moment = time.monotonic() - begin
            for size, rate in rates.items():
                while rate and due[size] <= moment:
                    due[size] += 1 / rate
                    if len(self._line) < LONGEST_LINE:
                        self._put(self._batch(size))
            time.sleep(0.02)

    def _batch(self, size: int) -> Batch:
        now = datetime.now(UTC)
        events = [_event(next(self._events), now) for _ in range(size)]
        body = json.dumps({"events": events}).encode()
        return Batch(time.monotonic(), next(self._made), [event["id"] for event in events], body)

    def _put(self, batch: Batch) -> None:
        with self._lock:
            heapq.heappush(self._line, batch)
            self._lock.notify()

    def _take(self) -> Batch | None:
        with self._lock:
            while not self._over.is_set():
                wait = self._line[0].due - time.monotonic() if self._line else 0.5
                if self._line and wait <= 0:
                    self._under_way += 1
                    return heapq.heappop(self._line)
                self._lock.wait(min(wait, 0.5))
        return None

    def _send(self) -> None:
        while (batch := self._take()) is not None:
            begun = time.monotonic()
            status = self._post(batch)
            batch.tries += 1
            with self._lock:
                self._under_way -= 1
                self.statuses[status] += 1
                if status == "200":
                    self.acknowledged[batch.number] = batch.ids
                    self.latest_answered_start = max(self.latest_answered_start, begun)
                elif batch.tries == 1 and batch.number % GIVEN_UP == 0:
                    self.given_up[batch.number] = batch.ids
                else:
                    batch.due = time.monotonic() + RETRY_AFTER * self._chance.uniform(0.8, 1.2)
                    heapq.heappush(self._line, batch)
                self._lock.notify()

    def _post(self, batch: Batch) -> str:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=TIMEOUT)
        headers = {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"}
        try:
            connection.request("POST", PATH, batch.body, headers)
            answer = connection.getresponse()
            told = answer.read()
        except (OSError, http.client.HTTPException):
            return "broken"
        finally:
            connection.close()
        if answer.status not in EXPECTED or (answer.status == 200 and json.loads(told)["failed"]):
            self.odd.append(f"{answer.status}: {told[:300].decode('utf-8', 'replace')}")
            return "odd"
        return str(answer.status)


def _event(number: int, now: datetime) -> dict[str, Any]:
    """One of a crowd: ten IPs of which the last is refused often, messages that are deferred and come again."""
    last, message, attempt = number % 10, number, 1
    bad = (number // 7) % 10 == 9
    if bad and last in (1, 2, 4):
        smtp_code, enhanced, reason = 550, "5.7.1", "550 5.7.1 refused for reasons of policy"
    elif last == 3:
        smtp_code, enhanced, reason = 451, "4.7.1", "451 4.7.1 try again later"
    else:
        smtp_code, enhanced, reason = 250, "2.0.0", "250 2.0.0 taken"
    if last == 7:
        # The outcome of what was deferred four events ago; it may overtake that.
        message, attempt = number - 4, 2
    domain = DOMAINS[message % len(DOMAINS)]
    return {
        "id": f"event-{number}",
        "createdAt": (now - timedelta(seconds=number % 180)).isoformat(),
        "type": "smtp.delivery.success" if smtp_code == 250 else "smtp.delivery.failure",
        "data": {
            "ip": f"198.51.100.{9 if bad else number % 9}",
            "sender": f"news@sender{number % 5}.example",
            "recipient": f"someone{message}@{domain}",
            "smtp_code": smtp_code,
            "enhanced_code": enhanced,
            "reason": reason,
            "mx": f"mx.{domain}",
            "attempt_number": attempt,
            "message_id": f"queue-{message}",
        },
    }
