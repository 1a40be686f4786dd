"""`manage.py serve`, started and stopped for real."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import signal
import socket
import tempfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest

from tests.servers import free_port, valkey
from tests.site.served import WEBHOOK, Served, failure, processes_of, until


@pytest.fixture
def folder() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="gs-serve-"))
    yield path / "data"
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def database() -> Iterator[dict[str, str]]:
    """Nothing for SQLite; a fresh database of the test run's server for PostgreSQL."""
    server = os.environ.get("TESTS_DATABASE_URL")
    if server is None:
        yield {}
        return
    name = f"serve_{os.getpid()}"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
        yield {"DATABASE_URL": urlunsplit(urlsplit(server)._replace(path=f"/{name}"))}
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def serve(folder: Path, database: dict[str, str]) -> Iterator[Callable[..., Served]]:
    started: list[Served] = []

    def start(**variables: object) -> Served:
        started.append(Served(folder, **{**database, **variables}))
        return started[-1]

    yield start
    for one in started:
        one.clean_up()


def now() -> str:
    return datetime.now(UTC).isoformat()


def nothing_runs(folder: Path) -> bool:
    return not processes_of(folder)


def test_the_first_start_gives_secrets_and_a_working_curl_line_and_the_second_start_gives_none(serve, folder) -> None:
    first = serve().wait_until_welcome()
    assert first.request("GET", "/healthz") == (200, b"ok\n")
    assert "Password" in first.output
    assert folder.stat().st_mode & 0o077 == 0
    url, headers, body = first.printed_request()
    assert urlsplit(url).port == first.port
    status, answer = first.request("POST", urlsplit(url).path, body, **headers)
    assert (status, json.loads(answer)["processed"]) == (200, 1), answer
    assert first.stop() == 0, first.output
    assert nothing_runs(folder)

    second = serve(port=first.port).wait_until_welcome()
    assert until(lambda: second.request("GET", "/healthz")[0] == 200, within=5, what="second start")
    assert "Password" not in second.output
    assert "gs_" not in second.output.replace("gs-", "")
    assert "$TOKEN" in second.output
    # The first start's token goes on, and what it reported is still known.
    status, answer = second.request("POST", WEBHOOK, body, **headers)
    assert (status, json.loads(answer)["duplicates"]) == (200, 1), answer
    assert second.stop() == 0, second.output


def test_sigterm_finishes_every_request_that_was_begun_and_refuses_the_rest(serve, folder) -> None:
    served = serve(GS_WEB_THREADS="12").wait_until_welcome()
    headers = {"Authorization": f"Bearer {served.token}", "Content-Type": "application/json"}
    in_flight = []
    for number in range(8):
        body = failure(f"in-flight-{number}", at=now()).encode()
        connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=30)
        connection.putrequest("POST", WEBHOOK)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            connection.putheader(name, value)
        connection.endheaders()
        connection.send(body[:50])
        in_flight.append((connection, body[50:]))
    # An answered request on a later connection shows that the server has got round to reading these.
    for _ in range(3):
        assert served.request("GET", "/healthz")[0] == 200

    served.process.send_signal(signal.SIGTERM)
    until(lambda: "stopping" in served.output, within=10, what="the stop")

    def refused() -> bool:
        try:
            socket.create_connection(("127.0.0.1", served.port), timeout=1).close()
        except ConnectionRefusedError:
            return True
        return False

    until(refused, within=10, what="refusing new connections")
    assert served.process.poll() is None
    for connection, rest in in_flight:
        connection.send(rest)
    answers = [(response.status, json.loads(response.read())) for response in (c.getresponse() for c, _ in in_flight)]
    assert [(status, answer["processed"]) for status, answer in answers] == [(200, 1)] * 8
    assert served.ended() == 0, served.output
    assert "killed" not in served.output
    assert nothing_runs(folder)

    again = serve(port=served.port).wait_until_welcome()
    for number in range(8):
        status, answer = again.request("POST", WEBHOOK, failure(f"in-flight-{number}", at=now()), **headers)
        assert (status, json.loads(answer)["duplicates"]) == (200, 1), "an answered event was not stored"
    assert again.stop() == 0


def test_programs_stop_one_after_the_other_and_the_broker_last(serve) -> None:
    served = serve(GS_LOG_LEVEL="DEBUG").wait_until_welcome()
    until(lambda: "ready." in served.output, within=30, what="the worker's start")
    assert served.stop() == 0
    order = [served.output.index(words) for words in ("Granian shutdown completed", "Warm shutdown", "stopped")]
    assert order == sorted(order)
    assert "Connection refused" not in served.output[order[0] :], "the worker lost its broker before it had finished"


def test_kill_9_of_serve_leaves_no_orphan_and_the_next_start_serves(serve, folder) -> None:
    served = serve().wait_until_welcome()
    until(lambda: "ready." in served.output, within=30, what="the worker's start")
    assert len(processes_of(folder)) >= 5
    served.process.kill()
    served.process.wait(10)
    # Not awaited: the next start must cope with a broker and a web process that are just going.
    following = serve(port=free_port()).wait_until_welcome()
    assert following.request("GET", "/healthz")[0] == 200
    assert following.stop() == 0, following.output
    try:
        until(lambda: nothing_runs(folder), within=40, what="the end of the orphans")
    except AssertionError as error:
        raise AssertionError(f"{error}: {processes_of(folder)}") from None


@pytest.mark.one_database
def test_when_a_program_ends_by_itself_everything_ends_with_an_error(serve, folder) -> None:
    served = serve().wait_until_welcome()
    until(lambda: "ready." in served.output, within=30, what="the worker's start")
    beat = next(pid for pid, command in processes_of(folder).items() if command.rstrip().endswith("beat"))
    os.kill(beat, signal.SIGKILL)
    assert served.ended() == 1
    assert "beat ended by itself (exit code -9)" in served.output
    assert nothing_runs(folder)


@pytest.mark.one_database
def test_a_port_in_use_is_an_error_that_names_the_variable(serve, folder) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        served = serve(port=taken.getsockname()[1])
        assert served.ended() == 1
    assert "GS_PORT" in served.output
    assert "Traceback" not in served.output
    assert nothing_runs(folder)


@pytest.mark.one_database
def test_a_data_folder_serves_once_and_a_foreign_broker_is_left_alone(serve, folder) -> None:
    served = serve().wait_until_welcome()
    second = serve()
    assert second.ended() == 1
    assert "already runs" in second.output
    assert str(served.process.pid) in second.output
    assert served.request("GET", "/healthz")[0] == 200
    assert served.stop() == 0

    broker = Served(folder, arguments=("broker",))
    try:
        until((folder / "broker.sock").exists, within=20, what="the broker's socket")
        third = serve()
        assert third.ended() == 1
        assert "broker --stop" in third.output
        assert broker.process.poll() is None
        assert Served(folder, arguments=("broker", "--stop")).ended() == 0
        assert broker.ended() == 0
    finally:
        broker.clean_up()


@pytest.mark.one_database
def test_with_redis_url_no_broker_is_started_and_tasks_run_on_that_one(serve, folder) -> None:
    with valkey() as url:
        served = serve(REDIS_URL=url, GS_LOG_LEVEL="DEBUG").wait_until_welcome()
        until(lambda: "poll_changes" in served.output, within=30, what="the first tick")
        assert not any("valkey" in command for command in processes_of(folder).values())
        assert not (folder / "broker.sock").exists()
        assert served.stop() == 0, served.output
    assert nothing_runs(folder)
