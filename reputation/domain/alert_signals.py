"""From what was found to a signal: how severe it is, what makes it the same trouble, and the sentence people read."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final
from urllib.parse import quote

from reputation.domain.alerting import Kind, Severity, Signal, SubjectKind
from reputation.domain.policy import Status

# A score must have fallen by more than this within a day; it has recovered when all but half of that is made up for.
SCORE_DROP: Final = 20
SCORE_DROP_IS_OVER: Final = 10
SCORE_DROP_CRITICAL: Final = 40
BELIEVED: Final = frozenset({"medium", "high"})
# Fewer events than this missing, at the source's own usual pace, is no silence but a lull.
SILENT_EXPECTED: Final = 20.0
SILENT_LEAST: Final = timedelta(minutes=15)
SILENT_CRITICAL: Final = timedelta(hours=1)
COMPLETE_FROM: Final = 0.99
# Of fewer deliveries a single one would be a percent.
COMPARED_LEAST: Final = 200
QUEUE_LATE: Final = timedelta(minutes=2)
QUEUE_CRITICAL: Final = timedelta(minutes=10)
# Free share of the disk; over again a little above where it began, so that it does not swing to and fro.
DISK_WARNING: Final = 0.10
DISK_CRITICAL: Final = 0.05
DISK_IS_OVER: Final = 0.12

_STATUS_SEVERITY: Final[Mapping[str, Severity]] = {
    Status.WARNING.value: Severity.WARNING,
    Status.QUARANTINE.value: Severity.CRITICAL,
    Status.BLACKLISTED.value: Severity.CRITICAL,
}
_TIER_SEVERITY: Final = {"A": Severity.CRITICAL, "B": Severity.WARNING, "C": Severity.INFO}


def page_of_ip(ip: str) -> str:
    """Path of its page."""
    return f"/ips/{quote(ip, safe=':')}/"


def page_of_domain(domain: str) -> str:
    """Path of its page."""
    return f"/domains/{quote(domain, safe='')}/"


def page_of(kind: str, name: str) -> str:
    """Path of the page of a sending IP or domain."""
    return page_of_ip(name) if kind == "ip" else page_of_domain(name)


def status_changed(
    ip: str, previous: str, new: str, reason: str, *, at: datetime, evidence: Mapping[str, object]
) -> Signal:
    """A sending IP's status changed, by itself or by hand."""
    return Signal(
        kind=Kind.STATUS,
        subject=ip,
        subject_kind=SubjectKind.IP,
        key=f"status:{ip}",
        severity=_STATUS_SEVERITY.get(new, Severity.INFO),
        over=new == Status.HEALTHY,
        sentence=f"{ip} went from {previous or 'no status'} to {new}. {reason}".strip(),
        at=at,
        evidence={"previous": previous, "new": new, **evidence},
        link=page_of_ip(ip),
    )


def breaker_moved(
    kind: str, sender: str, provider: str, to_state: str, notes: str, *, at: datetime, by_hand: bool
) -> Signal | None:
    """A breaker opened or closed; a step of resuming is neither. Whoever paused by hand knows: that only informs."""
    if to_state not in ("open", "closed"):
        return None
    scope = f"{sender} at {provider}" if provider else sender
    severity = Severity.WARNING if provider else Severity.CRITICAL
    # Whether mail really waits is up to the pool's mode; the breaker only says that it should.
    verb = "closed: mail may flow in full again" if to_state == "closed" else "opened"
    return Signal(
        kind=Kind.BREAKER,
        subject=sender,
        subject_kind=SubjectKind(kind),
        key=f"breaker:{kind}:{sender}:{provider}",
        severity=Severity.INFO if by_hand else severity,
        over=to_state == "closed",
        sentence=f"The breaker of {scope} {verb}. {notes}".strip(),
        at=at,
        evidence={"provider": provider, "to": to_state},
        link=page_of(kind, sender),
    )


def listing_changed(
    kind: str, subject: str, blocklist: str, tier: str, *, listed: bool, meaning: str, at: datetime
) -> Signal:
    """An IP or domain is believed to be on a blocklist, or off it again."""
    verb = "is on the blocklist" if listed else "is no longer on the blocklist"
    told = f" {meaning}" if listed and meaning else ""
    return Signal(
        kind=Kind.LISTING,
        subject=subject,
        subject_kind=SubjectKind(kind),
        key=f"listing:{blocklist}:{subject}",
        severity=_TIER_SEVERITY.get(tier, Severity.INFO),
        over=not listed,
        sentence=f"{subject} {verb} {blocklist} (tier {tier}).{told}",
        at=at,
        evidence={"blocklist": blocklist, "tier": tier},
        link=page_of(kind, subject),
    )


def audited(
    kind: str,
    subject: str,
    *,
    problems: Sequence[str],
    points: int,
    unchecked: int,
    before: Collection[str],
    at: datetime,
) -> Signal | None:
    """An audit ended. A check that fails and did not before is news; all of them well again is the end of it.

    None where nothing new is known: the same problems as before, or none but something that could not be checked.
    """
    new = [title for title in problems if title not in before]
    if not problems:
        if unchecked:
            return None
    elif not new:
        return None
    told = f"The audit of {subject} found a problem with {', '.join(problems)}." if problems else ""
    return Signal(
        kind=Kind.AUDIT,
        subject=subject,
        subject_kind=SubjectKind(kind),
        key=f"audit:{kind}:{subject}",
        # SPF or DKIM alone take so many points.
        severity=Severity.CRITICAL if points >= 20 else Severity.WARNING if points else Severity.INFO,
        over=not problems,
        sentence=told or f"The audit of {subject} finds nothing wrong any more.",
        at=at,
        evidence={"problems": list(problems), "points": points},
        link=page_of(kind, subject),
    )


def score_moved(
    kind: str, name: str, *, score: int, before: int, confidence: str, delivered: int, bounced: int, at: datetime
) -> Signal | None:
    """A score beside the one of 24 hours ago. None: neither a drop nor the end of one, or too little mail to tell."""
    drop = before - score
    bad = drop > SCORE_DROP and confidence in BELIEVED
    if not bad and drop > SCORE_DROP_IS_OVER:
        return None
    fell = (
        f"The score of {name} fell from {before} to {score} within 24 hours ({delivered} delivered, {bounced} bounced)."
    )
    return Signal(
        kind=Kind.SCORE_DROP,
        subject=name,
        subject_kind=SubjectKind(kind),
        key=f"score:{kind}:{name}",
        severity=Severity.CRITICAL if drop > SCORE_DROP_CRITICAL else Severity.WARNING,
        over=not bad,
        is_condition=True,
        sentence=fell if bad else f"The score of {name} is {score} again; it was {before}.",
        at=at,
        evidence={
            "score": score,
            "before": before,
            "delivered": delivered,
            "bounced": bounced,
            "confidence": confidence,
        },
        link=page_of(kind, name),
    )


def expected_events(by_hour: Mapping[datetime, int], start: datetime, end: datetime) -> float:
    """How many events those hours' counts give for [start, end), hours at the edges in proportion."""
    hour = timedelta(hours=1)
    return sum(
        count * max(timedelta(0), min(end, begin + hour) - max(start, begin)) / hour for begin, count in by_hour.items()
    )


def source_silence(name: str, last_event_at: datetime, usual: Sequence[float], *, now: datetime) -> Signal:
    """A source that says nothing, beside what it said in the same stretch of former days or weeks.

    `usual` are those counts. The smallest of them is taken, so that a source that rests at weekends or at night does
    not cry wolf, and one without a past is never called silent.
    """
    gone = now - last_event_at
    expected = min(usual, default=0.0)
    silent = gone >= SILENT_LEAST and expected >= SILENT_EXPECTED
    minutes = gone // timedelta(minutes=1)
    said = f"{name} has reported nothing for {minutes} minutes; usually it reports {expected:.0f} events in that time."
    return Signal(
        kind=Kind.SOURCE_SILENT,
        subject=name,
        subject_kind=SubjectKind.SOURCE,
        key=f"silent:{name}",
        severity=Severity.CRITICAL if gone >= SILENT_CRITICAL else Severity.WARNING,
        over=not silent,
        is_condition=True,
        sentence=said if silent else f"{name} reports again.",
        at=now,
        evidence={"last_event_at": last_event_at.isoformat(), "expected": round(expected)},
        link=f"/sources/{quote(name, safe='')}/",
    )


def completeness(name: str, *, counted: int, arrived: int, now: datetime) -> Signal | None:
    """What a source's server delivered in the last 24 hours, and what of it arrived here; None: too little to say."""
    if counted < COMPARED_LEAST:
        return None
    share = min(1.0, arrived / counted)
    bad = share < COMPLETE_FROM
    told = (
        f"Of {counted} deliveries that the server of {name} counted in 24 hours, {arrived} arrived here ({share:.1%})."
    )
    return Signal(
        kind=Kind.INCOMPLETE,
        subject=name,
        subject_kind=SubjectKind.SOURCE,
        key=f"incomplete:{name}",
        severity=Severity.WARNING,
        over=not bad,
        is_condition=True,
        sentence=told,
        at=now,
        evidence={"counted": counted, "arrived": arrived},
        link=f"/sources/{quote(name, safe='')}/",
    )


def queue_age(oldest: datetime | None, *, now: datetime) -> Signal:
    """How long the oldest sending IP waits to be judged; None: nothing waits."""
    age = now - oldest if oldest is not None else timedelta(0)
    late = age >= QUEUE_LATE
    seconds = age // timedelta(seconds=1)
    return Signal(
        kind=Kind.QUEUE,
        subject="changed sending IPs",
        subject_kind=SubjectKind.SYSTEM,
        key="queue:changed",
        severity=Severity.CRITICAL if age >= QUEUE_CRITICAL else Severity.WARNING,
        over=not late,
        is_condition=True,
        sentence=f"Sending IPs wait {seconds} s to be judged: the workers do not keep up, or do not run."
        if late
        else "Sending IPs are judged without delay again.",
        at=now,
        evidence={"seconds": seconds},
        link="/",
    )


def disk_space(free: int, total: int, *, now: datetime) -> Signal | None:
    """Free bytes of the disk that the data folder is on. None: between the two marks, where nothing changes."""
    share = free / total if total else 1.0
    bad = share < DISK_WARNING
    if not bad and share < DISK_IS_OVER:
        return None
    return Signal(
        kind=Kind.DISK,
        subject="data folder",
        subject_kind=SubjectKind.SYSTEM,
        key="disk:data",
        severity=Severity.CRITICAL if share < DISK_CRITICAL else Severity.WARNING,
        over=not bad,
        is_condition=True,
        sentence=f"{share:.0%} of the disk that the data folder is on is free ({free // 2**20} MB).",
        at=now,
        evidence={"free": free, "total": total},
        link="/",
    )
