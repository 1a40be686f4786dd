"""A real HTTP server on loopback with a metrics page."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Page:
    """A server with a metrics page: what it shows is set by the test."""

    def __init__(self) -> None:
        self.values: dict[str, int] = {}
        self.answer: Callable[[BaseHTTPRequestHandler], None] | None = None
        self.asked: list[dict[str, str]] = []
        page = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                page.asked.append(dict(self.headers.items()))
                if page.answer is not None:
                    page.answer(self)
                    return
                shown = "".join(f"# TYPE {name} counter\n{name} {value}\n" for name, value in page.values.items())
                reply(self, 200, shown.encode())

            def log_message(self, *args: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/metrics/prometheus"
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    def shows(self, **values: int) -> None:
        """Set counters by the end of their names: delivered=3 is delivery_delivered 3; a zero is not named."""
        self.values = {f"delivery_{name}": value for name, value in values.items() if value}


def reply(handler: BaseHTTPRequestHandler, status: int, body: bytes, **headers: str) -> None:
    handler.send_response(status)
    for name, value in headers.items():
        handler.send_header(name, value)
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body)


@contextmanager
def served() -> Iterator[Page]:
    """A page, until the test is over."""
    page = Page()
    try:
        yield page
    finally:
        page.server.shutdown()
        page.server.server_close()
