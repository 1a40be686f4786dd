"""Two ways to serve the same house, one contract: each request of a list is answered alike, and the same is stored.

The fast lane (ASGI) and Django alone (WSGI) share what decides; this holds them to it.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import http.client
import json
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.e2e.house import ROOT, House, house, until
from tests.e2e.test_live import event
from tests.servers import free_port

pytestmark = pytest.mark.slow

DOCUMENTED = "/api/webhooks/stalwart/delivery-failure"
EVENTS = "/api/events"
KUMOMTA = "/api/webhooks/kumomta"
JSON = {"Content-Type": "application/json"}
NDJSON = {"Content-Type": "application/x-ndjson"}
SIGNING_KEY = "a key of some length"
MAKE_TOKENS = f"""
import json
from telemetry.models import Source, SourceToken
from telemetry.tokens import issue_token, revoke_token
from django.utils import timezone
tokens = {{name: issue_token(Source.objects.create(name=name)) for name in ("plain", "signed", "inactive", "revoked")}}
signed = Source.objects.get(name="signed")
signed.hmac_key = {SIGNING_KEY!r}
signed.save()
Source.objects.filter(name="inactive").update(is_active=False)
revoke_token(SourceToken.objects.get(source__name="revoked"), now=timezone.now())
print(json.dumps(tokens))
"""
STORED = """
import json
from django.db.models import Sum
from telemetry.models import RejectedEvent, SendingEvent, TrafficMinute
print(json.dumps({
    "events": sorted(SendingEvent.objects.values_list("event_id", "type", "sending_ip", "cause", "provider")),
    "counts": TrafficMinute.objects.aggregate(Sum("delivered"), Sum("bounced"), Sum("deferred"), Sum("superseded")),
    "rejected": sorted(RejectedEvent.objects.values_list("field", "message", "times")),
}))
"""


class Asked(NamedTuple):
    """One request of the contract; `token` names a source."""

    path: str
    body: bytes
    headers: dict[str, str] = JSON
    token: str | None = "plain"


def documented(*numbers: int, **changes: Any) -> bytes:
    events = [event(number, refused=number % 2 == 1, ip="192.0.2.1") | changes for number in numbers]
    return json.dumps({"events": events}).encode()


def generic(number: int, **changes: Any) -> dict[str, Any]:
    return {
        "type": "delivery",
        "occurred_at": event(0, refused=False, ip="192.0.2.1")["createdAt"],
        "sending_ip": "192.0.2.7",
        "recipient": "someone@gmail.com",
        "event_id": f"generic-{number}",
    } | changes


def deferral(number: int, attempt: int, kind: str = "defer") -> dict[str, Any]:
    return generic(
        number, type=kind, message_id="queue-1", attempt_number=attempt, smtp_code=450, reply="450 4.2.0 wait"
    )


def signature(body: bytes) -> dict[str, str]:
    digest = hmac.new(SIGNING_KEY.encode(), body, hashlib.sha256).digest()
    return JSON | {"X-Signature": base64.b64encode(digest).decode()}


def lines(*events: Any) -> bytes:
    return b"\n".join(json.dumps(entry).encode() for entry in events)


ONE = documented(1)
CONTRACT = [
    Asked(DOCUMENTED, ONE),
    Asked(DOCUMENTED, ONE),
    Asked(DOCUMENTED, documented(*range(2, 120))),
    Asked(DOCUMENTED, documented(*range(100, 140))),
    Asked(DOCUMENTED, documented(200, type="no.such.type")),
    Asked(DOCUMENTED, json.dumps({"events": [{"id": "half"}, event(201, refused=True, ip="192.0.2.1")]}).encode()),
    Asked(DOCUMENTED, b'{"events": []}'),
    Asked(DOCUMENTED, b'{"events": 7}'),
    Asked(DOCUMENTED, b'{"events": ['),
    Asked(DOCUMENTED, b""),
    Asked(DOCUMENTED, b"\xff\xfe\x00"),
    Asked(DOCUMENTED, documented(300), {"Content-Type": "application/json; charset=utf-8"}),
    Asked(DOCUMENTED, documented(301), {"Content-Type": "text/plain"}),
    Asked(DOCUMENTED, documented(302), {}),
    Asked(DOCUMENTED, documented(303), token=None),
    Asked(DOCUMENTED, documented(304), token="inactive"),
    Asked(DOCUMENTED, documented(305), token="revoked"),
    Asked(DOCUMENTED, documented(306), JSON | {"Authorization": "Bearer gs_nothing"}, token=None),
    Asked(DOCUMENTED, documented(307), token="signed"),
    Asked(DOCUMENTED, documented(308), signature(documented(309)), token="signed"),
    Asked(DOCUMENTED, documented(310), signature(documented(310)), token="signed"),
    Asked(DOCUMENTED, b" " * (6 * 1024 * 1024)),
    Asked(DOCUMENTED, b'{"events": [' + b",".join([b"{}"] * 20_001) + b"]}"),
    Asked(EVENTS, json.dumps([generic(1), generic(2), generic(1)]).encode()),
    Asked(EVENTS, json.dumps(generic(3)).encode()),
    Asked(EVENTS, lines(generic(4), deferral(5, 1), deferral(6, 2)), NDJSON),
    Asked(EVENTS, lines(deferral(7, 3, "delivery"), {"type": "moon"}), NDJSON),
    Asked(EVENTS, json.dumps([generic(8, sending_ip="nonsense")]).encode()),
    Asked(EVENTS, json.dumps([generic(9, occurred_at="2020-01-01T00:00:00Z")]).encode()),
    Asked(KUMOMTA, json.dumps({"type": "Reception", "id": "r1"}).encode()),
    Asked(KUMOMTA, b"[]"),
    Asked(KUMOMTA, b'"text"'),
]


def ask(port: int, asked: Asked, tokens: dict[str, str]) -> tuple[int, Any, str | None]:
    """Status, decoded body and Retry-After of one request on a connection of its own."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    headers = dict(asked.headers)
    if asked.token is not None:
        headers["Authorization"] = f"Bearer {tokens[asked.token]}"
    try:
        connection.request("POST", asked.path, asked.body, headers)
        answer = connection.getresponse()
        body = json.loads(answer.read())
        return answer.status, body, answer.headers["Content-Type"]
    except (BrokenPipeError, ConnectionResetError):
        return 413, None, None  # refused by its length, before it was sent as a whole
    finally:
        connection.close()


def serve(home: House, front: str) -> int:
    """Start the house's web process by that front; its port."""
    if front == "asgi":
        home.start("web")
        return home.port
    home.port = free_port()
    command = [sys.executable, "-m", "granian", "--interface", "wsgi", "--no-ws", "--port", str(home.port)]
    home.processes["web"] = subprocess.Popen(
        [*command, "--log-level", "error", "reputation_site.wsgi:application"],
        cwd=ROOT,
        env=home.environment | {"GS_PORT": str(home.port)},
        stdout=(home.folder / "web.log").open("ab"),
        stderr=subprocess.STDOUT,
    )
    return home.port


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[list[Any], Any]]:
    found = {}
    for front in ("asgi", "wsgi"):
        folder: Path = tmp_path_factory.mktemp(front)
        with house(folder) as home:
            tokens = json.loads(home.manage("shell", "--no-imports", "-c", MAKE_TOKENS))
            port = serve(home, front)
            until(home.answers, seconds=90, what=f"the {front} process did not answer\n{home.logs()}")
            answers = [ask(port, asked, tokens) for asked in CONTRACT]
            found[front] = (answers, json.loads(home.manage("shell", "--no-imports", "-c", STORED)))
    return found


@pytest.mark.parametrize(
    "place", range(len(CONTRACT)), ids=[f"{n}-{asked.path[5:]}" for n, asked in enumerate(CONTRACT)]
)
def test_each_request_is_answered_alike(outcomes: dict[str, tuple[list[Any], Any]], place: int) -> None:
    assert outcomes["asgi"][0][place] == outcomes["wsgi"][0][place]


def test_what_was_stored_and_counted_is_the_same(outcomes: dict[str, tuple[list[Any], Any]]) -> None:
    assert outcomes["asgi"][1] == outcomes["wsgi"][1]
    assert len(outcomes["asgi"][1]["events"]) == 120 + 18 + 2 + 1 + 8


def test_the_contract_holds_every_kind_of_answer(outcomes: dict[str, tuple[list[Any], Any]]) -> None:
    statuses = {status for status, _, _ in outcomes["asgi"][0]}
    assert statuses == {200, 400, 401, 403, 413, 415}
