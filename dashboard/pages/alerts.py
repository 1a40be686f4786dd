"""Alerts: what is wrong now, what was, who looks after it, and whom it was told."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from django.db.models import Case, Count, IntegerField, Q, QuerySet, Value, When

from dashboard.tables import TablePage
from dashboard.words import plain
from reputation.domain.alerting import TITLES, Kind, News, Severity, State, headline
from reputation.models import Alert, AlertChannel, AlertDelivery, AlertEvent

EVENTS_SHOWN: Final = 200
# A shape beside the colour, and the colours of the statuses.
_MARKS: Final = {
    Severity.CRITICAL: ("blacklisted", "✖"),
    Severity.WARNING: ("warning", "▲"),
    Severity.INFO: ("unknown", "●"),
}
_NEWS: Final = {
    News.OPENED: "Opened",
    News.WORSENED: "Got worse",
    News.RECOVERED: "Recovered",
    News.ACKNOWLEDGED: "Acknowledged",
    News.RESOLVED: "Resolved by hand",
    News.ESCALATED: "Escalated",
}
STANDING: Final = "standing"
ALL: Final = "all"
CSV_HEADER: Final = (
    *("id", "severity", "kind", "subject", "state", "what_happened", "times", "opened_at", "last_seen_at"),
    *("acknowledged_at", "acknowledged_by", "resolved_at", "resolved_by"),
)


@dataclass(frozen=True, slots=True)
class Mark:
    """A severity as it is shown."""

    id: str
    word: str
    shape: str


@dataclass(frozen=True, slots=True)
class AlertLine:
    """One alert."""

    id: int
    mark: Mark
    title: str
    subject: str
    link: str
    sentence: str
    state: str
    count: int
    opened_at: datetime
    last_at: datetime
    acknowledged_at: datetime | None
    acknowledged_by: str
    resolved_at: datetime | None
    resolved_by: str

    @property
    def is_open(self) -> bool:
        """Nobody looks after it yet."""
        return self.state == State.OPEN

    @property
    def is_over(self) -> bool:
        """Nothing is left to do."""
        return self.state == State.RESOLVED

    @classmethod
    def of(cls, row: Alert) -> AlertLine:
        """The alert as it is shown."""
        severity = Severity(row.severity)
        return cls(
            id=row.pk,
            mark=Mark(_MARKS[severity][0], severity.value, _MARKS[severity][1]),
            title=headline(Kind(row.kind)),
            subject=row.subject,
            link=row.link,
            sentence=row.sentence,
            state=row.state,
            count=row.count,
            opened_at=row.opened_at,
            last_at=row.last_at,
            acknowledged_at=row.acknowledged_at,
            acknowledged_by=row.acknowledged_by,
            resolved_at=row.resolved_at,
            resolved_by=row.resolved_by,
        )


@dataclass(frozen=True, slots=True)
class Choice:
    """A word that a filter may be set to."""

    value: str
    word: str
    chosen: bool


@dataclass(frozen=True, slots=True)
class Filters:
    """What the list is narrowed to; what nobody knows counts as not given."""

    state: str
    kind: str
    severity: str
    subject: str

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Filters:
        """Read the query string."""
        states = {STANDING, ALL, *(state.value for state in State)}
        return cls(
            state=_known(given.get("state"), states) or STANDING,
            kind=_known(given.get("kind"), {kind.value for kind in Kind}),
            severity=_known(given.get("severity"), {severity.value for severity in Severity}),
            # A database takes no NUL.
            subject=str(given.get("subject") or "").strip().replace("\x00", "")[:255],
        )

    @property
    def is_narrow(self) -> bool:
        """Whether anything but the state is chosen."""
        return bool(self.kind or self.severity or self.subject)

    @property
    def states(self) -> list[Choice]:
        """What the state may be set to."""
        words = {STANDING: "open and acknowledged", **{state.value: state.value for state in State}, ALL: "all"}
        return [Choice(value, word, value == self.state) for value, word in words.items()]

    @property
    def kinds(self) -> list[Choice]:
        """What the kind may be set to."""
        return [Choice("", "every kind", not self.kind)] + [
            Choice(kind.value, TITLES[kind], kind.value == self.kind) for kind in Kind
        ]

    @property
    def severities(self) -> list[Choice]:
        """What the severity may be set to."""
        return [Choice("", "every severity", not self.severity)] + [
            Choice(severity.value, severity.value, severity.value == self.severity) for severity in reversed(Severity)
        ]


@dataclass(frozen=True, slots=True)
class AlertList:
    """The list of alerts."""

    now: datetime
    filters: Filters
    table: TablePage
    lines: tuple[AlertLine, ...]
    channels: int
    failing: tuple[tuple[str, str], ...]
    """(name of a channel, its last error as words)"""
    any_ever: bool


@dataclass(frozen=True, slots=True)
class EventLine:
    """One thing that became of an alert."""

    at: datetime
    word: str
    by: str
    sentence: str
    note: str


@dataclass(frozen=True, slots=True)
class DeliveryLine:
    """One event on its way to one channel."""

    created_at: datetime
    word: str
    channel: str
    rule: str
    state: str
    is_bad: bool
    attempts: int
    error: str
    due_at: datetime | None
    """When it is tried next; None where it is not."""
    sent_at: datetime | None


@dataclass(frozen=True, slots=True)
class AlertPage:
    """One alert."""

    now: datetime
    line: AlertLine
    evidence: tuple[tuple[str, str], ...]
    events: tuple[EventLine, ...]
    deliveries: tuple[DeliveryLine, ...]


@dataclass(frozen=True, slots=True)
class AlertCount:
    """How many alerts nobody looks after yet."""

    open: int
    critical: int


def rows_of(filters: Filters) -> QuerySet[Alert]:
    """The alerts that the filters leave: open ones first, the worst of them first, then the newest."""
    rows = Alert.objects.all()
    if filters.state == STANDING:
        rows = rows.exclude(state=State.RESOLVED)
    elif filters.state != ALL:
        rows = rows.filter(state=filters.state)
    for name in ("kind", "severity"):
        if value := getattr(filters, name):
            rows = rows.filter(**{name: value})
    if filters.subject:
        rows = rows.filter(subject__icontains=filters.subject)
    if filters.state == State.RESOLVED:
        return rows.order_by("-id")
    by_state = Case(
        When(state=State.OPEN, then=Value(0)),
        When(state=State.ACKNOWLEDGED, then=Value(1)),
        default=Value(2),
        output_field=IntegerField(),
    )
    by_severity = Case(
        *(When(~Q(state=State.RESOLVED), severity=entry.value, then=Value(-entry.rank)) for entry in Severity),
        default=Value(0),
        output_field=IntegerField(),
    )
    return rows.order_by(by_state, by_severity, "-id")


def alert_list(filters: Filters, table: TablePage, *, now: datetime) -> AlertList:
    """The page of a list; a fixed number of queries."""
    channels = list(AlertChannel.objects.filter(is_enabled=True))
    return AlertList(
        now=now,
        filters=filters,
        table=table,
        lines=tuple(AlertLine.of(row) for row in table.rows),
        channels=len(channels),
        failing=tuple((row.name, plain(row.last_error)) for row in channels if row.last_error),
        any_ever=bool(table.total) or Alert.objects.exists(),
    )


def csv_rows(rows: QuerySet[Alert]) -> Iterator[tuple[Any, ...]]:
    """The list as it is exported."""
    for row in rows.iterator(chunk_size=500):
        yield (
            *(row.pk, row.severity, row.kind, row.subject, row.state, row.sentence, row.count, row.opened_at),
            *(row.last_at, row.acknowledged_at, row.acknowledged_by, row.resolved_at, row.resolved_by),
        )


def alert_page(alert: Alert, *, now: datetime) -> AlertPage:
    """Read one alert with what became of it."""
    events = AlertEvent.objects.filter(alert=alert).order_by("-id")[:EVENTS_SHOWN]
    deliveries = AlertDelivery.objects.filter(alert=alert).select_related("channel", "rule").order_by("-id")
    return AlertPage(
        now=now,
        line=AlertLine.of(alert),
        evidence=tuple((plain(name), _as_text(value)) for name, value in sorted(alert.evidence.items())),
        events=tuple(
            EventLine(row.at, _NEWS[News(row.news)], row.triggered_by, row.sentence, row.note) for row in events
        ),
        deliveries=tuple(_delivery(row) for row in deliveries[:EVENTS_SHOWN]),
    )


def open_count() -> AlertCount:
    """How many alerts are open, in one query."""
    found = Alert.objects.filter(state=State.OPEN).aggregate(
        all=Count("pk"), critical=Count("pk", filter=Q(severity=Severity.CRITICAL))
    )
    return AlertCount(found["all"], found["critical"])


def _delivery(row: AlertDelivery) -> DeliveryLine:
    waits = row.state == AlertDelivery.WAITING
    return DeliveryLine(
        created_at=row.created_at,
        word=_NEWS[News(row.news)],
        channel=row.channel.name,
        rule=row.rule.name if row.rule else "",
        state=str(row.get_state_display()),
        is_bad=row.state == AlertDelivery.FAILED or (waits and row.attempts > 0),
        attempts=row.attempts,
        error=plain(row.error),
        due_at=row.due_at if waits else None,
        sent_at=row.sent_at,
    )


def _known(value: Any, words: set[str]) -> str:
    return str(value) if value in words else ""


def _as_text(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, dict):
        return ", ".join(f"{name}: {_as_text(entry)}" for name, entry in sorted(value.items())) or "–"
    if isinstance(value, list):
        return ", ".join(map(_as_text, value)) or "–"
    return str(value) or "–"
