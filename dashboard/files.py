"""The lists of the overview, the blocklists and the sources as files: each whole, whatever the page shows of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, TypeVar

from django.http import Http404, HttpRequest, HttpResponseBase
from django.utils import timezone

from dashboard.pages.blocklists import blocklists_page
from dashboard.pages.overview import day
from dashboard.pages.sources import source_list
from dashboard.tables import csv_answer
from dashboard.views import staff_page
from reputation import blocklist_queries
from reputation.domain.dnsbl_belief import State
from reputation.models import AuditEntry, IpStanding, Listing, SenderScore, SendingIP

AT_ONCE = 2_000
# Of the audit log; the API has all of it.
CHANGES_OF = timedelta(days=30)
_IPS = {
    "ip": "sending_ip",
    "status": "status",
    "automatic_status": "automatic_status",
    "since": "since",
    "sent": "total_sent",
    "refused": "total_rejected",
    "refused_share_of_sent": "rejection_ratio",
    "main_cause": "issue_type",
    "window_start": "window_start",
    "window_end": "window_end",
    "why": "why",
}
_DOMAINS = {
    "domain": "name",
    "score": "score",
    "delivered": "delivered",
    "bounced": "bounced",
    "deferred": "deferred",
    "complained": "complained",
    "has_recent_mail": "has_recent_mail",
    "certainty": "confidence",
    "computed_at": "computed_at",
}
_CHANGES = {
    "at": "at",
    "ip": "sending_ip",
    "subject": "subject",
    "action": "action",
    "previous": "previous",
    "new": "new",
    "reason": "reason",
    "by": "triggered_by",
    "verdict": "judgement__verdict",
}
_LISTINGS = {
    "subject": "subject",
    "kind": "kind",
    "blocklist": "blocklist__name",
    "tier": "blocklist__tier",
    "sublists": "sublists",
    "meaning": "meaning",
    "since": "since",
    "delist_url": "blocklist__delist_url",
}

Rows = Iterable[Sequence[Any]]
Make = Callable[[str, datetime], Rows]
Found = TypeVar("Found")
_LONGEST_NUMBER = 18


@dataclass(frozen=True, slots=True)
class File:
    """What a file holds, and how its rows are read."""

    header: Sequence[str]
    rows: Callable[[datetime], Rows]


@dataclass(frozen=True, slots=True)
class DetailFile:
    """The same of a list about one thing; its rows are read by the thing's name or number, Http404 where it is not."""

    header: Sequence[str]
    rows: Make


def found(row: Found | None) -> Found:
    """The row; Http404 where there is none."""
    if row is None:
        raise Http404
    return row


def number(name: str) -> int:
    """The key that an address names; Http404 where it can be none."""
    if not (name.isascii() and name.isdecimal() and len(name) <= _LONGEST_NUMBER):
        raise Http404
    return int(name)


def _ips(now: datetime) -> Rows:
    places = {
        ip: (label, pool or "")
        for ip, label, pool in SendingIP.objects.order_by().values_list("ip", "label", "pool__name")
    }
    order = ("-severity", "-total_rejected", "sending_ip")
    for row in IpStanding.objects.order_by(*order).values_list(*_IPS.values()).iterator(chunk_size=AT_ONCE):
        yield (*row, *places.get(row[0], ("", "")))


def _domains(now: datetime) -> Rows:
    rows = SenderScore.objects.filter(kind="domain", provider="").order_by("score", "name")
    return rows.values_list(*_DOMAINS.values()).iterator(chunk_size=AT_ONCE)


def _changes(now: datetime) -> Rows:
    rows = AuditEntry.objects.filter(at__gte=now - CHANGES_OF).order_by("-at", "-id")
    return rows.values_list(*_CHANGES.values()).iterator(chunk_size=AT_ONCE)


def _hours(now: datetime) -> Rows:
    return ((hour.start, hour.delivered, hour.rejected, hour.complained) for hour in day(now=now).hours)


def _listings(now: datetime) -> Rows:
    rows = blocklist_queries.current(Listing.objects.filter(state=State.LISTED))
    rows = rows.exclude(blocklist__kind__in=blocklist_queries.ALLOW).select_related(None)
    for row in rows.order_by("blocklist__tier", "-blocklist__weight", "subject").values_list(*_LISTINGS.values()):
        yield tuple(", ".join(value) if isinstance(value, list) else value for value in row)


def _blocklists(now: datetime) -> Rows:
    page = blocklists_page(now=now)
    for line in (*page.lists, *page.off):
        yield (
            line.name,
            line.operator,
            line.zone,
            "IPs" if line.is_of_ips else "domains",
            line.tier,
            line.listed,
            line.clean,
            line.errors,
            line.trouble or line.why_not_asked,
        )


def _sources(now: datetime) -> Rows:
    for line in source_list(now=now).sources:
        yield (
            line.state.name,
            line.state.kind,
            line.state.is_active,
            line.state.last_event_at,
            line.outcomes.delivered,
            line.outcomes.rejected,
            line.compared.delivered_share if line.compared else None,
            line.compared.missing if line.compared else None,
        )


FILES = {
    "ips": File([*_IPS, "label", "pool"], _ips),
    "domains": File([*_DOMAINS], _domains),
    "changes": File([*_CHANGES], _changes),
    "hours": File(["hour", "delivered", "refused", "complained"], _hours),
    "listings": File([*_LISTINGS], _listings),
    "blocklists": File(
        ["blocklist", "operator", "zone", "of", "tier", "listed", "clean", "errors", "trouble"], _blocklists
    ),
    "sources": File(
        ["source", "kind", "is_active", "last_event_at", "delivered_24h", "failed_24h", "arrived_share", "missing"],
        _sources,
    ),
}


@staff_page
def download(request: HttpRequest, what: str) -> HttpResponseBase:
    """One list as CSV."""
    file = FILES.get(what)
    if file is None:
        raise Http404
    return csv_answer(what, file.header, file.rows(timezone.now()))
