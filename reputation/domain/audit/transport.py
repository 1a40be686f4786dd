"""How mail reaches a domain: MX, MTA-STS (RFC 8461) and TLS-RPT (RFC 8460)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from reputation.domain.audit.asking import Asking, Question
from reputation.domain.audit.findings import Check, Finding, Result, txt, unchecked
from reputation.domain.audit.tags import TagError, tags

_WHY_MX: Final = "Many receivers refuse senders whose domain cannot take an answer (RFC 7505 section 4.2)."
_WHY_STS: Final = "Without MTA-STS senders can be talked out of TLS to your servers (RFC 8461)."
_STS_ID: Final = re.compile(r"[A-Za-z0-9]{1,32}")
_MOST_AGE: Final = 31_557_600
_WEEK: Final = 604_800


@dataclass(frozen=True, slots=True)
class Mx:
    """Where a domain's mail goes."""

    hosts: tuple[str, ...]
    """Best first; the domain itself where it has an address and no MX (RFC 5321 section 5.1)."""
    findings: tuple[Finding, ...]
    takes_mail: bool = True
    """False: it certainly takes none (null MX, or neither MX nor address)."""


def audit_mx(domain: str) -> Asking[Mx]:
    """Whether a domain can take bounces and answers."""
    reply = yield Question(domain, "MX")
    if reply.trouble:
        return Mx((), (unchecked(Check.MX, domain, f"{domain} MX: {reply.trouble}"),))
    seen = tuple(f"{domain}. IN MX {record}" for record in reply.records)
    hosts = [name for _, name in sorted(_preferences(reply.names)) if name]
    if reply.records and not hosts:
        says = f"{domain} says that it takes no mail (null MX)."
        publish = f"{domain}. IN MX 10 mail.{domain}."
        return Mx((), (_finding(Check.MX, Result.PROBLEM, domain, says, seen, _WHY_MX, publish),), takes_mail=False)
    names = hosts or [domain]
    addresses: list[str] = []
    trouble = ""
    for name in names:
        for rdtype in ("A", "AAAA"):
            reply = yield Question(name, rdtype)
            trouble = trouble or (f"{name} {rdtype}: {reply.trouble}" if reply.trouble else "")
            addresses += reply.records
    if not addresses and trouble:
        return Mx(tuple(hosts), (unchecked(Check.MX, domain, trouble),))
    if not addresses:
        says = f"None of the MX hosts of {domain} has an address." if hosts else f"{domain} has no MX and no address."
        publish = f"{hosts[0]}. IN A <its address>" if hosts else f"{domain}. IN MX 10 mail.{domain}."
        found = _finding(Check.MX, Result.PROBLEM, domain, says, seen, _WHY_MX, publish)
        return Mx(tuple(hosts), (found,), takes_mail=False)
    says = f"Mail for {domain} goes to {', '.join(names)}."
    return Mx(tuple(names), (_finding(Check.MX, Result.OK, domain, says, seen, ""),))


def _preferences(records: Sequence[str]) -> list[tuple[int, str]]:
    pairs = (record.partition(" ") for record in records)
    return [(int(preference), name.strip()) for preference, _, name in pairs]


# --- MTA-STS ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Fetched:
    """What the policy's address answered."""

    body: str = ""
    problem: str = ""
    """A wrong answer: not found, a redirect, a certificate that does not hold."""
    trouble: str = ""
    """No answer, so that nothing is known."""


@dataclass(frozen=True, slots=True)
class StsPolicy:
    """A parsed policy (RFC 8461 section 3.2)."""

    mode: str
    max_age: int
    mx: tuple[str, ...]


class PolicyError(Exception):
    """The file is no policy; the message says why."""


def policy_url(domain: str) -> str:
    """Where the policy is."""
    return f"https://mta-sts.{domain}/.well-known/mta-sts.txt"


def parse_policy(body: str) -> StsPolicy:
    """The policy in a file. Raises PolicyError."""
    values: dict[str, str] = {}
    hosts: list[str] = []
    for line in body.splitlines():
        key, colon, value = line.partition(":")
        if not line.strip():
            continue
        if not colon:
            raise PolicyError(f"“{line.strip()[:60]}” is not of the form key: value")
        if key.strip() == "mx":
            hosts.append(value.strip().lower())
        else:
            values.setdefault(key.strip(), value.strip())
    if values.get("version") != "STSv1":
        raise PolicyError("version: STSv1 is missing")
    if values.get("mode") not in ("enforce", "testing", "none"):
        raise PolicyError("mode is none of enforce, testing, none")
    age = values.get("max_age", "")
    if not re.fullmatch(r"\d{1,10}", age, re.ASCII) or int(age) > _MOST_AGE:
        raise PolicyError(f"max_age is no number of seconds up to {_MOST_AGE}")
    if not hosts and values["mode"] != "none":
        raise PolicyError("there is no mx")
    return StsPolicy(values["mode"], int(age), tuple(hosts))


def sts_record(domain: str) -> Asking[tuple[str, Finding | None]]:
    """The MTA-STS record of a domain, or what is wrong with it; with one, the policy is to be fetched."""
    reply = yield Question(f"_mta-sts.{domain}", "TXT")
    if reply.trouble:
        return "", unchecked(Check.MTA_STS, domain, f"_mta-sts.{domain} TXT: {reply.trouble}")
    records = [text for text in reply.records if re.match(r"v=STSv1\s*;", text)]
    wanted = txt(f"_mta-sts.{domain}", "v=STSv1; id=1")
    if len(records) != 1:
        says = (
            f"There are {len(records)} MTA-STS records at _mta-sts.{domain}, so none counts."
            if records
            else f"{domain} has no MTA-STS record. Put the policy at {policy_url(domain)} first."
        )
        return "", _finding(Check.MTA_STS, Result.PROBLEM, domain, says, reply.records, _WHY_STS, wanted)
    try:
        found = tags(records[0])
    except TagError as error:
        says = f"The MTA-STS record cannot be read: {error}."
        return "", _finding(Check.MTA_STS, Result.PROBLEM, domain, says, reply.records, _WHY_STS, wanted)
    if not _STS_ID.fullmatch(found.get("id", "")):
        says = "The MTA-STS record has no id of 1 to 32 letters and digits."
        return "", _finding(Check.MTA_STS, Result.PROBLEM, domain, says, reply.records, _WHY_STS, wanted)
    return records[0], None


def judge_policy(domain: str, record: str, fetched: Fetched, hosts: Sequence[str]) -> list[Finding]:
    """What the policy says about these MX hosts."""
    url = policy_url(domain)
    if fetched.trouble:
        return [unchecked(Check.MTA_STS, domain, f"{url}: {fetched.trouble}")]
    seen = (record, *fetched.body.splitlines()[:40])
    wanted = _policy_lines("testing", hosts)
    if fetched.problem:
        says = f"The record is there, and its policy is not: {url}: {fetched.problem}"
        return [_finding(Check.MTA_STS, Result.PROBLEM, domain, says, seen, _WHY_STS, *wanted)]
    try:
        policy = parse_policy(fetched.body)
    except PolicyError as error:
        says = f"The policy at {url} cannot be read: {error}."
        return [_finding(Check.MTA_STS, Result.PROBLEM, domain, says, seen, _WHY_STS, *wanted)]
    stray = [host for host in hosts if not any(_covers(pattern, host) for pattern in policy.mx)]
    if stray and policy.mode != "none":
        says = f"The policy does not name {', '.join(stray)}, where the domain's mail goes."
        why = "Senders must not deliver to an MX host that an enforced policy does not name (RFC 8461 section 5)."
        publish = _policy_lines(policy.mode, hosts)
        return [_finding(Check.MTA_STS, Result.PROBLEM, domain, says, seen, why, *publish)]
    if policy.mode != "enforce":
        says = f"The policy's mode is {policy.mode}: nobody is held to it."
        publish = _policy_lines("enforce", hosts)
        return [_finding(Check.MTA_STS, Result.ADVICE, domain, says, seen, _WHY_STS, *publish)]
    return [_finding(Check.MTA_STS, Result.OK, domain, "The policy is enforced and names every MX host.", seen, "")]


def _policy_lines(mode: str, hosts: Sequence[str]) -> tuple[str, ...]:
    names = tuple(f"mx: {host}" for host in hosts) or ("mx: <your MX host>",)
    return ("version: STSv1", f"mode: {mode}", *names, f"max_age: {_WEEK}")


def _covers(pattern: str, host: str) -> bool:
    """A wildcard stands for exactly one label, the leftmost (RFC 8461 section 4.1)."""
    if pattern.startswith("*."):
        return host.partition(".")[2] == pattern[2:]
    return pattern.rstrip(".") == host


# --- TLS-RPT ---------------------------------------------------------------------------------------------------------


def audit_tls_rpt(domain: str) -> Asking[list[Finding]]:
    """Whether senders can report that TLS to the domain's servers failed."""
    name = f"_smtp._tls.{domain}"
    reply = yield Question(name, "TXT")
    if reply.trouble:
        return [unchecked(Check.TLS_RPT, domain, f"{name} TXT: {reply.trouble}")]
    records = [text for text in reply.records if re.match(r"v=TLSRPTv1\s*;", text)]
    wanted = txt(name, f"v=TLSRPTv1; rua=mailto:tls-reports@{domain}")
    why = "Senders report to it when they cannot reach your servers by TLS (RFC 8460)."
    if len(records) != 1:
        says = f"{domain} has {len(records) or 'no'} TLS-RPT record{'s, so none counts' if records else ''}."
        return [_finding(Check.TLS_RPT, Result.ADVICE, domain, says, reply.records, why, wanted)]
    try:
        addresses = tags(records[0]).get("rua", "").split(",")
    except TagError:
        addresses = [""]
    if not all(address.strip().lower().startswith(("mailto:", "https:")) for address in addresses):
        says = "The TLS-RPT record names no address that begins with mailto: or https:."
        return [_finding(Check.TLS_RPT, Result.ADVICE, domain, says, reply.records, why, wanted)]
    says = f"Reports about TLS go to {', '.join(address.strip() for address in addresses)}."
    return [_finding(Check.TLS_RPT, Result.OK, domain, says, reply.records, "")]


def _finding(
    check: Check, result: Result, domain: str, says: str, seen: Sequence[str], why: str, *publish: str
) -> Finding:
    return Finding(check=check, result=result, about=domain, says=says, seen=tuple(seen), why=why, publish=publish)
