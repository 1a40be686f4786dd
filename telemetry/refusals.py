"""Sums of refusals over any stretch that counters are kept for; for people who look, not for what decides."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from telemetry.domain.cells import DAY, floor_hour
from telemetry.queries import refusals_by

# A stretch longer than this begins on a whole hour, as the minutes of its first hour may be gone already.
MINUTES_FOR = DAY
# A list refused by thousands of domains is told by its worst hundred; the total counts all of them.
MOST_DOMAINS = 100


@dataclass(frozen=True, slots=True)
class RefusalSums:
    """Refused attempts (bounces and deferrals) of one sending IP in [start, end), most frequent first."""

    start: datetime
    end: datetime
    total: int
    by_code: dict[str, int]
    """By enhanced code, else the three digits, else "" for a reply without a code."""
    by_provider: dict[str, int]
    by_recipient_domain: dict[str, int]
    """The first `MOST_DOMAINS`."""
    recipient_domains: int
    """How many there are in all."""


def refusal_sums(ip: str, *, start: datetime, end: datetime, only: Mapping[str, str]) -> RefusalSums:
    """Sum the refusals of one IP; `only` narrows by equality (provider, code, sending_domain, recipient_domain)."""
    if end - start > MINUTES_FOR:
        start = floor_hour(start)
    sums = {name: _sums(name, ip, start, end, only) for name in ("code", "provider", "recipient_domain")}
    return RefusalSums(
        start=start,
        end=end,
        total=sums["code"].total(),
        by_code=_ordered(sums["code"]),
        by_provider=_ordered(sums["provider"]),
        by_recipient_domain=dict(list(_ordered(sums["recipient_domain"]).items())[:MOST_DOMAINS]),
        recipient_domains=len(sums["recipient_domain"]),
    )


def _sums(name: str, ip: str, start: datetime, end: datetime, only: Mapping[str, str]) -> Counter[str]:
    found = refusals_by((name,), ip, start=start, end=end, only=only)
    return Counter({value: count for (value,), count in found.items()})


def _ordered(counts: Counter[str]) -> dict[str, int]:
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))
