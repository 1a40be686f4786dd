"""What blocklists say of every sending IP and domain: claim what is due, ask, judge, write down what changed.

A pair (list, IP or domain) is asked by whoever holds its claim, which is taken by a conditional update; only the holder
writes the result. So no pair is asked twice at a time, and a worker that dies leaves a claim that runs out.
"""

from __future__ import annotations

import asyncio
import threading
import time
import uuid
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import Q, QuerySet

from reputation.blocklist_book import as_asked, asked_lists, remember, trusted
from reputation.blocklist_checker import Checker, Pair, Told
from reputation.blocklist_record import record
from reputation.blocklist_watch import SHARDS, watch
from reputation.dns_lookups import Client
from reputation.domain.dnsbl import ErrorKind
from reputation.domain.dnsbl_reading import failed
from reputation.models import Blocklist, BlocklistCanary, Listing

# Longer than any run, so that a claim runs out only where its holder died.
CLAIMED_FOR = timedelta(minutes=2)
# What one run takes of a worker's time; what is left is due at the next tick.
LONGEST_RUN = timedelta(seconds=15)
CLAIMED_AT_ONCE = 1_000
RETRIES = 1
# A person waits for no list longer than this; a worker goes on asking.
PATIENCE = timedelta(seconds=4)
# So many people's checks at once in one process, each with its part of the process's sockets.
AT_ONCE = 4
# What a person asked about is looked up for so long, also where it sends nothing.
WANTED_FOR = timedelta(days=1)
_UNREADABLE = "Its key cannot be read: SECRET_KEY changed"
_desk = threading.BoundedSemaphore(AT_ONCE)


@dataclass(frozen=True, slots=True)
class Ran:
    """What one run did."""

    asked: int = 0
    """Pairs that were looked up."""
    late: int = 0
    """Pairs that got no answer in the run's time, and are due again."""
    changes: int = 0
    """Changes that are believed now."""
    most_sockets: int = 0


def due_shards(*, now: datetime) -> list[int]:
    """The shards in which something is due."""
    rows = _free(Listing.objects.filter(due_at__lte=now, blocklist__in=list(asked_lists())), now)
    return sorted(set(rows.order_by().values_list("shard", flat=True).distinct()))


def check_due(shard: int, *, now: datetime) -> Ran:
    """Ask what is due in one shard, for LONGEST_RUN at most."""
    lists = asked_lists()
    began, ran = time.monotonic(), Ran()
    while (left := LONGEST_RUN.total_seconds() - (time.monotonic() - began)) > 0:
        at = now + timedelta(seconds=time.monotonic() - began)
        due = Listing.objects.filter(shard=shard, due_at__lte=now, blocklist__in=list(lists))
        token, rows = _claim(due, at)
        if not rows:
            break
        this, _ = _ask(rows, token, lists, seconds=left, share=SHARDS, now=at)
        ran = Ran(
            ran.asked + this.asked,
            ran.late + this.late,
            ran.changes + this.changes,
            max(ran.most_sockets, this.most_sockets),
        )
        if this.late or len(rows) < CLAIMED_AT_ONCE:
            break
    return ran


def check_now(kind: str, subject: str, *, now: datetime, patience: timedelta = PATIENCE) -> tuple[Ran, set[int]]:
    """Ask every list about one IP or domain now; (what was done, lists that are still being asked).

    An answer whose TTL has not run out stands and is not asked again. A list that does not answer in time is handed to
    the workers.
    """
    lists = asked_lists()
    watch(lists.values(), {kind: {subject}}, now=now)
    rows = Listing.objects.filter(subject=subject, blocklist__in=list(lists)).order_by()
    rows.update(wanted_until=now + WANTED_FOR)
    stale = rows.filter(Q(fresh_until=None) | Q(fresh_until__lte=now))
    began = time.monotonic()
    if not _desk.acquire(timeout=patience.total_seconds()):
        stale.update(due_at=now)
        return Ran(), set(stale.values_list("blocklist_id", flat=True))
    try:
        token, claimed = _claim(stale, now)
        # Somebody else asks these at this moment.
        waiting = set(_claimed(rows, now).exclude(claim=token).values_list("blocklist_id", flat=True))
        if not claimed:
            return Ran(), waiting
        left = max(0.1, patience.total_seconds() - (time.monotonic() - began))
        ran, late = _ask(claimed, token, lists, seconds=left, share=AT_ONCE, now=now)
    finally:
        _desk.release()
    rows.filter(blocklist__in=late).update(due_at=now)
    return ran, waiting | late


def try_list(row: Blocklist, *, now: datetime) -> list[BlocklistCanary]:
    """Ask a list for its test points now; the verdicts, which are remembered. Raises ValidationError."""
    why = row.why_not_asked
    asked = None if why else as_asked(row)
    if asked is None:
        raise ValidationError(f"{row.name} is not asked: {why or _UNREADABLE}.")
    client = Client(timeout=settings.DNS_TIMEOUT, retries=RETRIES, most_sockets=2)
    checker = Checker(client, [asked], {})
    families = sorted(row.families) if asked.zone.kind.is_of_ips else [0]

    async def test() -> None:
        await asyncio.gather(*(checker.test(row.pk, family) for family in families))

    asyncio.run(test())
    remember(checker, now=now)
    return list(BlocklistCanary.objects.filter(blocklist=row, family__in=families).order_by("family"))


def _ask(
    rows: Collection[Listing],
    token: str,
    lists: Mapping[int, Blocklist],
    *,
    seconds: float,
    share: int,
    now: datetime,
) -> tuple[Ran, set[int]]:
    """Ask about claimed rows and record the answers; (what was done, lists that did not answer in time)."""
    wanted = {row.blocklist_id for row in rows}
    asked = [entry for pk in sorted(wanted) if (entry := as_asked(lists[pk], share=share)) is not None]
    known = {entry.id for entry in asked}
    # Background runs and requests each have their share, see GS_DNS_MOST_SOCKETS.
    most = max(1, settings.DNS_MOST_SOCKETS // share)
    client = Client(timeout=settings.DNS_TIMEOUT, retries=RETRIES, most_sockets=most)
    checker = Checker(client, asked, trusted(wanted, now=now))
    pairs = [Pair(row.pk, row.blocklist_id, row.subject) for row in rows if row.blocklist_id in known]
    began = time.monotonic()
    told = asyncio.run(checker.run(pairs, seconds=seconds))
    told |= {row.pk: Told(failed(ErrorKind.BAD, _UNREADABLE)) for row in rows if row.blocklist_id not in known}
    at = now + timedelta(seconds=time.monotonic() - began)
    remember(checker, now=at)
    changes = record(told, token, now=at)
    _release(token)
    late = {row.blocklist_id for row in rows if row.pk not in told}
    return Ran(len(told), len(rows) - len(told), changes, client.most_open), late


def _claim(due: QuerySet[Listing], now: datetime) -> tuple[str, list[Listing]]:
    """Take the claim of rows that nobody holds; (the claim, the rows)."""
    token = uuid.uuid4().hex
    with transaction.atomic():
        # Rows that another claim is being taken of are left to it: nobody waits, and nobody deadlocks.
        free = _free(due, now).select_for_update(skip_locked=True).order_by("due_at", "pk")
        keys = [row.pk for row in free[:CLAIMED_AT_ONCE]]
        Listing.objects.filter(pk__in=keys).update(claim=token, claimed_until=now + CLAIMED_FOR)
    return token, list(Listing.objects.filter(claim=token).order_by("due_at", "pk"))


def _free(rows: QuerySet[Listing], now: datetime) -> QuerySet[Listing]:
    # A claim that ends later than any taken now could end was taken while a clock was wrong.
    return rows.filter(
        Q(claim="") | Q(claimed_until__lte=now) | Q(claimed_until__gt=now + CLAIMED_FOR + timedelta(minutes=1))
    )


def _claimed(rows: QuerySet[Listing], now: datetime) -> QuerySet[Listing]:
    return rows.exclude(claim="").filter(claimed_until__gt=now)


def _release(token: str) -> None:
    """Give back what was claimed and not answered; it stays due."""
    Listing.objects.filter(claim=token).update(claim="", claimed_until=None)
