"""Postfix lines to another machine: events as NDJSON to its /api/events, position and joins in a file here.

The state file is replaced after the other side has answered that it stored the events. A crash in between sends them
again with the same event ids, and they count once.
"""

from __future__ import annotations

import fcntl
import http.client
import json
import logging
import os
import random
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec

from telemetry.domain.event import Event
from telemetry.domain.postfix_joins import Key, Message, Setting, Tally, join, keys_of, records_of
from telemetry.following import CannotFollowError, Stop
from telemetry.growing_file import Position

log = logging.getLogger(__name__)

EVENTS_PATH = "/api/events"
TIMEOUT = timedelta(seconds=60)
FIRST_PAUSE, LONGEST_PAUSE = timedelta(seconds=1), timedelta(minutes=5)
# Under the server's default limit of 5 MB and 20,000 events whatever the lines hold.
MOST_BYTES = 1024 * 1024
FORGET_AFTER = timedelta(days=7)
WRITE_EVERY = timedelta(seconds=10)


class StoppedError(Exception):
    """Asked to stop while the other side could not take the events; they are sent the next time."""


class State:
    """Position and joins in a file that only one shipper uses at a time; replaced as a whole, never half-written."""

    def __init__(self, path: Path, *, log_path: str, url: str) -> None:
        """Read the file, or begin without one. Raises CannotFollowError when it is in use or about something else."""
        self.path = path
        self.position: Position | None = None
        self.stored_at: datetime | None = None
        self.messages: dict[Key, Message] = {}
        self.seen: dict[Key, float] = {}
        """When each message last changed, Unix seconds."""
        self._about = {"log": log_path, "url": url}
        path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if path.exists():
                self._read()
        except BlockingIOError:
            self.close()
            raise CannotFollowError(f"Another follower uses the state file {path}.") from None
        except CannotFollowError:
            self.close()
            raise

    def _read(self) -> None:
        try:
            stored = json.loads(self.path.read_text(encoding="utf-8"))
            about, position = stored["about"], stored["position"]
            self.position = Position(**position) if position is not None else None
            self.stored_at = datetime.fromisoformat(stored["stored_at"])
            for host, queue_id, sender, attempts, seen in stored["messages"]:
                self.messages[host, queue_id] = Message(sender, attempts)
                self.seen[host, queue_id] = seen
        except (ValueError, KeyError, TypeError) as error:
            raise CannotFollowError(f"{self.path} is no state file of a follower ({error}).") from None
        if about != self._about:
            raise CannotFollowError(
                f"{self.path} belongs to the log {about.get('log')} sent to {about.get('url')}. Name another --state."
            )

    def close(self) -> None:
        """Let others use the file."""
        os.close(self._lock)

    def is_old(self, now: datetime) -> bool:
        """Whether it is time to write the position down though nothing was sent."""
        return self.stored_at is None or now - self.stored_at >= WRITE_EVERY

    def write(
        self, position: Position | None, messages: Mapping[Key, Message], changed: set[Key], now: datetime
    ) -> None:
        """Replace what is stored; what was silent for a week is dropped."""
        self.seen |= dict.fromkeys(changed, now.timestamp())
        horizon = (now - FORGET_AFTER).timestamp()
        self.messages = {key: message for key, message in messages.items() if self.seen[key] >= horizon}
        self.seen = {key: self.seen[key] for key in self.messages}
        self.position, self.stored_at = position, now
        entries = [
            [*key, message.sender, message.attempts, self.seen[key]] for key, message in sorted(self.messages.items())
        ]
        text = json.dumps(
            {
                "about": self._about,
                "position": asdict(position) if position is not None else None,
                "stored_at": now.isoformat(),
                "messages": entries,
            }
        )
        fresh = self.path.with_name(f"{self.path.name}.new")
        fd = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with os.fdopen(fd, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(self.path)
        folder = os.open(self.path.parent, os.O_RDONLY | os.O_CLOEXEC)
        os.fsync(folder)
        os.close(folder)


class Remote:
    """The ledger on another machine."""

    def __init__(self, url: str, token_file: Path, state: State, setting: Setting, stop: Stop) -> None:
        self._url = url
        self._token_file = token_file
        self._state = state
        self._setting = setting
        self._stop = stop

    def first_position(self, position: Position | None) -> None:
        """Store where reading begins, so that a restart does not begin elsewhere."""
        self._state.write(position, {}, set(), datetime.now(UTC))

    def record(self, lines: Sequence[bytes], position: Position | None, *, now: datetime) -> Tally:
        """See `Ledger`. Raises StoppedError, and CannotFollowError when the other side refuses us for good."""
        records, count = records_of(lines)
        keys = keys_of(records)
        if not records and not self._state.is_old(now):
            return Tally(lines=count)  # reading these lines again changes nothing
        messages = dict(self._state.messages)
        messages |= {key: Message(messages[key].sender, dict(messages[key].attempts)) for key in keys & messages.keys()}
        events, tally = join(records, messages, self._setting, now=now)
        for body, number in bodies(events):
            self._insist(body, number)
        self._state.write(position, messages, keys & messages.keys(), now)
        tally.lines = count
        return tally

    def _insist(self, body: bytes, number: int) -> None:
        """Send until it is stored; pauses grow from one second to five minutes, unless the other side names one."""
        pause = FIRST_PAUSE.total_seconds()
        while True:
            try:
                status, headers, answer = _post(self._url, self._token(), body)
            except (OSError, http.client.HTTPException) as error:
                status, headers, answer, why = 0, {}, b"", f"{type(error).__name__}: {error}"
            else:
                why = f"status {status}"
            if 200 <= status < 300:
                _check(answer, number)
                return
            if 300 <= status < 500 and status not in (408, 429):
                raise CannotFollowError(f"{self._url} answered {status}: {_detail(answer)}")
            wait = retry_after(headers.get("retry-after", ""), now=datetime.now(UTC))
            wait = wait if wait is not None else pause * random.uniform(0.5, 1)  # noqa: S311 - spreads retries
            log.warning("the events could not be sent; trying again", extra={"why": why, "in_seconds": round(wait, 1)})
            if self._stop.wait(wait):
                raise StoppedError
            pause = min(pause * 2, LONGEST_PAUSE.total_seconds())

    def _token(self) -> str:
        # Read each time, so that a token can be rotated while we run.
        try:
            return self._token_file.read_text(encoding="utf-8").strip()
        except OSError as error:
            raise CannotFollowError(f"The token file {self._token_file} cannot be read: {error.strerror}.") from None


def events_url(given: str) -> str:
    """The full URL of the events endpoint; raises CannotFollowError for what is no http(s) URL."""
    parts = urlsplit(given)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.query or parts.fragment:
        raise CannotFollowError(f"{given!r} is no URL such as https://standing.example.com")
    return parts._replace(path=EVENTS_PATH if parts.path in ("", "/") else parts.path).geturl()


def bodies(events: Sequence[Event]) -> Iterator[tuple[bytes, int]]:
    """NDJSON bodies of a bounded size, each with its number of events."""
    lines: list[bytes] = []
    size = 0
    for event in events:
        line = msgspec.json.encode(_as_json(event)) + b"\n"
        if lines and size + len(line) > MOST_BYTES:
            yield b"".join(lines), len(lines)
            lines, size = [], 0
        lines.append(line)
        size += len(line)
    if lines:
        yield b"".join(lines), len(lines)


def retry_after(text: str, *, now: datetime) -> float | None:
    """Seconds to wait as a Retry-After header says (RFC 9110 section 10.2.3), at most an hour, or None."""
    wait: float | None = None
    if text.strip().isdigit():
        wait = float(text)
    else:
        with suppress(ValueError, TypeError):
            when = parsedate_to_datetime(text)
            wait = ((when if when.tzinfo else when.replace(tzinfo=UTC)) - now).total_seconds()
    return None if wait is None else min(max(wait, 0.0), 3600.0)


def _as_json(event: Event) -> dict[str, Any]:
    fields = {name: value for name, value in asdict(event).items() if value not in ("", None)}
    del fields["future"]
    return fields


def _post(url: str, token: str, body: bytes) -> tuple[int, dict[str, str], bytes]:
    parts = urlsplit(url)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = kind(parts.hostname or "", parts.port, timeout=TIMEOUT.total_seconds())
    try:
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/x-ndjson"}
        # Redirects are not followed: the token is for this address only.
        connection.request("POST", parts.path, body, headers)
        response = connection.getresponse()
        return (
            response.status,
            {name.lower(): value for name, value in response.getheaders()},
            response.read(MOST_BYTES),
        )
    finally:
        connection.close()


def _check(answer: bytes, number: int) -> None:
    """Make sure that it was Good Standing that answered, and say what it did not take."""
    try:
        taken = json.loads(answer)
        total, failed, errors = taken["total"], taken["failed"], taken["errors"]
    except (ValueError, KeyError, TypeError):
        total, failed, errors = -1, 0, []
    if total != number:
        raise CannotFollowError("The answer is not that of Good Standing's events endpoint. Look at the URL.")
    if failed:
        first = errors[0] if errors else {}
        log.error(
            "the other side refused events and keeps them as rejected",
            extra={"events": failed, "field": first.get("field"), "problem": first.get("message")},
        )


def _detail(answer: bytes) -> str:
    try:
        return str(json.loads(answer)["detail"])
    except (ValueError, KeyError, TypeError):
        return answer[:200].decode("utf-8", "replace") or "no explanation"
