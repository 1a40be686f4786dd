"""The real web server at the edges of HTTP: chunked, huge, cut off and unauthenticated bodies."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e.house import House, house, until
from tests.e2e.test_live import MAKE_TOKEN, event

WEBHOOK = "/api/webhooks/stalwart/delivery-failure"
COUNT = "from telemetry.models import SendingEvent; print(SendingEvent.objects.count())"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[House, str]]:
    with house(tmp_path_factory.mktemp("web")) as made:
        token = made.manage("shell", "--no-imports", "-c", MAKE_TOKEN).strip()
        made.start("web")
        until(made.answers, seconds=60, what=f"the web process did not answer\n{made.logs()}")
        yield made, token


def send(home: House, token: str, body: Any, *, chunked: bool = False, **headers: str) -> tuple[int, dict[str, Any]]:
    connection = http.client.HTTPConnection("127.0.0.1", home.port, timeout=30)
    fields = {"Content-Type": "application/json", "Authorization": f"Bearer {token}"} | headers
    try:
        connection.request("POST", WEBHOOK, body, fields, encode_chunked=chunked)
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
    finally:
        connection.close()


def pieces(body: bytes) -> Iterator[bytes]:
    for start in range(0, len(body), 4096):
        yield body[start : start + 4096]


def batch(first: int, number: int) -> bytes:
    events = [event(first + index, refused=True, ip="192.0.2.1") for index in range(number)]
    return json.dumps({"events": events}).encode()


def test_a_streamed_body_is_taken_whole(home: tuple[House, str]) -> None:
    status, answer = send(*home, pieces(batch(0, 50)), chunked=True, **{"Transfer-Encoding": "chunked"})
    assert (status, answer["processed"]) == (200, 50)


def test_a_streamed_body_over_the_limit_is_refused(home: tuple[House, str]) -> None:
    huge = (b" " * 65536 for _ in range(20 * 16))
    try:
        status, _ = send(*home, huge, chunked=True, **{"Transfer-Encoding": "chunked"})
    except (BrokenPipeError, ConnectionResetError):
        status = 413  # refused before we had sent everything
    assert status == 413


def test_twenty_megabytes_are_refused_by_their_length(home: tuple[House, str]) -> None:
    try:
        status, answer = send(*home, b" " * (20 * 1024 * 1024))
        assert "limit" in answer["detail"]
    except (BrokenPipeError, ConnectionResetError):
        status = 413
    assert status == 413


def test_a_sender_that_hangs_up_in_its_body_leaves_nothing_and_harms_nobody(home: tuple[House, str]) -> None:
    house_, token = home
    before = int(house_.manage("shell", "--no-imports", "-c", COUNT))
    body = batch(1000, 20)
    head = (
        f"POST {WEBHOOK} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        f"Authorization: Bearer {token}\r\nContent-Length: {len(body)}\r\n\r\n"
    ).encode()
    for cut in (10, len(body) // 2, len(body) - 1):
        with socket.create_connection(("127.0.0.1", house_.port)) as connection:
            connection.sendall(head + body[:cut])
    assert send(house_, token, batch(2000, 5))[1]["processed"] == 5
    assert int(house_.manage("shell", "--no-imports", "-c", COUNT)) == before + 5


def test_errors_are_problem_documents_also_from_the_real_server(home: tuple[House, str]) -> None:
    status, answer = send(home[0], "gs_abcdefghijkl_" + "x" * 43, batch(0, 1))
    assert (status, answer["status"], answer["title"]) == (401, 401, "Authentication failed")
