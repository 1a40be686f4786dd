"""The standing of sending IPs: load windows, decide, save; a change of status is a row of its own.

A run reads counters only, so its cost follows the number of active IPs and not of stored events. Two runs at once do no
harm: each holds the rows of its IPs from before it reads until it has written, audit rows included.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from django.db import transaction

from reputation import metrics
from reputation.domain.decision import Decision, decide
from reputation.domain.policy import Status
from reputation.models import AuditEntry, IpStanding, IpStandingHistory, Override, SendingIP
from reputation.models.audit import AUTOMATED
from reputation.policies import Rulebook, rulebook
from telemetry.domain.window import IpWindow
from telemetry.queries import IpWindows, active_ips, ip_windows

log = logging.getLogger(__name__)

# Rows written by one statement.
AT_ONCE = 200

SENT_DEFINITION = (
    "deliveries + bounces + deferrals that still stand: one per message where the source numbers its attempts, "
    "else every deferred attempt"
)
SENT_BY_REPORT = "as reported to /api/volumes for this window"


@dataclass(frozen=True, slots=True)
class Judgement:
    """What one run says of one IP, and the window it rests on."""

    ip: str
    window: IpWindow
    decision: Decision
    policy_revision: int | None


def score_ips(ips: Collection[str] | None = None, *, now: datetime, only_changes: bool = False) -> list[IpStanding]:
    """Judge the given sending IPs (None: all) that have events in their policy's window, and store what was found.

    Writes the current row and a history row each; with `only_changes` (the poll every few seconds) a history row only
    where the status changed. Returns the current rows. Safe to run twice at once.
    """
    book = rulebook()
    active = active_ips(ips, length=max(book.windows), now=now)
    if not active:
        return []
    with transaction.atomic():
        stored = _locked(active, now)
        judgements = [entry for entry in judge(ips, book, now=now) if entry.ip in stored]
        return _store(stored, judgements, now=now, only_changes=only_changes)


def judge(ips: Collection[str] | None, book: Rulebook, *, now: datetime) -> Iterable[Judgement]:
    """Decide without storing: one judgement per IP with events in its window."""
    for length in sorted(book.windows):
        for ip, windows in ip_windows(ips, length=length, now=now).items():
            policy = book.policy_for(ip)
            if policy.window == length:
                window, decision = _worse(windows, book, ip)
                yield Judgement(ip, window, decision, policy.revision)


def _worse(windows: IpWindows, book: Rulebook, ip: str) -> tuple[IpWindow, Decision]:
    """Where volume is known by reports, both the running window and the covered one count; the worse status holds."""
    policy = book.policy_for(ip)
    current = decide(windows.current, policy, book.tiers, book.majors)
    if windows.covered is None:
        return windows.current, current
    covered = decide(windows.covered, policy, book.tiers, book.majors)
    return (
        (windows.current, current) if current.status.severity > covered.status.severity else (windows.covered, covered)
    )


def _locked(addresses: Collection[str], now: datetime) -> dict[str, IpStanding]:
    """The current rows of these IPs, locked until commit; one that is new is healthy until judged.

    The windows are read after the lock is held, so of two runs at once the later one sees at least as much.
    """
    known = set(SendingIP.objects.filter(pk__in=list(addresses)).order_by().values_list("pk", flat=True))
    judged = set(IpStanding.objects.filter(pk__in=list(addresses)).order_by().values_list("pk", flat=True))
    SendingIP.objects.bulk_create(
        [SendingIP(ip=ip, first_seen_at=now) for ip in sorted(set(addresses) - known)],
        ignore_conflicts=True,
        batch_size=AT_ONCE,
    )
    IpStanding.objects.bulk_create(
        [blank_standing(ip, now=now) for ip in sorted(set(addresses) - judged)],
        ignore_conflicts=True,
        batch_size=AT_ONCE,
    )
    rows = IpStanding.objects.filter(pk__in=list(addresses)).order_by("pk").select_for_update()
    return {row.sending_ip: row for row in rows}


def blank_standing(ip: str, *, now: datetime) -> IpStanding:
    """The row of an IP that was never judged; not saved."""
    return IpStanding(
        sending_ip=ip,
        window_start=now,
        window_end=now,
        total_rejected=0,
        unique_recipient_domains=0,
        automatic_status=Status.HEALTHY,
        status=Status.HEALTHY,
        rule="never_judged",
        why="No mail from this IP has been judged yet.",
        since=now,
        computed_at=now,
    )


def _store(
    stored: dict[str, IpStanding], judgements: list[Judgement], *, now: datetime, only_changes: bool
) -> list[IpStanding]:
    overridden = standing_overrides(stored, now=now)
    rows: list[IpStanding] = []
    changes: list[AuditEntry] = []
    history: list[IpStandingHistory] = []
    for judgement in judgements:
        row = stored[judgement.ip]
        before = (row.automatic_status, row.status)
        _fill(row, judgement, now)
        row.status = overridden.get(judgement.ip, row.automatic_status)
        row.severity = Status(row.status).severity
        rows.append(row)
        if row.status != before[1]:
            row.since = now
            changes.append(_change(row, before[1], now))
        if not only_changes or (row.automatic_status, row.status) != before:
            history.append(_as_history(row))
    IpStanding.objects.bulk_create(
        rows, update_conflicts=True, unique_fields=["sending_ip"], update_fields=_COMPUTED, batch_size=AT_ONCE
    )
    IpStandingHistory.objects.bulk_create(history, batch_size=AT_ONCE)
    AuditEntry.objects.bulk_create(changes, batch_size=AT_ONCE)
    transaction.on_commit(lambda: _tell(changes))
    return rows


_COMPUTED = [
    "window_start",
    "window_end",
    "total_sent",
    "total_rejected",
    "rejection_ratio",
    "unique_recipient_domains",
    "rule",
    "issue_type",
    "policy_revision",
    "why",
    "counts_by_code",
    "major_providers",
    "recommendations",
    "metadata",
    "computed_at",
    "automatic_status",
    "status",
    "severity",
    "since",
]


def _fill(row: IpStanding, judgement: Judgement, now: datetime) -> None:
    decision, window = judgement.decision, judgement.window
    row.window_start, row.window_end = window.start, window.end
    row.total_sent, row.total_rejected = decision.total_sent, decision.total_rejected
    row.rejection_ratio = float(decision.ratio) if decision.ratio is not None else None
    row.unique_recipient_domains = decision.unique_recipient_domains
    row.automatic_status = decision.status.value
    row.rule, row.issue_type, row.why = decision.rule.value, decision.issue_type.value, decision.why
    row.policy_revision = judgement.policy_revision
    row.counts_by_code = dict(decision.counts_by_code)
    row.major_providers = list(decision.major_providers)
    row.recommendations = list(decision.recommendations)
    row.metadata = metadata_of(judgement)
    row.computed_at = now


def metadata_of(judgement: Judgement) -> dict[str, Any]:
    """The further numbers of a judgement, each with what it counts."""
    decision, outcomes = judgement.decision, judgement.window.outcomes
    by_reports = decision.total_sent is not None and decision.total_sent != outcomes.sent
    return {
        "outcomes": asdict(outcomes),
        "temporary": decision.temporary,
        "permanent": decision.permanent,
        "tiers_reached": [tier.value for tier in decision.tiers_reached],
        "volume": "unknown" if decision.total_sent is None else "reported" if by_reports else "events",
        "sent_definition": SENT_BY_REPORT if by_reports else SENT_DEFINITION,
    }


def _change(row: IpStanding, previous: str, now: datetime) -> AuditEntry:
    """The audit row of an automatic change of status, with the evidence."""
    return AuditEntry(
        at=now,
        sending_ip=row.sending_ip,
        action="status_change",
        previous=previous,
        new=row.status,
        reason=row.why,
        triggered_by=AUTOMATED,
        metadata={
            "rule": row.rule,
            "issue_type": row.issue_type,
            "policy_revision": row.policy_revision,
            "total_sent": row.total_sent,
            "total_rejected": row.total_rejected,
            "rejection_ratio": row.rejection_ratio,
            "window_start": row.window_start.isoformat(),
            "window_end": row.window_end.isoformat(),
            "counts_by_code": row.counts_by_code,
            "major_providers": row.major_providers,
        },
    )


def _tell(changes: list[AuditEntry]) -> None:
    for entry in changes:
        metrics.STATUS_CHANGES.labels(previous=entry.previous, new=entry.new).inc()
        log.warning("status changed", extra={"ip": entry.sending_ip, "previous": entry.previous, "new": entry.new})


def standing_overrides(ips: Collection[str], *, now: datetime) -> dict[str, str]:
    """The status that a person set, for those of the IPs that have one in force."""
    rows = Override.objects.filter(sending_ip__in=list(ips), ended_at__isnull=True)
    return {
        override.sending_ip: override.status
        for override in rows
        if override.expires_at is None or override.expires_at > now
    }


def _as_history(row: IpStanding) -> IpStandingHistory:
    names = [field.name for field in IpStandingHistory._meta.fields if field.name != "id"]
    return IpStandingHistory(**{name: getattr(row, name) for name in names})
