"""What is spent of each cap, exactly, however many ask at once: in Redis where there is one, else in the database.

`take` spends several caps of one ask together or none of them. A level never falls below what the cap itself says was
counted elsewhere, so a Redis that came back empty goes on from what the database and the events know.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from typing import Any, Protocol

import redis
from django.conf import settings
from django.db import Error as DatabaseError
from django.db import transaction
from django.db.models import F
from django.db.models.functions import Greatest

from reputation.domain.breaker_policy import Kind
from reputation.domain.permit import Cap, Rule
from reputation.models import Budget

log = logging.getLogger(__name__)

# How long a row is kept after its window: for the midnight rule of the warm-ups, and for a look.
KEPT = timedelta(days=7)
# A budget in Redis outlives its window, so that a clock that is behind finds it.
GRACE = timedelta(hours=1)
_AT_ONCE = 500
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
    """The store in force: Redis where REDIS_URL is set, else the database."""
    return _redis_store(settings.REDIS_URL) if settings.REDIS_URL else DatabaseStore()


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

    def take(self, spends: Sequence[Spend]) -> list[Short | None]:
        """Spend in order; one short transaction for all. Raises BudgetsAwayError."""
        caps = {cap.key: cap for spend in spends for cap in spend.caps}
        if not caps:
            return [None] * len(spends)
        try:
            _make_rows(caps.values())
            with transaction.atomic():
                rows = Budget.objects.filter(pk__in=list(caps)).order_by("pk").select_for_update()
                levels = dict(rows.values_list("pk", "spent"))
                before = dict(levels)
                if len(levels) < len(caps):
                    raise BudgetsAwayError("a budget vanished")
                found = [_take_one(spend, levels) for spend in spends]
                for key in sorted(levels):
                    if levels[key] != before[key]:
                        Budget.objects.filter(pk=key).update(spent=levels[key], limit=caps[key].limit)
        except DatabaseError as error:
            raise BudgetsAwayError(type(error).__name__) from error
        return found


def _make_rows(caps: Iterable[Cap]) -> None:
    """Rows for windows that just began. Outside the transaction that locks: an insert that waits must hold nothing."""
    wanted = {cap.key: cap for cap in caps}
    present = set(Budget.objects.filter(pk__in=list(wanted)).order_by().values_list("pk", flat=True))
    rows = [_row(wanted[key]) for key in sorted(set(wanted) - present)]
    Budget.objects.bulk_create(rows, ignore_conflicts=True, batch_size=_AT_ONCE)


def _row(cap: Cap, level: int = 0) -> Budget:
    return Budget(
        key=cap.key,
        rule=cap.rule,
        kind=cap.kind,
        sender=cap.sender,
        provider=cap.provider,
        starts_at=cap.starts,
        ends_at=cap.ends,
        limit=cap.limit,
        spent=level,
    )


def _take_one(spend: Spend, levels: dict[str, int]) -> Short | None:
    for cap in spend.caps:
        level = max(levels.get(cap.key, 0), cap.counted)
        if level + spend.recipients > cap.limit:
            return Short(cap.key, level)
    for cap in spend.caps:
        levels[cap.key] = max(levels.get(cap.key, 0), cap.counted) + spend.recipients
    return None


# KEYS: the caps. ARGV: recipients, then limit, counted and expiry (ms) of each. All or nothing, because a script runs
# alone. Answers {number of the cap that is short (from 1), what is spent of it}, or {0, 0}.
_TAKE = """
local n = tonumber(ARGV[1])
local levels = {}
for i, key in ipairs(KEYS) do
  local level = math.max(tonumber(redis.call('GET', key) or '0'), tonumber(ARGV[3 * i]))
  if level + n > tonumber(ARGV[3 * i - 1]) then return {i, level} end
  levels[i] = level + n
end
for i, key in ipairs(KEYS) do
  redis.call('SET', key, string.format('%d', levels[i]), 'PXAT', ARGV[3 * i + 1])
end
return {0, 0}
"""


class RedisStore:
    """Counters in Redis, written down in the database every second by whoever spent (`write_down`)."""

    def __init__(self, url: str) -> None:
        self._client = redis.Redis.from_url(url, socket_timeout=_TIMEOUT, socket_connect_timeout=_TIMEOUT)
        self._script = self._client.register_script(_TAKE)
        self._touched: dict[str, Cap] = {}

    def take(self, spends: Sequence[Spend]) -> list[Short | None]:
        """Spend in order, over one round trip. Raises BudgetsAwayError."""
        asking = [spend for spend in spends if spend.caps]
        if not asking:
            return [None] * len(spends)
        try:
            with self._client.pipeline(transaction=False) as pipe:
                for spend in asking:
                    self._script(keys=[_PREFIX + cap.key for cap in spend.caps], args=_numbers(spend), client=pipe)
                answers = iter(pipe.execute())
        except redis.RedisError as error:
            raise BudgetsAwayError(type(error).__name__) from error
        found: list[Short | None] = []
        for spend in spends:
            number, level = next(answers) if spend.caps else (0, 0)
            found.append(Short(spend.caps[number - 1].key, level) if number else None)
            if not number:
                self._touched.update((cap.key, cap) for cap in spend.caps)
        return found

    def write_down(self) -> int:
        """Write what was spent since the last call; how many budgets. Raises BudgetsAwayError and DatabaseError."""
        touched, self._touched = self._touched, {}
        try:
            values = self._client.mget([_PREFIX + key for key in touched]) if touched else []
            write_levels({key: int(value) for key, value in zip(touched, values, strict=True) if value}, touched)
        except redis.RedisError as error:
            self._touched = {**touched, **self._touched}
            raise BudgetsAwayError(type(error).__name__) from error
        except DatabaseError:
            self._touched = {**touched, **self._touched}
            raise
        return len(touched)


def _numbers(spend: Spend) -> list[Any]:
    numbers: list[Any] = [spend.recipients]
    for cap in spend.caps:
        numbers += [cap.limit, cap.counted, int((cap.ends + GRACE).timestamp() * 1000)]
    return numbers


def write_levels(levels: dict[str, int], caps: dict[str, Cap]) -> None:
    """Raise stored budgets to these levels; none is lowered, so that several processes may write in any order."""
    _make_rows(caps[key] for key in levels)
    for key in sorted(levels):
        Budget.objects.filter(pk=key).update(spent=Greatest(F("spent"), levels[key]), limit=caps[key].limit)


def write_down(*, what: Store) -> int:
    """Write a store's levels into the database where they are kept elsewhere; how many."""
    return what.write_down() if isinstance(what, RedisStore) else 0


@cache
def _redis_store(url: str) -> RedisStore:
    return RedisStore(url)
