"""What an answer of a blocklist means.

An answer is believed only where the list's operator documents it: any other code is an error and never a listing.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence

from reputation.domain.dnsbl import Code, ErrorKind, Match, Reading, Result, Severity, Zone

LOOPBACK = ipaddress.ip_network("127.0.0.0/8")
# Answers that large operators keep for "you may not ask": never a listing, whatever a list's own table says.
ERRORS = ipaddress.ip_network("127.255.255.0/24")
_ERROR_WORDS = {
    "127.255.255.252": "typo in the zone name",
    "127.255.255.254": "query came through a public resolver",
    "127.255.255.255": "too many queries",
}
_ERROR_PREFIX = "error:"
_TRUST = ("none", "low", "medium", "high")  # dnswl.org: 127.0.{category}.{trust}
_ORDER = list(Severity)


def read(zone: Zone, outcome: str, records: Sequence[str]) -> Reading:
    """What the outcome of an A question ("answer", "nxdomain", "timeout" …) and its records mean for this list."""
    if outcome in ("nxdomain", "nodata"):
        return Reading(Result.CLEAN)
    if outcome != "answer":
        return failed(ErrorKind(outcome))
    codes = tuple(sorted(records, key=_by_number))
    wrong = next((code for code in codes if not _is_loopback(code)), None)
    if wrong is not None:
        return failed(ErrorKind.OUTSIDE, f"It answered {wrong}, which is no code of a blocklist", codes)
    for code in codes:
        if refusal := _refusal(zone, code):
            return failed(ErrorKind.BLOCKED, f"{code}: {refusal}", codes)
    meanings = [(code, _meaning(zone, code)) for code in codes]
    hits = [hit for _, hit in meanings if isinstance(hit, Code)]
    if hits:
        return Reading(
            Result.LISTED,
            codes=codes,
            sublists=tuple(dict.fromkeys(hit.sublist for hit in hits if hit.sublist)),
            meaning="; ".join(dict.fromkeys(hit.meaning for hit in hits if hit.meaning)),
            severity=max((hit.severity for hit in hits), key=_ORDER.index),
        )
    unknown = next((code for code, hit in meanings if hit is None), None)
    if unknown is not None:
        return failed(ErrorKind.UNKNOWN_CODE, f"It answered {unknown}, which its documentation does not have", codes)
    return Reading(Result.CLEAN, detail="; ".join(str(hit) for _, hit in meanings), codes=codes)


def failed(kind: ErrorKind, detail: str = "", codes: tuple[str, ...] = ()) -> Reading:
    """A look that said nothing."""
    return Reading(Result.ERROR, kind, detail or _ERROR_SENTENCES.get(kind, kind.value), codes)


_ERROR_SENTENCES = {
    ErrorKind.TIMEOUT: "No answer in time",
    ErrorKind.SERVFAIL: "Its name servers or the resolver failed (SERVFAIL)",
    ErrorKind.REFUSED: "The question was refused (REFUSED)",
    ErrorKind.NETWORK: "The DNS server cannot be reached",
    ErrorKind.BAD: "The question cannot be asked, or the answer cannot be read",
}


def canary_verdict(zone: Zone, listed: Reading, clear: Reading) -> Reading | None:
    """None where the list may be believed, else why not, from the answers about its two test points."""
    for reading in (listed, clear):
        # A test entry may carry any code, also one that no table has; but "you may not ask" is no proof of life.
        if reading.result is Result.ERROR and reading.error is not ErrorKind.UNKNOWN_CODE:
            return Reading(Result.ERROR, reading.error, f"Test point: {reading.detail}", reading.codes)
    if listed.result is Result.CLEAN and not listed.codes:
        return failed(ErrorKind.CANARY, "It does not list its own test point: the list is dead, or answers us nothing")
    if clear.result is Result.LISTED or clear.error is ErrorKind.UNKNOWN_CODE:
        return failed(ErrorKind.CANARY, "It lists what nobody lists: the list is dead and names everything")
    return None


def _meaning(zone: Zone, code: str) -> Code | str | None:
    """The listing that this code is, or why it is none, or None for a code nobody documents."""
    if code in zone.not_listed:
        return zone.not_listed[code]
    octets = [int(octet) for octet in code.split(".")]
    if zone.match is Match.ANY:
        return zone.listed.get(code) or Code("listed")
    if zone.match is Match.DNSWL:
        if octets[1] != 0 or octets[3] >= len(_TRUST):
            return None
        return Code(f"trust {_TRUST[octets[3]]}", Severity.INFO, f"category {octets[2]}")
    if zone.match is Match.BITMASK:
        return _bits(zone, octets[3]) if octets[1:3] == [0, 0] else None
    return zone.listed.get(code)


def _bits(zone: Zone, octet: int) -> Code | str | None:
    hits = [code for bit, code in zone.bits.items() if octet & bit]
    if hits:
        return Code(
            "; ".join(hit.meaning for hit in hits),
            max((hit.severity for hit in hits), key=_ORDER.index),
            ", ".join(hit.sublist for hit in hits if hit.sublist),
        )
    return "; ".join(text for bit, text in zone.informational_bits.items() if octet & bit) or None


def _refusal(zone: Zone, code: str) -> str:
    said = zone.not_listed.get(code, "")
    if said.startswith(_ERROR_PREFIX):
        return said.removeprefix(_ERROR_PREFIX).strip()
    if ipaddress.ip_address(code) in ERRORS:
        return said or _ERROR_WORDS.get(code, "the query was not answered")
    return ""


def _is_loopback(code: str) -> bool:
    try:
        return ipaddress.ip_address(code) in LOOPBACK
    except ValueError:
        return False


def _by_number(code: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", code))
