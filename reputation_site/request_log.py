"""The outermost ASGI callable: gives each request its id, and the log one line about it."""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable, Collection, MutableMapping
from typing import Any

from telemetry.log_context import HEADER, request_id

log = logging.getLogger("telemetry.access")

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]

# Where a request's id stands in an ASGI scope and in a WSGI environ.
KEY = "gs.request_id"
_NAME = HEADER.lower().encode()
_BATCH = b"x-batch-id"
_QUIET = ("/healthz", "/readyz", "/metrics", "/favicon.ico")
_FAILED = 500


class RequestLog:
    """An ASGI callable before another. Requests to the paths in `frequent` are told at level DEBUG unless they fail."""

    def __init__(self, other: App, frequent: Collection[str] = ()) -> None:
        self._other = other
        self._frequent = frozenset((*_QUIET, *frequent))

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """One request, or the server's start and stop."""
        if scope["type"] != "http":
            await self._other(scope, receive, send)
            return
        given = next((value.decode("latin-1") for name, value in scope["headers"] if name == _NAME), "")
        scope[KEY] = name = request_id(given)
        began = time.perf_counter()
        status, batch = 0, ""

        async def tell(message: Message) -> None:
            nonlocal status, batch
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = [pair for pair in message["headers"] if pair[0] != _NAME]
                batch = next((value.decode() for key, value in headers if key == _BATCH), "")
                message["headers"] = [*headers, (_NAME, name.encode())]
            await send(message)

        try:
            await self._other(scope, receive, tell)
        finally:
            level = self._level(scope["path"], status)
            if log.isEnabledFor(level):
                fields = {
                    "request_id": name,
                    "method": scope["method"] if len(scope["method"]) < 10 else "?",
                    "path": _without_people(scope["path"]),
                    "status": status,
                    "ms": int((time.perf_counter() - began) * 1000),
                    **({"batch_id": batch} if batch else {}),
                }
                log.log(level, "request", extra=fields)

    def _level(self, path: str, status: int) -> int:
        if status >= _FAILED or not status:
            # Without a status the client went away before its answer.
            return logging.WARNING if status else logging.INFO
        return logging.DEBUG if path in self._frequent or path.startswith("/static/") else logging.INFO


def _without_people(path: str) -> str:
    """The path as it is told: no part with an e-mail address in it, and not endlessly long."""
    return "/".join("…" if "@" in part else part for part in path.split("/"))[:200]
