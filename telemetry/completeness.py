"""Reads mail servers' own counters every minute and compares: how many of the server's events arrived here.

Each reading is one transaction that moves the baseline from the values it was computed against to the new ones, so a
tick that comes twice, late, or in two workers at once counts nothing twice. Own counts come from the minute counters
and are counted anew while late events may still come.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from datetime import datetime, timedelta
from itertools import groupby

from django.db import transaction
from django.db.models import F, Sum

from telemetry import sql, volumes
from telemetry.domain.cells import DAY, MINUTE, first_key, floor_hour, floor_minute
from telemetry.domain.clean import ip as clean_ip
from telemetry.domain.completeness import COUNTERS, LONGEST_GAP, Increase, Line, increase, is_on_time
from telemetry.domain.coverage import LONGEST_COVER
from telemetry.domain.errors import ParseError
from telemetry.domain.prometheus_text import counters
from telemetry.domain.vocab import UNKNOWN_IP, VolumeReporting
from telemetry.models import CompletenessReading, MetricsWatch, Source, TrafficMinute
from telemetry.outbound import OutboundError, send
from telemetry.queries import outcomes_by
from telemetry.retention import keeps

log = logging.getLogger(__name__)

TIMEOUT = timedelta(seconds=5)
# Stalwart's page has a few hundred short lines.
MOST_BYTES = 1024 * 1024
AT_ONCE = 8
# Most events are here within minutes, some (a log that is read after an outage) hours later: the last half hour is
# counted anew at every tick, the last day at every tenth minute, and what is older stays as it is.
RECOUNTED = timedelta(minutes=30)
RECOUNTED_SELDOM = DAY
SELDOM = 10
_CLEANED_AT_ONCE = 2_000
_FOLDED_AT_ONCE = 5_000


def tick(*, now: datetime) -> dict[str, int]:
    """Read every source's metrics page once and bring the comparison up to date; how many were read, and failed."""
    sources = list(Source.objects.filter(is_active=True).exclude(metrics_url="").order_by("pk"))
    if not sources:
        return {"read": 0, "failed": 0}
    due = _not_read_in(floor_minute(now), sources)
    # Nothing in these threads touches the database; logins are unsealed before.
    with ThreadPoolExecutor(max_workers=AT_ONCE) as pool:
        found = list(pool.map(_fetch, [(source.metrics_url, source.metrics_login) for source in due]))
    ips = sole_ips(due, now=now)
    failed = 0
    for source, values in zip(due, found, strict=True):
        if isinstance(values, str):
            failed += 1
            _note_failure(source, values, now)
        else:
            _store(source, values, ips.get(source.pk), now)
    seldom = now.minute % SELDOM == 0
    _count_arrived([source.pk for source in sources], RECOUNTED_SELDOM if seldom else RECOUNTED, now)
    if seldom:
        _fold(now)
        sql.delete_some(CompletenessReading._meta.db_table, '"end" < %s', [now - keeps("volumes")], _CLEANED_AT_ONCE)
    return {"read": len(due) - failed, "failed": failed}


def _not_read_in(minute: datetime, sources: Sequence[Source]) -> list[Source]:
    """The sources whose page was not read in this minute; a new address is a new page."""
    read = dict(MetricsWatch.objects.filter(read_at__gte=minute).values_list("source_id", "url"))
    return [source for source in sources if read.get(source.pk) != source.metrics_url]


def _fetch(page: tuple[str, str]) -> dict[str, int] | str:
    """The counters on a page, or why there are none."""
    url, login = page
    try:
        answer = send("GET", url, timeout=TIMEOUT, most_bytes=MOST_BYTES, login=login)
        if answer.status != 200:
            return f"The page answered {answer.status}."
        return counters(answer.body.decode("utf-8", "replace"), COUNTERS)
    except OutboundError as error:
        return str(error)
    except ParseError as error:
        return f"The page cannot be read: {error.field} {error.message}."


def _note_failure(source: Source, error: str, now: datetime) -> None:
    """The old values stay: the next reading tells the whole increase since."""
    MetricsWatch.objects.get_or_create(source=source, defaults={"url": source.metrics_url, "tried_at": now})
    MetricsWatch.objects.filter(source=source).update(error=error[:300], failures=F("failures") + 1, tried_at=now)
    log.warning("metrics page not read", extra={"source": source.name, "error": error})


def _store(source: Source, values: Mapping[str, int], ip: str | None, now: datetime) -> None:
    with transaction.atomic():
        MetricsWatch.objects.get_or_create(source=source, defaults={"url": source.metrics_url, "tried_at": now})
        watch = MetricsWatch.objects.select_for_update().get(source=source)
        start, end = watch.read_at and floor_minute(watch.read_at), floor_minute(now)
        same_page = watch.url == source.metrics_url
        if same_page and start is not None and end <= start:
            return  # somebody else has read this minute
        if same_page and start is not None and end - start <= LONGEST_GAP:
            gained = increase(watch.values, values)
            CompletenessReading.objects.create(
                source=source,
                start=start,
                end=end,
                server_delivered=gained.delivered,
                server_refused=gained.refused,
                server_bounced=gained.bounced,
                restarted=gained.restarted,
            )
            _tell_volume(source, watch, gained, ip, now)
        else:
            _begin_volume(watch, ip, now)
        watch.url, watch.values, watch.read_at = source.metrics_url, dict(values), now
        watch.error, watch.failures, watch.tried_at = "", 0, now
        watch.save()


# --- volume ----------------------------------------------------------------------------------------------------------


def sole_ips(sources: Sequence[Source], *, now: datetime) -> dict[int, str]:
    """Of the sources that report failures only and have exactly one sending IP: that IP, by source.

    The IPs are those of the IP mapping and of the last day's traffic. Whether a source reports failures only is
    `VolumeReporting`'s rule. Bounces and deliveries under the unknown IP may be another IP's, so they rule it out; a
    deferral there does not, because the set-up page's test event is one.
    """
    candidates = [source for source in sources if source.volume != VolumeReporting.COMPLETE]
    if not candidates:
        return {}
    traffic: dict[int, set[str]] = defaultdict(set)
    delivering: set[int] = set()
    only = {"source_id__in": [source.pk for source in candidates]}
    sums = outcomes_by(("source_id", "sending_ip"), start=floor_hour(now - DAY), end=now + MINUTE, only=only)
    for (source_id, ip), outcomes in sums.items():
        if outcomes.delivered:
            delivering.add(int(source_id))
        if ip != UNKNOWN_IP or outcomes.delivered or outcomes.bounced:
            traffic[int(source_id)].add(ip)
    found: dict[int, str] = {}
    for source in candidates:
        ips = traffic[source.pk] | {clean_ip(str(address), "") for address in source.ip_map.values()}
        whole = VolumeReporting(source.volume).is_whole_traffic(delivered=source.pk in delivering)
        if not whole and len(ips) == 1 and UNKNOWN_IP not in ips:
            found[source.pk] = ips.pop()
    return found


def _begin_volume(watch: MetricsWatch, ip: str | None, now: datetime) -> None:
    """A stretch of known volume begins with this reading, or none does."""
    watch.volume_ip = ip
    watch.volume_from = floor_minute(now) if ip and is_on_time(now) else None
    watch.volume_delivered = watch.volume_refused = watch.volume_bounced = 0


def _tell_volume(source: Source, watch: MetricsWatch, gained: Increase, ip: str | None, now: datetime) -> None:
    """Report the volume of the minutes up to this reading, or keep it for the next one that is on time."""
    end = floor_minute(now)
    # After a restart the increase may be too small, and a ratio over too little volume would alarm for nothing.
    if ip is None or watch.volume_ip != ip or watch.volume_from is None or gained.restarted:
        _begin_volume(watch, ip, now)
        return
    watch.volume_delivered += gained.delivered
    watch.volume_refused += gained.refused
    watch.volume_bounced += gained.bounced
    if not is_on_time(now):
        return
    start = watch.volume_from
    if end - start <= LONGEST_COVER:
        total = Increase(watch.volume_delivered, watch.volume_refused, watch.volume_bounced)
        failed = sum(lost for _, lost in _own_counts([source.pk], start, end).get(source.pk, {}).values())
        try:
            volumes.report(source, [volumes.Volume(ip, total.ended(failed), start, end)], now=now)
        except ParseError:  # the operator reports volumes too, and knows better
            log.info("volume was reported already", extra={"source": source.name})
    _begin_volume(watch, ip, now)


# --- own counts ------------------------------------------------------------------------------------------------------


def _count_arrived(sources: Sequence[int], length: timedelta, now: datetime) -> None:
    """Count anew what arrived of the readings that ended within that length."""
    readings = list(CompletenessReading.objects.filter(source_id__in=sources, end__gt=now - length, is_hour=False))
    if not readings:
        return
    own = _own_counts(sources, min(reading.start for reading in readings), max(reading.end for reading in readings))
    changed = []
    for reading in readings:
        minutes = own.get(reading.source_id, {})
        within = [minutes.get(reading.start + step * MINUTE) for step in range((reading.end - reading.start) // MINUTE)]
        delivered = sum(counted[0] for counted in within if counted)
        failed = sum(counted[1] for counted in within if counted)
        if (delivered, failed) != (reading.arrived_delivered, reading.arrived_failed):
            reading.arrived_delivered, reading.arrived_failed = delivered, failed
            changed.append(reading)
    CompletenessReading.objects.bulk_update(changed, ["arrived_delivered", "arrived_failed"], batch_size=200)


def _own_counts(sources: Sequence[int], start: datetime, end: datetime) -> dict[int, dict[datetime, tuple[int, int]]]:
    """(delivered, bounced + deferred) of each minute in [start, end), by source."""
    rows = TrafficMinute.objects.filter(id__gte=first_key(start), id__lt=first_key(end), source_id__in=sources)
    sums = rows.values_list("source_id", "bucket").annotate(Sum("delivered"), Sum("bounced"), Sum("deferred"))
    found: dict[int, dict[datetime, tuple[int, int]]] = defaultdict(dict)
    for source_id, bucket, delivered, bounced, deferred in sums.order_by():
        found[source_id][bucket] = (int(delivered), int(bounced) + int(deferred))
    return found


def _fold(now: datetime) -> None:
    """Add the readings of each hour up once the hour is a day old: what is kept for months must not be by the minute.

    A reading belongs to the hour it began in.
    """
    before = floor_hour(now) - RECOUNTED_SELDOM
    with transaction.atomic():
        old = CompletenessReading.objects.select_for_update().filter(is_hour=False, end__lte=before, start__lt=before)
        rows = list(old.order_by("source_id", "start")[:_FOLDED_AT_ONCE])
        CompletenessReading.objects.filter(pk__in=[row.pk for row in rows]).delete()
        hours = [
            CompletenessReading(source_id=source_id, is_hour=True, **asdict(added(line_of(row) for row in group)))
            for (source_id, _), group in groupby(rows, key=lambda row: (row.source_id, floor_hour(row.start)))
        ]
        CompletenessReading.objects.bulk_create(hours)


def line_of(row: CompletenessReading) -> Line:
    """A reading as a value."""
    return Line(**{name: getattr(row, name) for name in Line.__dataclass_fields__})


def added(lines: Iterable[Line]) -> Line:
    """Lines added up, of which there is at least one."""
    first, *others = lines
    return sum(others, first)
