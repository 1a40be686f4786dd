"""What MX hosts said to a probe over SMTP: their certificate, and whether they take postmaster@ and abuse@."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from reputation.domain.audit.findings import Check, Finding, Result, unchecked

ROLES: Final[Mapping[str, Check]] = {"postmaster": Check.POSTMASTER, "abuse": Check.ABUSE}
_OF_POLICY: Final = re.compile(r"5\.7\.\d")
RENEW_BEFORE: Final = timedelta(days=14)
_WHY_TLS: Final = "Senders that insist on TLS (MTA-STS, DANE, company rules) do not deliver to such a server."
_WHY_ROLE: Final = {
    "postmaster": "Every domain that takes mail must take this address (RFC 5321 section 4.5.1).",
    "abuse": "Providers and blocklists write there before they block (RFC 2142 section 4).",
}


@dataclass(frozen=True, slots=True)
class Probed:
    """One MX host."""

    host: str
    trouble: str = ""
    """Why it could not be talked to."""
    starttls: bool = False
    tls_problem: str = ""
    """Why TLS with a verified certificate failed; empty: it did not."""
    certificate_ends: datetime | None = None
    replies: Mapping[str, tuple[int, str]] = field(default_factory=dict)
    """(code, text) to RCPT TO of each role address that was tried."""
    refused: str = ""
    """Why none was tried: the host takes no mail from where the probe runs."""


def not_probed(domain: str, why: str) -> list[Finding]:
    """The checks that need a probe, where there was none."""
    says = f"not checked: {why}"
    checks = (Check.TLS, *ROLES.values())
    return [
        Finding(check=check, result=Result.UNCHECKED, about=domain, says=f"{says[0].upper()}{says[1:]}.")
        for check in checks
    ]


def judge(domain: str, probes: Sequence[Probed], *, now: datetime) -> list[Finding]:
    """The findings about a domain whose MX hosts were probed."""
    found = [_of_tls(domain, probe, now) for probe in probes]
    return found + [_of_role(domain, role, probes) for role in ROLES]


def _of_tls(domain: str, probe: Probed, now: datetime) -> Finding:
    def finding(result: Result, says: str, why: str = _WHY_TLS) -> Finding:
        return Finding(check=Check.TLS, result=result, about=probe.host, says=says, why=why)

    if probe.trouble:
        return unchecked(Check.TLS, probe.host, probe.trouble)
    if not probe.starttls:
        return finding(Result.PROBLEM, f"{probe.host} does not offer STARTTLS.")
    if probe.tls_problem:
        says = f"The certificate of {probe.host} does not hold: {probe.tls_problem}. Get one for that name."
        return finding(Result.PROBLEM, says)
    ends = probe.certificate_ends
    if ends is not None and ends - now < RENEW_BEFORE:
        return finding(Result.ADVICE, f"The certificate of {probe.host} ends on {ends:%Y-%m-%d}: renew it.")
    until = f", until {ends:%Y-%m-%d}" if ends else ""
    return finding(Result.OK, f"{probe.host} offers STARTTLS with a certificate that holds{until}.", "")


def _of_role(domain: str, role: str, probes: Sequence[Probed]) -> Finding:
    """The best host's word counts; greylisting says nothing, nor does a refusal of whoever asks (X.7.Z, RFC 3463)."""
    address = f"{role}@{domain}"
    answers = [(probe.host, probe.replies[role]) for probe in probes if role in probe.replies]
    seen = tuple(f"{host}: RCPT TO:<{address}> {code} {text}" for host, (code, text) in answers)
    check = ROLES[role]
    if any(200 <= code < 300 for _, (code, _) in answers):
        return Finding(check=check, result=Result.OK, about=address, says=f"{address} is taken.", seen=seen)
    if any(code >= 500 and not _OF_POLICY.match(text) for _, (code, text) in answers):
        says = f"{address} is refused. Make the address, and read it."
        return Finding(check=check, result=Result.PROBLEM, about=address, says=says, seen=seen, why=_WHY_ROLE[role])
    if answers:
        says = f"Could not be checked: {address} was not taken from here ({answers[0][1][0]})."
        return Finding(check=check, result=Result.UNCHECKED, about=address, says=says, seen=seen)
    trouble = next((said for probe in probes if (said := probe.refused or probe.trouble)), "there is no MX host to ask")
    return unchecked(check, address, trouble)
