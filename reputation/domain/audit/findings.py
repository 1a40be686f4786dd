"""What an audit found, and the score that follows from it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from telemetry.domain.clean import text


class Check(StrEnum):
    """What is looked at."""

    SPF = "spf"
    DKIM = "dkim"
    DMARC = "dmarc"
    PTR = "ptr"
    FORWARD_CONFIRMED = "forward_confirmed"
    TLS = "tls"
    MTA_STS = "mta_sts"
    POSTMASTER = "postmaster"
    ABUSE = "abuse"
    MX = "mx"
    HELO = "helo"
    TLS_RPT = "tls_rpt"


class Result(StrEnum):
    """How a check ended."""

    PROBLEM = "problem"
    """Wrong; costs the check's points."""
    ADVICE = "advice"
    """Works, and could be better; costs nothing."""
    UNCHECKED = "unchecked"
    """Nobody knows: a name server failed, a selector is unknown, the probe is off. Costs nothing."""
    OK = "ok"


# Points that a problem takes off 100 (this project's own weights); checks that are not here take none.
POINTS: Final[Mapping[Check, int]] = {
    Check.SPF: 20,
    Check.DKIM: 20,
    Check.DMARC: 15,
    Check.PTR: 10,
    Check.FORWARD_CONFIRMED: 10,
    Check.TLS: 10,
    Check.MTA_STS: 5,
    Check.POSTMASTER: 5,
    Check.ABUSE: 5,
}
TITLES: Final[Mapping[Check, str]] = {
    Check.SPF: "SPF",
    Check.DKIM: "DKIM",
    Check.DMARC: "DMARC",
    Check.PTR: "PTR record",
    Check.FORWARD_CONFIRMED: "Forward-confirmed PTR",
    Check.TLS: "TLS certificate",
    Check.MTA_STS: "MTA-STS",
    Check.POSTMASTER: "postmaster@",
    Check.ABUSE: "abuse@",
    Check.MX: "MX",
    Check.HELO: "HELO name",
    Check.TLS_RPT: "TLS-RPT",
}
_WORST_FIRST: Final = (Result.PROBLEM, Result.ADVICE, Result.UNCHECKED, Result.OK)
_LONGEST_STRING: Final = 255
_LONGEST_SENTENCE: Final = 2_000
_LONGEST_LINE: Final = 4_000
_MOST_LINES: Final = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that an audit found."""

    check: Check
    result: Result
    about: str
    """The domain, host, selector or IP."""
    says: str
    """What was found, in a sentence."""
    seen: tuple[str, ...] = ()
    """The records and replies, as they came."""
    why: str = ""
    """Why it matters, with the rule's source."""
    publish: tuple[str, ...] = ()
    """The exact records to publish, as lines of a zone file; of a finding that needs none: empty."""

    def as_json(self) -> dict[str, Any]:
        """As reports store it: what others published may hold anything, and is made storable here."""
        return {
            "check": self.check.value,
            "result": self.result.value,
            "about": text(self.about, longest=_LONGEST_SENTENCE),
            "says": text(self.says, longest=_LONGEST_SENTENCE),
            "seen": [text(line, longest=_LONGEST_LINE) for line in self.seen[:_MOST_LINES]],
            "why": text(self.why, longest=_LONGEST_SENTENCE),
            "publish": [text(line, longest=_LONGEST_LINE) for line in self.publish[:_MOST_LINES]],
        }

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Finding:
        """Back from a report."""
        return cls(
            check=Check(stored["check"]),
            result=Result(stored["result"]),
            about=stored["about"],
            says=stored["says"],
            seen=tuple(stored["seen"]),
            why=stored["why"],
            publish=tuple(stored["publish"]),
        )


def score(findings: Iterable[Finding]) -> int | None:
    """100 minus the points of each check with a problem, 0 to 100. Several problems of one check count once.

    None where nothing that has points could be checked: a resolver that is away must not look like good records.
    """
    told = [finding for finding in findings if finding.check in POINTS and finding.result is not Result.UNCHECKED]
    if not told:
        return None
    failed = {finding.check for finding in told if finding.result is Result.PROBLEM}
    return max(0, 100 - sum(POINTS.get(check, 0) for check in failed))


def in_order(findings: Iterable[Finding]) -> list[Finding]:
    """Problems first, the dearest first."""
    checks = list(Check)
    return sorted(
        findings,
        key=lambda found: (
            _WORST_FIRST.index(found.result),
            -POINTS.get(found.check, 0),
            checks.index(found.check),
            found.about,
        ),
    )


def unchecked(check: Check, about: str, trouble: str) -> Finding:
    """Nobody could tell."""
    return Finding(check=check, result=Result.UNCHECKED, about=about, says=f"Could not be checked: {trouble}.")


def txt(name: str, value: str) -> str:
    """A TXT record as a line of a zone file, in strings of at most 255 octets (RFC 1035 sections 3.3 and 5.1)."""
    octets = value.encode("utf-8", "replace")
    parts = [octets[start : start + _LONGEST_STRING] for start in range(0, len(octets), _LONGEST_STRING)] or [b""]
    return f"{name}. IN TXT " + " ".join('"' + "".join(map(_escaped, part)) + '"' for part in parts)


def _escaped(octet: int) -> str:
    if not 0x20 <= octet <= 0x7E:
        return f"\\{octet:03}"
    return f"\\{chr(octet)}" if chr(octet) in '\\"' else chr(octet)
