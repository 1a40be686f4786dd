"""Audits of senders: who is due, what is known beforehand, and the report that is kept.

An audit runs weekly for every active sender (each at its own time of the week), when somebody asks, and by itself when
refusals for authentication or DNS appear. Whoever audits a sender claims its row first, so no two do at once.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

from django.conf import settings
from django.contrib.auth.models import User
from django.db import transaction
from django.db.models import Count, Exists, F, OuterRef, Q

from reputation.audit_gathering import Subject, gather
from reputation.audit_metrics import AUDIT_SECONDS, AUDITS, FINDINGS
from reputation.domain.audit.diagnosis import EXPLAINS, Diagnosis, diagnose
from reputation.domain.audit.dkim import Selector
from reputation.domain.audit.findings import Finding, Result, score
from reputation.models import AuditReport, AuditTarget, SenderScore
from telemetry.domain.cells import MINUTE
from telemetry.queries_senders import has_traffic, partners, refused_by_cause, senders_refused

WEEK: Final = timedelta(days=7)
DAY: Final = timedelta(hours=24)
# What is looked at of one sender; the busiest come first.
MOST_IPS: Final = 20
MOST_DOMAINS: Final = 10
# What one run takes on; the rest is the next run's, a minute later.
MOST_AT_ONCE: Final = 20
MOST_FOUND: Final = 500
# An audit takes a minute at the very most; whoever dies in it is followed after this time.
CLAIM: Final = timedelta(minutes=5)
AFTER_FAILURE: Final = timedelta(hours=1)
# As many refusals in 15 minutes reach a tier of the IP's standing too (product rules of the tiers).
LEAST_REFUSALS: Final = 3
REFUSED_WITHIN: Final = timedelta(minutes=15)
BY_CAUSES_EVERY: Final = timedelta(hours=6)
KINDS: Final = ("ip", "domain")


class BusyError(Exception):
    """Somebody audits this sender right now."""


def audit(kind: str, name: str, *, now: datetime, user: User | None = None) -> AuditReport:
    """Audit a sender at once, because somebody asks; the report. Raises BusyError."""
    target, _ = AuditTarget.objects.get_or_create(kind=kind, name=name, defaults={"due_at": now})
    if not _claim(target, now):
        raise BusyError
    (report,) = _audit([target], "asked", now=now, asked_by=user.get_username() if user else "")
    return report


def audit_due(*, now: datetime) -> int:
    """Take in senders that are new, and audit those that are due; how many were."""
    _take_in(now)
    claimed: list[AuditTarget] = []
    for target in AuditTarget.objects.filter(due_at__lte=now).order_by("due_at", "pk")[:MOST_AT_ONCE]:
        if not has_traffic(target.kind, target.name, start=now - WEEK, end=now + MINUTE):
            AuditTarget.objects.filter(pk=target.pk).update(due_at=next_slot(target.kind, target.name, now))
        elif _claim(target, now):
            claimed.append(target)
    return len(_audit(claimed, "weekly", now=now))


def audit_refused(*, now: datetime) -> int:
    """Audit the senders that were refused for authentication or DNS lately; how many were."""
    claimed: list[AuditTarget] = []
    long_ago = Q(by_causes_at=None) | Q(by_causes_at__lte=now - BY_CAUSES_EVERY)
    for kind in KINDS:
        names = senders_refused(kind, causes=tuple(EXPLAINS), start=now - REFUSED_WITHIN, least=LEAST_REFUSALS)
        _make([(kind, name) for name in names[:MOST_FOUND]], now)
        rows = AuditTarget.objects.filter(long_ago, kind=kind, name__in=names[:MOST_FOUND])
        rows = rows.order_by(F("by_causes_at").asc(nulls_first=True), "pk")
        claimed += [target for target in rows[:MOST_AT_ONCE] if _claim(target, now)]
    return len(_audit(claimed, "causes", now=now))


def subject_of(target: AuditTarget, *, now: datetime) -> Subject:
    """What is known of a sender: by the traffic of the last week, and by what people told."""
    start, end = now - WEEK, now + MINUTE
    if target.kind == "ip":
        domains = partners("ip", target.name, start=start, end=end, limit=MOST_DOMAINS)
        told = AuditTarget.objects.filter(kind="domain", name__in=domains).exclude(envelope_domain="")
        envelopes = dict(told.values_list("name", "envelope_domain"))
        named = [envelopes.get(domain, domain) for domain in domains if not domain.startswith("[")]
        helo = {target.name: target.helo_names}
        return Subject(kind="ip", name=target.name, domains=tuple(dict.fromkeys(named)), helo_names=helo)
    ips = partners("domain", target.name, start=start, end=end, limit=MOST_IPS)
    told = AuditTarget.objects.filter(kind="ip", name__in=ips)
    pairs = [entry.partition("@") for entry in target.dkim_selectors]
    return Subject(
        kind="domain",
        name=target.name,
        ips=ips,
        selectors=[Selector(selector, domain or target.name) for selector, _, domain in pairs],
        envelope=target.envelope_domain,
        helo_names=dict(told.values_list("name", "helo_names")),
        no_probe=_no_probe(target),
    )


def _no_probe(target: AuditTarget) -> str:
    if not settings.AUDIT_SMTP_PROBE:
        return "the SMTP probe is off (GS_AUDIT_SMTP_PROBE)"
    return "" if target.may_probe else "this domain may not be probed"


def latest(kind: str, name: str) -> AuditReport | None:
    """The last report about a sender."""
    return AuditReport.objects.filter(kind=kind, subject=name, is_latest=True).first()


def diagnosis_of(report: AuditReport, *, now: datetime) -> Diagnosis | None:
    """Whether the refusals of the last 24 hours come from what this report found."""
    if not report.problems:
        return None
    refusals = refused_by_cause(report.kind, report.subject, start=now - DAY, end=now + MINUTE)
    return diagnose(refusals, report.found)


def counts() -> dict[tuple[str, str], int]:
    """How many senders were sound in their last audit, had problems, or were never audited."""
    asked = {
        "never": Count("pk", filter=Q(audited_at=None)),
        "sound": Count("pk", filter=Q(audited_at__isnull=False, problems=0)),
        "problems": Count("pk", filter=Q(problems__gt=0)),
    }
    rows = AuditTarget.objects.order_by().values_list("kind").annotate(**asked)
    return {(kind, outcome): count for kind, *found in rows for outcome, count in zip(asked, found, strict=True)}


def next_slot(kind: str, name: str, after: datetime) -> datetime:
    """The sender's own time of the week, at least half a week on: so the audits spread evenly."""
    digest = hashlib.sha256(f"{kind} {name}".encode()).digest()
    epoch, week = datetime(1970, 1, 1, tzinfo=UTC), int(WEEK.total_seconds())
    offset = int.from_bytes(digest[:8], "big") % week
    earliest = int((after + WEEK / 2 - epoch).total_seconds())
    return epoch + timedelta(seconds=earliest + (offset - earliest) % week)


# --- the run ---------------------------------------------------------------------------------------------------------


def _take_in(now: datetime) -> None:
    """Make targets of the senders that are not known yet, whether or not their volume is; they are due at once."""
    known = AuditTarget.objects.filter(kind=OuterRef("kind"), name=OuterRef("name"))
    rows = SenderScore.objects.filter(~Exists(known), provider="").exclude(name__startswith="[")
    _make(list(rows.order_by().values_list("kind", "name")[:MOST_FOUND]), now)


def _make(senders: Sequence[tuple[str, str]], now: datetime) -> None:
    """Targets of those senders that have none. An address literal is no domain that could publish anything."""
    made = [AuditTarget(kind=kind, name=name, due_at=now) for kind, name in senders if not name.startswith("[")]
    AuditTarget.objects.bulk_create(made, ignore_conflicts=True)


def _claim(target: AuditTarget, now: datetime) -> bool:
    free = Q(claimed_until=None) | Q(claimed_until__lte=now)
    return bool(AuditTarget.objects.filter(free, pk=target.pk).update(claimed_until=now + CLAIM))


def _audit(targets: Sequence[AuditTarget], why: str, *, now: datetime, asked_by: str = "") -> list[AuditReport]:
    """Audit claimed senders and keep the reports; the first error is raised at the end, its sender is due later."""
    if not targets:
        return []
    reports: list[AuditReport] = []
    failed: BaseException | None = None
    try:
        with AUDIT_SECONDS.labels(why=why).time():
            outcomes = gather([subject_of(target, now=now) for target in targets], now=now)
        for target, outcome in zip(targets, outcomes, strict=True):
            if isinstance(outcome, BaseException):
                failed = failed or outcome
            else:
                reports.append(_keep(target, outcome, why, now=now, asked_by=asked_by))
    finally:
        done = {report.subject for report in reports}
        left = [target.pk for target in targets if target.name not in done]
        AuditTarget.objects.filter(pk__in=left).update(
            claimed_until=None, due_at=now + AFTER_FAILURE, **_tried_for_causes(why, now)
        )
    if failed is not None:
        raise failed
    return reports


def _tried_for_causes(why: str, now: datetime) -> dict[str, datetime]:
    """What is written once such an audit has ended, well or badly: one that died is done again by the next run."""
    return {"by_causes_at": now} if why == "causes" else {}


def _keep(target: AuditTarget, findings: Sequence[Finding], why: str, *, now: datetime, asked_by: str) -> AuditReport:
    """The report, as the latest one of its sender, in one transaction."""
    problems = sum(finding.result is Result.PROBLEM for finding in findings)
    evidence: Mapping[str, int] = {}
    if why == "causes":
        evidence = refused_by_cause(target.kind, target.name, start=now - DAY, end=now + MINUTE)
    with transaction.atomic():
        # The row's lock comes first, so that of two reports about one sender the second finds the first.
        AuditTarget.objects.filter(pk=target.pk).update(
            claimed_until=None,
            audited_at=now,
            score=score(findings),
            problems=problems,
            due_at=next_slot(target.kind, target.name, now),
            **_tried_for_causes(why, now),
        )
        AuditReport.objects.filter(kind=target.kind, subject=target.name, is_latest=True).update(is_latest=False)
        report = AuditReport.objects.create(
            kind=target.kind,
            subject=target.name,
            at=now,
            score=score(findings),
            findings=[finding.as_json() for finding in findings],
            problems=problems,
            unchecked=sum(finding.result is Result.UNCHECKED for finding in findings),
            why=why,
            asked_by=asked_by,
            evidence=evidence,
        )
    AUDITS.labels(kind=target.kind, why=why).inc()
    for finding in findings:
        FINDINGS.labels(check=finding.check.value, result=finding.result.value).inc()
    return report
