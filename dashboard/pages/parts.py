"""What several pages show alike."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from dashboard.charts import Chart
from dashboard.words import StatusWord, action_word, plain, provider_title, status_word
from reputation.judgements import may_be_judged
from reputation.models import AuditEntry, Judgement, Override, SenderScore
from reputation.scores import RATES
from telemetry.domain.mailbox_providers import OTHER
from telemetry.models import SendingEvent

# A reply text is cut here on a page; the admin shows it whole.
REPLY_SHOWN = 300


@dataclass(frozen=True, slots=True)
class Verdict:
    """What somebody said of an automatic change."""

    word: str
    by: str
    at: datetime
    note: str

    @classmethod
    def of(cls, row: AuditEntry) -> Verdict | None:
        """The verdict on an audit row that was read with its judgement; None where nobody judged it."""
        found: Judgement | None = getattr(row, "judgement", None)
        return cls(found.get_verdict_display(), found.judged_by, found.judged_at, found.note) if found else None


@dataclass(frozen=True, slots=True)
class Change:
    """One line of the audit log."""

    at: datetime
    subject: str
    """The sending IP, or what else the line is about."""
    is_ip: bool
    what: str
    previous: StatusWord | None
    new: StatusWord | None
    reason: str
    by: str
    id: int
    may_be_judged: bool
    verdict: Verdict | None

    @classmethod
    def of(cls, row: AuditEntry) -> Change:
        """The audit row as it is shown."""
        return cls(
            at=row.at,
            subject=row.sending_ip or row.subject,
            is_ip=bool(row.sending_ip),
            what=action_word(row.action),
            previous=status_word(row.previous) if row.previous else None,
            new=status_word(row.new) if row.new else None,
            reason=row.reason,
            by=row.triggered_by,
            id=row.pk,
            may_be_judged=may_be_judged(row),
            verdict=Verdict.of(row),
        )


@dataclass(frozen=True, slots=True)
class OverrideNote:
    """A person's word on an IP's status, beside what the automation says."""

    kind: str
    by: str
    reason: str
    at: datetime
    expires_at: datetime | None
    automatic: StatusWord

    @classmethod
    def of(cls, row: Override, automatic_status: str) -> OverrideNote:
        """The override as it is shown."""
        return cls(
            kind=row.get_kind_display(),
            by=str(row.created_by) if row.created_by else "somebody who has no account any more",
            reason=row.reason,
            at=row.created_at,
            expires_at=row.expires_at,
            automatic=status_word(automatic_status),
        )


@dataclass(frozen=True, slots=True)
class RateLine:
    """A rate with both its numbers and the name of its denominator; `value` is None over an empty denominator."""

    name: str
    value: float | None
    numerator: int
    denominator: int
    denominator_name: str
    lower: float
    upper: float


@dataclass(frozen=True, slots=True)
class ScoreLine:
    """A score of one sender, overall or at one mailbox provider."""

    name: str
    provider: str
    """The provider's title; empty for the overall score."""
    score: int | None
    confidence: str
    delivered: int
    bounced: int
    deferred: int
    complained: int
    has_recent_mail: bool
    penalties: tuple[tuple[str, int], ...]
    """(reason, points taken off)"""
    rates: tuple[RateLine, ...]
    computed_at: datetime

    @classmethod
    def of(cls, row: SenderScore) -> ScoreLine:
        """The score row as it is shown."""
        return cls(
            name=row.name,
            provider=provider_title(row.provider) if row.provider else "",
            score=row.score,
            confidence=row.confidence,
            delivered=row.delivered,
            bounced=row.bounced,
            deferred=row.deferred,
            complained=row.complained,
            has_recent_mail=row.has_recent_mail,
            penalties=tuple((entry["reason"], entry["points"]) for entry in row.penalties),
            rates=tuple(
                RateLine(
                    name=name,
                    value=rate["value"],
                    numerator=rate["numerator"],
                    denominator=rate["denominator"],
                    denominator_name=rate["denominator_name"],
                    lower=rate["interval"][0],
                    upper=rate["interval"][1],
                )
                # PostgreSQL keeps no order of names in JSON.
                for name in RATES
                if (rate := row.rates.get(name))
            ),
            computed_at=row.computed_at,
        )

    def rate(self, name: str) -> RateLine | None:
        """The rate of that name, if there was mail to have one."""
        return next((rate for rate in self.rates if rate.name == name), None)

    @property
    def delivery(self) -> RateLine | None:
        """Delivered / (delivered + bounced)."""
        return self.rate("delivery")

    @property
    def bounce(self) -> RateLine | None:
        """Bounced / (delivered + bounced)."""
        return self.rate("bounce")

    @property
    def complaint(self) -> RateLine | None:
        """Complaints / delivered."""
        return self.rate("complaint")


@dataclass(frozen=True, slots=True)
class Failure:
    """One failing event with what the receiver said."""

    at: datetime
    type: str
    sending_ip: str
    sending_domain: str
    recipient_domain: str
    provider: str
    """The mailbox provider's title; empty where it is none of the known ones."""
    code: str
    cause: str
    reply: str


@dataclass(frozen=True, slots=True)
class Tick:
    """A moment below the axis of a chart, and how it reads in UTC."""

    at: datetime
    text: str


@dataclass(frozen=True, slots=True)
class Figure:
    """A chart with the words around it."""

    id: str
    title: str
    note: str
    chart: Chart
    is_share: bool = False
    ticks: tuple[Tick, ...] = ()
    """What stands below the axis, evenly spaced; empty: every sixth bar's time of day."""
    empty: str = "Nothing in the last 24 hours."
    """What is said instead of a chart without bars."""


def failure_lines(rows: Iterable[SendingEvent]) -> Iterable[Failure]:
    """Failing events as they are shown."""
    for row in rows:
        cut = len(row.reply) > REPLY_SHOWN
        yield Failure(
            at=row.occurred_at,
            type=row.type,
            sending_ip=row.sending_ip,
            sending_domain=row.sending_domain,
            recipient_domain=row.recipient_domain,
            provider=provider_title(row.provider) if row.provider != OTHER else "",
            code=row.enhanced_code or (str(row.smtp_code) if row.smtp_code is not None else ""),
            cause=plain(row.cause),
            reply=row.reply[:REPLY_SHOWN] + "…" if cut else row.reply,
        )
