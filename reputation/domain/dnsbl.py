"""DNS blocklists: what a list is, the name to ask it, its test points. Names and test points by RFC 5782."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from fnmatch import fnmatchcase

LISTED_V4, CLEAR_V4 = "127.0.0.2", "127.0.0.1"  # RFC 5782 section 5
LISTED_V6, CLEAR_V6 = "::ffff:7f00:2", "::ffff:7f00:1"
LISTED_DOMAIN, CLEAR_DOMAIN = "TEST", "INVALID"
KEY_PLACE = "{key}"
# Networks that no list can know: RFC 1918, 3927, 4193, 4291, 6598. Python's is_private takes documentation's along.
_LOCAL = [
    ipaddress.ip_network(text)
    for text in (
        *("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "169.254.0.0/16", "127.0.0.0/8"),
        *("0.0.0.0/8", "fc00::/7", "fe80::/10", "::1/128"),
    )
]


class ZoneKind(StrEnum):
    """What a list is asked about, and whether to be on it is bad."""

    IP = "ip"
    DOMAIN = "domain"
    ALLOW_IP = "allow_ip"
    ALLOW_DOMAIN = "allow_domain"

    @property
    def is_allow(self) -> bool:
        """Whether to be on the list is good."""
        return self in (ZoneKind.ALLOW_IP, ZoneKind.ALLOW_DOMAIN)

    @property
    def is_of_ips(self) -> bool:
        """Whether IPs are asked about, and not domains."""
        return self in (ZoneKind.IP, ZoneKind.ALLOW_IP)


class Match(StrEnum):
    """How an answer's address is read."""

    EXACT = "exact"
    """By the table of answers."""
    BITMASK = "bitmask"
    """Each bit of the last octet is a list."""
    ANY = "any"
    """Every 127.x.y.z that is not an error."""
    DNSWL = "dnswl"
    """127.0.{category}.{trust}, as dnswl.org has it."""


class Severity(StrEnum):
    """How much a listing hurts, from least to most."""

    INFO = "info"
    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"
    CRITICAL = "critical"


class Result(StrEnum):
    """What one look at a list said."""

    LISTED = "listed"
    CLEAN = "clean"
    ERROR = "error"


class ErrorKind(StrEnum):
    """Why a look said nothing."""

    TIMEOUT = "timeout"
    SERVFAIL = "servfail"
    REFUSED = "refused"
    NETWORK = "network"
    BAD = "bad"
    """The question cannot be asked, or the answer not be read."""
    BLOCKED = "blocked"
    """The list answered that we may not ask."""
    UNKNOWN_CODE = "unknown_code"
    """An answer that the list's documentation does not have."""
    OUTSIDE = "outside"
    """An answer outside 127.0.0.0/8: a parked domain or a resolver that invents answers."""
    CANARY = "canary"
    """The list fails its own test points: it lists nothing, or everything."""


@dataclass(frozen=True, slots=True)
class Code:
    """What a listing answer means."""

    meaning: str
    severity: Severity = Severity.MEDIUM
    sublist: str = ""


@dataclass(frozen=True, slots=True)
class Zone:
    """A list as the checker needs it. `suffix` may hold the operator's key: it is for DNS alone."""

    name: str
    suffix: str = field(repr=False)
    kind: ZoneKind = ZoneKind.IP
    match: Match = Match.EXACT
    families: frozenset[int] = frozenset({4})
    """IP versions, 4 and 6; of no meaning for lists of domains."""
    listed: Mapping[str, Code] = field(default_factory=dict)
    not_listed: Mapping[str, str] = field(default_factory=dict)
    """Answers that are no listing: a sentence, which begins with "error:" where the query was refused."""
    bits: Mapping[int, Code] = field(default_factory=dict)
    informational_bits: Mapping[int, str] = field(default_factory=dict)
    test_listed: tuple[str, ...] = ()
    """What must be listed, where it is not RFC 5782's test point."""
    test_clear: tuple[str, ...] = ()

    def takes(self, subject: str) -> bool:
        """Whether this list may be asked about that IP or domain."""
        version = ip_version(subject)
        if self.kind.is_of_ips:
            return version in self.families
        return version is None and not subject.startswith("[")


@dataclass(frozen=True, slots=True)
class Reading:
    """What one look at a list means."""

    result: Result
    error: ErrorKind | None = None
    detail: str = ""
    """For people: why it is an error, or what a harmless answer means."""
    codes: tuple[str, ...] = ()
    """The answers, as they came."""
    sublists: tuple[str, ...] = ()
    meaning: str = ""
    severity: Severity = Severity.INFO
    text: str = ""
    """The list's own words (TXT)."""


def ip_version(subject: str) -> int | None:
    """4 or 6; None for what is no IP."""
    try:
        return ipaddress.ip_address(subject).version
    except ValueError:
        return None


def is_public(subject: str) -> bool:
    """Whether a list could know this IP or domain at all: private and link-local addresses are nobody's business."""
    try:
        address = ipaddress.ip_address(subject)
    except ValueError:
        return "." in subject and not subject.startswith("[")
    return not any(address in network for network in _LOCAL)


def query_name(subject: str, suffix: str) -> str:
    """The name to ask for an IP (octets or nibbles backwards, RFC 5782 section 2) or a domain. Raises ValueError."""
    try:
        address = ipaddress.ip_address(subject)
    except ValueError:
        if not subject or subject.startswith("["):
            raise ValueError("Neither an IP nor a domain.") from None
        return f"{subject}.{suffix}"
    if isinstance(address, ipaddress.IPv4Address):
        return ".".join([*reversed(subject.split(".")), suffix])
    return ".".join([*reversed(address.exploded.replace(":", "")), suffix])


def canaries(zone: Zone, family: int | None) -> tuple[str, str]:
    """What must be listed and what must not, for the IP version (None: domains)."""
    listed, clear = {
        4: (LISTED_V4, CLEAR_V4),
        6: (LISTED_V6, CLEAR_V6),
        None: (LISTED_DOMAIN, CLEAR_DOMAIN),
    }[family]
    return _of_family(zone.test_listed, family) or listed, _of_family(zone.test_clear, family) or clear


def _of_family(entries: Iterable[str], family: int | None) -> str:
    return next((entry for entry in entries if ip_version(entry) == family), "")


def dead_pattern(suffix: str, patterns: Mapping[str, str]) -> str:
    """The pattern of a dead zone that this name falls under ("*.sorbs.net" takes sorbs.net too); "" for none."""
    name = suffix.lower().strip(".")
    return next(
        (
            pattern
            for pattern in patterns
            if fnmatchcase(name, pattern)
            or name == pattern.removeprefix("*.")
            or name.endswith(f".{pattern.removeprefix('*.')}")
        ),
        "",
    )
