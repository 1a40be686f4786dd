"""DMARC: which policy a domain is under, and whether its mail can be aligned (RFC 9989, and RFC 7489 before it).

The organisational domain is found by the tree walk of RFC 9989 section 4.10, which asks DNS and needs no list of public
suffixes: of the records on the way up, one with psd=n names it, below one with psd=y it is, else the shortest name.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from reputation.domain.audit.asking import Asking, Question
from reputation.domain.audit.dkim import Selector
from reputation.domain.audit.findings import Check, Finding, Result, txt, unchecked
from reputation.domain.audit.tags import TagError, tags, with_tag, without_tag

VERSION: Final = "v=DMARC1"
_POLICIES: Final = ("none", "quarantine", "reject")
# After the first question the walk goes on with at most seven labels (section 4.10), so it asks eight times at most.
_MOST_LABELS: Final = 7
_WHY: Final = "Gmail, Yahoo and Outlook.com want a DMARC record from everybody who sends them in bulk."


@dataclass(frozen=True, slots=True)
class Walk:
    """The way up from a domain."""

    domain: str
    organisation: str
    """The organisational domain."""
    at: str = ""
    """Where the record is that applies to the domain; empty: there is none."""
    records: tuple[str, ...] = ()
    """The DMARC records there; several are as good as none."""
    trouble: str = ""
    """Why the way could not be gone to its end: without a record nothing is known, with one the organisation is not."""
    repeated: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Names that have several records."""

    @property
    def record(self) -> str:
        """The record that applies."""
        return self.records[0] if len(self.records) == 1 else ""


def walk_up(domain: str) -> Asking[Walk]:
    """Find the record that applies to the domain, and its organisational domain."""
    found: dict[str, str] = {}
    repeated: dict[str, tuple[str, ...]] = {}
    organisation = trouble = ""
    for name in _way_up(domain):
        reply = yield Question(f"_dmarc.{name}", "TXT")
        if reply.trouble:
            trouble = f"_dmarc.{name} TXT: {reply.trouble}"
            break
        records = tuple(text for text in reply.records if is_dmarc(text))
        if len(records) > 1:
            repeated[name] = records
        if len(records) != 1:
            continue
        found[name] = records[0]
        psd = _read(records[0]).get("psd", "u").lower()
        if psd == "n" or (psd == "y" and name != domain):
            organisation = name if psd == "n" else _below(name, domain)
            break
    organisation = organisation or min(found, key=lambda name: name.count("."), default=domain)
    at = next((name for name in (domain, organisation, *found) if name in found), "")
    return Walk(domain, organisation, at, (found[at],) if at else (), trouble, repeated)


def _way_up(domain: str) -> Iterator[str]:
    yield domain
    labels = domain.split(".")
    first = max(1, len(labels) - _MOST_LABELS)
    for start in range(first, len(labels)):
        yield ".".join(labels[start:])


def _below(upper: str, domain: str) -> str:
    return ".".join(domain.split(".")[-upper.count(".") - 2 :])


def is_dmarc(text: str) -> bool:
    """Whether a TXT record is a DMARC record: it begins with the version, exactly (RFC 9989 section 4.8)."""
    name, equals, rest = text.partition("=")
    return bool(equals) and name.strip() == "v" and rest.partition(";")[0].strip() == "DMARC1"


def _read(text: str) -> dict[str, str]:
    try:
        return tags(text)
    except TagError:
        return {}


def audit_dmarc(domain: str, envelope: str, selectors: Sequence[Selector]) -> Asking[list[Finding]]:
    """Judge the record that applies to a From domain, and whether SPF or DKIM can align with it.

    `envelope` is the domain of its envelope senders, which SPF authenticates.
    """
    walk = yield from walk_up(domain)
    if walk.trouble and not walk.at:
        return [unchecked(Check.DMARC, domain, walk.trouble)]
    if several := walk.repeated.get(domain) or (not walk.at and next(iter(walk.repeated.values()), ())):
        at = domain if domain in walk.repeated else next(iter(walk.repeated))
        says = f"There are {len(several)} DMARC records at _dmarc.{at}, so none counts. Keep one."
        why = f"RFC 9989 section 4.10. {_WHY}"
        return [_finding(Result.PROBLEM, domain, says, several, why, txt(f"_dmarc.{at}", several[0]))]
    if not walk.at:
        says = f"There is no DMARC record for {domain}, nor above it."
        publish = txt(f"_dmarc.{domain}", f"{VERSION}; p=none; rua=mailto:dmarc@{domain}")
        return [_finding(Result.PROBLEM, domain, says, (), _WHY, publish)]
    found = _of_record(walk)
    if found and found[0].result is Result.PROBLEM:
        return found
    record = tags(walk.record)
    found += yield from _of_alignment(walk, record, envelope, selectors)
    found += yield from _of_reports(walk, record)
    if all(finding.result is not Result.PROBLEM for finding in found):
        policy = _policy(walk, record)
        found.append(_finding(Result.OK, domain, f"The policy is {policy}, by _dmarc.{walk.at}.", walk.records, ""))
    return found


def _policy(walk: Walk, record: dict[str, str]) -> str:
    """What receivers are asked to do with mail of this domain that fails; a missing p is none (RFC 9989)."""
    inherited = walk.at != walk.domain and record.get("sp", "").lower() in _POLICIES
    return (record["sp"] if inherited else record.get("p", "none")).lower()


def _of_record(walk: Walk) -> list[Finding]:
    """What is wrong or weak in the record itself."""
    name, text = f"_dmarc.{walk.at}", walk.record
    try:
        record = tags(text)
    except TagError as error:
        publish = txt(name, f"{VERSION}; p=none; rua=mailto:dmarc@{walk.at}")
        says = f"The DMARC record cannot be read: {error}."
        return [_finding(Result.PROBLEM, walk.domain, says, (text,), _WHY, publish)]
    for tag in ("p", "sp", "np"):
        if tag in record and record[tag].lower() not in _POLICIES:
            says = f"{tag}={record[tag][:20]} is no policy: receivers take the record for p=none, or for no record."
            why = f"RFC 9989 section 4.7. {_WHY}"
            return [_finding(Result.PROBLEM, walk.domain, says, (text,), why, txt(name, with_tag(text, tag, "none")))]
    if "p" not in record and "rua" not in record:
        says = "The record has neither a policy (p=) nor an address for reports: older receivers take it for none."
        why = f"RFC 7489 section 6.6.3. {_WHY}"
        return [_finding(Result.PROBLEM, walk.domain, says, (text,), why, txt(name, with_tag(text, "p", "none")))]
    found: list[Finding] = []

    def advise(says: str, why: str, publish: str) -> None:
        found.append(_finding(Result.ADVICE, walk.domain, says, (text,), why, txt(name, publish)))

    if _policy(walk, record) == "none":
        tag = "sp" if walk.at != walk.domain and "sp" in record else "p"
        advise(
            "The policy is none: receivers report mail that fails, and take it all the same.",
            "It is enough for the bulk sender rules. Once the reports show your own mail aligned, ask for quarantine.",
            with_tag(text, tag, "quarantine"),
        )
    if record.get("t", "n").lower() == "y":
        advise(
            "The record is marked as a test (t=y): a milder policy than the one written is applied.",
            "RFC 9989 section 4.7.",
            without_tag(text, "t"),
        )
    if record.get("pct", "100") != "100":
        advise(
            f"The policy is for {record['pct'][:4]} % of the mail only (pct), which RFC 9989 has abolished.",
            "Some receivers still apply it, and others ignore it.",
            without_tag(text, "pct"),
        )
    return found


def _of_alignment(
    walk: Walk, record: dict[str, str], envelope: str, selectors: Sequence[Selector]
) -> Asking[list[Finding]]:
    """Mail passes where the envelope sender's or a signature's domain is the From domain, or of one organisation."""
    signed = dict.fromkeys(selector.domain for selector in selectors)
    strict = {"spf": record.get("aspf", "r").lower() == "s", "dkim": record.get("adkim", "r").lower() == "s"}
    for kind, name in [("spf", envelope), *(("dkim", name) for name in signed)]:
        if name == walk.domain:
            return []
        if strict[kind]:
            continue
        other = yield from walk_up(name)
        if other.organisation == walk.organisation:
            return []
        if trouble := walk.trouble or other.trouble:
            return [unchecked(Check.DMARC, walk.domain, trouble)]
    if not signed:
        why = f"its envelope senders are of {envelope}, which does not align, and no DKIM selector is known"
        return [unchecked(Check.DMARC, walk.domain, why)]
    modes = "strict" if all(strict.values()) else "relaxed" if not any(strict.values()) else "partly strict"
    says = (
        f"No mail of {walk.domain} can pass: envelope senders are of {envelope}, signatures of {', '.join(signed)}, "
        f"and neither aligns with it ({modes})."
    )
    publish = txt(f"{next(iter(selectors)).name}._domainkey.{walk.domain}", "v=DKIM1; k=rsa; p=<your public key>")
    why = "SPF or DKIM must pass for the From domain's own organisation (RFC 9989 section 4.4). Sign with d= of it."
    return [_finding(Result.PROBLEM, walk.domain, says, walk.records, why, publish)]


def _of_reports(walk: Walk, record: dict[str, str]) -> Asking[list[Finding]]:
    """Whether somebody gets the reports: another organisation must have agreed to it (RFC 9990 section 4)."""
    addresses = [part.strip() for part in record.get("rua", "").split(",") if part.strip()]
    name = f"_dmarc.{walk.at}"
    if not addresses:
        says = "Nobody gets the reports (no rua=)."
        publish = txt(name, with_tag(walk.record, "rua", f"mailto:dmarc@{walk.at}"))
        why = "Reports show who sends in your name, and which of your own servers fail."
        return [_finding(Result.ADVICE, walk.domain, says, walk.records, why, publish)]
    found: list[Finding] = []
    for address in addresses:
        scheme, colon, target = address.partition(":")
        host = target.partition("!")[0].rpartition("@")[2].lower().rstrip(".")
        if scheme.lower() != "mailto" or not colon or not host or "@" not in target:
            says = f"{address[:80]} is no address for reports: it must begin with mailto:."
            publish = txt(name, with_tag(walk.record, "rua", f"mailto:dmarc@{walk.at}"))
            found.append(_finding(Result.ADVICE, walk.domain, says, walk.records, "RFC 9990.", publish))
            continue
        if host == walk.organisation or host.endswith(f".{walk.organisation}"):
            continue
        agreed = f"{walk.at}._report._dmarc.{host}"
        reply = yield Question(agreed, "TXT")
        if reply.trouble:
            found.append(unchecked(Check.DMARC, agreed, reply.trouble))
        elif not any(is_dmarc(text) for text in reply.records):
            says = f"{host} has not agreed to get reports about {walk.at}: they are not sent there."
            why = "RFC 9990 section 4: whoever runs that domain publishes this."
            found.append(_finding(Result.ADVICE, walk.domain, says, walk.records, why, txt(agreed, VERSION)))
    return found


def _finding(result: Result, domain: str, says: str, seen: Sequence[str], why: str, *publish: str) -> Finding:
    return Finding(
        check=Check.DMARC, result=result, about=domain, says=says, seen=tuple(seen), why=why, publish=publish
    )
