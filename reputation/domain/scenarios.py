"""The fifteen built-in scenarios as data, and the outcomes that play one. Product specification section 2.

Addresses are of TEST-NET-3 (RFC 5737) and so can never be a real sender's.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from reputation.domain.policy import Status
from telemetry.domain.vocab import EventType

DELIVERED_DOMAINS = ("gmail.com", "outlook.com", "yahoo.com", "example.com")

# Outcomes lie from six to one minutes before `now`: inside a 15-minute window whichever way its ends are rounded.
_EARLIEST = timedelta(minutes=6)
_LATEST = timedelta(minutes=1)
# A simulation is a list in memory; a larger one proves nothing more.
MAX_SENT = 100_000

_CODE = re.compile(r"([45])(?:\.\d{1,3}\.\d{1,3}|\d\d)")


@dataclass(frozen=True, slots=True)
class Failure:
    """So many refusals with one code (5.7.1, or three digits alone) at one recipient domain."""

    code: str
    domain: str
    count: int
    reason: str = ""
    """Reply text; empty takes a plain one."""


@dataclass(frozen=True, slots=True)
class Scenario:
    """A known situation and the standing that it must lead to."""

    number: int
    name: str
    sent: int
    """Messages, failures included; the rest are deliveries."""
    failures: tuple[Failure, ...]
    expected: Status

    @property
    def ip(self) -> str:
        """203.0.113.10 for the first, .24 for the fifteenth."""
        return f"203.0.113.{9 + self.number}"


@dataclass(frozen=True, slots=True)
class SimulatedOutcome:
    """One delivery attempt of a simulation; everything an event needs that is not the source's or the sender's."""

    type: EventType
    code: str
    """Enhanced code; empty where the reply had none."""
    recipient_domain: str
    smtp_code: int
    reply: str
    sending_ip: str
    occurred_at: datetime


def events_of(
    scenario_ip: str, sent: int, failures: Iterable[Failure | tuple[str, str, int]], *, now: datetime
) -> list[SimulatedOutcome]:
    """The outcomes of `sent` messages: the failures, and deliveries for the rest, evenly over five minutes before now.

    4.x.x becomes a deferral (451), 5.x.x a bounce (550), three digits alone keep their own reply code. Raises
    ValueError when the failures exceed `sent`, a count is not positive, a code is neither 4 nor 5, or `sent` is more
    than MAX_SENT.
    """
    parts = [failure if isinstance(failure, Failure) else Failure(*failure) for failure in failures]
    for failure in parts:
        if failure.count < 1:
            raise ValueError(f"count of {failure.code} at {failure.domain} must be 1 or more")
        if not _CODE.fullmatch(failure.code):
            raise ValueError(f"{failure.code!r} is not a failure code such as 5.7.1, 4.7.0 or 550")
    failed = sum(failure.count for failure in parts)
    if not 0 <= sent <= MAX_SENT:
        raise ValueError(f"sent must lie between 0 and {MAX_SENT}")
    if failed > sent:
        raise ValueError(f"{failed} failures are more than the {sent} sent")

    step = (_EARLIEST - _LATEST) / max(sent, 1)
    moments = (now - _EARLIEST + step * position for position in range(sent))
    # The refusals come first; their order within the window decides nothing.
    outcomes = [_refused(failure, scenario_ip, next(moments)) for failure in parts for _ in range(failure.count)]
    for position, moment in enumerate(moments):
        domain = DELIVERED_DOMAINS[position % len(DELIVERED_DOMAINS)]
        outcomes.append(SimulatedOutcome(EventType.DELIVERY, "2.0.0", domain, 250, "accepted", scenario_ip, moment))
    return outcomes


def _refused(failure: Failure, ip: str, moment: datetime) -> SimulatedOutcome:
    temporary = failure.code.startswith("4")
    enhanced = failure.code if "." in failure.code else ""
    smtp_code = (451 if temporary else 550) if enhanced else int(failure.code)
    text = failure.reason or ("simulated deferral" if temporary else "simulated refusal")
    reply = " ".join(part for part in (str(smtp_code), enhanced, text) if part)
    event_type = EventType.DEFER if temporary else EventType.BOUNCE
    return SimulatedOutcome(event_type, enhanced, failure.domain, smtp_code, reply, ip, moment)


def _scenario(number: int, name: str, sent: int, expected: Status, *failures: tuple[str, str, int]) -> Scenario:
    return Scenario(number, name, sent, tuple(Failure(*failure) for failure in failures), expected)


SCENARIOS: tuple[Scenario, ...] = (
    _scenario(
        1,
        "Healthy, normal operations",
        500,
        Status.HEALTHY,
        ("5.1.1", "unknown-domain.com", 1),
        ("4.2.2", "example.com", 1),
    ),
    _scenario(
        2,
        "Warning, elevated rejections",
        300,
        Status.WARNING,
        ("5.7.1", "gmail.com", 3),
        ("5.7.1", "outlook.com", 2),
        ("5.1.1", "various.com", 3),
    ),
    _scenario(
        3,
        "Quarantine, several major providers",
        400,
        Status.QUARANTINE,
        ("5.7.1", "gmail.com", 7),
        ("5.7.1", "outlook.com", 5),
        ("4.7.0", "yahoo.com", 3),
    ),
    _scenario(
        4,
        "Blacklisted, critical damage",
        500,
        Status.BLACKLISTED,
        ("5.7.1", "gmail.com", 12),
        ("5.7.1", "outlook.com", 10),
        ("5.7.1", "yahoo.com", 8),
        ("5.7.1", "aol.com", 5),
    ),
    _scenario(
        5,
        "Low volume is no alarm",
        20,
        Status.HEALTHY,
        ("5.7.1", "gmail.com", 2),
        ("5.1.1", "example.com", 1),
    ),
    _scenario(
        6,
        "Throttling (4xx)",
        600,
        Status.WARNING,
        ("4.7.0", "gmail.com", 12),
        ("4.2.1", "outlook.com", 4),
        ("5.7.1", "yahoo.com", 2),
    ),
    _scenario(
        7,
        "SPF/DKIM failures",
        300,
        Status.QUARANTINE,
        ("5.7.23", "gmail.com", 15),
        ("5.7.1", "outlook.com", 10),
    ),
    _scenario(
        8,
        "PTR record missing",
        200,
        Status.QUARANTINE,
        ("5.7.25", "gmail.com", 8),
        ("5.7.25", "outlook.com", 4),
    ),
    _scenario(
        9,
        "Mixed signals",
        450,
        Status.WARNING,
        ("5.1.1", "example1.com", 5),
        ("5.7.1", "gmail.com", 3),
        ("4.2.2", "example2.com", 3),
    ),
    _scenario(10, "Gradual decay, early", 300, Status.HEALTHY, ("5.1.1", "example.com", 3)),
    _scenario(
        11,
        "Microsoft block",
        400,
        Status.QUARANTINE,
        ("5.7.606", "outlook.com", 8),
        ("5.7.606", "hotmail.com", 6),
        ("5.7.1", "live.com", 4),
    ),
    _scenario(
        12,
        "Content spam",
        350,
        Status.QUARANTINE,
        ("5.7.512", "gmail.com", 5),
        ("5.7.512", "outlook.com", 4),
        ("5.7.1", "yahoo.com", 3),
    ),
    _scenario(
        13,
        "Infrastructure/DNS",
        250,
        Status.QUARANTINE,
        ("5.7.27", "enterprise.com", 5),
        ("5.7.7", "business.net", 4),
        ("5.1.8", "corporate.org", 4),
    ),
    _scenario(
        14,
        "DKIM/ARC",
        300,
        Status.QUARANTINE,
        ("5.7.26", "gmail.com", 12),
        ("5.7.26", "yahoo.com", 8),
    ),
    _scenario(
        15,
        "Policy, temporary",
        500,
        Status.WARNING,
        ("4.7.1", "gmail.com", 8),
        ("5.7.510", "outlook.com", 6),
        ("5.4.1", "yahoo.com", 4),
    ),
)
