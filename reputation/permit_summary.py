"""What permits held back, or would have: the record of permits summed up, for people who decide about modes."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from django.db.models import Max, Q, QuerySet, Sum
from django.db.models.functions import Coalesce

from reputation.domain.permit import Action, Rule
from reputation.domain.sending_policy import Mode
from reputation.models import PermitMinute, Pool, SendingPolicy

# More lines of one table than anybody reads; the record itself has the rest.
MOST_LINES = 100
RULE_WORDS = {
    Rule.EXEMPT: "never held back",
    Rule.BREAKER: "circuit breaker",
    Rule.PROBE: "probes of a half-open breaker",
    Rule.WARM_UP: "warm-up",
    Rule.BASE_LIMIT: "hourly limit",
    Rule.PROVIDER_LIMIT: "limit per provider",
    Rule.BLACKLISTED: "blacklisted sending IP",
    Rule.NO_SENDING_IP: "no sending IP",
    Rule.CANNOT_KNOW: "nobody could know",
    Rule.NO_LIMIT: "no limit",
}
_HELD = ~Q(action=Action.ALLOW) & Q(mode=Mode.ENFORCE)
_WOULD_BE = ~Q(action=Action.ALLOW) & ~Q(mode=Mode.ENFORCE)


@dataclass(frozen=True, slots=True)
class Count:
    """Questions, and the recipients that they were about."""

    asks: int = 0
    recipients: int = 0

    def __add__(self, other: Count) -> Count:
        return Count(self.asks + other.asks, self.recipients + other.recipients)


@dataclass(frozen=True, slots=True)
class Line:
    """What one rule, sender or provider held back."""

    held_back: Count
    """While the pool enforced."""
    would_have_been: Count
    """While the pool observed or warned."""
    rule: str = ""
    sending_domain: str = ""
    sending_ip: str = ""
    provider: str = ""
    reason: str = ""
    """One of the reasons that were given."""


@dataclass(frozen=True, slots=True)
class Summary:
    """A stretch of the record of permits; the tables show what was or would have been held back, the most first."""

    start: datetime
    end: datetime
    asked: Count
    held_back: Count
    would_have_been: Count
    by_rule: tuple[Line, ...]
    by_sender: tuple[Line, ...]
    """By rule and sender. Without a name: counted in a storm of senders, or asked for without a domain."""
    by_provider: tuple[Line, ...]


@dataclass(frozen=True, slots=True)
class PoolRecord:
    """What was asked of one pool."""

    asked: Count = field(default_factory=Count)
    held_back: Count = field(default_factory=Count)
    would_have_been: Count = field(default_factory=Count)


def rule_word(rule: str) -> str:
    """A rule's id as it is read; one that this version does not know is shown as it is stored."""
    try:
        return RULE_WORDS[Rule(rule)]
    except ValueError:
        return rule


def summary(*, start: datetime, end: datetime, pools: Collection[str] | None = None) -> Summary:
    """Sum up the record from `start` on and before `end`, of these pools or of all; a fixed number of queries."""
    rows = PermitMinute.objects.filter(minute__gte=start, minute__lt=end).order_by()
    if pools is not None:
        rows = rows.filter(pool__in=pools)
    total = rows.aggregate(all_asks=_sum("asks"), all_recipients=_sum("recipients"), **_counts())
    return Summary(
        start=start,
        end=end,
        asked=Count(int(total["all_asks"]), int(total["all_recipients"])),
        held_back=_held(total),
        would_have_been=_would_be(total),
        by_rule=_lines(rows, "rule"),
        by_sender=_lines(rows, "rule", "sending_domain", "sending_ip"),
        by_provider=_lines(rows, "provider"),
    )


def by_pool(*, start: datetime, end: datetime) -> dict[str, PoolRecord]:
    """The same in short for each pool that was asked about; one query."""
    rows = PermitMinute.objects.filter(minute__gte=start, minute__lt=end).order_by()
    sums: Any = rows.values("pool").annotate(all_asks=_sum("asks"), all_recipients=_sum("recipients"), **_counts())
    return {
        row["pool"]: PoolRecord(Count(int(row["all_asks"]), int(row["all_recipients"])), _held(row), _would_be(row))
        for row in sums
    }


def pools_under(policy: SendingPolicy) -> list[str]:
    """The names of the pools that go by this policy: its own, and with the default one all that have none."""
    names = [policy.pool.name]
    if policy.pool.is_default:
        names += Pool.objects.filter(sending_policy=None).values_list("name", flat=True)
    return names


def _lines(rows: QuerySet[PermitMinute], *names: str) -> tuple[Line, ...]:
    sums = (
        rows.filter(_HELD | _WOULD_BE)
        .values(*names)
        .annotate(example=Max("reason"), **_counts(), every=_sum("recipients"))
    )
    most = sums.order_by("-every", *names)[:MOST_LINES]
    return tuple(
        Line(_held(row), _would_be(row), reason=row["example"], **{name: row[name] for name in names}) for row in most
    )


def _counts() -> dict[str, Any]:
    return {
        "held_asks": _sum("asks", _HELD),
        "held_recipients": _sum("recipients", _HELD),
        "would_asks": _sum("asks", _WOULD_BE),
        "would_recipients": _sum("recipients", _WOULD_BE),
    }


def _sum(name: str, only: Q | None = None) -> Coalesce:
    return Coalesce(Sum(name, filter=only), 0)


def _held(row: dict[str, Any]) -> Count:
    return Count(int(row["held_asks"]), int(row["held_recipients"]))


def _would_be(row: dict[str, Any]) -> Count:
    return Count(int(row["would_asks"]), int(row["would_recipients"]))
