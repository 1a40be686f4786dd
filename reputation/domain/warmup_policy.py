"""The words and numbers of warm-ups, and which senders are new or cold. Product specification section 4.

The schedule and the midnight rule are in `warmup`.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from enum import StrEnum

DAY = timedelta(days=1)
# What a domain sent within this time is no history: one that begins with a blast is found, also where a run was missed.
BEGAN_WITHIN = 2 * DAY
# Whoever sent nothing for longer than this has left: no warm-up waits for its return.
GONE_AFTER = 120 * DAY


class State(StrEnum):
    """Where a warm-up is in its life."""

    PROPOSED = "proposed"
    """Found by the detection; a person has to confirm it. It limits nothing."""
    RUNNING = "running"
    COMPLETED = "completed"
    CANCELLED = "cancelled"

    @property
    def has_ended(self) -> bool:
        """Whether nothing can follow."""
        return self in (State.COMPLETED, State.CANCELLED)


class Step(StrEnum):
    """What happens to a warm-up; each is one event."""

    PROPOSED = "proposed"
    STARTED = "started"
    ADVANCED = "advanced"
    HELD = "held"
    STEPPED_BACK = "stepped_back"
    RESTARTED = "restarted"
    """Back to day 1, because nothing was sent for so long."""
    SKIPPED = "skipped"
    """A person chose another day."""
    COMPLETED = "completed"
    CANCELLED = "cancelled"
    WITHDRAWN = "withdrawn"
    """A proposal that nobody confirmed in time."""


class Found(StrEnum):
    """Why the detection found a sender."""

    NEW_IP = "new_ip"
    IDLE_IP = "idle_ip"
    IDLE_DOMAIN = "idle_domain"
    QUIET_DOMAIN = "quiet_domain"


class OnDetection(StrEnum):
    """What the detection does with a sender that it found."""

    OFF = "off"
    PROPOSE = "propose"
    START = "start"


@dataclass(frozen=True, slots=True)
class WarmupPolicy:
    """The numbers that warm-ups go by; each is an operator's to change. Raises ValueError for what cannot be meant."""

    enabled: bool = True
    on_detection: OnDetection = OnDetection.PROPOSE
    time_zone: str = "UTC"
    advance_share: Decimal = Decimal("0.8")
    """Of the day's volume, from which on the day counts as used; 0 to 1."""
    new_ip_within: timedelta = 7 * DAY
    domain_idle: timedelta = 30 * DAY
    domain_messages_below: int = 100
    rewarm_after: timedelta = 30 * DAY
    ip_template: str = "default"
    domain_template: str = "default"
    revision: int | None = None
    """Which version of the stored policy this is; None for the built-in defaults."""

    def __post_init__(self) -> None:
        if not 0 < self.advance_share <= 1:
            raise ValueError("the share of a day's volume must lie above 0 and at most at 1")
        if min(self.new_ip_within, self.domain_idle, self.rewarm_after) < DAY:
            raise ValueError("times are at least a day")
        if max(self.domain_idle, self.rewarm_after) > GONE_AFTER - BEGAN_WITHIN:
            raise ValueError(f"idle times are at most {(GONE_AFTER - BEGAN_WITHIN).days} days")


@dataclass(frozen=True, slots=True)
class Past:
    """What is known of a sender's mail, and how far back whoever reports it was watched."""

    sent_before: int = 0
    """Messages in the idle time of the policy that ended `BEGAN_WITHIN` ago."""
    first_mail: datetime | None = None
    """The first day (UTC) with mail within `GONE_AFTER`."""
    last_mail: datetime | None = None
    """The last one."""
    watched_since: datetime | None = None
    """From when on all of its sources would have reported its mail; None: nobody can tell."""
    is_volume_known: bool = True
    """False where a source reports failures only, so that few messages prove nothing."""
    was_reported: bool = True
    """False where one of its sources reported nobody's mail in the idle time: it may have been the source's silence."""


def judge_ip(first_seen: datetime, past: Past, policy: WarmupPolicy, now: datetime) -> tuple[Found, str] | None:
    """Whether a sending IP is new or was idle.

    It is new only where its sources had been watched for as long as "new" lasts before it appeared: an installation (or
    a mail server) that was connected a moment ago sees every IP for the first time.
    """
    if past.watched_since is None:
        return None
    if first_seen > now - policy.new_ip_within:
        is_first = past.first_mail is None or past.first_mail > now - policy.new_ip_within - DAY
        if is_first and past.watched_since <= first_seen - policy.new_ip_within:
            return Found.NEW_IP, f"First seen on {first_seen:%Y-%m-%d}."
        return None
    if past.last_mail is not None and past.sent_before == 0 and _knows(past, policy.rewarm_after, now):
        return Found.IDLE_IP, f"It had sent nothing for {policy.rewarm_after.days} days."
    return None


def judge_domain(past: Past, policy: WarmupPolicy, now: datetime) -> tuple[Found, str] | None:
    """Whether a sending domain has no history to stand on: no mail, or too little, in the idle time."""
    if not past.is_volume_known or past.last_mail is None or not _knows(past, policy.domain_idle, now):
        return None
    days = policy.domain_idle.days
    if past.sent_before == 0:
        return Found.IDLE_DOMAIN, f"It had sent nothing for {days} days."
    if past.sent_before < policy.domain_messages_below:
        why = f"It had sent {past.sent_before} messages in {days} days, fewer than {policy.domain_messages_below}."
        return Found.QUIET_DOMAIN, why
    return None


def _knows(past: Past, idle: timedelta, now: datetime) -> bool:
    """Whether the whole idle time was watched."""
    return past.watched_since is not None and past.watched_since <= now - BEGAN_WITHIN - idle
