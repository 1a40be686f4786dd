"""What is known of listings, for pages, the API and metrics. Lists that are not asked any more are left out."""

from __future__ import annotations

from collections.abc import Iterable

from django.db.models import Count, QuerySet

from reputation.blocklist_book import asked_lists
from reputation.domain.dnsbl import Severity, ZoneKind
from reputation.domain.dnsbl_advice import Advice, ordered
from reputation.domain.dnsbl_belief import State
from reputation.models import Listing

ALLOW = (ZoneKind.ALLOW_IP.value, ZoneKind.ALLOW_DOMAIN.value)


def current(rows: QuerySet[Listing] | None = None) -> QuerySet[Listing]:
    """The rows of lists that are asked, each with its list."""
    rows = Listing.objects.all() if rows is None else rows
    return rows.filter(blocklist__in=list(asked_lists())).select_related("blocklist")


def of_subject(kind: str, subject: str) -> list[Listing]:
    """What every list says of one IP or domain, most important list first."""
    return list(current(Listing.objects.filter(kind=kind, subject=subject)))


def advice(rows: Iterable[Listing], *, believed: bool = True) -> list[Advice]:
    """What to do about the listings among these rows, in order of tier and weight; to be allowed is no trouble.

    Without `believed` all rows count, also those that were seen once.
    """
    return ordered(
        Advice(
            blocklist=row.blocklist.name,
            operator=row.blocklist.operator,
            tier=row.blocklist.tier,
            weight=row.blocklist.weight,
            sublists=tuple(row.sublists),
            meaning=row.meaning,
            severity=Severity(row.severity or Severity.INFO),
            delist_url=row.blocklist.delist_url,
            delist_note=row.blocklist.delist_note,
        )
        for row in rows
        if (row.state == State.LISTED or not believed) and row.blocklist.kind not in ALLOW
    )


def counts() -> dict[tuple[str, str], int]:
    """How many (IP or domain, list) are believed to be listed, by kind and tier; allow lists do not count."""
    rows = current(Listing.objects.filter(state=State.LISTED)).exclude(blocklist__kind__in=ALLOW).order_by()
    found = rows.select_related(None).values_list("kind", "blocklist__tier").annotate(Count("pk"))
    return {(kind, tier): count for kind, tier, count in found}
