"""The Postfix services: a policy service that says whether, and a socketmap that says by which transport.

One process, one event loop. Answers come from memory: the book is read anew every moment in a thread, and what has
no cap is answered at once; see `permit_rounds` for the rest.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import sys
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from functools import partial

from django.db import connection
from django.utils import timezone
from prometheus_client import Counter

from reputation.domain.permit import Answer
from reputation.domain.postfix_wire import (
    MOST_REQUEST_BYTES,
    WireError,
    action_of,
    ask_of,
    attributes,
    counts,
    netstring,
    take_netstring,
)
from reputation.domain.routes import lookup
from reputation.permit_keeper import keep
from reputation.permit_rounds import Rounds, within
from reputation.permits import UNAVAILABLE, Desk

log = logging.getLogger(__name__)

REQUESTS = Counter("policyd_requests", "Requests to the Postfix services.", ["service"])
# The book and the record are kept this often, in seconds.
EVERY = 0.7
# How long one thread may hold the others up, in seconds.
SWITCH = 0.0002


class Counterparts(Rounds):
    """What the connections share: the desk, the round of asks under way, and what is kept behind them."""

    def __init__(self, desk: Desk, *, pool: str, state: str) -> None:
        super().__init__(desk)
        self.pool, self.state = pool, state
        self._keeper = ThreadPoolExecutor(max_workers=1, thread_name_prefix="keep")

    def start(self) -> None:
        """Keep the book and the record from now on; the first book must be there already."""
        self.run(self._keep())

    def route(self, name: str, key: str) -> str:
        """The answer to a socketmap lookup."""
        return lookup(self.desk.books.latest, name, key, timezone.now())

    async def _keep(self) -> None:
        while True:
            await asyncio.sleep(EVERY)
            await within(self._keeper, partial(keep, self.desk))

    def has_book(self) -> bool:
        """Whether the first book could be read."""
        try:
            self.desk.books.refresh()
        except UNAVAILABLE as error:
            connection.close()
            log.warning("waiting for the database", extra={"error": type(error).__name__})
            return False
        return True

    async def stop(self) -> None:
        """Finish the round under way and write the record."""
        await super().stop()
        await within(self._keeper, partial(keep, self.desk))
        self._keeper.shutdown()


class PolicyProtocol(asyncio.Protocol):
    """One connection of a Postfix smtpd: requests are answered in the order in which they came."""

    def __init__(self, parts: Counterparts) -> None:
        self._parts = parts
        self._buffer = b""
        self._replies: deque[list[bytes]] = deque()
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Remember where to answer."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        """Whatever is still being decided has nobody to be told to."""
        self._transport = None

    def data_received(self, data: bytes) -> None:
        """Answer every whole request."""
        *requests, self._buffer = (self._buffer + data).split(b"\n\n")
        for request in requests:
            self._answer(request)
        if len(self._buffer) > MOST_REQUEST_BYTES:
            self._refuse("a request without an end")

    def _answer(self, raw: bytes) -> None:
        REQUESTS.labels(service="policy").inc()
        try:
            request = attributes(raw.lstrip(b"\n"))
        except WireError as error:
            self._refuse(str(error))
            return
        slot: list[bytes] = []
        self._replies.append(slot)

        def tell(answer: Answer) -> None:
            slot.append(action_of(answer))
            self._send()

        self._parts.ask(ask_of(request, self._parts.pool), spend=counts(request, self._parts.state), tell=tell)

    def _send(self) -> None:
        ready = []
        while self._replies and self._replies[0]:
            ready.append(self._replies.popleft()[0])
        if ready and self._transport is not None:
            self._transport.write(b"".join(ready))

    def _refuse(self, why: str) -> None:
        log.warning("not a policy request", extra={"why": why})
        if self._transport is not None:
            self._transport.close()


class SocketmapProtocol(asyncio.Protocol):
    """One connection of a Postfix table lookup."""

    def __init__(self, parts: Counterparts) -> None:
        self._parts = parts
        self._buffer = bytearray()
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Remember where to answer."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Answer every whole lookup."""
        assert self._transport is not None
        self._buffer += data
        try:
            while (query := take_netstring(self._buffer)) is not None:
                REQUESTS.labels(service="socketmap").inc()
                name, _, key = query.partition(" ")
                self._transport.write(netstring(self._parts.route(name, key)))
        except WireError as error:
            log.warning("not a socketmap request", extra={"why": str(error)})
            self._transport.close()


async def serve(
    parts: Counterparts,
    *,
    policy: tuple[str, int] | None,
    socketmap: tuple[str, int] | None,
    ready: Callable[[datetime], None],
    stop: asyncio.Event,
) -> None:
    """Serve until `stop` is set. Raises OSError where an address is taken."""
    # The threads that read the book and spend must not keep the answers waiting for Python's usual 5 ms.
    sys.setswitchinterval(SWITCH)
    loop = asyncio.get_running_loop()
    while not await loop.run_in_executor(None, parts.has_book):
        try:
            # Listening without knowing anything would be worse: Postfix waits, or takes its own default.
            await asyncio.wait_for(stop.wait(), EVERY)
        except TimeoutError:
            continue
        return
    servers = []
    for address, protocol in ((policy, PolicyProtocol), (socketmap, SocketmapProtocol)):
        if address is not None:
            servers.append(await loop.create_server(partial(protocol, parts), *address, backlog=512))
    # Looking through all of Django for rubbish takes milliseconds, and it stays anyway.
    gc.freeze()
    parts.start()
    ready(timezone.now())
    await stop.wait()
    for server in servers:
        server.close()
    await parts.stop()
