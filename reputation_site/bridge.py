"""Django's WSGI application behind an ASGI server: pages and the rest of the API in a fixed set of threads.

Django's own ASGI handler gives each request a new thread, hence a new database connection. And the libraries that
bridge the two hand a body on while it comes: a client that never ends its body holds a thread, and one that goes away
half way leaves a body that looks whole. Bodies here are bounded and read before a thread is taken.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable, Collection, Iterable, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from io import BytesIO
from typing import Any

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Wsgi = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]

BUSY = b"Too many requests are waiting. Try again in a few seconds.\n"


class Bridge:
    """An ASGI callable that runs a WSGI application in `threads` threads, at most `most_waiting` requests ahead.

    At the paths in `cut` the beginning of a body that is too large is handed on and the rest thrown away.
    """

    def __init__(
        self,
        application: Wsgi,
        *,
        threads: int,
        most_waiting: int,
        most_bytes: int,
        cut: Collection[str] = (),
    ) -> None:
        self._application = application
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="pages")
        self._most = threads + most_waiting
        self._most_bytes, self._cut = most_bytes, cut
        self._under_way = 0

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """One HTTP request."""
        if self._under_way >= self._most:
            headers = [(b"content-type", b"text/plain"), (b"retry-after", b"5"), (b"content-length", b"%d" % len(BUSY))]
            await send({"type": "http.response.start", "status": 503, "headers": headers})
            await send({"type": "http.response.body", "body": BUSY})
            return
        self._under_way += 1
        try:
            body = await self._body_of(scope, receive)
            if body is not None:
                await self._run(_environ_of(scope, body), send)
        finally:
            self._under_way -= 1

    async def _body_of(self, scope: Message, receive: Receive) -> bytes | None:
        """The body, one byte over the limit at most; None when the client went away.

        One that declares to be larger is not read at all: the application refuses it by what it declares.
        """
        declared = next((int(value) for name, value in scope["headers"] if name == b"content-length"), 0)
        if declared > self._most_bytes and scope["path"] not in self._cut:
            return b""
        parts: list[bytes] = []
        length, more = 0, True
        while more:
            message = await receive()
            if message["type"] != "http.request":
                return None
            more = message.get("more_body", False)
            if length <= self._most_bytes:
                parts.append(message.get("body", b""))
                length += len(parts[-1])
        return b"".join(parts)[: self._most_bytes + 1]

    async def _run(self, environ: dict[str, Any], send: Send) -> None:
        loop = asyncio.get_running_loop()

        def say(message: Message) -> None:
            # Waits until the server has taken it: a response is never held in memory as a whole.
            asyncio.run_coroutine_threadsafe(_ignoring_departed(send, message), loop).result()

        await loop.run_in_executor(self._threads, self._answer, environ, say)

    def _answer(self, environ: dict[str, Any], say: Callable[[Message], None]) -> None:
        begun = False

        def start_response(
            status: str, headers: list[tuple[str, str]], exc_info: Any = None
        ) -> Callable[[bytes], None]:
            nonlocal begun
            if begun:
                raise RuntimeError("the response has begun already")
            begun = True
            pairs = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers]
            say({"type": "http.response.start", "status": int(status.partition(" ")[0]), "headers": pairs})
            return lambda data: say({"type": "http.response.body", "body": data, "more_body": True})

        chunks = self._application(environ, start_response)
        try:
            held: bytes | None = None
            for chunk in chunks:
                if held is not None:
                    say({"type": "http.response.body", "body": held, "more_body": True})
                held = chunk
            say({"type": "http.response.body", "body": held or b"", "more_body": False})
        finally:
            if hasattr(chunks, "close"):
                chunks.close()


async def _ignoring_departed(send: Send, message: Message) -> None:
    # When the client has left, the application still runs to its end, as under any WSGI server.
    with suppress(OSError):
        await send(message)


def _environ_of(scope: Message, body: bytes) -> dict[str, Any]:
    """The request in WSGI's words (PEP 3333)."""
    host, port = scope.get("server") or ("localhost", 0)
    client = scope.get("client") or ("", 0)
    environ: dict[str, Any] = {
        "REQUEST_METHOD": scope["method"],
        "SCRIPT_NAME": scope.get("root_path", ""),
        "PATH_INFO": scope["path"].encode().decode("latin-1"),
        "QUERY_STRING": scope["query_string"].decode("latin-1"),
        "SERVER_PROTOCOL": f"HTTP/{scope['http_version']}",
        "SERVER_NAME": host,
        "SERVER_PORT": str(port or 0),
        "REMOTE_ADDR": client[0],
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": scope.get("scheme", "http"),
        "wsgi.input": BytesIO(body),
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
        "gs.request_id": scope.get("gs.request_id", ""),
    }
    for raw_name, raw_value in scope["headers"]:
        name, value = raw_name.decode("latin-1"), raw_value.decode("latin-1")
        if "_" in name:
            # X_Forwarded_For would become the same variable as X-Forwarded-For, which a proxy sets or removes.
            continue
        key = name.upper().replace("-", "_")
        if key not in ("CONTENT_TYPE", "CONTENT_LENGTH"):
            key = f"HTTP_{key}"
        environ[key] = f"{environ[key]},{value}" if key in environ else value
    if "CONTENT_LENGTH" not in environ and body:
        # A body without a length (chunked): Django takes a missing length for an empty body.
        environ["CONTENT_LENGTH"] = str(len(body))
    return environ
