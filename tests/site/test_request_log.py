"""The log of a served installation: which request, batch and task a line belongs to, and nobody's address."""

from __future__ import annotations

import http.client
import json
import logging
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.test import Client

from reputation_site.request_log import _without_people
from telemetry.log_context import Context, batch_id, bound, request_id, several
from telemetry.models import Source
from telemetry.tokens import issue_token
from tests.e2e.house import House, house, until
from tests.site.test_prometheus import refusals

WEBHOOK = "/api/webhooks/stalwart/delivery-failure"


class Log:
    """What the processes of a house wrote."""

    def __init__(self, home: House) -> None:
        self.home = home

    def lines(self, process: str = "web") -> list[dict[str, Any]]:
        text = (self.home.folder / f"{process}.log").read_text()
        return [json.loads(line) for line in text.splitlines() if line.startswith("{")]

    def of(self, request: str) -> list[dict[str, Any]]:
        """The lines of a request, once its last one, of the access, is there."""

        def found() -> list[dict[str, Any]]:
            lines = [line for line in self.lines() if request in line.get("request_id", "").split(",")]
            return lines if any(line["logger"] == "telemetry.access" for line in lines) else []

        return until(found, seconds=30, what=f"the line of {request}")


def ask(home: House, method: str, path: str, body: str | None = None, **headers: str) -> tuple[int, dict[str, str]]:
    connection = http.client.HTTPConnection("127.0.0.1", home.port, timeout=30)
    try:
        connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
        answer = connection.getresponse()
        answer.read()
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}
    finally:
        connection.close()


def body_of(name: str, **data: Any) -> str:
    at = (datetime.now(UTC) - timedelta(minutes=1)).isoformat()
    told = {"ip": "192.0.2.10", "recipient": "private.person@gmail.com", "smtp_code": 550, "reason": "no"} | data
    return json.dumps({"events": [{"id": name, "createdAt": at, "type": "smtp.delivery.failure", "data": told}]})


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[House, str]]:
    with house(tmp_path_factory.mktemp("log")) as home:
        home.environment |= {"GS_WEB_WORKERS": "2", "GS_LOG_FORMAT": "json"}
        token = home.manage("create_source", "mta-1", "--kind", "generic", "--token").strip().split()[-1]
        home.start("web", GS_LOG_LEVEL="DEBUG")
        for line in ("worker", "beat"):
            home.start(line)
        until(home.answers, seconds=60, what="web answers")
        yield home, token


def test_a_request_keeps_its_id_and_has_one_line_without_its_query(served: tuple[House, str]) -> None:
    home, _ = served
    status, headers = ask(home, "GET", "/admin/login/?next=/secret-query", X_Request_ID="proxy-0001.a_b")
    assert (status, headers["x-request-id"]) == (200, "proxy-0001.a_b")
    (line,) = [line for line in Log(home).of("proxy-0001.a_b") if line["logger"] == "telemetry.access"]
    assert (line["level"], line["method"], line["path"], line["status"]) == ("INFO", "GET", "/admin/login/", 200)
    assert line["ms"] >= 0
    for wrong in ("short", "with blank in it", "x" * 65, 'quoted"12345', ""):
        _, headers = ask(home, "GET", "/healthz", **({"X_Request_ID": wrong} if wrong else {}))
        assert headers["x-request-id"] != wrong
        assert len(headers["x-request-id"]) == 32
        (line,) = Log(home).of(headers["x-request-id"])
        assert line["level"] == "DEBUG", "what is asked every few seconds is no news"


def test_lines_of_requests_at_the_same_time_are_not_mixed_up(served: tuple[House, str]) -> None:
    home, _ = served

    def one(number: int) -> None:
        ask(home, "GET", f"/api/no-such-thing-{number}", X_Request_ID=f"together-{number:04}")

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(one, range(80)))
    for number in range(80):
        paths = {
            line["path"] if line["logger"] == "telemetry.access" else line["message"].rpartition(" ")[2]
            for line in Log(home).of(f"together-{number:04}")
            if line["logger"] in ("telemetry.access", "django.request")
        }
        assert paths == {f"/api/no-such-thing-{number}"}


def test_a_batch_has_an_id_that_stays_when_it_is_sent_again(served: tuple[House, str]) -> None:
    home, token = served
    headers = {"Authorization": f"Bearer {token}", "Content_Type": "application/json"}
    body = body_of("kept-1", smtp_code="no number")
    answers = [ask(home, "POST", WEBHOOK, body, X_Request_ID=f"attempt-{n}", **headers)[1] for n in (1, 2)]
    (batch,) = {answer["x-batch-id"] for answer in answers}
    assert batch == batch_id(body.encode())
    for number, answer in enumerate(answers, 1):
        assert answer["x-request-id"] == f"attempt-{number}"
        lines = Log(home).of(f"attempt-{number}")
        assert {line["logger"] for line in lines} == {"telemetry.access", "telemetry.intake"}
        assert {line["batch_id"] for line in lines} == {batch}
        (kept,) = [line for line in lines if line["logger"] == "telemetry.intake"]
        assert (kept["message"], kept["source"], kept["events"]) == ("events kept as rejected", "mta-1", 1)
    _, other = ask(home, "POST", WEBHOOK, body_of("good-1"), **headers)
    assert other["x-batch-id"] != batch


def test_a_line_of_the_worker_names_its_task_and_turn(served: tuple[House, str]) -> None:
    home, token = served
    refusals(home, token)

    def told() -> list[dict[str, Any]]:
        return [line for line in Log(home).lines("worker") if line.get("turn") and line["logger"].startswith("reputa")]

    line = until(told, seconds=60, what="a line of a task")[0]
    assert line["task"].startswith("reputation.tasks.")
    assert len(line["turn"]) == 36


def test_no_line_holds_a_recipient_or_a_query(served: tuple[House, str]) -> None:
    home, token = served
    refusals(home, token)
    ask(home, "GET", "/search/private.person@gmail.com?q=private.person@gmail.com", X_Request_ID="looking-for")
    (line,) = [line for line in Log(home).of("looking-for") if line["logger"] == "telemetry.access"]
    assert line["path"] == "/search/…"
    text = "".join(json.dumps(line) for name in ("web", "worker", "beat") for line in Log(home).lines(name)
                   if line["logger"].startswith(("telemetry", "reputation", "dashboard")))  # fmt: skip
    assert "kept as rejected" in text
    for private in ("private.person", "someone1@", "secret-query"):
        assert private not in text


# --- without processes -----------------------------------------------------------------------------------------------


def test_fields_are_bound_for_a_while_and_never_overwrite_a_lines_own() -> None:
    def told(**extra: Any) -> dict[str, Any]:
        record = logging.getLogger("x").makeRecord("x", logging.INFO, "f", 1, "m", (), None, extra=extra)
        assert Context().filter(record)
        return {name: getattr(record, name) for name in ("request_id", "batch_id", "task") if hasattr(record, name)}

    with bound(request_id="r-1", batch_id=""):
        assert told() == {"request_id": "r-1"}
        with bound(batch_id="b-1"):
            assert told(request_id="own") == {"request_id": "own", "batch_id": "b-1"}
        assert told() == {"request_id": "r-1"}
    assert told() == {}


def test_a_line_about_many_batches_names_the_first_ten() -> None:
    assert several(["a", "", "a", "b"]) == "a,b"
    assert several([str(number) for number in range(12)]) == "0,1,2,3,4,5,6,7,8,9,…"
    assert request_id("a\nforged line") != "a\nforged line"
    assert _without_people("/ips/192.0.2.1/") == "/ips/192.0.2.1/"
    assert len(_without_people("/" + "x" * 5000)) == 200


@pytest.mark.django_db
def test_the_long_way_in_names_the_batch_too(caplog: pytest.LogCaptureFixture) -> None:
    token = issue_token(Source.objects.create(name="mta-1", kind="generic"))
    body = body_of("bad-1", smtp_code="no number")
    caplog.handler.addFilter(Context())
    with caplog.at_level(logging.INFO, logger="telemetry.intake"):
        answer = Client().post(WEBHOOK, body, "application/json", headers={"authorization": f"Bearer {token}"})
    assert (answer.status_code, answer["X-Batch-ID"]) == (200, batch_id(body.encode()))
    (line,) = [one for one in caplog.records if one.name == "telemetry.intake"]
    assert line.__dict__["batch_id"] == batch_id(body.encode())
