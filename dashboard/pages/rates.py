"""Rates of one sender over time and by mailbox provider, from counters. A rate over an unknown volume is not shown."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from fractions import Fraction

from dashboard.charts import Column, stacked
from dashboard.pages.parts import Figure, Tick
from dashboard.ranges import RANGES, Range
from dashboard.sender_filters import SenderFilters
from dashboard.words import provider_title
from reputation.domain.policy import percent
from telemetry.domain.cells import DAY
from telemetry.domain.vocab import VolumeReporting
from telemetry.domain.window import Outcomes
from telemetry.queries import volume_reporting
from telemetry.queries_over_time import Sums, sender_counters, sources_that_deliver

PROVIDERS_SHOWN = 12
TICKS = 4
# So that one refusal among few messages does not fill the whole axis.
LEAST_SHARE_TOP = 0.05
LEAST_COMPLAINT_TOP = 0.001
# A delivery so near in time shows that a source reports deliveries, and thereby the whole traffic.
PROVES_WITHIN = DAY

Buckets = Mapping[tuple[datetime, int], Sums]


@dataclass(frozen=True, slots=True)
class RateLine:
    """One step of time, or one mailbox provider: counts, and the rates where their denominators are known."""

    delivered: int
    bounced: int
    deferred: int
    """Deferrals that still stand."""
    complained: int
    rejected: int
    sent: int | None
    """None where a source reported failures only, so that the volume is unknown."""
    whole: Outcomes
    """What the sources say that report deliveries too: bounce, delivery and complaint rates are over these."""

    @property
    def share(self) -> float | None:
        """Refused / sent."""
        return self.rejected / self.sent if self.sent else None

    @property
    def final(self) -> int:
        """Delivered + bounced."""
        return self.whole.delivered + self.whole.bounced

    @property
    def bounce(self) -> float | None:
        """Bounced / (delivered + bounced)."""
        return self.whole.bounced / self.final if self.final else None

    @property
    def delivery(self) -> float | None:
        """Delivered / (delivered + bounced)."""
        return self.whole.delivered / self.final if self.final else None

    @property
    def complaint(self) -> float | None:
        """Complaints / delivered."""
        return self.complained / self.whole.delivered if self.whole.delivered else None

    @property
    def is_unknown(self) -> bool:
        """Whether there was mail of which nobody knows how much."""
        return self.sent is None


@dataclass(frozen=True, slots=True)
class StepLine:
    """One step of time."""

    start: datetime
    label: str
    rates: RateLine


@dataclass(frozen=True, slots=True)
class ProviderRow:
    """One mailbox provider in the whole range; `id` is empty for all of them."""

    id: str
    title: str
    address: str
    is_chosen: bool
    rates: RateLine


@dataclass(frozen=True, slots=True)
class RangeLink:
    """A choice of the range picker."""

    title: str
    address: str
    is_chosen: bool


@dataclass(frozen=True, slots=True)
class Rates:
    """The card of rates."""

    range: Range
    provider: str
    """The chosen one's title; empty: all."""
    ranges: tuple[RangeLink, ...]
    figures: tuple[Figure, ...]
    steps: tuple[StepLine, ...]
    """The latest first."""
    providers: tuple[ProviderRow, ...]
    """Those with most attempts, after all together."""
    more_providers: int
    unknown: bool
    """Whether some step's volume is unknown."""


def rates_of(
    kind: str, name: str, filters: SenderFilters, *, now: datetime, most_providers: int | None = PROVIDERS_SHOWN
) -> Rates:
    """Read the rates of an IP or a domain; a fixed number of queries for each range. No most: all providers."""
    chosen, (start, end) = filters.range, filters.stretch(now)
    counters = sender_counters(kind, name, chosen.level, start=start, end=end)
    buckets = counters.by_bucket(filters.provider)
    proof = _Proof(kind, name, buckets, chosen, start=start, now=now)
    starts = chosen.starts(now)
    by_step = _by_step(buckets, proof, starts, chosen.step)
    lines = [_line(by_step.get(at, ())) for at in starts]
    steps = [StepLine(at, at.strftime(chosen.clock), line) for at, line in zip(starts, lines, strict=True)]
    by_provider = counters.by_provider()
    rows, more = _providers(by_provider, buckets, proof, filters, most_providers)
    figures = _figures_of_ip(steps, chosen) if kind == "ip" else _figures_of_domain(steps, chosen)
    return Rates(
        range=chosen,
        provider=provider_title(filters.provider) if filters.provider else "",
        ranges=tuple(RangeLink(entry.title, filters.address(range=entry.id), entry is chosen) for entry in RANGES),
        figures=figures,
        steps=tuple(reversed(steps)),
        providers=rows,
        more_providers=more,
        unknown=any(line.is_unknown for line in lines),
    )


class _Proof:
    """Whether a source's events of a bucket are the sender's whole traffic there."""

    def __init__(
        self, kind: str, name: str, buckets: Buckets, chosen: Range, *, start: datetime, now: datetime
    ) -> None:
        self._reporting = volume_reporting()
        self._delivered: dict[int, list[datetime]] = defaultdict(list)
        for (bucket, source), sums in buckets.items():
            if sums.overall.delivered:
                self._delivered[source].append(bucket)
        seen = {source for _, source in buckets}
        undecided = seen - set(self._delivered)
        # A source that delivers for this sender's neighbours would have reported its deliveries too. What an IP's own
        # day says about a range of an hour is asked for as well.
        self._lately = sources_that_deliver(undecided, since=now - PROVES_WITHIN, **_whose(kind, name))
        self._lately_from = now - PROVES_WITHIN - chosen.step

    def complete(self, bucket: datetime, source: int) -> bool:
        """By the rule of `VolumeReporting`, for that moment and not for now."""
        near = any(abs(at - bucket) <= PROVES_WITHIN for at in self._delivered.get(source, ()))
        lately = source in self._lately and bucket >= self._lately_from
        how = self._reporting.get(source, VolumeReporting.AUTO)
        return how.is_whole_traffic(delivered=near or lately)


def _whose(kind: str, name: str) -> dict[str, str]:
    """An IP's volume is known by its own deliveries only; of a domain the source as a whole is asked, as for scores."""
    return {"ip": name} if kind == "ip" else {}


_Judged = tuple[Outcomes, bool]


def _by_step(buckets: Buckets, proof: _Proof, starts: list[datetime], step: timedelta) -> dict[datetime, list[_Judged]]:
    found: dict[datetime, list[_Judged]] = defaultdict(list)
    for (bucket, source), sums in buckets.items():
        at = starts[0] + (bucket - starts[0]) // step * step
        found[at].append((sums.outcomes, proof.complete(bucket, source)))
    return found


def _line(parts: Collection[_Judged]) -> RateLine:
    total = sum((outcomes for outcomes, _ in parts), Outcomes())
    whole = sum((outcomes for outcomes, complete in parts if complete), Outcomes())
    is_unknown = any(not complete and outcomes.sent for outcomes, complete in parts)
    return RateLine(
        delivered=total.delivered,
        bounced=total.bounced,
        deferred=total.deferred - total.superseded,
        complained=total.complained,
        rejected=total.rejected,
        sent=None if is_unknown else total.sent,
        whole=whole,
    )


def _providers(
    sums: Mapping[tuple[str, int], Outcomes], buckets: Buckets, proof: _Proof, filters: SenderFilters, most: int | None
) -> tuple[tuple[ProviderRow, ...], int]:
    """All providers together, then each, the busiest first; the chosen one is always among them."""
    partial = {source for (bucket, source), _ in buckets.items() if not proof.complete(bucket, source)}
    parts: dict[str, list[_Judged]] = defaultdict(list)
    for (provider, source), outcomes in sums.items():
        parts[provider].append((outcomes, source not in partial))
    lines = {provider: _line(found) for provider, found in parts.items()}
    attempts = {provider: line.delivered + line.bounced + line.deferred for provider, line in lines.items()}
    ordered = sorted(lines, key=lambda provider: (-attempts[provider], provider))
    shown = ordered[:most]
    if filters.provider and filters.provider not in shown:
        shown.append(filters.provider)
    rows = [
        ProviderRow(
            "",
            "all",
            filters.address(provider=""),
            not filters.provider,
            _line([part for found in parts.values() for part in found]),
        )
    ]
    rows += [
        ProviderRow(
            provider,
            provider_title(provider),
            filters.address(provider=provider),
            provider == filters.provider,
            lines.get(provider, _line(())),
        )
        for provider in shown
    ]
    return tuple(rows), len(ordered[most:]) if most else 0


# --- figures ---------------------------------------------------------------------------------------------------------


def _figures_of_ip(steps: list[StepLine], chosen: Range) -> tuple[Figure, ...]:
    def share(line: RateLine) -> tuple[float | None, str]:
        return line.share, f"{line.rejected} of {line.sent} sent"

    return (
        _rate_figure("share-chart", "Refused share", "refused / sent", steps, chosen, share),
        _volume_figure(steps, chosen, "refused", lambda line: line.rejected),
    )


def _figures_of_domain(steps: list[StepLine], chosen: Range) -> tuple[Figure, ...]:
    def delivery(line: RateLine) -> tuple[float | None, str]:
        return line.delivery, f"{line.whole.delivered} of {line.final} delivered + bounced"

    def bounce(line: RateLine) -> tuple[float | None, str]:
        return line.bounce, f"{line.whole.bounced} of {line.final} delivered + bounced"

    def complaint(line: RateLine) -> tuple[float | None, str]:
        return line.complaint, f"{line.complained} of {line.whole.delivered} delivered"

    final = "delivered + bounced"
    return (
        _rate_figure("delivery-chart", "Delivery rate", f"delivered / ({final})", steps, chosen, delivery, "delivered"),
        _rate_figure("bounce-chart", "Bounce rate", f"bounced / ({final})", steps, chosen, bounce),
        _rate_figure(
            "complaint-chart",
            "Complaint rate",
            "complaints / delivered",
            steps,
            chosen,
            complaint,
            least_top=LEAST_COMPLAINT_TOP,
        ),
        _volume_figure(steps, chosen, "bounced", lambda line: line.bounced),
    )


def _rate_figure(
    id: str,  # noqa: A002 - as it stands in the page
    title: str,
    note: str,
    steps: list[StepLine],
    chosen: Range,
    rate: Callable[[RateLine], tuple[float | None, str]],
    part: str = "refused",
    *,
    least_top: float = LEAST_SHARE_TOP,
) -> Figure:
    columns = []
    for step in steps:
        value, counted = rate(step.rates)
        if value is None:
            told = "volume unknown" if step.rates.is_unknown else "no mail"
            columns.append(Column(step.start, f"{step.label}: {told}", ()))
        else:
            label = f"{step.label}: {percent(Fraction(value))}, {counted}"
            columns.append(Column(step.start, label, ((part, max(0.0, value)),)))
    chart = stacked(columns, least_top=least_top)
    return Figure(id, f"{title} per {chosen.per}", note, chart, True, _ticks(steps), _empty(chosen, columns))


def _volume_figure(steps: list[StepLine], chosen: Range, word: str, failed: Callable[[RateLine], int]) -> Figure:
    columns = [
        Column(
            step.start,
            f"{step.label}: {step.rates.delivered} delivered, {failed(step.rates)} {word}",
            (("delivered", step.rates.delivered), ("refused", max(0, failed(step.rates)))),
        )
        for step in steps
    ]
    note = f"delivered, and {word} on top"
    return Figure(
        "volume-chart", f"Messages per {chosen.per}", note, stacked(columns), False, _ticks(steps), _none(chosen)
    )


def _ticks(steps: list[StepLine]) -> tuple[Tick, ...]:
    """The beginnings of a few steps, evenly spaced."""
    return tuple(Tick(step.start, step.label) for step in steps[:: max(1, len(steps) // TICKS)][:TICKS])


def _none(chosen: Range) -> str:
    return f"Nothing in the last {chosen.title}."


def _empty(chosen: Range, columns: list[Column]) -> str:
    if any(column.label.endswith("volume unknown") for column in columns):
        return "The volume is unknown: its sources reported failures only."
    if any(column.values for column in columns):
        return f"None in the last {chosen.title}."
    return _none(chosen)
