"""What is spent of each cap, exactly, however many ask at once: in Redis where there is one, else in the database.

`take` spends several caps of one ask together or none of them. A level never falls below what the cap itself says was
counted elsewhere, so a Redis that came back empty goes on from what the database and the events know.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from typing import Any, Protocol

import redis
from django.conf import settings
from django.db import Error as DatabaseError
from django.db import connection, transaction

from reputation.domain.breaker_policy import Kind
from reputation.domain.permit import Cap, Rule
from reputation.models import Budget
from reputation.sql import BUDGET_COLUMNS, Row, raise_budgets
from telemetry.redis_urls import client_url

log = logging.getLogger(__name__)

# How long a row is kept after its window: for the midnight rule of the warm-ups, and for a look.
KEPT = timedelta(days=7)
# A budget in Redis outlives its window and lives at least this long, so that a clock that is behind finds it.
GRACE = timedelta(hours=1)
_AT_ONCE = 500
_MOST_REMEMBERED = 100_000
_UNLIMITED = 2**53
_PREFIX = "good-standing:budget:"
_TIMEOUT = 1.0  # seconds; whoever asks for a permit is waiting


class BudgetsAwayError(Exception):
    """The store does not answer: nobody knows what is spent."""


@dataclass(frozen=True, slots=True)
class Spend:
    """What one ask wants: so many recipients of each of these caps, or of none."""

    recipients: int
    caps: tuple[Cap, ...]


@dataclass(frozen=True, slots=True)
class Short:
    """A cap that had too little left, and what was spent of it."""

    key: str
    spent: int


class Store(Protocol):
    """Where budgets are kept."""

    def take(self, spends: Sequence[Spend]) -> list[Short | None]:
        """One answer per spend, in order: None where all its caps were spent. Raises BudgetsAwayError."""
        ...


def store() -> Store:
    """The store in force: Redis where REDIS_URL names one that we can ask, else the database."""
    url = client_url(settings.REDIS_URL)
    return _redis_store(url) if url else _database_store()


def spent(kind: Kind, sender: str, *, starts: datetime, rule: Rule = Rule.WARM_UP) -> int:
    """How many recipients were permitted to a sender under a rule in the window that begins then."""
    rows = Budget.objects.filter(kind=kind, sender=sender, provider="", starts_at=starts, rule=rule)
    return sum(rows.values_list("spent", flat=True))


def levels(*, now: datetime) -> dict[str, int]:
    """What is spent of the windows in force, as the database knows it."""
    rows = Budget.objects.filter(starts_at__lte=now, ends_at__gt=now, spent__gt=0).order_by()
    return dict(rows.values_list("key", "spent"))


def clean_up(*, now: datetime) -> int:
    """Delete windows that are long over; how many rows."""
    removed = 0
    while keys := list(
        Budget.objects.filter(ends_at__lt=now - KEPT).order_by().values_list("pk", flat=True)[:_AT_ONCE]
    ):
        removed += Budget.objects.filter(pk__in=keys).delete()[0]
    return removed


class DatabaseStore:
    """Rows with a lock each, taken in the order of their keys, so that two asks never wait for each other at once."""

    def __init__(self) -> None:
        self._made: set[str] = set()

    def take(self, spends: Sequence[Spend]) -> list[Short | None]:
        """Spend in order; one short transaction for all. Raises BudgetsAwayError."""
        caps = {cap.key: cap for spend in spends for cap in spend.caps}
        if not caps:
            return [None] * len(spends)
        try:
            self._make(caps)
            with transaction.atomic():
                rows = Budget.objects.filter(pk__in=list(caps)).order_by("pk").select_for_update()
                levels = dict(rows.values_list("pk", "spent"))
                if len(levels) < len(caps):
                    self._made.clear()
                    raise BudgetsAwayError("a budget vanished")
                before = dict(levels)
                found = [_take_one(spend, levels) for spend in spends]
                raise_budgets([_stored(caps[key], level) for key, level in levels.items() if level != before[key]])
        except DatabaseError as error:
            # A broken connection must not be kept; one that is fine is quickly made again.
            if not connection.in_atomic_block:
                connection.close()
            raise BudgetsAwayError(type(error).__name__) from error
        return found

    def _make(self, caps: dict[str, Cap]) -> None:
        new = [cap for key, cap in caps.items() if key not in self._made]
        if new:
            _make_rows(new)
            if len(self._made) > _MOST_REMEMBERED:
                self._made.clear()
            self._made.update(cap.key for cap in new)


def _make_rows(caps: Iterable[Cap]) -> None:
    """Rows for windows that just began. Outside the transaction that locks: an insert that waits must hold nothing."""
    wanted = {cap.key: cap for cap in caps}
    present = set(Budget.objects.filter(pk__in=list(wanted)).order_by().values_list("pk", flat=True))
    rows = [_row(wanted[key]) for key in sorted(set(wanted) - present)]
    Budget.objects.bulk_create(rows, ignore_conflicts=True, batch_size=_AT_ONCE)


def _row(cap: Cap) -> Budget:
    return Budget(**dict(zip(BUDGET_COLUMNS, _stored(cap, 0), strict=True)))


def _stored(cap: Cap, level: int) -> Row:
    return (cap.key, cap.rule, cap.kind, cap.sender, cap.provider, cap.starts, cap.ends, cap.limit, level)


def _take_one(spend: Spend, levels: dict[str, int]) -> Short | None:
    for cap in spend.caps:
        level = max(levels.get(cap.key, 0), cap.counted)
        if level + spend.recipients > cap.limit:
            return Short(cap.key, level)
    for cap in spend.caps:
        levels[cap.key] = max(levels.get(cap.key, 0), cap.counted) + spend.recipients
    return None


# KEYS: the caps of all asks. ARGV: limit, counted and time to live (ms) of each; then of each ask its recipients, how
# many caps it has, and their numbers. All or nothing for each ask; the asks in order, because a script runs alone.
# Answers two numbers for each ask: {number of the cap that is short (from 1), what is spent of it}, or {0, 0}.
_TAKE = """
local level, changed, answers = {}, {}, {}
for i, key in ipairs(KEYS) do
  level[i] = math.max(tonumber(redis.call('GET', key) or '0'), tonumber(ARGV[3 * i - 1]))
end
local at = 3 * #KEYS + 1
while ARGV[at] do
  local n, caps, short, spent = tonumber(ARGV[at]), tonumber(ARGV[at + 1]), 0, 0
  for j = at + 2, at + 1 + caps do
    local i = tonumber(ARGV[j])
    if short == 0 and level[i] + n > tonumber(ARGV[3 * i - 2]) then short, spent = i, level[i] end
  end
  if short == 0 then
    for j = at + 2, at + 1 + caps do
      local i = tonumber(ARGV[j])
      level[i] = level[i] + n
      changed[i] = true
    end
  end
  answers[#answers + 1] = short
  answers[#answers + 1] = spent
  at = at + 2 + caps
end
for i in pairs(changed) do
  redis.call('SET', KEYS[i], string.format('%d', level[i]), 'PX', ARGV[3 * i])
end
return answers
"""


class RedisStore:
    """Counters in Redis, written down in the database every second by whoever spent (`write_down`)."""

    def __init__(self, url: str) -> None:
        self._client = redis.Redis.from_url(url, socket_timeout=_TIMEOUT, socket_connect_timeout=_TIMEOUT)
        self._script = self._client.register_script(_TAKE)
        self._touched: dict[str, Cap] = {}

    def take(self, spends: Sequence[Spend]) -> list[Short | None]:
        """Spend in order, over one round trip. Raises BudgetsAwayError."""
        caps = {cap.key: cap for spend in spends for cap in spend.caps}
        if not caps:
            return [None] * len(spends)
        number = {key: place for place, key in enumerate(caps, start=1)}
        # Of one cap as two books knew it, the stricter word holds.
        limits, counted = dict.fromkeys(caps, _UNLIMITED), dict.fromkeys(caps, 0)
        for spend in spends:
            for cap in spend.caps:
                limits[cap.key] = min(limits[cap.key], cap.limit)
                counted[cap.key] = max(counted[cap.key], cap.counted)
        wanted: list[Any] = []
        now = time.time()
        for key, cap in caps.items():
            # A time to live and not a moment: a Redis whose clock is ahead would drop the count at once.
            lasts = max(cap.ends.timestamp() - now, 0) + GRACE.total_seconds()
            wanted += [limits[key], counted[key], int(lasts * 1000)]
        for spend in spends:
            wanted += [spend.recipients, len(spend.caps), *[number[cap.key] for cap in spend.caps]]
        try:
            answers = self._script(keys=[_PREFIX + key for key in caps], args=wanted)
        except redis.RedisError as error:
            raise BudgetsAwayError(type(error).__name__) from error
        self._touched.update(caps)
        keys = list(caps)
        pairs = zip(answers[::2], answers[1::2], strict=True)
        return [Short(keys[short - 1], level) if short else None for short, level in pairs]

    def write_down(self) -> int:
        """Write what was spent since the last call; how many budgets. Raises BudgetsAwayError and DatabaseError."""
        touched, self._touched = self._touched, {}
        try:
            values = self._client.mget([_PREFIX + key for key in touched]) if touched else []
            levels = zip(touched.values(), values, strict=True)
            with transaction.atomic():
                raise_budgets([_stored(cap, int(level)) for cap, level in levels if level])
        except redis.RedisError as error:
            self._touched = {**touched, **self._touched}
            raise BudgetsAwayError(type(error).__name__) from error
        except DatabaseError:
            self._touched = {**touched, **self._touched}
            raise
        return len(touched)


def write_down(*, what: Store) -> int:
    """Write a store's levels into the database where they are kept elsewhere; how many."""
    return what.write_down() if isinstance(what, RedisStore) else 0


@cache
def _database_store() -> DatabaseStore:
    return DatabaseStore()


@cache
def _redis_store(url: str) -> RedisStore:
    return RedisStore(url)
