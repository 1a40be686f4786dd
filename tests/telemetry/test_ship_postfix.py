"""The follower that sends to another machine: what it sent counts once, whatever happened on either side."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.core.management import CommandError, call_command
from django.db import connection
from django.utils import timezone

from telemetry.domain.event import Event
from telemetry.domain.vocab import EventType
from telemetry.models import FollowedFile, SendingEvent, Source
from telemetry.postfix_shipping import MOST_BYTES, bodies, events_url, retry_after
from telemetry.tokens import issue_token
from tests.servers import free_port
from tests.site.served import ROOT, until
from tests.telemetry.crowd import start
from tests.telemetry.postfix_traffic import NAMES, count, log_of
from tests.telemetry.test_follow_postfix import delivery, recorded
from tests.telemetry.test_log_files import Writer


@pytest.fixture(autouse=True)
def _no_connection_of_an_earlier_test() -> None:
    """A shipper's machine has no database: whatever an earlier test left open must not be there either."""
    connection.close()


IPS = [word for name, address in NAMES.items() for word in ("--ip", f"{name}={address}")]
NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)


@pytest.fixture
def writer(tmp_path: Path) -> Writer:
    return Writer(tmp_path)


@pytest.fixture
def token_file(tmp_path: Path) -> Path:
    (tmp_path / "token").write_text("gs_some_token\n")
    return tmp_path / "token"


def ship(url: str, writer: Writer, token_file: Path, *options: str) -> None:
    state = writer.path.with_name("state.json")
    where = ("--post", url, "--token-file", str(token_file), "--state", str(state))
    call_command("follow_postfix", str(writer.path), *where, "--timezone", "UTC", *IPS, *options)


class Scripted:
    """A server that answers as the script says and remembers the event ids it took; the last answer repeats."""

    def __init__(self, *script: tuple[int, dict[str, str]], port: int = 0) -> None:
        self.script = list(script)
        self.requests: list[tuple[int, list[Any]]] = []
        self.headers: list[dict[str, str]] = []
        scripted = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                events = [json.loads(line) for line in body.splitlines()]
                status, headers = scripted.script.pop(0) if len(scripted.script) > 1 else scripted.script[0]
                scripted.headers.append(dict(self.headers))
                answer = {"status": "success", "total": len(events), "failed": 0, "errors": [], "detail": "because"}
                scripted.requests.append((status, events))
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(
                    json.dumps(answer).encode() if "X-Not-Ours" not in headers else b"<html>Sign in</html>"
                )

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Scripted:
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: Any) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def taken(self) -> list[str]:
        """Ids of the events that were answered with 2xx."""
        return [event["event_id"] for status, events in self.requests if status < 300 for event in events]


@pytest.mark.django_db(transaction=True)
def test_what_was_sent_is_recorded_there_as_a_grep_of_the_log_says(
    live_server: Any, writer: Writer, token_file: Path
) -> None:
    token_file.write_text(issue_token(Source.objects.create(name="mta-1", kind="postfix")))
    lines = log_of(200, end=timezone.now())
    writer.raw(b"\n".join([*lines, b""]))
    ship(live_server.url, writer, token_file, "--once", "--batch", "70")
    assert recorded() == count(lines)
    assert not FollowedFile.objects.exists()
    # A state that got lost: everything is sent again and counts once.
    writer.path.with_name("state.json").unlink()
    ship(live_server.url, writer, token_file, "--once")
    assert recorded() == count(lines)


@pytest.mark.slow
@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("rotate", [Writer.rename, Writer.copy_and_truncate])
def test_killed_at_any_moment_it_loses_and_doubles_nothing(
    live_server: Any, writer: Writer, token_file: Path, rotate: Callable[[Writer], None]
) -> None:
    token_file.write_text(issue_token(Source.objects.create(name="mta-1", kind="postfix")))
    chance = random.Random(5)
    lines = log_of(250, end=timezone.now())
    rest = iter(lines)
    writer.raw(next(rest) + b"\n")
    died_at_work = 0
    while (last := next(rest, None)) is not None:
        writer.raw(last + b"\n")
        before = SendingEvent.objects.count()
        shipper = start(lambda: ship(live_server.url, writer, token_file, "--batch", "11", "--interval", "0.01"))
        for _ in range(chance.randint(2, 8)):
            for line in islice(rest, chance.randint(1, 20)):
                writer.raw(line + b"\n")
            shipper.join(chance.uniform(0, 0.04))
            if chance.random() < 0.3 and writer.path.stat().st_size:
                rotate(writer)
        assert shipper.is_alive()
        assert shipper.pid is not None
        os.kill(shipper.pid, signal.SIGKILL)
        shipper.join(30)
        died_at_work += SendingEvent.objects.count() > before
    assert died_at_work > 3
    ship(live_server.url, writer, token_file, "--once")
    assert recorded() == count(lines)


def test_it_tries_again_until_the_other_side_can_and_sends_the_same_ids(writer: Writer, token_file: Path) -> None:
    writer.raw(f"{delivery(0)}\n{delivery(1)}\n".encode())
    at_once = {"Retry-After": "0"}
    with Scripted((503, at_once), (429, at_once), (500, at_once), (200, {})) as server:
        ship(server.url, writer, token_file, "--once")
    assert [status for status, _ in server.requests] == [503, 429, 500, 200]
    assert len({json.dumps(events) for _, events in server.requests}) == 1
    assert len(server.taken) == 2
    assert {headers["Authorization"] for headers in server.headers} == {"Bearer gs_some_token"}


def test_a_server_that_is_not_there_is_waited_for(writer: Writer, token_file: Path) -> None:
    writer.raw(f"{delivery(0)}\n".encode())
    port = free_port()
    with shipper(f"http://127.0.0.1:{port}", writer, token_file) as process:
        assert process.stderr is not None
        assert "trying again" in process.stderr.readline()
        with Scripted((200, {}), port=port) as server:
            until(lambda: server.taken, within=20, what="the event")
            process.send_signal(signal.SIGTERM)
            assert process.wait(15) == 0
    assert len(server.taken) == 1


def test_sigterm_ends_the_waiting_and_what_was_not_sent_is_sent_the_next_time(writer: Writer, token_file: Path) -> None:
    writer.raw(f"{delivery(0)}\n".encode())
    with Scripted((503, {"Retry-After": "3000"})) as server, shipper(server.url, writer, token_file) as process:
        until(lambda: server.requests, within=20, what="the first try")
        process.send_signal(signal.SIGTERM)
        assert process.wait(15) == 0
        server.script[:] = [(200, {})]
        ship(server.url, writer, token_file, "--once")
    assert len(server.taken) == 1


@contextmanager
def shipper(url: str, writer: Writer, token_file: Path) -> Iterator[subprocess.Popen[str]]:
    """A real `manage.py follow_postfix --post`."""
    state = str(writer.path.with_name("state.json"))
    where = [
        "--post",
        url,
        "--token-file",
        str(token_file),
        "--state",
        state,
        "--timezone",
        "UTC",
        "--interval",
        "0.05",
    ]
    process = subprocess.Popen(
        [sys.executable, str(ROOT / "manage.py"), "follow_postfix", str(writer.path), *where, *IPS],
        env=os.environ | {"GS_DATA_DIR": str(settings.DATA_DIR)},
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait(10)


@pytest.mark.parametrize(
    ("status", "headers", "message"),
    [
        (401, {}, "answered 401: because"),
        (403, {}, "answered 403: because"),
        (400, {}, "answered 400"),
        (302, {"Location": "https://elsewhere.example/"}, "answered 302"),
        (200, {"X-Not-Ours": "1"}, "not that of Good Standing"),
    ],
)
def test_a_refusal_stops_it_with_the_reason_and_the_position_stays(
    writer: Writer, token_file: Path, status: int, headers: dict[str, str], message: str
) -> None:
    writer.raw(f"{delivery(0)}\n".encode())
    with Scripted((status, headers)) as server:
        with pytest.raises(CommandError, match=message) as caught:
            ship(server.url, writer, token_file, "--once")
        assert "gs_some_token" not in str(caught.value)
        server.script[:] = [(200, {})]
        ship(server.url, writer, token_file, "--once")
    assert len(server.requests) == 2
    assert server.requests[0][1] == server.requests[1][1]


def test_two_shippers_cannot_share_a_state_file(writer: Writer, token_file: Path) -> None:
    writer.raw(f"{delivery(0)}\n".encode())
    with Scripted((503, {"Retry-After": "3000"})) as server, shipper(server.url, writer, token_file) as process:
        until(lambda: server.requests, within=20, what="the first try")
        with pytest.raises(CommandError, match="Another follower uses the state file"):
            ship(server.url, writer, token_file, "--once")
        process.kill()
        process.wait(10)


def test_a_state_file_of_another_log_or_with_other_content_is_refused(writer: Writer, token_file: Path) -> None:
    with Scripted((200, {})) as server:
        ship(server.url, writer, token_file, "--once")
        with pytest.raises(CommandError, match="belongs to the log"):
            ship(f"{server.url}/api/other", writer, token_file, "--once")
        writer.path.with_name("state.json").write_text("{}")
        with pytest.raises(CommandError, match="no state file"):
            ship(server.url, writer, token_file, "--once")


def test_the_state_holds_no_address_and_is_closed_to_others(writer: Writer, token_file: Path) -> None:
    writer.raw(f"{delivery(0).replace('sent', 'deferred')}\n".encode())
    with Scripted((200, {})) as server:
        ship(server.url, writer, token_file, "--once")
    state = writer.path.with_name("state.json")
    assert "gmail.com" not in state.read_text()
    assert "4jWcPQ00" in state.read_text()
    assert state.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("120", 120.0),
        ("0", 0.0),
        (format_datetime(NOW + timedelta(seconds=30), usegmt=True), 30.0),
        (format_datetime(NOW - timedelta(seconds=30), usegmt=True), 0.0),
        ("9999999", 3600.0),
        ("", None),
        ("soon", None),
        ("Fri, 20 Nov 2026 12:00:30 -0000", 30.0),
    ],
)
def test_retry_after_is_read_in_both_forms(text: str, seconds: float | None) -> None:
    assert retry_after(text, now=NOW) == seconds


@pytest.mark.parametrize(
    ("given", "url"),
    [
        ("https://standing.example.com", "https://standing.example.com/api/events"),
        ("http://127.0.0.1:8000/", "http://127.0.0.1:8000/api/events"),
        ("https://standing.example.com/gs/api/events", "https://standing.example.com/gs/api/events"),
    ],
)
def test_the_events_endpoint_may_be_left_out_of_the_url(given: str, url: str) -> None:
    assert events_url(given) == url


def test_bodies_stay_under_the_limit() -> None:
    event = Event(type=EventType.DEFER, occurred_at=NOW, recipient="a@b.example", reply="x" * 4000, event_id="1")
    parts = list(bodies([event] * 600))
    assert sum(number for _, number in parts) == 600
    assert [len(body.splitlines()) for body, _ in parts] == [number for _, number in parts]
    assert len(parts) == 3
    assert max(len(body) for body, _ in parts) <= MOST_BYTES
