"""The admin of this floor: sources, events, counters, retention, and the people who look at them."""

from telemetry.admin import (
    access,
    causes,
    completeness,
    counters,
    events,
    housekeeping,
    people,
    reports,
    sources,
    stalwart,
    tokens,
)

__all__ = [
    "access",
    "causes",
    "completeness",
    "counters",
    "events",
    "housekeeping",
    "people",
    "reports",
    "sources",
    "stalwart",
    "tokens",
]
