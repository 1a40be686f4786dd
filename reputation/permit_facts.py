"""Loads what permits are decided by. A handful of queries whatever the number of senders; once a second at most."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from functools import lru_cache

from django.db import Error as DatabaseError
from django.db import connection
from django.db.models import Q
from django.utils import timezone

from reputation import breakers, budgets, sending_policies
from reputation.domain.breaker import Allowances
from reputation.domain.breaker_policy import Kind, Scope, State
from reputation.domain.permit_book import PermitBook
from reputation.domain.policy import Status
from reputation.domain.pool import Member
from reputation.models import Breaker, IpStanding, Pool, PoolDomain, SenderScore, SendingIP
from reputation.models import SendingPolicy as SendingPolicyRow
from reputation.mx_hosts import MxHosts
from telemetry import mailbox_providers
from telemetry.counters import last_minutes
from telemetry.domain.cells import DAY
from telemetry.domain.vocab import UNKNOWN_IP
from telemetry.domain.window import Outcomes
from telemetry.queries import outcomes_by

log = logging.getLogger(__name__)

# How old a book may be while it is being read anew.
FRESH = timedelta(seconds=1)
# Scores are computed every five minutes.
SCORES_EVERY = timedelta(seconds=30)
_COLUMN = {"ip": "sending_ip", "domain": "sending_domain"}


def load(*, now: datetime, scores: dict[tuple[Kind, str], int]) -> PermitBook:
    """Read the book; `scores` are those of `read_scores`. Raises DatabaseError."""
    from reputation import warmups

    policies = sending_policies.policies()
    pools, default = _pools()
    allowances = breakers.standing_for(now=now)
    return PermitBook(
        default_pool=default,
        policies=policies,
        pools=pools,
        pool_of_domain=dict(PoolDomain.objects.order_by().values_list("domain", "pool__name")),
        pool_of_ip={member.ip: pool for pool, members in pools.items() for member in members},
        breakers=allowances,
        normal=_normal(allowances),
        warm_ups={(plan.kind, plan.sender): plan for plan in warmups.plans(now=now)},
        scores=scores,
        spent=budgets.levels(now=now),
        directory=mailbox_providers.directory(),
    )


def read_scores() -> dict[tuple[Kind, str], int]:
    """The overall score of each sender, where a policy's limit depends on it. Raises DatabaseError."""
    limited = Q(ip_limit_per_hour__isnull=False) | Q(domain_limit_per_hour__isnull=False)
    if not SendingPolicyRow.objects.filter(limited).exists():
        return {}
    rows = SenderScore.objects.filter(provider="", score__isnull=False).order_by()
    found = rows.values_list("kind", "name", "score")
    return {("ip" if kind == "ip" else "domain", name): score for kind, name, score in found if score is not None}


def _pools() -> tuple[dict[str, tuple[Member, ...]], str]:
    names = dict(Pool.objects.order_by("pk").values_list("pk", "name"))
    default = Pool.objects.filter(is_default=True).values_list("name", flat=True).first() or "default"
    standing = {
        ip: Status(status)
        for ip, status in IpStanding.objects.exclude(status=Status.HEALTHY).values_list("sending_ip", "status")
    }
    members: dict[str, list[Member]] = defaultdict(list, {name: [] for name in names.values()})
    rows = SendingIP.objects.exclude(ip=UNKNOWN_IP).order_by("ip")
    for ip, pool, weight, is_backup, transport in rows.values_list("ip", "pool", "weight", "is_backup", "transport"):
        name = default if pool is None else names.get(pool, default)
        members[name].append(Member(ip, weight, is_backup, standing.get(ip, Status.HEALTHY), transport))
    return {name: tuple(found) for name, found in members.items()}, default


def _normal(allowances: Allowances) -> dict[Scope, int]:
    """What half-open senders sent an hour in the 24 hours before their pause: a step lets a share of that through."""
    scopes = {scope for scope, entry in allowances.by_scope.items() if entry.share}
    if not scopes:
        return {}
    rows = Breaker.objects.exclude(state=State.CLOSED).exclude(paused_at=None)
    paused = {row.scope: row.paused_at for row in rows}
    return {scope: _sent_per_hour(scope, paused[scope]) for scope in scopes if scope in paused}


@lru_cache(maxsize=10_000)
def _sent_per_hour(scope: Scope, before: datetime) -> int:
    start, end = last_minutes(before, DAY)
    only = {_COLUMN[scope.kind]: scope.sender} | ({"provider": scope.provider} if scope.provider else {})
    sums = sum(outcomes_by((_COLUMN[scope.kind],), start=start, end=end, only=only).values(), Outcomes())
    return math.ceil(sums.sent / 24)


class Books:
    """The current book of this process. Nobody waits for a new one while the old one is fresh enough to answer by.

    While the database is away the last book goes on answering; `away_since` tells.
    """

    def __init__(self, read: Callable[..., PermitBook] = load) -> None:
        self._read = read
        self.mx = MxHosts()
        self._lock = threading.Lock()
        self._book: PermitBook | None = None
        self._read_at = 0.0
        self._scores: tuple[float, dict[tuple[Kind, str], int]] | None = None
        self.as_of = timezone.now()
        """When the book was read."""
        self.away_since: datetime | None = None
        """Since when the database does not answer; None: it does."""

    @property
    def latest(self) -> PermitBook:
        """The last book that was read, whatever its age; `refresh` must have succeeded once."""
        assert self._book is not None
        return self._book

    def current(self) -> PermitBook:
        """The book as of at most a second ago. Raises DatabaseError where there never was one."""
        # One reads, the others take what is there; only the very first book is waited for by all.
        if self._is_old and self._lock.acquire(blocking=self._book is None):
            try:
                if self._is_old:
                    self.refresh()
            finally:
                self._lock.release()
        return self.latest

    @property
    def _is_old(self) -> bool:
        return self._book is None or time.monotonic() - self._read_at >= FRESH.total_seconds()

    def refresh(self) -> None:
        """Read the book now. While the database is away the old one stays; raises only where there is none."""
        now, clock = timezone.now(), time.monotonic()
        try:
            if self._scores is None or clock - self._scores[0] >= SCORES_EVERY.total_seconds():
                self._scores = (clock, read_scores())
            read = replace(self._read(now=now, scores=self._scores[1]), mx_hosts=self.mx.known)
            # Where nothing changed the old book stays, with all that it worked out.
            self._book = self._book if read == self._book else read
            self.as_of = now
        except DatabaseError as error:
            if self._book is None:
                raise
            if self.away_since is None:
                self.away_since = now
                log.error(
                    "the database is away; permits go by the last book",
                    extra={"error": type(error).__name__, "book_of": self.as_of.isoformat()},
                )
            # It may be broken; one that is fine is quickly made again.
            if not connection.in_atomic_block:
                connection.close()
        else:
            if self.away_since is not None:
                log.warning("the database is back", extra={"away_since": self.away_since.isoformat()})
            self.away_since = None
        # Also after a failure: the next try is a second away.
        self._read_at = clock

    def forget(self) -> None:
        """Read anew at the next question."""
        self._read_at = 0.0
