"""The audits of a sender on its page: the diagnosis, the findings with what to publish, the scores before."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from dashboard.words import StatusWord
from reputation.audits import diagnosis_of
from reputation.domain.audit.findings import POINTS, TITLES, Finding, Result
from reputation.models import AuditReport

HISTORY_SHOWN = 12
# The colours of the statuses that are as bad; what nobody could check has none.
_WORDS = {
    Result.PROBLEM: StatusWord("quarantine", "problem", "■"),
    Result.ADVICE: StatusWord("warning", "could be better", "▲"),
    Result.UNCHECKED: StatusWord("unknown", "not checked", "○"),
    Result.OK: StatusWord("healthy", "sound", "●"),
}


@dataclass(frozen=True, slots=True)
class FindingLine:
    """One finding as it is shown."""

    result: StatusWord
    title: str
    points: int
    """Taken off the score; 0: none."""
    about: str
    says: str
    why: str
    seen: tuple[str, ...]
    publish: tuple[str, ...]

    @classmethod
    def of(cls, finding: Finding) -> FindingLine:
        """The finding as it is shown."""
        return cls(
            result=_WORDS[finding.result],
            title=TITLES[finding.check],
            points=POINTS.get(finding.check, 0) if finding.result is Result.PROBLEM else 0,
            about=finding.about,
            says=finding.says,
            why=finding.why,
            seen=finding.seen,
            publish=finding.publish,
        )


@dataclass(frozen=True, slots=True)
class DiagnosisNote:
    """Where the refusals of the last 24 hours come from what was found."""

    title: str
    says: str
    evidence: tuple[FindingLine, ...]


@dataclass(frozen=True, slots=True)
class FormerAudit:
    """An audit before."""

    at: datetime
    score: int | None
    problems: int
    why: str


@dataclass(frozen=True, slots=True)
class AuditNow:
    """The last audit of one sender."""

    at: datetime
    score: int | None
    """None: nothing could be checked."""
    unchecked: int
    why: str
    asked_by: str
    diagnosis: DiagnosisNote | None
    wrong: tuple[FindingLine, ...]
    """Problems, then what could be better."""
    others: tuple[FindingLine, ...]
    """What could not be checked, then what is sound."""
    history: tuple[FormerAudit, ...]
    """The latest first, the last audit included."""


def audit_of(kind: str, name: str, *, now: datetime) -> AuditNow | None:
    """The last audit of a sender; None where there was none yet."""
    rows = list(AuditReport.objects.filter(kind=kind, subject=name).order_by("-at", "-id")[:HISTORY_SHOWN])
    report = next((row for row in rows if row.is_latest), None)
    if report is None:
        return None
    findings = report.found
    told = diagnosis_of(report, now=now)
    wrong = [finding for finding in findings if finding.result in (Result.PROBLEM, Result.ADVICE)]
    return AuditNow(
        at=report.at,
        score=report.score,
        unchecked=report.unchecked,
        why=report.get_why_display(),
        asked_by=report.asked_by,
        diagnosis=DiagnosisNote(told.title, told.says, tuple(map(FindingLine.of, told.evidence))) if told else None,
        wrong=tuple(map(FindingLine.of, wrong)),
        others=tuple(FindingLine.of(finding) for finding in findings if finding not in wrong),
        history=tuple(FormerAudit(row.at, row.score, row.problems, row.get_why_display()) for row in rows),
    )
