"""Reported volume: how many messages an IP sent, from operators whose servers report failures only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import msgspec
from django.db import transaction

from telemetry.domain import clean
from telemetry.domain.errors import ParseError
from telemetry.domain.vocab import UNKNOWN_IP
from telemetry.models import Source, VolumeReport
from telemetry.parsers.base import read

LONGEST_STRETCH = timedelta(days=1)
MOST_SENT = 10**12


class _Given(msgspec.Struct, rename={"start": "from", "end": "to"}):
    ip: str
    sent: int
    start: str | int | float
    end: str | int | float


_DECODER = msgspec.json.Decoder(_Given)


@dataclass(frozen=True, slots=True)
class Volume:
    """`sent` attempts ended from this IP in [start, end), both whole minutes."""

    ip: str
    sent: int
    start: datetime
    end: datetime


def parse(raw: bytes, *, now: datetime) -> Volume:
    """Read one report. Raises ParseError: counters have minutes, so a stretch must begin and end on one."""
    given = read(_DECODER, raw)
    ip = clean.ip(given.ip, "ip")
    if ip == UNKNOWN_IP:
        raise ParseError("ip", "is missing")
    if not 0 <= given.sent <= MOST_SENT:
        raise ParseError("sent", f"is not between 0 and {MOST_SENT}")
    start, end = _minute(given.start, "from", now), _minute(given.end, "to", now)
    if not timedelta(0) < end - start <= LONGEST_STRETCH:
        raise ParseError("to", "does not lie after `from`, at most a day later")
    return Volume(ip, given.sent, start, end)


def report(source: Source, reports: Sequence[Volume], *, now: datetime) -> int:
    """Store reports, all or none; the same stretch again replaces its number. Raises ParseError on an overlap."""
    with transaction.atomic():
        # One writer of reports per source at a time: the overlap check must see what the other one stored.
        Source.objects.select_for_update().get(pk=source.pk)
        for volume in reports:
            overlapping = VolumeReport.objects.filter(
                source=source, sending_ip=volume.ip, start__lt=volume.end, end__gt=volume.start
            ).exclude(start=volume.start, end=volume.end)
            if overlapping.exists():
                raise ParseError("from", f"the stretch overlaps one already reported for {volume.ip}")
            VolumeReport.objects.update_or_create(
                source=source,
                sending_ip=volume.ip,
                start=volume.start,
                end=volume.end,
                defaults={"sent": volume.sent, "reported_at": now},
            )
    return len(reports)


def _minute(value: str | int | float, field: str, now: datetime) -> datetime:
    moment, future = clean.moment(value, field, now=now)
    if future:
        raise ParseError(field, "lies in the future")
    if moment.second or moment.microsecond:
        raise ParseError(field, "is not a whole minute")
    return moment
