"""SPF as a receiver evaluates it: check_host() of RFC 7208 section 4, with its limits, and with a trace of the way."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from ipaddress import ip_address
from typing import Final

from reputation.domain.audit.asking import Asking, Question, Reply
from reputation.domain.audit.spf_record import (
    LOOKUPS,
    Address,
    Envelope,
    Mechanism,
    Record,
    SpfError,
    expand,
    is_spf,
    parse,
    within,
)

# Section 4.6.4: terms that ask DNS, per evaluation; terms whose question has no answer; names of one mx or ptr.
MOST_LOOKUPS: Final = 10
MOST_VOIDS: Final = 2
MOST_NAMES: Final = 10
# A survey goes on past the limits, to tell by how much they are exceeded; a loop ends it here.
_SURVEYED: Final = 60


class Verdict(StrEnum):
    """What check_host() answers (section 2.6)."""

    NONE = "none"
    NEUTRAL = "neutral"
    PASS = "pass"  # noqa: S105  # a verdict
    FAIL = "fail"
    SOFTFAIL = "softfail"
    TEMPERROR = "temperror"
    PERMERROR = "permerror"


_BY_QUALIFIER: Final = {"+": Verdict.PASS, "-": Verdict.FAIL, "~": Verdict.SOFTFAIL, "?": Verdict.NEUTRAL}


@dataclass(slots=True)
class Evaluation:
    """One evaluation, and what was met on the way."""

    verdict: Verdict = Verdict.NONE
    why: str = ""
    """The term that matched, or what went wrong."""
    lookups: int = 0
    voids: list[str] = field(default_factory=list)
    """Terms whose question certainly has no answer."""
    costs: dict[str, int] = field(default_factory=dict)
    """Lookups of each term of the first record, what lies behind it included."""
    records: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Every SPF record that was read, by domain."""
    loop: tuple[str, ...] = ()
    """The domains of a circle of includes, the first one again at its end."""


class _EndError(Exception):
    """The evaluation cannot go on."""

    def __init__(self, verdict: Verdict, why: str) -> None:
        super().__init__(why)
        self.verdict, self.why = verdict, why


def check_host(ip: str, domain: str, *, helo: str = "", survey: bool = False) -> Asking[Evaluation]:
    """Evaluate the domain's SPF record for mail from that IP with an envelope sender of that domain.

    A survey goes past the limits of lookups and void lookups, and so counts what a whole walk costs.
    """
    seen = Evaluation()
    walk = _Walk(Envelope(ip_address(ip), domain, helo), seen, survey)
    try:
        seen.verdict = yield from walk.check(domain, ())
    except _EndError as end:
        seen.verdict, seen.why = end.verdict, end.why
    return seen


class _Walk:
    """The evaluation of one IP; records that include each other share its limits."""

    def __init__(self, envelope: Envelope, seen: Evaluation, survey: bool) -> None:
        self.envelope, self.seen = envelope, seen
        self.most_lookups = _SURVEYED if survey else MOST_LOOKUPS
        self.most_voids = _SURVEYED if survey else MOST_VOIDS

    @property
    def ip(self) -> Address:
        return self.envelope.ip

    def check(self, domain: str, path: tuple[str, ...]) -> Asking[Verdict]:
        """The verdict of one domain's record. Raises _EndError."""
        if domain in path and not self.seen.loop:
            self.seen.loop = (*path[path.index(domain) :], domain)
        record = yield from self._record(domain)
        if record is None:
            self.seen.why = f"{domain} has no SPF record"
            return Verdict.NONE
        for mechanism in record.mechanisms:
            before = self.seen.lookups
            try:
                matches = yield from self._matches(mechanism, domain, path)
            finally:
                self._note_cost(path, mechanism.text, before)
            if matches:
                self.seen.why = f"{mechanism.text} in the record of {domain}"
                return _BY_QUALIFIER[mechanism.qualifier]
        if not record.redirect:
            self.seen.why = f"nothing matches in the record of {domain}"
            return Verdict.NEUTRAL
        term, before = f"redirect={record.redirect}", self.seen.lookups
        self._count(term, domain)
        try:
            verdict = yield from self.check(expand(record.redirect, domain, self.envelope), (*path, domain))
        finally:
            self._note_cost(path, term, before)
        if verdict is Verdict.NONE:
            raise _EndError(Verdict.PERMERROR, f"{term} of {domain}: {self.seen.why}")
        return verdict

    def _note_cost(self, path: Sequence[str], term: str, before: int) -> None:
        if not path and self.seen.lookups > before:
            self.seen.costs[term] = self.seen.lookups - before

    def _record(self, domain: str) -> Asking[Record | None]:
        reply = yield Question(domain, "TXT")
        if reply.trouble:
            raise _EndError(Verdict.TEMPERROR, f"{domain} TXT: {reply.trouble}")
        found = tuple(text for text in reply.records if is_spf(text))
        self.seen.records[domain] = found
        if len(found) > 1:
            raise _EndError(Verdict.PERMERROR, f"{domain} has {len(found)} SPF records")
        if not found:
            return None
        try:
            return parse(found[0])
        except SpfError as error:
            raise _EndError(Verdict.PERMERROR, f"the record of {domain} cannot be read: {error}") from None

    def _matches(self, mechanism: Mechanism, domain: str, path: tuple[str, ...]) -> Asking[bool]:
        if mechanism.name == "all":
            return True
        if mechanism.network is not None:
            return self.ip.version == mechanism.network.version and self.ip in mechanism.network
        assert mechanism.name in LOOKUPS
        self._count(mechanism.text, domain)
        target = expand(mechanism.target, domain, self.envelope) if mechanism.target else domain
        if mechanism.name == "include":
            return (yield from self._includes(mechanism, target, (*path, domain)))
        if mechanism.name == "exists":
            return bool((yield from self._ask(target, "A", mechanism)).records)
        if mechanism.name == "a":
            return (yield from self._is_at(target, mechanism))
        if mechanism.name == "mx":
            return (yield from self._is_mx(target, mechanism, domain))
        return (yield from self._is_named(target, mechanism))

    def _includes(self, mechanism: Mechanism, target: str, path: tuple[str, ...]) -> Asking[bool]:
        verdict = yield from self.check(target, path)
        if verdict is Verdict.NONE:
            raise _EndError(Verdict.PERMERROR, f"{mechanism.text}: {target} has no SPF record")
        return verdict is Verdict.PASS

    def _is_at(self, host: str, mechanism: Mechanism) -> Asking[bool]:
        reply = yield from self._ask(host, "A" if self.ip.version == 4 else "AAAA", mechanism)
        return any(within(self.ip, ip_address(text), mechanism) for text in reply.records)

    def _is_mx(self, target: str, mechanism: Mechanism, domain: str) -> Asking[bool]:
        reply = yield from self._ask(target, "MX", mechanism)
        hosts = [name for text in reply.names if (name := text.split()[-1])]
        if len(hosts) > MOST_NAMES:
            raise _EndError(Verdict.PERMERROR, f"{mechanism.text} of {domain}: {target} has {len(hosts)} MX hosts")
        for host in hosts:
            # A host without an address of this version is no second void lookup of the same term.
            addresses = yield Question(host, "A" if self.ip.version == 4 else "AAAA")
            self._require(addresses, host)
            if any(within(self.ip, ip_address(text), mechanism) for text in addresses.records):
                return True
        return False

    def _is_named(self, target: str, mechanism: Mechanism) -> Asking[bool]:
        """The mechanism ptr (section 5.5): a name of the IP that points back to it and lies below the target."""
        reply = yield Question(self.ip.reverse_pointer, "PTR")
        if reply.trouble:
            return False
        self._note_void(reply, mechanism)
        for name in reply.names[:MOST_NAMES]:
            if name == target or name.endswith(f".{target}"):
                forward = yield Question(name, "A" if self.ip.version == 4 else "AAAA")
                if str(self.ip) in {str(ip_address(text)) for text in forward.records}:
                    return True
        return False

    def _ask(self, name: str, rdtype: str, mechanism: Mechanism) -> Asking[Reply]:
        reply = yield Question(name, rdtype)
        self._require(reply, name)
        self._note_void(reply, mechanism)
        return reply

    def _require(self, reply: Reply, name: str) -> None:
        if reply.trouble:
            raise _EndError(Verdict.TEMPERROR, f"{name}: {reply.trouble}")

    def _note_void(self, reply: Reply, mechanism: Mechanism) -> None:
        if reply.is_void:
            self.seen.voids.append(mechanism.text)
            if len(self.seen.voids) > self.most_voids:
                raise _EndError(Verdict.PERMERROR, f"more than {MOST_VOIDS} terms ask for names that do not exist")

    def _count(self, term: str, domain: str) -> None:
        self.seen.lookups += 1
        if self.seen.lookups > self.most_lookups:
            raise _EndError(Verdict.PERMERROR, f"more than {MOST_LOOKUPS} DNS lookups, at {term} of {domain}")
