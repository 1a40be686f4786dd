"""Who reports: how long each source has been silent, how much of what its server counted arrived, how to connect it."""

from __future__ import annotations

import json
import uuid
from dataclasses import dataclass
from datetime import datetime
from typing import cast

from django.db.models import Max

from dashboard.pages.overview import SILENT_AFTER
from dashboard.pages.setup import Step, steps
from dashboard.queries import DAY, REJECTED_COUNTED, TEST_MARK
from telemetry import intake
from telemetry.completeness_lines import by_day, by_hour, last_day
from telemetry.counters import last_minutes
from telemetry.domain.completeness import Line
from telemetry.domain.window import Outcomes
from telemetry.limits import limits_of
from telemetry.models import MetricsWatch, RejectedEvent, SendingEvent, Source
from telemetry.parsers.generic import GENERIC
from telemetry.queries import outcomes_by

EVENTS_SHOWN = 10
# Events have no index by source, which every insert would pay for; the newest of all sources are looked through.
LOOKED_THROUGH = 5_000
SOURCES_SHOWN = 500
TEST_DOMAIN = "test.invalid"


@dataclass(frozen=True, slots=True)
class SourceState:
    """Whether a source reports."""

    name: str
    kind: str
    region: str
    is_active: bool
    last_event_at: datetime | None
    is_silent: bool

    @classmethod
    def of(cls, row: Source, now: datetime) -> SourceState:
        """The source as it is shown."""
        return cls(
            name=row.name,
            kind=row.get_kind_display(),
            region=row.region or row.node,
            is_active=row.is_active,
            last_event_at=row.last_event_at,
            is_silent=row.is_active and row.last_event_at is not None and now - row.last_event_at > SILENT_AFTER,
        )


@dataclass(frozen=True, slots=True)
class SourceLine:
    """One source in the list, with its last 24 hours."""

    state: SourceState
    outcomes: Outcomes
    is_watched: bool
    compared: Line | None
    """None where its server's own counters are not known."""
    page_error: str


@dataclass(frozen=True, slots=True)
class SourceList:
    """All sources."""

    now: datetime
    sources: tuple[SourceLine, ...]
    is_more: bool


@dataclass(frozen=True, slots=True)
class EventLine:
    """One of the newest events of a source."""

    at: datetime
    type: str
    sending_ip: str
    recipient_domain: str
    code: str
    reply: str
    is_test: bool


@dataclass(frozen=True, slots=True)
class Live:
    """The part of a source's page that is fetched anew every few seconds."""

    now: datetime
    state: SourceState
    events: tuple[EventLine, ...]
    rejected: int
    rejected_is_more: bool
    source_id: int


@dataclass(frozen=True, slots=True)
class SourcePage:
    """A source: how to connect it, what came, how complete it is."""

    id: int
    live: Live
    steps: tuple[Step, ...]
    tokens: int
    """How many of its tokens open something."""
    networks: tuple[str, ...]
    """Where its reports may come from; empty: anywhere."""
    requests_per_minute: int
    """The limit that holds for it; 0: none."""
    events_per_minute: int
    is_watched: bool
    watch: MetricsWatch | None
    day: Line | None
    hours: tuple[Line, ...]
    days: tuple[Line, ...]


def source_list(*, now: datetime) -> SourceList:
    """Read the list; a fixed number of queries however many sources there are."""
    rows = list(Source.objects.order_by("name")[: SOURCES_SHOWN + 1])
    shown = rows[:SOURCES_SHOWN]
    start, end = last_minutes(now, DAY)
    sums = cast("dict[tuple[int], Outcomes]", outcomes_by(("source_id",), start=start, end=end))
    compared = last_day([row.pk for row in shown], now=now)
    errors = dict(MetricsWatch.objects.exclude(error="").values_list("source_id", "error"))
    return SourceList(
        now=now,
        sources=tuple(
            SourceLine(
                state=SourceState.of(row, now),
                outcomes=sums.get((row.pk,), Outcomes()),
                is_watched=bool(row.metrics_url),
                compared=compared.get(row.pk),
                page_error=errors.get(row.pk, "") if row.metrics_url else "",
            )
            for row in shown
        ),
        is_more=len(rows) > SOURCES_SHOWN,
    )


def live(source: Source, *, now: datetime) -> Live:
    """What came lately."""
    waiting = RejectedEvent.objects.filter(source=source, replayed_at__isnull=True).order_by()
    rejected = waiting[: REJECTED_COUNTED + 1].count()
    return Live(
        now=now,
        state=SourceState.of(source, now),
        events=_newest(source),
        rejected=min(rejected, REJECTED_COUNTED),
        rejected_is_more=rejected > REJECTED_COUNTED,
        source_id=source.pk,
    )


def source_page(source: Source, base_url: str, *, now: datetime) -> SourcePage:
    """Read one source's page."""
    requests, events = limits_of(source)
    return SourcePage(
        id=source.pk,
        live=live(source, now=now),
        steps=steps(source, base_url, now=now),
        tokens=sum(token.is_usable for token in source.tokens.all()),
        networks=tuple(source.allowed_networks),
        requests_per_minute=requests,
        events_per_minute=events,
        is_watched=bool(source.metrics_url),
        watch=MetricsWatch.objects.filter(source=source).first(),
        day=last_day([source.pk], now=now).get(source.pk),
        hours=tuple(by_hour(source.pk, now=now)),
        days=tuple(by_day(source.pk, now=now)),
    )


def send_test_event(source: Source, *, now: datetime) -> bool:
    """Take a test event in by the way that every reported event goes: read, checked, stored, counted. True when it was.

    It is a deferral at a domain that cannot exist, under the unknown IP and no sending domain, so no IP, domain or
    score is judged by it.
    """
    event = {
        "type": "defer",
        "occurred_at": f"{now:%Y-%m-%dT%H:%M:%S.%fZ}",
        "recipient": f"nobody@{TEST_DOMAIN}",
        "reply": "Test event, sent from the source's page.",
        "classification": TEST_MARK,
        "event_id": f"test-{uuid.uuid4()}",
    }
    return intake.take_in(source, GENERIC, [json.dumps(event).encode()], now=now).recorded == 1


def _newest(source: Source) -> tuple[EventLine, ...]:
    newest = SendingEvent.objects.aggregate(Max("id"))["id__max"]
    if newest is None:
        return ()
    rows = SendingEvent.objects.filter(id__gt=newest - LOOKED_THROUGH, source=source).order_by("-id")
    return tuple(
        EventLine(
            at=row.occurred_at,
            type=row.type,
            sending_ip=row.sending_ip,
            recipient_domain=row.recipient_domain,
            code=row.enhanced_code or (str(row.smtp_code) if row.smtp_code else ""),
            reply=row.reply[:200],
            is_test=row.classification == TEST_MARK,
        )
        for row in rows[:EVENTS_SHOWN]
    )
