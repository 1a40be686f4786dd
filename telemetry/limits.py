"""How many requests and events a source may send a minute.

The count is kept in Redis (or Valkey), so that all web processes on all machines share it. While that does not answer,
each process counts for itself: reports are worth more than an exact limit.
"""

from __future__ import annotations

import asyncio
import logging
import math
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache

import redis
from django.conf import settings
from redis.backoff import NoBackoff
from redis.retry import Retry

from telemetry.domain.rates import WINDOW, charge
from telemetry.errors import TooFast
from telemetry.metrics import SOURCE_REFUSED
from telemetry.models import Source
from telemetry.redis_urls import client_url

log = logging.getLogger(__name__)

# A Redis that does not answer so soon is done without, for so long, in seconds.
_TIMEOUT = 0.25
_PAUSE = 5.0
_KEY = "gs:rate:{%d}:%s"
# Both buckets or neither: what is refused by one must not empty the other. See domain/rates.py for the arithmetic.
_SCRIPT = """
local t = redis.call('TIME')
local now = tonumber(t[1]) + tonumber(t[2]) / 1000000
local states = {}
for i = 1, #KEYS do
  local amount, per_minute = tonumber(ARGV[2 * i - 1]), tonumber(ARGV[2 * i])
  local each = 60 / per_minute
  local state = math.max(tonumber(redis.call('GET', KEYS[i]) or '0'), now)
  local wait = state + math.min(amount, per_minute) * each - 60 - now
  if wait > each / 100 then return {i, tostring(wait)} end
  states[i] = state + amount * each
end
for i = 1, #KEYS do
  redis.call('SET', KEYS[i], string.format('%.6f', states[i]), 'PX', math.ceil((states[i] - now) * 1000) + 1000)
end
return {0, '0'}
"""


@dataclass(frozen=True, slots=True)
class Charge:
    """What one request takes from its source's buckets: (what, amount, per minute); empty where nothing is limited."""

    source: int
    parts: tuple[tuple[str, int, int], ...]


@dataclass(frozen=True, slots=True)
class Refusal:
    """Too much: of what, and in how many whole seconds to come again."""

    what: str
    per_minute: int
    retry_after: int

    def as_error(self) -> TooFast:
        """The answer to the sender."""
        SOURCE_REFUSED.labels(why=self.what).inc()
        return TooFast(self.what, self.per_minute, self.retry_after)


def charge_of(source: Source, *, requests: int = 0, events: int = 0) -> Charge:
    """What is to be charged: nothing where the source has no limit, which costs nothing."""
    amounts = zip(("requests", "events"), (requests, events), limits_of(source), strict=True)
    return Charge(source.pk, tuple((what, amount, limit) for what, amount, limit in amounts if amount and limit))


def limits_of(source: Source) -> tuple[int, int]:
    """The requests and events a minute that hold for the source: its own, or the installation's; 0: no limit."""
    requests, events = source.requests_per_minute, source.events_per_minute
    return (
        settings.SOURCE_REQUESTS_PER_MINUTE if requests is None else requests,
        settings.SOURCE_EVENTS_PER_MINUTE if events is None else events,
    )


def spend(source: Source, *, requests: int = 0, events: int = 0) -> None:
    """Charge a source, in this thread. Raises TooFast, and then charges nothing."""
    charged = charge_of(source, requests=requests, events=events)
    if charged.parts:
        refusal = meter().charge([charged])[0]
        if refusal is not None:
            raise refusal.as_error()


class Meter:
    """The buckets of all sources, as this process reaches them. Safe to use from several threads."""

    def __init__(self, url: str) -> None:
        never_again = {"retry": Retry(NoBackoff(), 0), "retry_on_error": []}
        known = client_url(url)
        self._client = redis.Redis.from_url(
            known or "redis://", socket_timeout=_TIMEOUT, socket_connect_timeout=_TIMEOUT, **never_again
        )
        self._script = self._client.register_script(_SCRIPT)
        # Where there is none to ask, nobody is.
        self._away_until = 0.0 if known else math.inf
        self._own: dict[tuple[int, str], float] = {}
        self._lock = threading.Lock()

    def charge(self, charges: Sequence[Charge]) -> list[Refusal | None]:
        """Charge each, in this order and in one round trip; None where it may pass."""
        if time.monotonic() >= self._away_until:
            try:
                return self._shared(charges)
            except (redis.RedisError, OSError) as error:
                self._away_until = time.monotonic() + _PAUSE
                log.warning("the limits of sources are counted by each process for itself", extra={"why": str(error)})
        with self._lock:
            return [self._alone(each) for each in charges]

    def _shared(self, charges: Sequence[Charge]) -> list[Refusal | None]:
        with self._client.pipeline(transaction=False) as pipe:
            for each in charges:
                keys = [_KEY % (each.source, what) for what, _, _ in each.parts]
                self._script(keys, [number for _, *numbers in each.parts for number in numbers], client=pipe)
            answers = pipe.execute()
        found: list[Refusal | None] = []
        for each, (which, wait) in zip(charges, answers, strict=True):
            found.append(_refusal(each.parts[which - 1], float(wait)) if which else None)
        return found

    def _alone(self, each: Charge) -> Refusal | None:
        now = time.monotonic()
        states = {}
        for part in each.parts:
            what, amount, per_minute = part
            key = (each.source, what)
            states[key], wait = charge(self._own.get(key, 0.0), amount, per_minute, now=now)
            if wait:
                return _refusal(part, wait)
        self._own.update(states)
        return None


class LoopMeter:
    """The meter for an event loop: what comes while a round trip is under way shares the next one."""

    def __init__(self) -> None:
        self._waiting: list[tuple[Charge, asyncio.Future[Refusal | None]]] = []
        self._task: asyncio.Task[None] | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="lane-meter")

    async def charge(self, charged: Charge) -> Refusal | None:
        """None where it may pass."""
        answer: asyncio.Future[Refusal | None] = asyncio.get_running_loop().create_future()
        self._waiting.append((charged, answer))
        if self._task is None:
            self._task = asyncio.ensure_future(self._rounds())
        return await answer

    async def _rounds(self) -> None:
        try:
            while self._waiting:
                together, self._waiting = self._waiting, []
                charges = [charged for charged, _ in together]
                loop = asyncio.get_running_loop()
                found = await loop.run_in_executor(self._thread, lambda charges=charges: meter().charge(charges))  # type: ignore[misc]
                for (_, answer), refusal in zip(together, found, strict=True):
                    if not answer.done():
                        answer.set_result(refusal)
        finally:
            self._task = None

    def close(self) -> None:
        """End the thread."""
        self._thread.shutdown(wait=False, cancel_futures=True)


@cache
def meter() -> Meter:
    """This process's meter."""
    return Meter(settings.CELERY_BROKER_URL)


def _refusal(part: tuple[str, int, int], wait: float) -> Refusal:
    what, _, per_minute = part
    return Refusal(what, per_minute, max(1, math.ceil(min(wait, 60 * WINDOW))))
