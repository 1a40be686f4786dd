"""The ASGI callable: takes reports of sources, passes on everything else."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import msgspec
from django.conf import settings
from rest_framework.exceptions import APIException

from telemetry import sql
from telemetry.api.webhooks import EventsView, Split
from telemetry.authentication import bearer_of, may_report_from, signature_is_right
from telemetry.client_address import client_address
from telemetry.domain.addresses import Address
from telemetry.domain.errors import ParseError
from telemetry.errors import RETRY_AFTER, TryAgain, problem_of
from telemetry.intake import Intake, read
from telemetry.lane.door import Door, Key
from telemetry.lane.writer import NotStoredError, StaleError, Work, Writer
from telemetry.limits import LoopMeter, charge_of
from telemetry.log_context import BATCH_HEADER, batch_id
from telemetry.metrics import INGEST_SECONDS, LANE_REFUSED, LANE_WAITING
from telemetry.parsers.base import Parser

log = logging.getLogger(__name__)

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]

# Bodies up to this size are read in the event loop and recorded in groups; larger ones have a line of their own, so
# that a batch of thousands does not hold up the many that carry one event.
SMALL = 16 * 1024
# Events that one transaction records.
MOST_SMALL = 400
MOST_LARGE = 1_000
# How often it is looked whether somebody has waited too long, in seconds.
LOOK_EVERY = 0.5
# No sender is told to stay away for longer, in seconds.
LONGEST_RETRY_AFTER = 60


@dataclass(frozen=True, slots=True)
class Route:
    """A URL of the lane: which format is spoken there, and how a body is split, by content type."""

    parser: Parser
    splits: Mapping[bytes, Split]


def routes(views: Mapping[str, type[EventsView]]) -> dict[str, Route]:
    """The lane's URLs from the views that stand behind them."""
    return {
        path: Route(view.parser, {media_type.encode(): split for media_type, split in view.splits.items()})
        for path, view in views.items()
    }


@dataclass(slots=True)
class _Headers:
    token: str | None = None
    media_type: bytes = b""
    length: int | None = None
    signature: str = ""
    forwarded_for: str = ""


class Lane:
    """Reports of sources, many in one transaction; whatever else comes goes to `other`."""

    def __init__(self, other: App, served: Mapping[str, Route]) -> None:
        self._other = other
        self._routes = served
        self._door = Door()
        self._meter = LoopMeter()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._waiting: dict[Work, None] = {}
        # Requests and bytes that are under way, counted from the decision to read a body on.
        self._admitted = self._bytes = 0
        self._per_second = 0.0
        self._settled_at = 0.0
        self._watch: asyncio.Task[None] | None = None

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """One request, or the server's start and stop."""
        if scope["type"] == "http":
            route = self._routes.get(scope["path"]) if scope["method"] == "POST" else None
            if route is None:
                await self._other(scope, receive, send)
            else:
                await self._take(route, scope, receive, send)
        elif scope["type"] == "lifespan":
            await self._live(receive, send)

    async def _live(self, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                self._begin()
                await send({"type": "lifespan.startup.complete"})
            elif message["type"] == "lifespan.shutdown":
                await self._end()
                await send({"type": "lifespan.shutdown.complete"})
                return

    def _begin(self) -> None:
        """Start the writers: two on PostgreSQL; one on SQLite, where a second would only wait for the first."""
        if self._loop is not None:
            return
        self._loop = asyncio.get_running_loop()
        if sql.on_postgres():
            self._small = Writer("lane-small", MOST_SMALL, self._settle)
            self._large = Writer("lane-large", MOST_LARGE, self._settle)
            self._writers = [self._small, self._large]
        else:
            self._small = self._large = Writer("lane", MOST_LARGE, self._settle)
            self._writers = [self._small]
        for writer in self._writers:
            writer.start()
        self._watch = self._loop.create_task(self._look_for_overdue())

    async def _end(self) -> None:
        if self._loop is None:
            return
        for writer in self._writers:
            await self._loop.run_in_executor(None, writer.stop)
        if self._watch is not None:
            self._watch.cancel()
        self._door.close()
        self._meter.close()
        self._loop = None

    async def _take(self, route: Route, scope: Message, receive: Receive, send: Send) -> None:
        start = time.perf_counter()
        headers = _read_headers(scope["headers"])
        split = route.splits.get(headers.media_type)
        key = await self._door.key_of(headers.token) if split is not None and headers.token else None
        most = settings.MAX_BODY_BYTES
        place = client_address(_peer_of(scope), headers.forwarded_for)
        if split is None or key is None or (headers.length or 0) > most or not may_report_from(key.source, place):
            await self._other(scope, receive, send)
            return
        self._door.note_use(key, str(place or ""))
        if self._loop is None:
            self._begin()
        reserved = most if headers.length is None else headers.length
        if self._is_full(reserved):
            await self._refuse(scope, receive, send)
            return
        self._admitted += 1
        self._bytes += reserved
        try:
            body = await body_of(receive, most)
            if body is None:
                return
            work = self._work_of(route, split, key, headers, body, scope.get("gs.request_id", ""))
            if work is None:
                await self._other(scope, replaying(body, receive), send)
                return
            charged = charge_of(key.source, requests=1, events=len(work.raw_events))
            refusal = await self._meter.charge(charged) if charged.parts else None
            if refusal is not None:
                error = refusal.as_error()
                await _send_problem(send, error, refusal.retry_after)
                return
            if len(body) <= SMALL:
                work.reading = read(route.parser, work.raw_events, ip_map=key.source.ip_map, now=datetime.now(UTC))
            batch = [(BATCH_HEADER.lower().encode(), work.batch.encode())]
            try:
                answer = await self._recorded(work)
            except StaleError:
                # Revoked or changed since it was looked up: nothing was stored, and Django knows the answer.
                self._door.forget(headers.token or "")
                await self._other(scope, replaying(body, receive), send)
                return
        finally:
            self._admitted -= 1
            self._bytes -= reserved
        if answer is None:
            await _send_problem(send, TryAgain(), RETRY_AFTER, batch)
        else:
            await _send_json(send, 200, msgspec.json.encode(answer.as_answer()), more=batch)
        INGEST_SECONDS.observe(time.perf_counter() - start)

    def _work_of(
        self, route: Route, split: Split, key: Key, headers: _Headers, body: bytes, request: str
    ) -> Work | None:
        """The request as work for a writer; None when it is for Django to refuse."""
        source = key.source
        if source.hmac_key_sealed and not signature_is_right(source, headers.signature, body):
            return None
        try:
            raw_events = split(body)
        except ParseError:
            return None
        if not 0 < len(raw_events) <= settings.MAX_EVENTS_PER_REQUEST or len(body) > settings.MAX_BODY_BYTES:
            return None
        answer: asyncio.Future[Intake] = asyncio.get_running_loop().create_future()
        return Work(key, route.parser, raw_events, answer, request, batch_id(body))

    async def _recorded(self, work: Work) -> Intake | None:
        """Have it recorded; None when it was not, or not in time."""
        # A reading with something to keep takes a transaction of its own, which the small ones shall not wait for.
        small = work.reading is not None and not work.reading.rejections
        self._waiting[work] = None
        (self._small if small else self._large).put(work)
        try:
            return await work.answer
        except NotStoredError:
            return None
        finally:
            self._waiting.pop(work, None)

    def _settle(self, results: list[tuple[Work, Intake | Exception]]) -> None:
        """Called by a writer's thread: hand the results to the event loop."""
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._hand_out, results)

    def _hand_out(self, results: list[tuple[Work, Intake | Exception]]) -> None:
        now = time.monotonic()
        rate = len(results) / max(now - self._settled_at, 0.001)
        self._per_second = rate if not self._per_second else 0.9 * self._per_second + 0.1 * rate
        self._settled_at = now
        for work, result in results:
            if work.answer.done():
                continue
            if isinstance(result, Exception):
                work.answer.set_exception(result)
            else:
                work.answer.set_result(result)

    async def _look_for_overdue(self) -> None:
        """Tell those who have waited too long to try again: the database stands still, or is too slow for the load.

        What is stored after all is recognised when it is sent again.
        """
        while True:
            await asyncio.sleep(LOOK_EVERY)
            LANE_WAITING.set(self._admitted)
            oldest_allowed = time.monotonic() - settings.INGEST_PATIENCE.total_seconds()
            for work in list(self._waiting):
                if work.since > oldest_allowed:
                    break
                if not work.answer.done():
                    LANE_REFUSED.labels(why="too slow").inc()
                    work.answer.set_exception(NotStoredError())

    def _is_full(self, more: int) -> bool:
        return self._admitted >= settings.INGEST_MOST_WAITING or self._bytes + more > settings.INGEST_MOST_WAITING_BYTES

    async def _refuse(self, scope: Message, receive: Receive, send: Send) -> None:
        LANE_REFUSED.labels(why="queue full").inc()
        # As long as it takes to record what waits now; when nothing gets done, as long as for a failing database.
        wait = math.ceil(self._admitted / self._per_second) if self._per_second else RETRY_AFTER
        await _drain(receive)
        await _send_problem(send, TryAgain(TOO_MUCH), min(max(wait, 1), LONGEST_RETRY_AFTER))


TOO_MUCH = "More is waiting to be recorded than this server keeps in memory. Nothing was stored: send it again."


def _read_headers(pairs: Iterable[tuple[bytes, bytes]]) -> _Headers:
    headers = _Headers()
    for name, value in pairs:
        if name == b"authorization":
            headers.token = bearer_of(value.decode("latin-1"))
        elif name == b"content-type":
            headers.media_type = value.partition(b";")[0].strip().lower()
        elif name == b"content-length":
            headers.length = int(value) if value.isdigit() else None
        elif name == b"x-signature":
            headers.signature = value.decode("latin-1")
        elif name == b"x-forwarded-for":
            # Several headers are one list, as WSGI joins them.
            written = value.decode("latin-1")
            headers.forwarded_for = f"{headers.forwarded_for},{written}" if headers.forwarded_for else written
    return headers


def client_of_scope(scope: Message) -> Address | None:
    """From where a request came, by the same rule as in Django's views."""
    return client_address(_peer_of(scope), _read_headers(scope["headers"]).forwarded_for)


def _peer_of(scope: Message) -> str:
    client = scope.get("client")
    return str(client[0]) if client else ""


async def body_of(receive: Receive, most: int) -> bytes | None:
    """The body, cut one byte over the limit; None when the client went away before its end."""
    message = await receive()
    if message["type"] != "http.request":
        return None
    body: bytes = message.get("body", b"")
    if not message.get("more_body"):
        return body[: most + 1]
    parts, length = [body], len(body)
    while message.get("more_body"):
        message = await receive()
        if message["type"] != "http.request":
            return None
        if length <= most:
            parts.append(message.get("body", b""))
            length += len(parts[-1])
    return b"".join(parts)[: most + 1]


async def _drain(receive: Receive) -> None:
    """Read a body to its end without keeping it: who is still sending cannot hear an answer."""
    while (message := await receive())["type"] == "http.request" and message.get("more_body"):
        pass


def replaying(body: bytes, receive: Receive) -> Receive:
    """A `receive` for the next callable, with the body that was read already."""
    given = False

    async def again() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again


async def _send_json(
    send: Send, status: int, body: bytes, *, kind: bytes = b"application/json", more: Iterable[tuple[bytes, bytes]] = ()
) -> None:
    headers = [
        (b"content-type", kind),
        (b"content-length", b"%d" % len(body)),
        (b"x-content-type-options", b"nosniff"),
        *more,
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def _send_problem(
    send: Send, error: APIException, retry_after: int, more: Iterable[tuple[bytes, bytes]] = ()
) -> None:
    body = msgspec.json.encode(problem_of(error))
    headers = [(b"retry-after", b"%d" % retry_after), *more]
    await _send_json(send, error.status_code, body, kind=b"application/problem+json", more=headers)
