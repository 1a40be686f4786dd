"""What to do about listings, what moves most delivery first."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from reputation.domain.dnsbl import Severity


@dataclass(frozen=True, slots=True)
class Advice:
    """What to do about one listing."""

    blocklist: str
    operator: str
    tier: str
    weight: float
    sublists: tuple[str, ...]
    meaning: str
    severity: Severity
    delist_url: str
    delist_note: str

    @property
    def sentence(self) -> str:
        """What is wrong, and where to ask for removal."""
        which = f"{self.blocklist} ({', '.join(self.sublists)})" if self.sublists else self.blocklist
        what = f"{which}: {self.meaning}." if self.meaning else f"{which}."
        if "configuration, not behaviour" in self.meaning:
            what += " This is about where you send from, not what you sent."
        note = f" {self.delist_note[0].upper()}{self.delist_note[1:]}." if self.delist_note else ""
        where = f" When the cause is mended: {self.delist_url}" if self.delist_url else ""
        return f"{what}{note}{where}"


def ordered(advice: Iterable[Advice]) -> list[Advice]:
    """What moves most delivery first: by tier (A before B before C), then weight, then name."""
    return sorted(advice, key=lambda entry: (entry.tier, -entry.weight, entry.blocklist))
