"""The fast way in for permits: one plain question of a source is answered in the event loop, without a thread's turn.

Only what is exactly as documented is taken. Everything else (several questions, a person's token, a field too many, a
number that is none) goes to Django, which answers the same and says what is wrong.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Annotated, Any

import msgspec
from django.db import DatabaseError, InterfaceError
from django.utils import timezone

from reputation import permit_keeper
from reputation.api.permits import MOST_RECIPIENTS, answer_as_json
from reputation.domain.permit import Answer, Ask
from reputation.permit_rounds import Rounds
from reputation.permits import desk
from telemetry.authentication import bearer_of, may_report_from
from telemetry.domain.addresses import Address
from telemetry.domain.clean import LONGEST_ADDRESS
from telemetry.lane.app import body_of, client_of_scope, replaying
from telemetry.lane.door import Door

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]

MOST_BYTES = 4_096

_Address = Annotated[str, msgspec.Meta(min_length=1, max_length=LONGEST_ADDRESS)]


class _Question(msgspec.Struct, forbid_unknown_fields=True):
    sender: Annotated[str, msgspec.Meta(max_length=LONGEST_ADDRESS)]
    recipient: _Address | msgspec.UnsetType = msgspec.UNSET
    recipients: Annotated[int, msgspec.Meta(ge=1, le=MOST_RECIPIENTS)] = 1


_DECODER = msgspec.json.Decoder(_Question)


class PermitLane:
    """An ASGI callable before another."""

    def __init__(self, other: App, path: str) -> None:
        self._other, self._path = other, path
        self._door: Door | None = None
        self._rounds: Rounds | None = None

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """One request, or the server's start and stop."""
        if scope["type"] != "http" or scope["path"] != self._path or scope["method"] != "POST":
            await self._other(scope, receive, send)
            return
        token, length = _headers(scope)
        if not token or not 0 < length <= MOST_BYTES:
            await self._other(scope, receive, send)
            return
        body = await body_of(receive, MOST_BYTES)
        if body is None:
            return
        ask = _ask(body)
        answer = await self._answer(token, client_of_scope(scope), ask) if ask is not None else None
        if answer is None:
            await self._other(scope, replaying(body, receive), send)
            return
        told = msgspec.json.encode(answer_as_json(answer, timezone.now()))
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", b"%d" % len(told)),
            (b"x-content-type-options", b"nosniff"),
        ]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": told})

    async def _answer(self, token: str, place: Address | None, ask: Ask) -> Answer | None:
        """None where Django shall answer: an unknown token, a place that it may not come from, or no book."""
        self._door = self._door or Door()
        known = await self._door.key_of(token)
        if known is None or not may_report_from(known.source, place):
            return None
        self._door.note_use(known, str(place or ""))
        loop = asyncio.get_running_loop()
        if self._rounds is None:
            try:
                # Reads the first book; from then on the keeper's thread does.
                await loop.run_in_executor(None, desk().books.current)
            except (DatabaseError, InterfaceError):
                return None
            self._rounds = Rounds(desk())
        permit_keeper.ensure()
        told: asyncio.Future[Answer] = loop.create_future()
        self._rounds.ask(ask, spend=True, tell=lambda answer: None if told.done() else told.set_result(answer))
        return await told


def _headers(scope: Message) -> tuple[str | None, int]:
    token, length, is_json = None, 0, False
    for name, value in scope["headers"]:
        if name == b"authorization":
            token = bearer_of(value.decode("latin-1"))
        elif name == b"content-length":
            length = int(value) if value.isdigit() else 0
        elif name == b"content-type":
            is_json = value.partition(b";")[0].strip().lower() == b"application/json"
    return (token if is_json else None), length


def _ask(body: bytes) -> Ask | None:
    try:
        question = _DECODER.decode(body)
    except msgspec.MsgspecError:
        return None
    recipient = "" if question.recipient is msgspec.UNSET else question.recipient
    # What Django would trim or refuse is Django's.
    if not all(text.isprintable() and text == text.strip() for text in (question.sender, recipient)):
        return None
    return Ask(question.sender, recipient, recipients=question.recipients)
