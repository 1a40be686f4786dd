"""SPF records: the grammar of RFC 7208 section 12, macros (section 7) included."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import partial
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network
from typing import Final
from urllib.parse import quote

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

VERSION: Final = "v=spf1"
# Each of these costs one of the ten lookups (section 4.6.4); so does the modifier redirect.
LOOKUPS: Final = frozenset({"include", "a", "mx", "ptr", "exists"})
_NEEDS_NAME: Final = frozenset({"include", "exists"})
_MAY_HAVE_CIDR: Final = frozenset({"a", "mx"})
_MECHANISMS: Final = LOOKUPS | {"all", "ip4", "ip6"}
_MODIFIER: Final = re.compile(r"([A-Za-z][A-Za-z0-9_.-]*)=(.*)", re.DOTALL)
_DIRECTIVE: Final = re.compile(r"([+\-?~]?)([A-Za-z0-9_.-]+)([:/].*)?", re.DOTALL)
_DUAL_CIDR: Final = re.compile(r"(?:/(0|[1-9]\d?))?(?://(0|[1-9]\d{0,2}))?$")
_MACRO: Final = re.compile(r"%\{([A-Za-z])(\d{0,3})([rR]?)([.\-+,/_=]*)\}")
_LITERAL: Final = re.compile(r"[\x21-\x24\x26-\x7e]*")
# The last label of a name: letters, digits and inner dashes, and not digits alone.
_TOP_LABEL: Final = re.compile(r"(?=.*[A-Za-z-])[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?")
_LONGEST_NAME: Final = 253


class SpfError(Exception):
    """The record does not follow the grammar: a permanent error (section 4.6). The message names the term."""


@dataclass(frozen=True, slots=True)
class Mechanism:
    """One directive."""

    qualifier: str
    """+ - ~ ?"""
    name: str
    target: str = ""
    """The domain as written, macros and all; empty: the domain that is checked."""
    prefix4: int = 32
    prefix6: int = 128
    network: Network | None = None
    """Of ip4 and ip6."""
    text: str = ""
    """As written."""


@dataclass(frozen=True, slots=True)
class Record:
    """A parsed record."""

    text: str
    mechanisms: tuple[Mechanism, ...]
    redirect: str = ""

    @property
    def all(self) -> Mechanism | None:
        """The first `all`; nothing after it is ever looked at."""
        return next((entry for entry in self.mechanisms if entry.name == "all"), None)

    @property
    def lookups(self) -> int:
        """How many of its own terms cost a lookup when all are gone through."""
        terms = [entry for entry in self.mechanisms if entry.name in LOOKUPS]
        return len(terms) + (1 if self.redirect and self.all is None else 0)


def is_spf(text: str) -> bool:
    """Whether a TXT record is an SPF record: its first word is the version, and whole (section 4.5)."""
    return text[: len(VERSION)].lower() == VERSION and text[len(VERSION) : len(VERSION) + 1] in ("", " ")


def parse(text: str) -> Record:
    """The record's terms. Raises SpfError."""
    mechanisms: list[Mechanism] = []
    modifiers: dict[str, str] = {}
    for term in text[len(VERSION) :].split(" "):
        if not term:
            continue
        modifier = _MODIFIER.fullmatch(term)
        if modifier is None:
            mechanisms.append(_mechanism(term))
            continue
        name, value = modifier[1].lower(), modifier[2]
        if name in ("redirect", "exp"):
            if name in modifiers:
                raise SpfError(f"{name} is there twice")
            _check_name(value, term)
            modifiers[name] = value
        else:
            _check_macros(value, term, letters="slodiphcrtv")
    return Record(text, tuple(mechanisms), modifiers.get("redirect", ""))


def _mechanism(term: str) -> Mechanism:
    match = _DIRECTIVE.fullmatch(term)
    name = match[2].lower() if match else ""
    if match is None or name not in _MECHANISMS:
        raise SpfError(f"“{term[:60]}” is no term of SPF")
    qualifier, rest = match[1] or "+", match[3] or ""
    if name == "all":
        if rest:
            raise SpfError(f"“{term[:60]}”: all stands alone")
        return Mechanism(qualifier, name, text=term)
    if name in ("ip4", "ip6"):
        return Mechanism(qualifier, name, network=_network(name, rest, term), text=term)
    prefix4, prefix6 = 32, 128
    if name in _MAY_HAVE_CIDR:
        cidr = _DUAL_CIDR.search(rest)
        assert cidr is not None  # it may be empty
        prefix4, prefix6 = int(cidr[1]) if cidr[1] else 32, int(cidr[2]) if cidr[2] else 128
        rest = rest[: cidr.start()]
        if prefix4 > 32 or prefix6 > 128:
            raise SpfError(f"“{term[:60]}”: the prefix is too long")
    target = rest.removeprefix(":")
    if rest and (not rest.startswith(":") or not target):
        raise SpfError(f"“{term[:60]}” is not understood after {name}")
    if name in _NEEDS_NAME and not target:
        raise SpfError(f"“{term[:60]}” names no domain")
    if target:
        _check_name(target, term)
    return Mechanism(qualifier, name, target, prefix4, prefix6, text=term)


def _network(name: str, rest: str, term: str) -> Network:
    kind: type[Network] = IPv4Network if name == "ip4" else IPv6Network
    address, slash, prefix = rest.removeprefix(":").partition("/")
    if not rest.startswith(":") or (slash and not re.fullmatch(r"0|[1-9]\d{0,2}", prefix)) or "%" in address:
        raise SpfError(f"“{term[:60]}” is no network")
    try:
        return kind(rest[1:], strict=False)
    except ValueError:
        raise SpfError(f"“{term[:60]}” is no network of {'IPv4' if name == 'ip4' else 'IPv6'}") from None


def _check_name(spec: str, term: str) -> None:
    """A domain-spec: macros and literals that end in a macro or in a top label (section 7.1)."""
    _check_macros(spec, term, letters="slodiphv")
    if spec.endswith("}") and _MACRO.search(spec):
        return
    head, dot, top = spec.rstrip(".").rpartition(".")
    if not dot or not head or not _TOP_LABEL.fullmatch(top):
        raise SpfError(f"“{term[:60]}” names no domain")


def _check_macros(spec: str, term: str, *, letters: str) -> None:
    for escape in ("%%", "%_", "%-"):
        spec = spec.replace(escape, "")
    for macro in _MACRO.finditer(spec):
        if macro[1].lower() not in letters or (macro[2] and int(macro[2]) == 0):
            raise SpfError(f"“{term[:60]}” holds the unknown macro {macro[0]}")
    if not _LITERAL.fullmatch(_MACRO.sub("", spec)):
        raise SpfError(f"“{term[:60]}” holds a stray % or a character that is not allowed")


@dataclass(frozen=True, slots=True)
class Envelope:
    """What macros stand for."""

    ip: Address
    sender: str
    """The domain of the envelope sender; its local part is postmaster (section 4.3)."""
    helo: str


def expand(spec: str, domain: str, envelope: Envelope) -> str:
    """The name that a domain-spec stands for, without the closing dot; too long ones lose labels on the left."""
    text = _MACRO.sub(partial(_value, domain=domain, envelope=envelope), spec)
    text = text.replace("%_", " ").replace("%-", "%20").replace("%%", "%").rstrip(".").lower()
    while len(text) > _LONGEST_NAME and "." in text:
        text = text.partition(".")[2]
    return text


def _value(macro: re.Match[str], domain: str, envelope: Envelope) -> str:
    ip = envelope.ip
    values = {
        "s": f"postmaster@{envelope.sender}",
        "l": "postmaster",
        "o": envelope.sender,
        "d": domain,
        "i": str(ip) if ip.version == 4 else ".".join(ip.exploded.replace(":", "")),
        # Section 7.3 lets it be "unknown", and advises nobody to use it.
        "p": "unknown",
        "v": "in-addr" if ip.version == 4 else "ip6",
        "h": envelope.helo or envelope.sender,
    }
    letter, digits, reverse, delimiters = macro.groups()
    parts = re.split(f"[{re.escape(delimiters or '.')}]", values[letter.lower()])
    parts = parts[::-1] if reverse else parts
    value = ".".join(parts[-int(digits) :] if digits else parts)
    return quote(value, safe="-._~") if letter.isupper() else value


def within(ip: Address, network_of: Address, mechanism: Mechanism) -> bool:
    """Whether the IP lies in the mechanism's network around an address of the same version."""
    if ip.version != network_of.version:
        return False
    prefix = mechanism.prefix4 if ip.version == 4 else mechanism.prefix6
    return ip in ip_network(f"{network_of}/{prefix}", strict=False)


def allow(ip: Address) -> str:
    """The mechanism that names one address."""
    return f"ip{ip.version}:{ip.compressed}"


def with_ips(text: str, ips: list[Address]) -> str:
    """The record with these addresses named, after those that stand at its beginning, so nothing decides before."""
    words = text.split()
    place = 1
    while place < len(words) and re.match(r"\+?ip[46]:", words[place], re.IGNORECASE):
        place += 1
    return " ".join([*words[:place], *(allow(ip) for ip in ips), *words[place:]])
