"""What a KumoMTA must be told to hold back what open breakers hold back, and which calls bring it there.

A suspension is known by what it matches (its criteria), as KumoMTA itself does: a second one with the same criteria
replaces the first. Ours carry our prefix in their reason; whatever else is suspended there belongs to somebody else.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from reputation.domain.breaker import Allowance
from reputation.domain.breaker_policy import Scope
from telemetry.domain import clean
from telemetry.domain.mailbox_providers import OTHER, ProviderDirectory, base_domain

SUSPEND = "/api/admin/suspend/v1"
SUSPEND_READY = "/api/admin/suspend-ready-q/v1"
PREFIX = "Good Standing: "
LONGEST_REASON = 300

# Should we go away, nobody stays paused for longer than this; while we are there it is renewed at half of it.
LONGEST = timedelta(hours=1)
# So much longer than the pause: the breaker's own transition shall end it, not a clock that runs ahead.
MARGIN = timedelta(minutes=1)

Criteria = tuple[tuple[str, str], ...]
Key = tuple[str, Criteria]


class NamedBy(StrEnum):
    """By what a KumoMTA knows the mail of one sending domain."""

    TENANT = "tenant"
    CAMPAIGN = "campaign"
    NOTHING = ""


@dataclass(frozen=True, slots=True)
class Names:
    """How one KumoMTA names what our scopes are about."""

    named_by: NamedBy = NamedBy.NOTHING
    domains: Mapping[str, str] = field(default_factory=dict)
    """Sending domain → its tenant or campaign; one that is not listed goes by its own name."""
    sources: Mapping[str, str] = field(default_factory=dict)
    """Egress source → sending IP."""

    def sources_of(self, ip: str) -> list[str]:
        """The egress sources that send by this IP."""
        return sorted(name for name, address in self.sources.items() if address == ip)


@dataclass(frozen=True, slots=True)
class Wanted:
    """A suspension that should be there."""

    path: str
    criteria: Criteria
    scope: Scope
    why: str
    until: datetime | None = None
    """When the breaker lets the next probe through; None: nobody knows."""

    @property
    def key(self) -> Key:
        """What KumoMTA tells it apart by."""
        return self.path, self.criteria

    def lasts(self, now: datetime) -> timedelta:
        """How long it shall last when it is made now."""
        if self.until is None:
            return LONGEST
        return max(MARGIN, min(self.until - now + MARGIN, LONGEST))


@dataclass(frozen=True, slots=True)
class Listed:
    """A suspension that is there."""

    path: str
    criteria: Criteria
    id: str
    reason: str
    left: timedelta | None = None
    """How long it still lasts; None: it says so in a way that we do not know."""

    @property
    def key(self) -> Key:
        """What KumoMTA tells it apart by."""
        return self.path, self.criteria

    @property
    def is_ours(self) -> bool:
        """Whether we made it."""
        return self.reason.startswith(PREFIX)


class Act(StrEnum):
    """What a call is for."""

    SUSPEND = "suspend"
    RENEW = "renew"
    LIFT = "lift"
    READ = "read"
    TEST = "test"


@dataclass(frozen=True, slots=True)
class Call:
    """One call of KumoMTA's admin API that changes something there."""

    act: Act
    method: str
    path: str
    body: Mapping[str, Any]
    scope: Scope | None
    """None: only KumoMTA's list tells that it was ours."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What should be suspended, and what cannot be said to this KumoMTA."""

    wanted: Mapping[Key, Wanted] = field(default_factory=dict)
    untold: tuple[tuple[Scope, str], ...] = ()


def plan(allowances: Iterable[Allowance], names: Names, directory: ProviderDirectory, queues: Collection[str]) -> Plan:
    """From the breakers whose word binds to the suspensions that say the same. `queues`: names of ready queues."""
    wanted: dict[Key, Wanted] = {}
    untold: list[tuple[Scope, str]] = []
    for entry in allowances:
        scope = entry.scope
        if scope is None:
            continue
        if scope.kind == "domain":
            found, trouble = _of_domain(entry, scope, names, directory)
        else:
            found, trouble = _of_ip(entry, scope, names, directory, queues)
        if trouble:
            untold.append((scope, trouble))
        for suspension in found:
            before = wanted.get(suspension.key)
            if before is None or _ends(suspension) > _ends(before):
                wanted[suspension.key] = suspension
    return Plan(dict(sorted(wanted.items())), tuple(sorted(untold)))


def _ends(suspension: Wanted) -> tuple[bool, float]:
    return suspension.until is None, suspension.until.timestamp() if suspension.until else 0.0


def _of_domain(entry: Allowance, scope: Scope, names: Names, directory: ProviderDirectory) -> tuple[list[Wanted], str]:
    if entry.share:
        return [], "KumoMTA cannot let a share of a sending domain through; it lets all of it through."
    if names.named_by is NamedBy.NOTHING:
        return [], "This KumoMTA knows no sending domains: say whether they are tenants or campaigns."
    name = (str(names.named_by), names.domains.get(scope.sender, scope.sender))
    if not scope.provider:
        return [Wanted(SUSPEND, (name,), scope, entry.reason, entry.until)], ""
    recipients = sorted(domain for domain, at in directory.domains.items() if at == scope.provider)
    if not recipients:
        return [], f"No recipient domain of {scope.provider} is known, and KumoMTA pauses a sending domain by those."
    criteria = (tuple(sorted((("domain", domain), name))) for domain in recipients)
    return [Wanted(SUSPEND, found, scope, entry.reason, entry.until) for found in criteria], ""


def _of_ip(
    entry: Allowance, scope: Scope, names: Names, directory: ProviderDirectory, queues: Collection[str]
) -> tuple[list[Wanted], str]:
    sources = names.sources_of(scope.sender)
    if not sources:
        return [], f"No egress source of this KumoMTA is known to send by {scope.sender}."
    if entry.share:
        return [], ""  # the shaping file says it
    matching = [queue for queue in queues if _is_meant(queue, sources, scope.provider, directory)]
    return [Wanted(SUSPEND_READY, (("name", queue),), scope, entry.reason, entry.until) for queue in matching], ""


def _is_meant(queue: str, sources: Sequence[str], provider: str, directory: ProviderDirectory) -> bool:
    source, arrow, site = queue.partition("->")
    if not arrow or source not in sources:
        return False
    return not provider or provider in providers_of(site.rpartition("@")[0] or site, directory)


# KumoMTA joins a site's MX hosts where they differ: "(alt1|alt2)?.gmail-smtp-in.l.google.com".
_GROUP = re.compile(r"\(([^()|]*)[^()]*\)\??")


def providers_of(site: str, directory: ProviderDirectory) -> set[str]:
    """The ids that a site's mailbox provider may have here: the directory's, or its MX hosts' base domain."""
    host = _GROUP.sub(lambda match: match[1], site).strip(".").lower()
    listed = directory.provider(host, "")
    return {listed} if listed != OTHER else {base_domain(host) or OTHER}


def calls(wanted: Mapping[Key, Wanted], listed: Iterable[Listed], now: datetime) -> list[Call]:
    """The calls that bring what is there to what should be: none where it is so. What others suspended stays.

    Where somebody else suspended the very same thing ours is not made, because it would replace theirs.
    """
    there = {entry.key: entry for entry in listed}
    made = [_suspend(entry, there.get(key), now) for key, entry in wanted.items()]
    lifted = [
        Call(Act.LIFT, "DELETE", entry.path, {"id": entry.id}, None)
        for key, entry in sorted(there.items())
        if entry.is_ours and key not in wanted
    ]
    return [call for call in made if call is not None] + lifted


def _suspend(wanted: Wanted, there: Listed | None, now: datetime) -> Call | None:
    lasts = wanted.lasts(now)
    if there is not None and (not there.is_ours or there.left is None or there.left >= lasts / 2):
        return None
    why = clean.text(f"{PREFIX}{wanted.scope}: {wanted.why}", longest=LONGEST_REASON)
    body = {**dict(wanted.criteria), "reason": why, "duration": f"{int(lasts.total_seconds())}s"}
    return Call(Act.RENEW if there else Act.SUSPEND, "POST", wanted.path, body, wanted.scope)


_UNITS = {
    "y": timedelta(days=365.25),
    "month": timedelta(days=30.44),
    "w": timedelta(days=7),
    "d": timedelta(days=1),
    "h": timedelta(hours=1),
    "m": timedelta(minutes=1),
    "s": timedelta(seconds=1),
    "ms": timedelta(milliseconds=1),
    "us": timedelta(microseconds=1),
    "ns": timedelta(0),
}
_LONG_NAMES = {
    **dict.fromkeys(("year", "years"), "y"),
    "months": "month",
    **dict.fromkeys(("week", "weeks"), "w"),
    **dict.fromkeys(("day", "days"), "d"),
    **dict.fromkeys(("hr", "hrs", "hour", "hours"), "h"),
    **dict.fromkeys(("min", "mins", "minute", "minutes"), "m"),
    **dict.fromkeys(("sec", "secs", "second", "seconds"), "s"),
}
_PART = re.compile(r"\s*(\d{1,6})\s*([a-zA-Z]+)\s*")


def duration(text: object) -> timedelta | None:
    """A duration as KumoMTA writes one, such as "59m 12s 40ms"; None where it is none."""
    if not isinstance(text, str) or not text.strip():
        return None
    parts = list(_parts(text))
    if None in parts:
        return None
    return sum((part for part in parts if part is not None), timedelta())


def _parts(text: str) -> Iterator[timedelta | None]:
    at = 0
    while at < len(text):
        match = _PART.match(text, at)
        unit = match and _UNITS.get(_LONG_NAMES.get(match[2], match[2]))
        if match is None or unit is None:
            yield None
            return
        yield int(match[1]) * unit
        at = match.end()
