"""A KumoMTA's admin API on loopback: suspensions in memory, replaced by criteria and forgotten at a restart."""

from __future__ import annotations

import base64
import json
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.telemetry.metrics_page import reply

SUSPEND, READY = "/api/admin/suspend/v1", "/api/admin/suspend-ready-q/v1"
_FIELDS = {SUSPEND: ("campaign", "tenant", "domain"), READY: ("name",)}


class Kumo:
    """The server. What is asked is kept, without what only reads."""

    def __init__(self) -> None:
        self.entries: dict[str, list[dict[str, Any]]] = {SUSPEND: [], READY: []}
        self.queues: list[str] = []
        self.login = ""
        self.asked: list[tuple[str, str, dict[str, Any]]] = []
        self.reads = 0
        self.answer: Callable[[BaseHTTPRequestHandler], None] | None = None
        self.clock = timedelta()
        kumo = self

        class Handler(BaseHTTPRequestHandler):
            def handle_any(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                body = json.loads(self.rfile.read(length)) if length else {}
                if self.command == "GET":
                    kumo.reads += 1
                else:
                    kumo.asked.append((self.command, self.path, body))
                if kumo.answer is not None:
                    kumo.answer(self)
                elif kumo.login and self.headers.get("Authorization") != kumo.basic:
                    reply(self, 401, b"unauthorized")
                else:
                    status, said = kumo.handle(self.command, self.path, body)
                    reply(self, status, said if isinstance(said, bytes) else json.dumps(said).encode())

            do_GET = do_POST = do_DELETE = handle_any  # noqa: N815

            def log_message(self, *args: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    @property
    def basic(self) -> str:
        return "Basic " + base64.b64encode(self.login.encode()).decode()

    @property
    def now(self) -> float:
        return time.monotonic() + self.clock.total_seconds()

    def restart(self) -> None:
        """It comes back and has forgotten everything."""
        self.entries = {SUSPEND: [], READY: []}

    def handle(self, method: str, path: str, body: dict[str, Any]) -> tuple[int, Any]:
        if path == "/metrics.json":
            ready = {"smtp_client": 0.0} | {f"smtp_client:{queue}": 0.0 for queue in self.queues}
            return 200, {"ready_count": {"help": "…", "type": "gauge", "value": {"service": ready}}, "lua_count": 1}
        if path not in self.entries:
            return 404, b"not found"
        there = [entry for entry in self.entries[path] if entry["expires"] > self.now]
        if method == "GET":
            return 200, [self._shown(entry) for entry in there]
        if method == "DELETE":
            left = [entry for entry in there if entry["id"] != body["id"]]
            self.entries[path] = left
            return (200, b"removed") if len(left) < len(there) else (404, b"not found")
        criteria = {name: body.get(name) for name in _FIELDS[path]}
        seconds = int(body["duration"].removesuffix("s"))
        entry = criteria | {"id": str(uuid.uuid4()), "reason": body["reason"], "expires": self.now + seconds}
        same = [other for other in there if all(other[name] == value for name, value in criteria.items())]
        self.entries[path] = [*(other for other in there if other not in same), entry]
        return 200, {"id": entry["id"]}

    def _shown(self, entry: dict[str, Any]) -> dict[str, Any]:
        left = entry["expires"] - self.now
        minutes, seconds = divmod(int(left), 60)
        written = f"{minutes // 60}h {minutes % 60}m {seconds}s 12ms 345us 678ns"
        return {name: value for name, value in entry.items() if name != "expires"} | {"duration": written}

    def suspended(self, path: str = SUSPEND) -> list[dict[str, str]]:
        """What is suspended, by its criteria alone."""
        there = [entry for entry in self.entries[path] if entry["expires"] > self.now]
        shown = [{name: entry[name] for name in _FIELDS[path] if entry[name]} for entry in there]
        return sorted(shown, key=str)


@contextmanager
def running() -> Iterator[Kumo]:
    """A server, until the test is over."""
    kumo = Kumo()
    try:
        yield kumo
    finally:
        kumo.server.shutdown()
        kumo.server.server_close()
