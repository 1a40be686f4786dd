"""One deferred message counts once, however often it is tried: which deferral attempts no longer stand.

A message that is tried five times in a window is one message, and one that got through on the second attempt was not
refused. Where the source numbers the attempts of a message, each deferral attempt but the latest, and every one once
the outcome is known, is counted as superseded in the cell it was counted in. Counters only grow, and the order in which
attempts arrive does not matter: of the attempts seen, all but the standing one are superseded, each once.
"""

from __future__ import annotations

import uuid
from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime

from telemetry import sql
from telemetry.domain.event import Event, message_key
from telemetry.domain.fold import Classified, TrafficCell, traffic_cell
from telemetry.domain.vocab import UNKNOWN_IP, EventType


def superseded_cells(by_source: Mapping[int, Sequence[Classified]], now: datetime) -> list[TrafficCell]:
    """The minute cells that hold a deferral attempt which these new events show not to stand; one entry per attempt."""
    by_message: dict[uuid.UUID, list[Classified]] = defaultdict(list)
    source_of: dict[uuid.UUID, int] = {}
    for source_id, items in by_source.items():
        for item in items:
            if concerns(item.event):
                key = message_key(source_id, item.event)
                by_message[key].append(item)
                source_of[key] = source_id
    if not by_message:
        return []
    nothing = (False, 0, None, UNKNOWN_IP, "", "", now)
    known = {row[0]: row for row in sql.lock_states([(key, source_of[key], *nothing) for key in by_message])}
    superseded: list[TrafficCell] = []
    changed: list[tuple[object, ...]] = []
    for key, attempts in by_message.items():
        _, source_id, final, latest, bucket, sending_ip, sending_domain, provider, _ = known[key]
        standing = (
            TrafficCell(bucket, sending_ip, sending_domain, provider, source_id) if latest and not final else None
        )
        for item in attempts:
            if item.event.type.is_final:
                final = True
                superseded += [standing] if standing else []
                standing = None
                continue
            number = item.event.attempt_number or 0
            cell = traffic_cell(item, source_id)
            # Two deferrals that claim one number: the later cell stands, so that the order of arrival does not matter.
            if final or (number, cell) <= (latest, standing or cell):
                superseded.append(cell)
                continue
            superseded += [standing] if standing else []
            standing, latest = cell, number
        cell_now = standing or TrafficCell(None, UNKNOWN_IP, "", "", source_id)  # type: ignore[arg-type]
        changed.append((key, source_id, final, 0 if final else latest, *cell_now[:4], now))
    sql.store_states(changed)
    return superseded


def concerns(event: Event) -> bool:
    """Whether it is a deferral of a numbered message, or the outcome of one that was tried before.

    The outcome of a first attempt has no deferral to take back.
    """
    if not event.is_tracked or event.type is EventType.COMPLAINT:
        return False
    return event.type is EventType.DEFER or (event.attempt_number or 0) > 1
