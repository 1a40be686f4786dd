"""The lists on the page of a sending IP or domain as files, those without pages and filters of their own."""

from __future__ import annotations

from datetime import datetime

from dashboard import queries
from dashboard.files import AT_ONCE, DetailFile, Make, Rows, found
from dashboard.pages.parts import ScoreLine
from dashboard.words import code_word, plain, provider_title
from reputation import blocklist_queries
from reputation.caps import caps_of
from reputation.domain.audit.findings import POINTS, TITLES, Result
from reputation.domain.breaker_policy import Kind
from reputation.models import AuditReport, Breaker, IpStanding, SenderScore, SenderScoreHistory, Warmup
from reputation.warmup_progress import day_lines
from telemetry.causes import cause_of_code

_CHANGES = ("at", "action", "previous", "new", "reason", "by", "verdict", "judged_by", "judged_at")
_BLOCKLISTS = ("blocklist", "tier", "state", "since", "last_look", "why_nothing", "sublists", "meaning", "asked_at")
_FINDINGS = ("check", "result", "points", "about", "says", "why", "seen", "publish")
_CAPS = ("rule", "provider", "starts", "ends", "spent", "limit")
_BREAKERS = ("id", "provider", "state", "since", "reason", "held_by", "next_probe_at")
WARMUP_DAYS = ("warmup", "day", "planned", "used", "is_current", "on_date", "standing", "outcome")


def _changes(kind: str) -> Make:
    def rows(name: str, now: datetime) -> Rows:
        for row in queries.changes_of(kind, name):
            judgement = getattr(row, "judgement", None)
            verdict = (judgement.verdict, judgement.judged_by, judgement.judged_at) if judgement else ("", "", None)
            yield (row.at, row.action, row.previous, row.new, row.reason, row.triggered_by, *verdict)

    return rows


def _blocklists(kind: str) -> Make:
    def rows(name: str, now: datetime) -> Rows:
        for row in blocklist_queries.of_subject(kind, name):
            said = (row.blocklist.name, row.blocklist.tier, row.state, row.since, row.result, plain(row.error))
            yield (*said, ", ".join(row.sublists), row.meaning, row.asked_at)

    return rows


def _findings(kind: str) -> Make:
    def rows(name: str, now: datetime) -> Rows:
        report = AuditReport.objects.filter(kind=kind, subject=name, is_latest=True).first()
        for finding in report.found if report else ():
            points = POINTS.get(finding.check, 0) if finding.result is Result.PROBLEM else 0
            said = (TITLES[finding.check], finding.result.value, points, finding.about, finding.says, finding.why)
            yield (*said, "; ".join(finding.seen), "; ".join(finding.publish))

    return rows


def _audits(kind: str) -> Make:
    def rows(name: str, now: datetime) -> Rows:
        reports = AuditReport.objects.filter(kind=kind, subject=name).order_by("-at", "-id")
        return reports.values_list("at", "score", "problems", "unchecked", "why", "asked_by")

    return rows


def _caps(kind: Kind) -> Make:
    def rows(name: str, now: datetime) -> Rows:
        for cap in caps_of(kind, name, now=now).caps:
            at = provider_title(cap.provider) if cap.provider else ""
            yield (cap.rule.value, at, cap.starts, cap.ends, cap.counted, cap.limit)

    return rows


def _breakers(kind: str) -> Make:
    def rows(name: str, now: datetime) -> Rows:
        breakers = Breaker.objects.filter(kind=kind, sender=name, version__gt=0).order_by("provider")
        return breakers.values_list("pk", "provider", "state", "since", "reason", "held_by", "reopen_at")

    return rows


def _warmup_days(kind: str) -> Make:
    def rows(name: str, now: datetime) -> Rows:
        row = Warmup.objects.filter(kind=kind, sender=name).order_by("-id").first()
        return days_of(row) if row else ()

    return rows


def days_of(row: Warmup) -> Rows:
    """The schedule of a warm-up, each day with its latest judgement."""
    for line in day_lines(row):
        done = (line.used, line.is_current, line.on_date, line.standing, line.outcome)
        yield (row.pk, line.day, line.planned, *done)


def _codes(name: str, now: datetime) -> Rows:
    row = found(IpStanding.objects.filter(pk=name).first())
    for code, count in sorted(row.counts_by_code.items(), key=lambda item: (-item[1], item[0])):
        yield (code_word(code), plain(cause_of_code(code)), count, row.window_start, row.window_end)


def _score_history(name: str, now: datetime) -> Rows:
    rows = SenderScoreHistory.objects.filter(kind="domain", name=name, provider="").order_by("-computed_at")
    columns = ("computed_at", "score", "delivered", "bounced", "complained")
    return rows.values_list(*columns).iterator(chunk_size=AT_ONCE)


def _score_rates(name: str, now: datetime) -> Rows:
    row = found(SenderScore.objects.filter(kind="domain", name=name, provider="").first())
    for rate in ScoreLine.of(row).rates:
        interval = (rate.lower, rate.upper)
        yield (rate.name, rate.value, rate.numerator, rate.denominator, rate.denominator_name, *interval)


def _of_a_sender(kind: Kind) -> dict[str, DetailFile]:
    return {
        "changes": DetailFile(_CHANGES, _changes(kind)),
        "blocklists": DetailFile(_BLOCKLISTS, _blocklists(kind)),
        "findings": DetailFile(_FINDINGS, _findings(kind)),
        "audits": DetailFile(("at", "score", "problems", "unchecked", "why", "asked_by"), _audits(kind)),
        "caps": DetailFile(_CAPS, _caps(kind)),
        "breakers": DetailFile(_BREAKERS, _breakers(kind)),
        "warm-up": DetailFile(WARMUP_DAYS, _warmup_days(kind)),
    }


OF_IP = {
    **_of_a_sender("ip"),
    "codes": DetailFile(("code", "cause", "attempts", "window_start", "window_end"), _codes),
}
OF_DOMAIN = {
    **_of_a_sender("domain"),
    "score-history": DetailFile(("at", "score", "delivered", "bounced", "complained"), _score_history),
    "score-rates": DetailFile(
        ("rate", "value", "numerator", "denominator", "denominator_name", "lower", "upper"), _score_rates
    ),
}
