"""A batch of new events folded in memory into counter increments: one per cell, whatever the batch holds."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple

from telemetry.domain.cells import floor_day, floor_hour, floor_minute
from telemetry.domain.event import Event
from telemetry.domain.vocab import EventType


class TrafficCell(NamedTuple):
    """The dimensions of one traffic counter."""

    bucket: datetime
    sending_ip: str
    sending_domain: str
    provider: str
    source_id: int


class RefusalCell(NamedTuple):
    """The dimensions of one refusal counter; `code` as in `Event.code`."""

    bucket: datetime
    sending_ip: str
    sending_domain: str
    recipient_domain: str
    provider: str
    code: str
    cause: str


# Positions of the measures in a traffic increment; the order of the columns in `telemetry.sql.TRAFFIC_MEASURES`.
DELIVERED, BOUNCED, DEFERRED, SUPERSEDED, COMPLAINED = range(5)
MEASURE_OF = {
    EventType.DELIVERY: DELIVERED,
    EventType.BOUNCE: BOUNCED,
    EventType.DEFER: DEFERRED,
    EventType.COMPLAINT: COMPLAINED,
}


@dataclass(frozen=True, slots=True)
class Classified:
    """An event with what the directory and the reply say of it."""

    event: Event
    provider: str
    cause: str


def traffic_cell(item: Classified, source_id: int) -> TrafficCell:
    """The minute cell that this event counts in."""
    event = item.event
    return TrafficCell(
        floor_minute(event.occurred_at), event.sending_ip, event.sending_domain, item.provider, source_id
    )


def refusal_cell(item: Classified) -> RefusalCell | None:
    """The minute cell of refusals that this event counts in; None when it is no refusal."""
    event = item.event
    if event.type not in (EventType.BOUNCE, EventType.DEFER):
        return None
    return RefusalCell(
        floor_minute(event.occurred_at),
        event.sending_ip,
        event.sending_domain,
        event.recipient_domain,
        item.provider,
        event.code,
        item.cause,
    )


@dataclass(slots=True)
class Increments:
    """What one batch adds to each counter table."""

    traffic: dict[TrafficCell, list[int]] = field(default_factory=lambda: defaultdict(lambda: [0] * 5))
    refusals: dict[RefusalCell, int] = field(default_factory=lambda: defaultdict(int))
    last_delivered: dict[TrafficCell, datetime] = field(default_factory=dict)
    """When the latest delivery of a cell was; minutes only. Counts alone cannot tell what came after what."""


@dataclass(frozen=True, slots=True)
class Horizons:
    """Which levels a bucket is counted in.

    The hour and day tables hold what lies before `rolled_up_to`; a roll-up moves that border forward. So an event after
    the border counts in its minute only, and one before it (a late one) goes into every level that is still kept.
    """

    rolled_up_to: datetime
    minutes_from: datetime
    hours_from: datetime
    days_from: datetime


@dataclass(slots=True)
class Fold:
    """The increments of one batch by level."""

    minute: Increments = field(default_factory=Increments)
    hour: Increments = field(default_factory=Increments)
    day: Increments = field(default_factory=Increments)

    def add(self, items: Iterable[Classified], source_id: int, horizons: Horizons) -> None:
        """Count these events, each once in its measure and, when it is a refusal, once by its code and cause."""
        for item in items:
            event = item.event
            cell = traffic_cell(item, source_id)
            refusal = refusal_cell(item)
            measure = MEASURE_OF[event.type]
            if measure == DELIVERED:
                latest = self.minute.last_delivered.get(cell)
                if latest is None or latest < event.occurred_at:
                    self.minute.last_delivered[cell] = event.occurred_at
            for increments, bucket in self._levels(cell.bucket, horizons):
                increments.traffic[cell._replace(bucket=bucket)][measure] += 1
                if refusal is not None:
                    increments.refusals[refusal._replace(bucket=bucket)] += 1

    def supersede(self, cell: TrafficCell, horizons: Horizons) -> None:
        """Note that one deferral attempt counted in this minute cell no longer stands for its message."""
        for increments, bucket in self._levels(cell.bucket, horizons):
            increments.traffic[cell._replace(bucket=bucket)][SUPERSEDED] += 1

    def _levels(self, minute: datetime, horizons: Horizons) -> list[tuple[Increments, datetime]]:
        if minute >= horizons.rolled_up_to:
            return [(self.minute, minute)]
        levels = []
        if minute >= horizons.minutes_from:
            levels.append((self.minute, minute))
        if (hour := floor_hour(minute)) >= horizons.hours_from:
            levels.append((self.hour, hour))
        if (day := floor_day(minute)) >= horizons.days_from:
            levels.append((self.day, day))
        return levels
