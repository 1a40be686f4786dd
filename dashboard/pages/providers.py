"""How each mailbox provider takes the mail of each sending IP: a table of IPs by providers over a stretch of time."""

from __future__ import annotations

import ipaddress
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from dashboard.choices import Choice, choices
from dashboard.fleet_queries import Seen, holding_ips, seen_by_providers
from dashboard.words import StatusWord, provider_title, status_word
from reputation.domain.breaker_policy import State
from reputation.domain.policy import Policy, percent
from reputation.models import Breaker, IpStanding, Pool, SendingIP
from telemetry.domain.mailbox_providers import OTHER
from telemetry.domain.window import Outcomes

RANGES: Final = {
    "1h": ("1 hour", timedelta(hours=1)),
    "24h": ("24 hours", timedelta(hours=24)),
    "7d": ("7 days", timedelta(days=7)),
    "30d": ("30 days", timedelta(days=30)),
}
DEFAULT_RANGE = "24h"
COLUMNS_SHOWN = 12
PROVIDERS_OFFERED = 100
CSV_HEADER = (
    "sending_ip",
    "label",
    "pool",
    "provider",
    "sent",
    "delivered",
    "bounced",
    "deferred",
    "complaints",
    "refused",
    "refused_share_of_sent",
    "breaker",
)
# The product's own thresholds; pools may judge by others, but a colour must mean one thing on the whole page.
_RULES = Policy()


@dataclass(frozen=True, slots=True)
class Level:
    """How bad a refused share is: the id of its colour, a symbol, the words of the legend."""

    id: str
    symbol: str
    words: str
    rank: int
    """For sorting: higher is worse."""


_WARNING, _BAD = percent(_RULES.warning_ratio_from), percent(_RULES.quarantine_a_ratio_above)
_WORST = percent(_RULES.blacklisted_ratio_above)
NOTHING = Level("none", "–", "no mail", 0)
FEW = Level("few", "○", f"fewer than {_RULES.minimum_volume} sent: too few to judge", 1)
HEALTHY = Level("healthy", "●", f"under {_WARNING}", 2)
UNKNOWN = Level("unknown", "?", "volume unknown: refused attempts, no share", 3)
WARNING = Level("warning", "▲", f"{_WARNING} to {_BAD}", 4)
QUARANTINE = Level("quarantine", "■", f"above {_BAD}", 5)
BLACKLISTED = Level("blacklisted", "✖", f"above {_WORST}", 6)
LEGEND: Final = (HEALTHY, WARNING, QUARANTINE, BLACKLISTED, FEW, UNKNOWN, NOTHING)
# What a breaker holds back is sorted as what is as bad; its share may be small because nothing is sent any more.
_HELD_RANK = {State.OPEN: QUARANTINE.rank, State.HALF_OPEN: WARNING.rank}


@dataclass(frozen=True, slots=True)
class Cell:
    """One sending IP at one provider."""

    level: Level
    outcomes: Outcomes
    sent: int | None
    held: str
    """A breaker's state in words where one holds this mail back; empty: none does."""

    @property
    def share(self) -> float | None:
        """Refused / sent; None over nothing and where the volume is unknown."""
        return self.outcomes.rejected / self.sent if self.sent else None

    @property
    def told(self) -> str:
        """The counts behind the share, in a sentence."""
        sums = self.outcomes
        if self.level is NOTHING:
            told = "No mail"
        elif self.sent is None:
            told = f"{sums.rejected} refused, volume unknown"
        else:
            told = f"{sums.rejected} refused of {self.sent} sent: {self.level.words}"
        if sums.complained:
            told += f"; {sums.complained} complaint{'s' if sums.complained > 1 else ''}"
        return told + (f"; held back by a breaker ({self.held})" if self.held else "")

    @classmethod
    def of(cls, seen: Seen | None, held: str) -> Cell:
        """The sums as they are shown."""
        if seen is None:
            return cls(NOTHING, Outcomes(), 0, held)
        return cls(_level(seen), seen.outcomes, seen.sent, held)


@dataclass(frozen=True, slots=True)
class Row:
    """One sending IP: all its mail, and its mail at each provider of the columns."""

    ip: str
    label: str
    status: StatusWord | None
    held: str
    """The state of a breaker of the IP at every provider; empty: none."""
    total: Cell
    cells: tuple[Cell, ...]


@dataclass(frozen=True, slots=True)
class ProviderColumn:
    """One provider at the head of the table; an empty id: all that have no column of their own."""

    id: str
    title: str
    short: str


@dataclass(frozen=True, slots=True)
class ProvidersPage:
    """Everything the page shows but the rows of the asked page of the list."""

    now: datetime
    start: datetime
    end: datetime
    ranges: tuple[Choice, ...]
    pools: tuple[Choice, ...]
    providers: tuple[Choice, ...]
    is_narrowed: bool
    columns: tuple[ProviderColumn, ...]
    rows: tuple[Row, ...]
    """All of them, the worst first."""
    by_provider: Mapping[str, Mapping[str, Seen]]
    """By sending IP of the rows, then by provider: what the CSV file tells."""
    places: Mapping[str, SendingIP]
    holds: Holds
    of_unknown_ip: int
    legend: tuple[Level, ...] = LEGEND

    @property
    def only_provider(self) -> bool:
        """Whether one provider alone is shown."""
        return any(choice.is_chosen and choice.value for choice in self.providers)


def _word(state: State) -> str:
    return state.value.replace("_", "-")


class Holds:
    """Which mail of sending IPs a breaker holds back now."""

    def __init__(self, rows: Iterable[Breaker]) -> None:
        self._states = {(row.sender, row.provider): State(row.state) for row in rows}
        self.providers: dict[str, set[str]] = defaultdict(set)
        for ip, provider in self._states:
            self.providers[ip].add(provider)

    def word(self, ip: str, provider: str = "") -> str:
        """The breaker's state in words; empty: there is none that holds back."""
        state = self._states.get((ip, provider))
        return _word(state) if state else ""

    def concerns(self, ip: str, provider: str) -> bool:
        """Whether mail of the IP to that provider is held back; to any of them, where none is named."""
        held = self.providers.get(ip, set())
        return bool(held & {"", provider} if provider else held)


def providers_page(*, range_id: str, pool: str, provider: str, now: datetime) -> ProvidersPage:
    """Read the table; `pool` (a key) and `provider` (an id) narrow it where they are not empty.

    A fixed number of queries however many IPs and providers there are.
    """
    seen = seen_by_providers(RANGES[range_id][1], now=now)
    holds = Holds(holding_ips())
    pools = {str(row.pk): row for row in Pool.objects.order_by("-is_default", "name")}
    places = SendingIP.objects.select_related("pool").in_bulk()
    members = _members(pools[pool], places) if pool in pools else None
    by_ip = {ip: row for ip, row in _asked(seen.by_ip, holds, provider).items() if members is None or members(ip)}
    columns = _columns(by_ip, holds, provider)
    statuses = dict(IpStanding.objects.values_list("sending_ip", "status"))
    rows = []
    for ip, row in by_ip.items():
        place, status = places.get(ip), statuses.get(ip)
        label, word = place.label if place else "", status_word(status) if status else None
        cells = tuple(_cells(ip, row, columns, holds))
        rows.append(Row(ip, label, word, holds.word(ip), Cell.of(_sum(row.values()), ""), cells))
    rows.sort(key=_worst_first)
    return ProvidersPage(
        now=now,
        start=seen.start,
        end=seen.end,
        ranges=choices([(key, title) for key, (title, _) in RANGES.items()], range_id),
        pools=choices([("", "all pools"), *((key, str(row)) for key, row in pools.items())], pool),
        providers=choices(_offered(seen.by_ip, provider), provider),
        is_narrowed=members is not None or bool(provider),
        columns=columns,
        rows=tuple(rows),
        by_provider=by_ip,
        places=places,
        holds=holds,
        of_unknown_ip=seen.of_unknown_ip,
    )


def csv_rows(page: ProvidersPage) -> Iterator[tuple[Any, ...]]:
    """A line for each IP and provider, none of them folded; an unknown volume is an empty field."""
    for row in page.rows:
        place = page.places.get(row.ip)
        pool = str(place.pool) if place and place.pool else ""
        for provider, seen in sorted(page.by_provider[row.ip].items()):
            sums, sent = seen.outcomes, seen.sent
            numbers = (sent, sums.delivered, sums.bounced, sums.deferred - sums.superseded, sums.complained)
            share = sums.rejected / sent if sent else None
            held = page.holds.word(row.ip, provider) or row.held
            yield (row.ip, row.label, pool, provider, *numbers, sums.rejected, share, held)


def short_title(title: str) -> str:
    """A provider's title as it fits above a column: without what stands in brackets or after a stroke."""
    return title.partition(" (")[0].partition(" / ")[0]


def _members(pool: Pool, places: Mapping[str, SendingIP]) -> Callable[[str], bool]:
    """Whose policy judges which IP: the default pool's are all that are in no other."""

    def is_member(ip: str) -> bool:
        own = places[ip].pool_id if ip in places else None
        return own == pool.pk or (own is None and pool.is_default)

    return is_member


def _asked(by_ip: Mapping[str, Mapping[str, Seen]], holds: Holds, provider: str) -> dict[str, dict[str, Seen]]:
    """The IPs with mail, or with mail that a breaker holds back; of one provider alone where one was asked for."""
    found = {ip: {name: seen for name, seen in row.items() if provider in ("", name)} for ip, row in by_ip.items()}
    for ip in holds.providers:
        found.setdefault(ip, {})
    return {ip: row for ip, row in found.items() if row or holds.concerns(ip, provider)}


def _offered(by_ip: Mapping[str, Mapping[str, Seen]], provider: str) -> list[tuple[str, str]]:
    names = [name for name, _ in _volumes(by_ip).most_common(PROVIDERS_OFFERED)]
    if provider and provider not in names:
        names.append(provider)
    return [("", "all providers"), *((name, provider_title(name)) for name in names)]


def _columns(by_ip: Mapping[str, Mapping[str, Seen]], holds: Holds, provider: str) -> tuple[ProviderColumn, ...]:
    """The busiest providers; mail of domains that run their own server has no column of its own."""
    volumes = _volumes(by_ip)
    # Where a breaker lets nothing through there may be no mail at all.
    volumes.update({name: 0 for ip in by_ip for name in holds.providers.get(ip, ()) if name})
    busiest = [name for name, _ in volumes.most_common() if name != OTHER]
    names = [provider] if provider else busiest
    columns = [ProviderColumn(name, provider_title(name), short_title(provider_title(name))) for name in names]
    is_cut = len(columns) > COLUMNS_SHOWN or any(OTHER in row for row in by_ip.values())
    folded = [ProviderColumn("", provider_title(OTHER), provider_title(OTHER))] if is_cut and not provider else []
    return (*columns[:COLUMNS_SHOWN], *folded)


def _volumes(by_ip: Mapping[str, Mapping[str, Seen]]) -> Counter[str]:
    volumes: Counter[str] = Counter()
    for row in by_ip.values():
        for name, seen in row.items():
            volumes[name] += max(0, seen.outcomes.sent)
    return volumes


def _cells(ip: str, row: Mapping[str, Seen], columns: Sequence[ProviderColumn], holds: Holds) -> Iterator[Cell]:
    own = {column.id for column in columns if column.id}
    for column in columns:
        if column.id:
            yield Cell.of(row.get(column.id), holds.word(ip, column.id))
        else:
            rest = [name for name in {*row, *holds.providers.get(ip, ())} if name and name not in own]
            words = sorted(filter(None, (holds.word(ip, name) for name in rest)))
            yield Cell.of(_sum(row[name] for name in rest if name in row), words[-1] if words else "")


def _sum(parts: Iterable[Seen]) -> Seen | None:
    """Of several providers; None for none. Its volume is known where each part's is."""
    found = list(parts)
    if not found:
        return None
    total = sum((seen.outcomes for seen in found), Outcomes())
    known = [seen.sent for seen in found if seen.sent is not None]
    return Seen(total, sum(known) if len(known) == len(found) else None)


def _level(seen: Seen) -> Level:
    """By the thresholds of the product, compared exactly; below the minimum volume nothing is judged."""
    rejected, sent = seen.outcomes.rejected, seen.sent
    if sent is None:
        return UNKNOWN if rejected or seen.outcomes.delivered else NOTHING
    if sent <= 0:
        return NOTHING
    if sent < _RULES.minimum_volume:
        return FEW
    if rejected > _RULES.blacklisted_ratio_above * sent:
        return BLACKLISTED
    if rejected > _RULES.quarantine_a_ratio_above * sent:
        return QUARANTINE
    return WARNING if rejected >= _RULES.warning_ratio_from * sent else HEALTHY


def _worst_first(row: Row) -> tuple[Any, ...]:
    cells = (row.total, *row.cells)
    rank, share = max((cell.level.rank, (cell.share or 0) if cell.level.rank >= WARNING.rank else 0) for cell in cells)
    words = {row.held, *(cell.held for cell in row.cells)}
    held = max((rank for state, rank in _HELD_RANK.items() if _word(state) in words), default=0)
    return -max(rank, held), -share, -row.total.outcomes.rejected, ipaddress.ip_address(row.ip).packed
