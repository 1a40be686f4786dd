"""What the search asks the database: short lists of names by a part of them, events by an exact id."""

from __future__ import annotations

from collections.abc import Collection

from django.db.models import F, Max, Q, QuerySet

from reputation.models import IpStanding, Pool, SenderScore, SendingIP
from telemetry.domain.vocab import SourceKind
from telemetry.models import SendingEvent, Source

# Events have no index by message id, which every insert would pay for; the newest ones are looked through.
LOOKED_THROUGH = 200_000


def is_known_ip(ip: str) -> bool:
    """Whether the IP has a page."""
    return SendingIP.objects.filter(pk=ip).exists() or IpStanding.objects.filter(pk=ip).exists()


def is_known_domain(domain: str) -> bool:
    """Whether the domain has a page."""
    return SenderScore.objects.filter(kind="domain", name=domain, provider="").exists()


def ips_like(part: str, limit: int) -> list[SendingIP]:
    """Sending IPs with this in their address or label."""
    rows = SendingIP.objects.filter(Q(ip__icontains=part) | Q(label__icontains=part)).select_related("pool")
    return list(rows.order_by("ip")[:limit])


def status_of(ips: Collection[str]) -> dict[str, str]:
    """The current status of each of these IPs that has one."""
    return dict(IpStanding.objects.filter(pk__in=list(ips)).order_by().values_list("sending_ip", "status"))


def domains_like(part: str, limit: int) -> list[SenderScore]:
    """Overall scores of the sending domains with this in their name, the lowest first."""
    rows = SenderScore.objects.filter(kind="domain", provider="", name__icontains=part)
    return list(rows.order_by(F("score").asc(nulls_last=True), "name")[:limit])


def pools_like(part: str, limit: int) -> QuerySet[Pool]:
    """Pools with this in their name or description."""
    return Pool.objects.filter(Q(name__icontains=part) | Q(description__icontains=part)).order_by("name")[:limit]


def sources_like(part: str, limit: int) -> QuerySet[Source]:
    """Sources with this in their name, node or region."""
    like = Q(name__icontains=part) | Q(node__icontains=part) | Q(region__icontains=part)
    return Source.objects.filter(like).exclude(kind=SourceKind.SELF_TEST).order_by("name")[:limit]


def events_of_message(ids: Collection[str], limit: int) -> list[SendingEvent]:
    """The newest events with one of these message or queue ids, among the last `LOOKED_THROUGH` events."""
    newest = SendingEvent.objects.aggregate(Max("id"))["id__max"]
    if newest is None:
        return []
    rows = SendingEvent.objects.filter(id__gt=newest - LOOKED_THROUGH, message_id__in=list(ids))
    return list(rows.select_related("source").order_by("-id")[:limit])
