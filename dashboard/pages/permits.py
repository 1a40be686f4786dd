"""What permits hold back: modes and the last hour on the overview, the caps of a sender, the page of a pool."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from dashboard.words import StatusWord, provider_title, status_word
from reputation.caps import caps_of
from reputation.domain.breaker_policy import Kind
from reputation.domain.permit import Cap, Rule
from reputation.domain.sending_policy import Mode
from reputation.models import Pool, PoolDomain, SendingIP, SendingPolicy
from reputation.permit_summary import PoolRecord, by_pool
from reputation.pools import Share, pool_now
from telemetry.domain.cells import HOUR

ON_OVERVIEW_SHOWN = 8
DOMAINS_SHOWN = 20
CAPS_SHOWN = 12
# A shape beside the word; no colour of a status: no mode is better than another.
_MODES = {
    Mode.OBSERVE: StatusWord("unknown", "observes", "○"),
    Mode.WARN: StatusWord("unknown", "warns", "◐"),
    Mode.ENFORCE: StatusWord("unknown", "enforces", "●"),
}
_BY = {
    Rule.WARM_UP: "by warm-up",
    Rule.BASE_LIMIT: "by its limit",
    Rule.PROBE: "as probes of a half-open breaker",
    Rule.PROVIDER_LIMIT: "",
}


@dataclass(frozen=True, slots=True)
class PoolLine:
    """A pool on the overview: whether its permits bind, and what became of the last hour's."""

    id: int
    name: str
    mode: StatusWord
    hour: PoolRecord


@dataclass(frozen=True, slots=True)
class CapLine:
    """One cap in force: "today 312 of 1 000 by warm-up"."""

    period: str
    spent: int
    limit: int
    by: str
    ends: datetime
    is_spent: bool

    @classmethod
    def of(cls, cap: Cap) -> CapLine:
        """The cap as it is shown."""
        words = [_BY.get(cap.rule, ""), f"at {provider_title(cap.provider)}" if cap.provider else ""]
        return cls(
            period="This hour" if cap.ends - cap.starts <= HOUR else "Today",
            spent=cap.counted,
            limit=cap.limit,
            by=" ".join(word for word in words if word),
            ends=cap.ends,
            is_spent=cap.counted >= cap.limit,
        )


@dataclass(frozen=True, slots=True)
class Caps:
    """What limits one sender now, the fullest cap first."""

    pool: str
    pool_id: int | None
    """None: the pool was just made or removed."""
    mode: StatusWord
    binds: bool
    lines: tuple[CapLine, ...]
    more: int
    """How many caps are not shown."""


@dataclass(frozen=True, slots=True)
class MemberLine:
    """A sending IP of a pool, and how much of the pool's mail it takes."""

    share: Share
    label: str
    status: StatusWord


@dataclass(frozen=True, slots=True)
class PoolPage:
    """Everything the page of a pool shows."""

    now: datetime
    as_of: datetime
    id: int
    name: str
    description: str
    mode: StatusWord
    binds: bool
    has_own_policy: bool
    members: tuple[MemberLine, ...]
    hour: PoolRecord
    domains: tuple[str, ...]
    domain_count: int
    is_default: bool


def pools_in_short(*, now: datetime) -> tuple[PoolLine, ...]:
    """The default pool and then the others; one more than shown says that there are more. Three queries."""
    rows = Pool.objects.select_related("sending_policy").order_by("-is_default", "name")[: ON_OVERVIEW_SHOWN + 1]
    default = SendingPolicy.objects.filter(pool__is_default=True).values_list("mode", flat=True).first()
    hour = by_pool(start=now - HOUR, end=now + timedelta(minutes=1))
    return tuple(
        PoolLine(
            id=row.pk,
            name=row.name,
            mode=_mode(row.sending_policy.mode if hasattr(row, "sending_policy") else default or Mode.OBSERVE),
            hour=hour.get(row.name, PoolRecord()),
        )
        for row in rows
    )


def caps_now(kind: Kind, sender: str, *, now: datetime) -> Caps:
    """The caps of one sender in the windows now in force."""
    found = caps_of(kind, sender, now=now)
    return Caps(
        pool=found.pool,
        pool_id=Pool.objects.filter(name=found.pool).values_list("pk", flat=True).first(),
        mode=_MODES[found.mode],
        binds=found.mode is Mode.ENFORCE,
        lines=tuple(CapLine.of(cap) for cap in found.caps[:CAPS_SHOWN]),
        more=max(0, len(found.caps) - CAPS_SHOWN),
    )


def pool_page(pk: int, *, now: datetime) -> PoolPage | None:
    """Read the page of a pool; None where there is none."""
    row = Pool.objects.filter(pk=pk).first()
    if row is None:
        return None
    current = pool_now(row, now=now)
    labels = dict(SendingIP.objects.filter(pool=row).exclude(label="").values_list("ip", "label"))
    if row.is_default:
        labels |= dict(SendingIP.objects.filter(pool=None).exclude(label="").values_list("ip", "label"))
    domains = PoolDomain.objects.filter(pool=row).order_by("domain").values_list("domain", flat=True)
    return PoolPage(
        now=now,
        as_of=current.at,
        id=row.pk,
        name=row.name,
        description=row.description,
        mode=_MODES[current.mode],
        binds=current.mode is Mode.ENFORCE,
        has_own_policy=current.has_own_policy,
        members=tuple(
            MemberLine(share, labels.get(share.ip, ""), status_word(share.status)) for share in current.members
        ),
        hour=by_pool(start=now - HOUR, end=now + timedelta(minutes=1)).get(row.name, PoolRecord()),
        domains=tuple(domains[:DOMAINS_SHOWN]),
        domain_count=domains.count(),
        is_default=row.is_default,
    )


def _mode(mode: str) -> StatusWord:
    return _MODES[Mode(mode)]
