"""The last hours of each IP of a list at a glance: a small chart beside its name, and the same in words."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import cast

from dashboard.charts import Chart, Column, stacked
from dashboard.keeping import kept
from telemetry.counters import last_minutes
from telemetry.domain.cells import HOUR, floor_hour
from telemetry.domain.window import Outcomes
from telemetry.queries import outcomes_by

HOURS = 12


@dataclass(frozen=True, slots=True)
class Spark:
    """Delivered and refused messages of the last clock hours, the running one included."""

    chart: Chart
    words: str


def sparks(ips: Collection[str], *, now: datetime) -> dict[str, Spark]:
    """By IP, where anything was counted; one read for all of them."""
    first, end = floor_hour(now) - (HOURS - 1) * HOUR, last_minutes(now, HOUR)[1]
    names = tuple(sorted(ips))
    # The bucket is named again beside the key's range, so that the index by IP and time can serve.
    only = {"sending_ip__in": names, "bucket__gte": first, "bucket__lt": end}
    dimensions = ("bucket", "sending_ip")
    found = kept(("sparks", names, first), lambda: outcomes_by(dimensions, start=first, end=end, only=only), now=now)
    sums = cast("dict[tuple[datetime, str], Outcomes]", found)
    by_ip: dict[str, dict[datetime, Outcomes]] = defaultdict(dict)
    for (bucket, ip), outcomes in sums.items():
        hour = floor_hour(bucket)
        by_ip[ip][hour] = by_ip[ip].get(hour, Outcomes()) + outcomes
    return {ip: _spark(hours, first) for ip, hours in by_ip.items()}


def _spark(hours: dict[datetime, Outcomes], first: datetime) -> Spark:
    columns = []
    for number in range(HOURS):
        start = first + number * HOUR
        sums = hours.get(start, Outcomes())
        refused = max(0, sums.rejected)
        label = f"{start:%H:%M}: {sums.delivered} delivered, {refused} refused"
        columns.append(Column(start, label, (("delivered", sums.delivered), ("refused", refused))))
    total = sum(hours.values(), Outcomes())
    told = f"{total.delivered} delivered, {max(0, total.rejected)} refused"
    return Spark(stacked(columns), f"Last {HOURS} hours: {told}")
