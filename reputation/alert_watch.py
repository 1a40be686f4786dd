"""What is worth an alert: reads what others have written since the last time, and looks at what may have gone quiet.

Nothing that takes mail in or judges it waits for this. Rows are read by a watermark that looks back, so that one which
was committed late is seen all the same; one that is seen twice is known by its moment and changes nothing.
"""

from __future__ import annotations

import shutil
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator
from datetime import datetime, timedelta
from typing import Final, cast

from django.conf import settings
from django.db.models import Min, Q

from reputation import alerts
from reputation.alert_rules import Rules, is_to_be_escalated
from reputation.domain import alert_signals
from reputation.domain.alerting import Kind, News, Signal, State
from reputation.domain.audit.findings import POINTS, TITLES, Check, Finding, Result
from reputation.domain.dnsbl import ZoneKind
from reputation.domain.dnsbl_belief import State as Belief
from reputation.models import (
    Alert,
    AlertDelivery,
    AuditEntry,
    AuditReport,
    BreakerEvent,
    ListingEvent,
    SenderScore,
    SenderScoreHistory,
    Watermark,
)
from telemetry.completeness_lines import last_day
from telemetry.domain.cells import DAY, HOUR, ceil_to, floor_hour
from telemetry.domain.vocab import UNKNOWN_IP
from telemetry.domain.window import Outcomes
from telemetry.models import ChangedSender, Source
from telemetry.queries import outcomes_by

# Rows may be committed some time after the moment they tell of.
LOOK_BACK: Final = timedelta(minutes=10)
STATUS_ACTIONS: Final = ("status_change", "quarantine", "release", "override", "lift", "expire")
CONDITIONS_EVERY: Final = timedelta(minutes=1)
# A source that was silent for longer than this is not waited for any more.
FORGOTTEN_AFTER: Final = timedelta(days=2)
_NEWS, _CONDITIONS = "alerts: news", "alerts: conditions"
_AT_ONCE = 500


def tick(*, now: datetime) -> int:
    """Take in what is new and what lasts, and escalate; how many events of alerts were written."""
    written = alerts.take(_news(now), now=now)
    Watermark.objects.update_or_create(pk=_NEWS, defaults={"at": now})
    mark = Watermark.objects.filter(pk=_CONDITIONS).first()
    # A mark ahead of now was made by a clock that was wrong.
    if mark is None or not mark.at <= now < mark.at + CONDITIONS_EVERY:
        written += alerts.take(_conditions(now), now=now)
        Watermark.objects.update_or_create(pk=_CONDITIONS, defaults={"at": now})
    return written + _escalate(now)


# --- news ------------------------------------------------------------------------------------------------------------


def _news(now: datetime) -> Iterator[Signal]:
    mark = Watermark.objects.filter(pk=_NEWS).first()
    since = min(mark.at, now) - LOOK_BACK if mark else now - LOOK_BACK
    yield from _statuses(since)
    yield from _breakers(since)
    yield from _listings(since)
    yield from _audits(since)


def _statuses(since: datetime) -> Iterator[Signal]:
    rows = AuditEntry.objects.filter(at__gte=since, action__in=STATUS_ACTIONS).exclude(sending_ip=None)
    for row in rows.order_by("at", "id"):
        if row.sending_ip is None or row.sending_ip == UNKNOWN_IP or row.previous == row.new:
            continue
        names = ("rule", "issue_type", "total_sent", "total_rejected", "rejection_ratio", "counts_by_code")
        evidence = {name: row.metadata[name] for name in names if name in row.metadata}
        by = "" if row.action == "status_change" else f" ({row.action} by {row.triggered_by})"
        yield alert_signals.status_changed(
            row.sending_ip, row.previous, row.new, f"{row.reason}{by}", at=row.at, evidence=evidence
        )


def _breakers(since: datetime) -> Iterator[Signal]:
    for row in BreakerEvent.objects.filter(at__gte=since).select_related("breaker").order_by("at", "id"):
        breaker = row.breaker
        signal = alert_signals.breaker_moved(
            breaker.kind,
            breaker.sender,
            breaker.provider,
            row.to_state,
            row.notes,
            at=row.at,
            by_hand=not row.automated,
        )
        if signal is not None:
            yield signal


def _listings(since: datetime) -> Iterator[Signal]:
    for row in ListingEvent.objects.filter(at__gte=since).select_related("blocklist").order_by("at", "id"):
        if ZoneKind(row.blocklist.kind).is_allow or (row.to_state == Belief.CLEAN and row.from_state != Belief.LISTED):
            continue
        yield alert_signals.listing_changed(
            row.kind,
            row.subject,
            row.blocklist.name,
            row.tier,
            listed=row.to_state == Belief.LISTED,
            meaning=row.meaning,
            at=row.at,
        )


def _audits(since: datetime) -> Iterator[Signal]:
    reports = list(AuditReport.objects.filter(at__gte=since).order_by("at", "id"))
    before = _problems_before(reports)
    for report in reports:
        known = before.get((report.kind, report.subject), ())
        found = _problems(report)
        before[report.kind, report.subject] = found
        signal = alert_signals.audited(
            report.kind,
            report.subject,
            problems=[TITLES[finding.check] for finding in found.values()],
            points=sum(POINTS.get(check, 0) for check in found),
            unchecked=report.unchecked,
            before=[TITLES[check] for check in known],
            at=report.at,
        )
        if signal is not None:
            yield signal


def _problems(report: AuditReport) -> dict[Check, Finding]:
    """By check: several problems of one check count once."""
    found = [finding for finding in report.found if finding.result is Result.PROBLEM and finding.check in POINTS]
    return {finding.check: finding for finding in found}


def _problems_before(reports: Collection[AuditReport]) -> dict[tuple[str, str], dict[Check, Finding]]:
    """What the report before the first of these found, by sender. A sender's first audit is compared with nothing."""
    if not reports:
        return {}
    first = min(report.pk for report in reports)
    subjects = sorted({report.subject for report in reports})
    found: dict[tuple[str, str], dict[Check, Finding]] = {}
    for start in range(0, len(subjects), _AT_ONCE):
        rows = AuditReport.objects.filter(subject__in=subjects[start : start + _AT_ONCE], pk__lt=first, is_latest=False)
        for row in rows.order_by("pk"):
            found[row.kind, row.subject] = _problems(row)
    return found


# --- conditions ------------------------------------------------------------------------------------------------------


def _conditions(now: datetime) -> Iterator[Signal]:
    yield from _scores(now)
    yield from _silences(now)
    yield from _completeness(now)
    oldest = ChangedSender.objects.order_by().aggregate(Min("noted_at"))["noted_at__min"]
    yield alert_signals.queue_age(oldest, now=now)
    disk = shutil.disk_usage(settings.DATA_DIR)
    signal = alert_signals.disk_space(disk.free, disk.total, now=now)
    if signal is not None:
        yield signal


def _scores(now: datetime) -> Iterator[Signal]:
    """Scores so low that they may have fallen by more than the limit, and those that an alert is about."""
    overall = SenderScore.objects.filter(provider="", has_recent_mail=True).exclude(score=None)
    rows = overall.filter(score__lt=100 - alert_signals.SCORE_DROP, confidence__in=alert_signals.BELIEVED)
    candidates = {(row.kind, row.name): row for row in rows}
    told = _standing(Kind.SCORE_DROP)
    for start in range(0, len(told), _AT_ONCE):
        names = [alert.subject for alert in told[start : start + _AT_ONCE]]
        candidates |= {(row.kind, row.name): row for row in overall.filter(name__in=names)}
    # An alert is measured by the score that it fell from, not by that of 24 hours ago, which sinks with it.
    before = _scores_before(candidates, now) | {
        (alert.subject_kind, alert.subject): int(alert.evidence.get("before", 0)) for alert in told
    }
    for (kind, name), row in sorted(candidates.items()):
        if row.score is None or (kind, name) not in before:
            continue
        signal = alert_signals.score_moved(
            kind,
            name,
            score=row.score,
            before=before[kind, name],
            confidence=row.confidence,
            delivered=row.delivered,
            bounced=row.bounced,
            at=now,
        )
        if signal is not None:
            yield signal


def _scores_before(senders: Iterable[tuple[str, str]], now: datetime) -> dict[tuple[str, str], int]:
    """The overall score of each sender 24 hours ago, as it last was within the day before that."""
    names: dict[str, list[str]] = defaultdict(list)
    for kind, name in senders:
        names[kind].append(name)
    found: dict[tuple[str, str], int] = {}
    for kind, some in names.items():
        for start in range(0, len(some), _AT_ONCE):
            rows = SenderScoreHistory.objects.filter(
                kind=kind,
                name__in=some[start : start + _AT_ONCE],
                provider="",
                computed_at__gte=now - 2 * DAY,
                computed_at__lte=now - DAY,
            ).exclude(score=None)
            for name, score in rows.order_by("computed_at").values_list("name", "score"):
                found[kind, name] = int(score or 0)
    return found


def _silences(now: datetime) -> Iterator[Signal]:
    quiet = Source.objects.filter(is_active=True, last_event_at__lte=now - alert_signals.SILENT_LEAST)
    for source in quiet.filter(last_event_at__gte=now - FORGOTTEN_AFTER):
        assert source.last_event_at is not None
        usual = _usual(source, source.last_event_at, now)
        yield alert_signals.source_silence(source.name, source.last_event_at, usual, now=now)
    # One that reports again, or that was switched off, is silent no more.
    gone = {alert.subject for alert in _standing(Kind.SOURCE_SILENT)}
    loud = Q(last_event_at__gt=now - alert_signals.SILENT_LEAST) | Q(is_active=False)
    for source in Source.objects.filter(loud, name__in=gone):
        yield alert_signals.source_silence(source.name, now, (), now=now)


def _usual(source: Source, start: datetime, end: datetime) -> list[float]:
    """What it reported in the same stretch one and two weeks before; of a younger source, in the three days before."""
    known_for = end - source.created_at
    shifts = [days * DAY for days in (7, 14) if known_for >= (days + 1) * DAY] or [days * DAY for days in (1, 2, 3)]
    if known_for < shifts[-1] + DAY / 2:
        return []
    return [_reported(source, start - shift, end - shift) for shift in shifts]


def _reported(source: Source, start: datetime, end: datetime) -> float:
    found = cast(
        "dict[tuple[datetime], Outcomes]",
        outcomes_by(("bucket",), start=floor_hour(start), end=ceil_to(end, HOUR), only={"source_id": source.pk}),
    )
    by_hour: dict[datetime, int] = defaultdict(int)
    for (bucket,), sums in found.items():
        by_hour[floor_hour(bucket)] += sums.delivered + sums.bounced + sums.deferred + sums.complained
    return alert_signals.expected_events(by_hour, start, end)


def _completeness(now: datetime) -> Iterator[Signal]:
    names = dict(Source.objects.filter(is_active=True).exclude(metrics_url="").values_list("id", "name"))
    for source, line in last_day(names, now=now).items():
        signal = alert_signals.completeness(
            names[source], counted=line.server_delivered, arrived=line.arrived_delivered, now=now
        )
        if signal is not None:
            yield signal


def _standing(kind: Kind) -> list[Alert]:
    """The alerts of a kind that stand, or that a person resolved while they went on."""
    return list(Alert.objects.filter(~Q(state=State.RESOLVED) | Q(lasts=True), kind=kind))


# --- escalation ------------------------------------------------------------------------------------------------------


def _escalate(now: datetime) -> int:
    rules = Rules()
    if not any(rule.escalate_after for rule in rules.rules):
        return 0
    told = set(
        AlertDelivery.objects.filter(alert__state=State.OPEN, news=News.ESCALATED).values_list("alert_id", "channel_id")
    )
    escalated = 0
    for alert in Alert.objects.filter(state=State.OPEN).order_by("opened_at"):
        due = {
            (alert.pk, channel.pk)
            for rule in rules.of(alert)
            if is_to_be_escalated(rule, alert, now)
            for channel in rule.escalation_channels.all()
            if channel.is_enabled
        }
        if due - told:
            try:
                alerts.escalate(alert, rules, now=now)
                escalated += 1
            except alerts.OvertakenError:
                continue
    return escalated
