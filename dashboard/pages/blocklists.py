"""Who is on which blocklist: on the pages of IPs and domains, and on a page of its own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from django.db.models import Count

from dashboard.words import StatusWord, plain
from reputation import blocklist_queries
from reputation.domain.dnsbl import Result
from reputation.domain.dnsbl_belief import State
from reputation.models import Blocklist, Listing, ListingEvent

LISTED_SHOWN = 100
CHANGES_SHOWN = 30
# The colours of the statuses that are as bad; the word is the listing's own.
_LISTED = {
    "A": StatusWord("blacklisted", "listed", "✖"),
    "B": StatusWord("quarantine", "listed", "■"),
    "C": StatusWord("warning", "listed", "▲"),
}
_ALLOWED = StatusWord("healthy", "allowed", "●")
_CLEAN = StatusWord("healthy", "clean", "●")
_PENDING = {
    State.LISTED: StatusWord("warning", "seen listed once, to be confirmed", "◐"),
    State.CLEAN: StatusWord("unknown", "seen clean once, to be confirmed", "◐"),
}
_NEVER = StatusWord("unknown", "not looked up yet", "○")
_NOTHING = StatusWord("unknown", "never answered yet", "○")


@dataclass(frozen=True, slots=True)
class ListingLine:
    """What one list says of one IP or domain."""

    id: int
    subject: str
    is_ip: bool
    blocklist: str
    operator: str
    tier: str
    is_listed: bool
    """On a blocklist, by two looks; to be on an allow list does not count."""
    word: StatusWord
    look: str
    """Why the last look said nothing; empty where it said something."""
    sublists: tuple[str, ...]
    meaning: str
    text: str
    since: datetime | None
    asked_at: datetime | None
    delist_url: str
    delist_note: str

    @classmethod
    def of(cls, row: Listing) -> ListingLine:
        """The row as it is shown."""
        is_allow = row.blocklist.kind in blocklist_queries.ALLOW
        is_error = row.result == Result.ERROR
        return cls(
            id=row.pk,
            subject=row.subject,
            is_ip=row.kind == "ip",
            blocklist=row.blocklist.name,
            operator=row.blocklist.operator,
            tier=row.blocklist.tier,
            is_listed=row.state == State.LISTED and not is_allow,
            word=_word(row, is_allow),
            look=f"{plain(row.error).capitalize()}: {row.detail}" if is_error else "",
            sublists=tuple(row.sublists),
            meaning=row.meaning,
            text=row.text,
            since=row.since,
            asked_at=row.asked_at,
            delist_url=row.blocklist.delist_url,
            delist_note=row.blocklist.delist_note,
        )


@dataclass(frozen=True, slots=True)
class BlocklistsNow:
    """What the lists say of one IP or domain, most important list first."""

    listed: tuple[ListingLine, ...]
    pending: tuple[ListingLine, ...]
    """Seen once otherwise than is believed."""
    silent: tuple[ListingLine, ...]
    """Lists whose last look was an error."""
    others: tuple[ListingLine, ...]

    @property
    def count(self) -> int:
        """How many lists are asked."""
        return len({line.blocklist for line in (*self.listed, *self.pending, *self.silent, *self.others)})


@dataclass(frozen=True, slots=True)
class ListLine:
    """One list on the page of the lists."""

    id: int
    name: str
    operator: str
    tier: str
    is_of_ips: bool
    is_allow: bool
    zone: str
    why_not_asked: str
    trouble: str
    """Why it is not believed; empty where its test points were passed or not tried yet."""
    is_tried: bool
    listed: int
    errors: int
    clean: int


@dataclass(frozen=True, slots=True)
class ChangeLine:
    """One believed change."""

    at: datetime
    subject: str
    is_ip: bool
    blocklist: str
    tier: str
    word: StatusWord
    meaning: str


@dataclass(frozen=True, slots=True)
class BlocklistsPage:
    """Everything the page of the lists shows."""

    now: datetime
    listed: tuple[ListingLine, ...]
    more_listed: bool
    lists: tuple[ListLine, ...]
    off: tuple[ListLine, ...]
    changes: tuple[ChangeLine, ...]


def blocklists_of(kind: str, subject: str) -> BlocklistsNow:
    """What every list that is asked says of one IP or domain."""
    rows = blocklist_queries.of_subject(kind, subject)
    lines = [(row, ListingLine.of(row)) for row in rows]
    listed = [line for _, line in lines if line.is_listed]
    pending = [line for row, line in lines if row.pending and not line.is_listed]
    shown = {line.id for line in (*listed, *pending)}
    silent = [line for _, line in lines if line.look and line.id not in shown]
    others = [line for _, line in lines if not line.look and line.id not in shown]
    return BlocklistsNow(tuple(listed), tuple(pending), tuple(silent), tuple(others))


def listed_now(limit: int) -> tuple[tuple[ListingLine, ...], bool]:
    """Who is believed to be listed, by the most important lists first, and whether there are more than so many."""
    rows = blocklist_queries.current(Listing.objects.filter(state=State.LISTED))
    rows = rows.exclude(blocklist__kind__in=blocklist_queries.ALLOW)
    worst = list(rows.order_by("blocklist__tier", "-blocklist__weight", "subject")[: limit + 1])
    return tuple(ListingLine.of(row) for row in worst[:limit]), len(worst) > limit


def blocklists_page(*, now: datetime) -> BlocklistsPage:
    """Read the page; a fixed number of queries however many senders and lists there are."""
    listed, more_listed = listed_now(LISTED_SHOWN)
    lists = _lists(Blocklist.objects.prefetch_related("canaries"))
    events = ListingEvent.objects.select_related("blocklist").order_by("-id")[:CHANGES_SHOWN]
    return BlocklistsPage(
        now=now,
        listed=listed,
        more_listed=more_listed,
        lists=tuple(line for line in lists if not line.why_not_asked),
        off=tuple(line for line in lists if line.why_not_asked),
        changes=tuple(_change(event) for event in events),
    )


def _lists(rows: Collection[Blocklist]) -> list[ListLine]:
    found: dict[int, Counter[str]] = {row.pk: Counter() for row in rows}
    counted = Listing.objects.order_by().values_list("blocklist_id", "state", "result").annotate(Count("pk"))
    for list_id, state, result, count in counted:
        if list_id in found:
            found[list_id]["listed"] += count if state == State.LISTED else 0
            found[list_id]["clean"] += count if state == State.CLEAN else 0
            found[list_id]["errors"] += count if result == Result.ERROR else 0
    return [
        ListLine(
            id=row.pk,
            name=row.name,
            operator=row.operator,
            tier=row.tier,
            is_of_ips=row.kind.endswith("ip"),
            is_allow=row.kind in blocklist_queries.ALLOW,
            zone=row.shown_zone,
            why_not_asked=row.why_not_asked,
            trouble=next((canary.detail for canary in row.canaries.all() if not canary.is_good), ""),
            is_tried=bool(row.canaries.all()),
            listed=found[row.pk]["listed"],
            errors=found[row.pk]["errors"],
            clean=found[row.pk]["clean"],
        )
        for row in rows
    ]


def _change(event: ListingEvent) -> ChangeLine:
    is_listed = event.to_state == State.LISTED
    is_allow = event.blocklist.kind in blocklist_queries.ALLOW
    return ChangeLine(
        at=event.at,
        subject=event.subject,
        is_ip=event.kind == "ip",
        blocklist=event.blocklist.name,
        tier=event.tier,
        word=(_ALLOWED if is_allow else _LISTED[event.tier])
        if is_listed
        else StatusWord("healthy", "off the list", "●"),
        meaning=event.meaning,
    )


def _word(row: Listing, is_allow: bool) -> StatusWord:
    if row.state == State.LISTED:
        return _ALLOWED if is_allow else _LISTED[row.blocklist.tier]
    if row.pending and not is_allow:
        return _PENDING[State(row.pending)]
    if row.state == State.CLEAN:
        return _CLEAN
    return _NOTHING if row.result else _NEVER
