"""Writes down what a look found: the row, and where a change is believed its event and its audit row beside it."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import datetime
from functools import partial
from zlib import crc32

from django.db import transaction

from reputation import blocklist_metrics
from reputation.blocklist_checker import Told
from reputation.domain.dnsbl import Result, ZoneKind
from reputation.domain.dnsbl_belief import CONFIRMATIONS, Belief, State, judge, kept_until, next_look
from reputation.models import AuditEntry, Listing, ListingEvent
from reputation.models.audit import AUTOMATED

log = logging.getLogger(__name__)

_AT_ONCE = 200
_WRITTEN = (
    *("state", "since", "pending", "seen", "result", "error", "detail", "codes", "sublists", "meaning", "severity"),
    *("text", "asked_at", "took", "fresh_until", "due_at", "failures", "claim", "claimed_until"),
)
# Looks of one list are spread over this share of its rhythm, so that a fleet is not looked up at one moment.
_SPREAD = 0.1


def record(told: Mapping[int, Told], token: str, *, now: datetime) -> int:
    """Write what was found about rows that still hold this claim; how many changes are believed."""
    changes = 0
    keys = sorted(told)
    for start in range(0, len(keys), _AT_ONCE):
        changes += _record_some({key: told[key] for key in keys[start : start + _AT_ONCE]}, token, now)
    return changes


def _record_some(told: Mapping[int, Told], token: str, now: datetime) -> int:
    with transaction.atomic():
        held = Listing.objects.filter(pk__in=told, claim=token).select_related("blocklist").order_by("pk")
        rows = list(held.select_for_update(of=("self",)))
        events = [event for row in rows if (event := _apply(row, told[row.pk], now)) is not None]
        Listing.objects.bulk_update(rows, _WRITTEN)
        ListingEvent.objects.bulk_create(events)
        AuditEntry.objects.bulk_create(_audit(event) for event in events)
        transaction.on_commit(partial(_tell, rows, events))
    return len(events)


def _apply(row: Listing, told: Told, now: datetime) -> ListingEvent | None:
    """Set what was found; the event where a change is believed now."""
    reading, before = told.reading, row.state
    pending = State(row.pending) if row.pending else None
    belief, changed = judge(Belief(State(row.state), pending, row.seen), reading)
    is_error = reading.result is Result.ERROR
    row.failures = row.failures + 1 if is_error else 0
    row.result, row.error, row.detail = reading.result.value, reading.error or "", reading.detail[:300]
    row.asked_at, row.took = now, told.took
    row.claim, row.claimed_until = "", None
    if reading.result is Result.LISTED:
        _describe(row, told)
    event = _event(row, before, belief.state, now) if changed else None
    if belief.state is not State(before):
        row.since = now
    if belief.state is State.CLEAN and reading.result is Result.CLEAN:
        row.codes, row.sublists, row.meaning, row.severity, row.text = list(reading.codes), [], "", "", ""
    row.state, row.pending, row.seen = belief.state.value, (belief.pending or ""), belief.seen
    row.fresh_until = kept_until(reading, told.ttl, now)
    every = row.blocklist.check_every * (1 - _SPREAD * (crc32(row.subject.encode()) % 100) / 100)
    row.due_at = next_look(belief, reading, kept=row.fresh_until, failures=row.failures, every=every, now=now)
    return event


def _describe(row: Listing, told: Told) -> None:
    reading = told.reading
    row.codes, row.sublists = list(reading.codes), list(reading.sublists)
    row.meaning, row.severity, row.text = reading.meaning[:500], reading.severity.value, reading.text[:500]


def _event(row: Listing, before: str, after: State, now: datetime) -> ListingEvent:
    return ListingEvent(
        blocklist=row.blocklist,
        kind=row.kind,
        subject=row.subject,
        at=now,
        from_state=before,
        to_state=after.value,
        tier=row.blocklist.tier,
        codes=row.codes,
        sublists=row.sublists,
        meaning=row.meaning,
        severity=row.severity,
        text=row.text,
    )


def _audit(event: ListingEvent) -> AuditEntry:
    """The audit row. Its status columns stay empty: they are of an IP's standing."""
    listed = event.to_state == State.LISTED
    what = "allow list" if ZoneKind(event.blocklist.kind).is_allow else "list"
    which = f"{what} {event.blocklist.name}" + (f" ({', '.join(event.sublists)})" if event.sublists else "")
    meaning = f": {event.meaning}" if listed and event.meaning else ""
    verb = "is on the" if listed else "is no longer on the"
    return AuditEntry(
        at=event.at,
        sending_ip=event.subject if event.kind == "ip" else None,
        subject=event.subject,
        action="blocklist_listed" if listed else "blocklist_delisted",
        reason=f"{event.subject} {verb} {which}{meaning}. Seen {CONFIRMATIONS} times in a row.",
        triggered_by=AUTOMATED,
        metadata={
            "blocklist": event.blocklist.name,
            "tier": event.tier,
            "from": event.from_state,
            "to": event.to_state,
            "codes": event.codes,
            "sublists": event.sublists,
            "severity": event.severity,
            "text": event.text,
            "delist_url": event.blocklist.delist_url,
        },
    )


def _tell(rows: list[Listing], events: list[ListingEvent]) -> None:
    for row in rows:
        name = row.blocklist.name
        blocklist_metrics.CHECKS.labels(blocklist=name, result=row.result).inc()
        if row.error:
            blocklist_metrics.ERRORS.labels(blocklist=name, error=row.error).inc()
        if row.took:
            blocklist_metrics.SECONDS.labels(blocklist=name).observe(row.took)
    for event in events:
        blocklist_metrics.CHANGES.labels(tier=event.tier, to=event.to_state).inc()
        log.warning(
            "blocklist listing changed",
            extra={"subject": event.subject, "blocklist": event.blocklist.name, "to": event.to_state},
        )
