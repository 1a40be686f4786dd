"""The way out over HTTP: within its time and size, to public addresses, wherever a URL would lead it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import timedelta
from http.server import BaseHTTPRequestHandler
from typing import Any

import pytest

from telemetry.outbound import OutboundError, Trouble, send
from tests.telemetry.metrics_page import Page, reply, served


@pytest.fixture
def page(settings: Any) -> Iterator[Page]:
    settings.ALLOW_PRIVATE_URLS = True
    with served() as page:
        yield page


def drip(handler: BaseHTTPRequestHandler) -> None:
    handler.send_response(200)
    handler.end_headers()
    try:
        for _ in range(200):
            handler.wfile.write(b"#")
            handler.wfile.flush()
            time.sleep(0.05)
    except OSError:
        return


def drip_head(handler: BaseHTTPRequestHandler) -> None:
    try:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nX: ")
        drip_body(handler)
    except OSError:
        return


def drip_body(handler: BaseHTTPRequestHandler) -> None:
    for _ in range(200):
        handler.wfile.write(b"x")
        handler.wfile.flush()
        time.sleep(0.05)


def no_http(handler: BaseHTTPRequestHandler) -> None:
    handler.wfile.write(b"220 mail.example ESMTP\r\n")


def ask(url: str, *, seconds: float = 1) -> Any:
    return send("GET", url, timeout=timedelta(seconds=seconds), most_bytes=10_000)


@pytest.mark.parametrize("answer", [drip, drip_head])
def test_an_answer_that_drips_is_cut_off_in_time(page: Page, answer: Any) -> None:
    page.answer = answer
    began = time.monotonic()
    with pytest.raises(OutboundError) as caught:
        ask(page.url, seconds=0.5)
    assert caught.value.trouble == Trouble.TIMEOUT
    assert time.monotonic() - began < 2


@pytest.mark.parametrize(
    ("answer", "trouble"),
    [
        (lambda handler: reply(handler, 200, b"#" * 20_000), Trouble.TOO_LARGE),
        (lambda handler: reply(handler, 302, b"", Location="http://169.254.169.254/latest/"), Trouble.REDIRECT),
        (no_http, Trouble.NOT_HTTP),
    ],
)
def test_an_answer_that_cannot_be_used_says_why(page: Page, answer: Any, trouble: Trouble) -> None:
    page.answer = answer
    with pytest.raises(OutboundError) as caught:
        ask(page.url)
    assert caught.value.trouble == trouble
    assert len(page.asked) == 1, "nothing else was asked"


def test_a_private_address_is_refused_unless_it_is_allowed(page: Page, settings: Any) -> None:
    port = page.server.server_address[1]
    assert ask(page.url).status == 200
    settings.ALLOW_PRIVATE_URLS = False
    for host in ("127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "2130706433", "0x7f.1"):
        with pytest.raises(OutboundError) as caught:
            ask(f"http://{host}:{port}/")
        assert caught.value.trouble == Trouble.PRIVATE
    assert "GS_ALLOW_PRIVATE_URLS" in str(caught.value)
    assert len(page.asked) == 1


def test_a_page_that_speaks_no_tls_and_a_name_that_is_none(page: Page) -> None:
    with pytest.raises(OutboundError) as caught:
        ask(page.url.replace("http:", "https:"))
    assert caught.value.trouble == Trouble.TLS
    with pytest.raises(OutboundError) as caught:
        ask("http://no-such-name.invalid/", seconds=5)
    assert caught.value.trouble in (Trouble.NOT_FOUND, Trouble.TIMEOUT)
