"""Which IPs and domains are looked up on which lists, and what makes a look due at once."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from datetime import datetime, timedelta
from zlib import crc32

from django.db.models import F, Q

from reputation.domain.dnsbl import ZoneKind, is_public
from reputation.models import AuditEntry, Blocklist, IpStanding, Listing, SenderScore, SendingIP, Watermark
from telemetry.domain.vocab import UNKNOWN_IP

# All pairs of one IP or domain are in one shard, and one shard is checked by one worker at a time.
SHARDS = 4
# Whoever has sent nothing for so long is looked up no more.
IDLE_AFTER = timedelta(days=30)
# Rows may be committed some time after the moment they tell of.
LOOK_BACK = timedelta(minutes=10)
FIRST_LOOK_BACK = timedelta(hours=1)
STATUS_ACTIONS = ("status_change", "quarantine", "release", "override", "lift", "expire")
_WATERMARK = "blocklists: changes of status"
_ROWS_AT_ONCE = 500


def watched(*, now: datetime) -> dict[str, set[str]]:
    """The sending IPs and domains that are looked up: with mail in the last 30 days, or new, or in a pool."""
    since = now - IDLE_AFTER
    ips = set(IpStanding.objects.filter(window_end__gte=since).order_by().values_list("sending_ip", flat=True))
    known = SendingIP.objects.filter(Q(first_seen_at__gte=since) | Q(pool__isnull=False))
    ips |= set(known.order_by().values_list("ip", flat=True))
    scores = SenderScore.objects.filter(kind="domain", provider="", window_end__gte=since)
    domains = set(scores.order_by().values_list("name", flat=True))
    return {
        "ip": {ip for ip in ips if ip != UNKNOWN_IP and is_public(ip)},
        "domain": {name for name in domains if is_public(name)},
    }


def plan(lists: Iterable[Blocklist], *, now: datetime) -> int:
    """Make the rows of new pairs, which are due at once, and drop those of senders that are gone; how many are new."""
    found = watched(now=now)
    made = watch(lists, found, now=now)
    _forget(found, now)
    return made


def watch(lists: Iterable[Blocklist], subjects: Mapping[str, Collection[str]], *, now: datetime) -> int:
    """Make the rows of these subjects on the lists that take them, where there are none; how many were made."""
    rows = Listing.objects.order_by()
    few = sum(map(len, subjects.values())) < 10
    if few:
        rows = rows.filter(subject__in=[name for names in subjects.values() for name in names])
    present = set(rows.values_list("blocklist_id", "subject"))
    new = []
    for blocklist in lists:
        kind = "ip" if ZoneKind(blocklist.kind).is_of_ips else "domain"
        for subject in sorted(subjects.get(kind, ())):
            if (blocklist.pk, subject) not in present and blocklist.takes(subject):
                new.append(
                    Listing(blocklist=blocklist, kind=kind, subject=subject, due_at=now, shard=shard_of(subject))
                )
    Listing.objects.bulk_create(new, ignore_conflicts=True, batch_size=_ROWS_AT_ONCE)
    return len(new)


def shard_of(subject: str) -> int:
    """The shard of an IP or domain; the same in every process."""
    return crc32(subject.encode()) % SHARDS


def _forget(found: Mapping[str, Collection[str]], now: datetime) -> None:
    kept = {(kind, subject) for kind, subjects in found.items() for subject in subjects}
    # A person may ask about an IP that has not sent yet; that is followed for a while.
    rows = Listing.objects.filter(Q(wanted_until=None) | Q(wanted_until__lte=now))
    names = rows.order_by().values_list("kind", "subject").distinct()
    gone = sorted({subject for kind, subject in names if (kind, subject) not in kept})
    for start in range(0, len(gone), _ROWS_AT_ONCE):
        rows.filter(subject__in=gone[start : start + _ROWS_AT_ONCE]).delete()


def notice_changes(*, now: datetime) -> int:
    """Make the looks of IPs due whose status changed since the last time; how many IPs those are.

    Read from the audit log by a watermark that looks back: a row is seen however late it was committed, and one that is
    seen twice does no harm, because its IP has been looked up since.
    """
    mark = Watermark.objects.filter(pk=_WATERMARK).first()
    since = mark.at - LOOK_BACK if mark else now - FIRST_LOOK_BACK
    rows = AuditEntry.objects.filter(at__gte=since, action__in=STATUS_ACTIONS).exclude(sending_ip=None)
    latest: dict[str, datetime] = {}
    for ip, at in rows.exclude(previous=F("new")).order_by("at").values_list("sending_ip", "at"):
        if ip is not None and ip != UNKNOWN_IP:
            latest[ip] = at
    made_due = sum(_look_since(ip, at, now) for ip, at in latest.items())
    Watermark.objects.update_or_create(pk=_WATERMARK, defaults={"at": now})
    return made_due


def _look_since(ip: str, at: datetime, now: datetime) -> bool:
    """Make every list due that was not asked about this IP since then; an answer stands until its TTL has run out."""
    old = Listing.objects.filter(Q(asked_at=None) | Q(asked_at__lt=at), kind="ip", subject=ip, due_at__gt=now)
    stale = old.filter(Q(fresh_until=None) | Q(fresh_until__lte=now)).update(due_at=now)
    fresh = old.filter(fresh_until__gt=now, due_at__gt=F("fresh_until")).update(due_at=F("fresh_until"))
    return bool(stale or fresh)
