"""What receivers see of a sending IP first: its PTR record, whether that is true, and the HELO name."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Final

from reputation.domain.audit.asking import Asking, Question, Reply
from reputation.domain.audit.findings import Check, Finding, Result, unchecked

# Names are gone through up to here, as receivers do (RFC 7208 section 5.5 has the same limit).
_MOST_NAMES: Final = 10
_WHY: Final = "Gmail and others refuse mail from IPs without a PTR record whose name leads back to the IP (FCrDNS)."
_DIAL_UP: Final = re.compile(r"(?:^|[.-])(?:dyn|dynamic|dhcp|dsl|adsl|vdsl|dial|dialup|ppp|pool|cable)\d*(?=[.-])")


@dataclass(frozen=True, slots=True)
class Reverse:
    """What an IP's names are, for the checks that build on it."""

    names: tuple[str, ...]
    findings: tuple[Finding, ...]


def audit_reverse(ip: str, *, suggested: str) -> Asking[Reverse]:
    """Look at the PTR records of an IP; `suggested` is the name to publish where there is none."""
    pointer = ip_address(ip).reverse_pointer
    reply = yield Question(pointer, "PTR")
    if reply.trouble:
        trouble = f"{pointer} PTR: {reply.trouble}"
        return Reverse((), (unchecked(Check.PTR, ip, trouble), unchecked(Check.FORWARD_CONFIRMED, ip, trouble)))
    if not reply.records:
        publish = (f"{pointer}. IN PTR {suggested}.", forward(suggested, ip))
        says = f"{ip} has no PTR record."
        whose = f"{_WHY} Whoever leases you the IP publishes it for you, or delegates the zone to you."
        none = _finding(Check.PTR, Result.PROBLEM, ip, says, (), whose, *publish)
        unconfirmed = "There is no name that could lead back to the IP."
        return Reverse(
            (), (none, _finding(Check.FORWARD_CONFIRMED, Result.PROBLEM, ip, unconfirmed, (), _WHY, *publish))
        )
    found = [_finding(Check.PTR, Result.OK, ip, f"{ip} is {', '.join(reply.names)}.", _lines(pointer, reply), "")]
    if generic := [name for name in reply.names if _is_generic(name, ip)]:
        says = f"{generic[0]} looks like the name of a customer's line, not of a mail server."
        publish = (f"{pointer}. IN PTR {suggested}.", forward(suggested, ip))
        why = "Receivers and blocklists take such names for dial-up lines."
        found.append(_finding(Check.PTR, Result.ADVICE, ip, says, _lines(pointer, reply), why, *publish))
    found.append((yield from _confirmed(ip, pointer, reply)))
    return Reverse(reply.names, tuple(found))


def _confirmed(ip: str, pointer: str, reply: Reply) -> Asking[Finding]:
    """Whether one of the names leads back to the IP (RFC 8601 section 3, iprev)."""
    seen, trouble = list(_lines(pointer, reply)), ""
    for name in reply.names[:_MOST_NAMES]:
        back = yield Question(name, _address_type(ip))
        trouble = trouble or (f"{name} {_address_type(ip)}: {back.trouble}" if back.trouble else "")
        seen += [f"{name}. IN {_address_type(ip)} {record}" for record in back.records]
        if ip in _canonical(back.records):
            says = f"{name} leads back to {ip}."
            return _finding(Check.FORWARD_CONFIRMED, Result.OK, ip, says, tuple(seen), "")
    if trouble:
        return unchecked(Check.FORWARD_CONFIRMED, ip, trouble)
    says = f"{reply.names[0]} does not lead back to {ip}."
    return _finding(Check.FORWARD_CONFIRMED, Result.PROBLEM, ip, says, tuple(seen), _WHY, forward(reply.names[0], ip))


def audit_helo(ip: str, names: Sequence[str], reverse: Sequence[str]) -> Asking[list[Finding]]:
    """Whether the names that a server says in EHLO lead to its IP; they should be its PTR names too."""
    if not names:
        return [unchecked(Check.HELO, ip, "the name that the server says in EHLO is not known; enter it")]
    found: list[Finding] = []
    for name in names:
        reply = yield Question(name, _address_type(ip))
        seen = tuple(f"{name}. IN {_address_type(ip)} {record}" for record in reply.records)
        if "." not in name:
            says = f"“{name}” is not a full host name."
            why = "RFC 5321 section 4.1.1.1 wants the name of the host in EHLO."
            found.append(_finding(Check.HELO, Result.PROBLEM, ip, says, seen, why))
        elif reply.trouble:
            found.append(unchecked(Check.HELO, ip, f"{name} {_address_type(ip)}: {reply.trouble}"))
        elif ip not in _canonical(reply.records):
            says = f"The EHLO name {name} does not lead to {ip}."
            why = "RFC 5321 section 4.1.1.1; receivers compare the EHLO name with the IP."
            found.append(_finding(Check.HELO, Result.PROBLEM, ip, says, seen, why, forward(name, ip)))
        elif reverse and name not in reverse:
            says = f"The EHLO name {name} is another one than the PTR record's {reverse[0]}."
            why = "Receivers trust it more where EHLO name, PTR record and address record are one circle."
            publish = f"{ip_address(ip).reverse_pointer}. IN PTR {name}."
            found.append(_finding(Check.HELO, Result.ADVICE, ip, says, seen, why, publish))
        else:
            found.append(_finding(Check.HELO, Result.OK, ip, f"{name} leads to {ip}.", seen, ""))
    return found


def forward(name: str, ip: str) -> str:
    """The address record that leads from a name to an IP."""
    return f"{name}. IN {_address_type(ip)} {ip}"


def _address_type(ip: str) -> str:
    return "A" if ip_address(ip).version == 4 else "AAAA"


def _canonical(records: Sequence[str]) -> set[str]:
    return {ip_address(record).compressed for record in records}


def _lines(pointer: str, reply: Reply) -> tuple[str, ...]:
    return tuple(f"{pointer}. IN PTR {name}." for name in reply.names)


def _is_generic(name: str, ip: str) -> bool:
    """Whether a host name holds the whole IPv4 address, or a word for a customer's line."""
    if _DIAL_UP.search(name):
        return True
    octets = ip.split(".")
    orders = (octets, octets[::-1]) if len(octets) == 4 else ()
    return any(mark.join(order) in name for order in orders for mark in ".-_")


def _finding(
    check: Check, result: Result, ip: str, says: str, seen: tuple[str, ...], why: str, *publish: str
) -> Finding:
    return Finding(check=check, result=result, about=ip, says=says, seen=seen, why=why, publish=publish)
