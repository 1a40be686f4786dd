"""Whether a sender's refusals come from its DNS and not from its reputation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from reputation.domain.audit.findings import TITLES, Check, Finding, Result
from telemetry.domain.causes import Category

# Which problems can be behind which cause of refusals.
EXPLAINS: Final[Mapping[Category, frozenset[Check]]] = {
    Category.AUTHENTICATION: frozenset({Check.SPF, Check.DKIM, Check.DMARC}),
    Category.INFRASTRUCTURE: frozenset({Check.PTR, Check.FORWARD_CONFIRMED, Check.HELO, Check.MX}),
}
# The causes that speak of the sender at all; unknown users, full mailboxes and networks tell nothing about it.
_OF_SENDER: Final = (
    Category.AUTHENTICATION,
    Category.INFRASTRUCTURE,
    Category.REPUTATION,
    Category.BLOCKLIST,
    Category.CONTENT,
    Category.POLICY,
)


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What the refusals come from."""

    title: str
    says: str
    evidence: tuple[Finding, ...]
    """The problems that explain them."""


def diagnose(refusals: Mapping[str, int], findings: Sequence[Finding]) -> Diagnosis | None:
    """Put refused attempts by cause beside an audit's problems; None where the two do not meet.

    "DNS, not reputation" takes a problem that explains at least half of the refusals that are about the sender.
    """
    problems = [finding for finding in findings if finding.result is Result.PROBLEM]
    causes = [
        (cause, refusals.get(cause, 0), [finding for finding in problems if finding.check in checks])
        for cause, checks in EXPLAINS.items()
    ]
    met = [(cause, count, found) for cause, count, found in causes if count > 0 and found]
    if not met:
        return None
    explained = sum(count for _, count, _ in met)
    total = sum(refusals.get(cause, 0) for cause in _OF_SENDER)
    evidence = tuple(finding for _, _, found in met for finding in found)
    words = " and ".join(f"{count} for {cause}" for cause, count, _ in met)
    names = ", ".join(dict.fromkeys(TITLES[finding.check] for finding in evidence))
    mostly = 2 * explained >= total
    return Diagnosis(
        title="DNS, not reputation" if mostly else "DNS too",
        says=(
            f"Of {total} refusals about the sender in the last 24 hours {words}, and the audit found what is behind "
            f"them: {names}. "
            + ("Mend this before anything else." if mostly else "Mend this; the others have another cause.")
        ),
        evidence=evidence,
    )
