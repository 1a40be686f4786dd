"""The admin of this floor: sources, events, counters, retention, and the people who look at them."""

from telemetry.admin import counters, events, housekeeping, people, sources, tokens

__all__ = ["counters", "events", "housekeeping", "people", "sources", "tokens"]
