"""DKIM key records (RFC 6376 section 3.6.1, RFC 8301 for key lengths, RFC 8463 for Ed25519)."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from reputation.domain.audit.asking import Asking, Question
from reputation.domain.audit.findings import Check, Finding, Result, txt, unchecked
from reputation.domain.audit.tags import TagError, tags, without_tag

LEAST_BITS: Final = 1024
GOOD_BITS: Final = 2048
_ED25519_BYTES: Final = 32
_WHY: Final = (
    "Receivers check the signature with this key (RFC 6376); Gmail and Yahoo want it from everybody who sends "
)
_WANTED: Final = _WHY + "in bulk."
_NEW_KEY: Final = "v=DKIM1; k=rsa; p=<the public half of a new 2048-bit RSA key, in base64>"


@dataclass(frozen=True, slots=True)
class Selector:
    """Where a server's public key is."""

    name: str
    domain: str
    """The d= of its signatures."""

    @property
    def key_name(self) -> str:
        """Where the record is."""
        return f"{self.name}._domainkey.{self.domain}"


class KeyFormatError(Exception):
    """The bytes are no RSA public key."""


def rsa_bits(der: bytes) -> int:
    """The length of an RSA modulus, from a SubjectPublicKeyInfo or a bare RSAPublicKey in DER. KeyFormatError else."""
    outer, _ = _element(der, 0x30)
    if outer[:1] == b"\x30":
        _, rest = _element(outer, 0x30)
        bits, _ = _element(rest, 0x03)
        outer, _ = _element(bits[1:], 0x30)  # the first byte counts unused bits: none
    modulus, _ = _element(outer, 0x02)
    return int.from_bytes(modulus, "big").bit_length()


def _element(data: bytes, tag: int) -> tuple[bytes, bytes]:
    """The content of the first DER element, which must have this tag, and what comes after it."""
    if len(data) < 2 or data[0] != tag:
        raise KeyFormatError
    length, start = data[1], 2
    if length & 0x80:
        start = 2 + (length & 0x7F)
        length = int.from_bytes(data[2:start], "big")
    if len(data) < start + length or not length:
        raise KeyFormatError
    return data[start : start + length], data[start + length :]


def audit_dkim(domain: str, selectors: Sequence[Selector]) -> Asking[list[Finding]]:
    """Look at the key of every selector that the domain is known to sign with."""
    if not selectors:
        return [(yield from _without_selectors(domain))]
    found: list[Finding] = []
    for selector in selectors:
        found += yield from _of_selector(selector)
    return found


def _without_selectors(domain: str) -> Asking[Finding]:
    reply = yield Question(f"_domainkey.{domain}", "TXT")
    if reply.trouble or reply.exists:
        return unchecked(Check.DKIM, domain, "no selector is known; enter those that your server signs with")
    return Finding(
        check=Check.DKIM,
        result=Result.PROBLEM,
        about=domain,
        says=f"No key is published: there is nothing at or below _domainkey.{domain} (NXDOMAIN, RFC 8020).",
        why=_WANTED,
        publish=(txt(f"mail._domainkey.{domain}", _NEW_KEY),),
    )


def _of_selector(selector: Selector) -> Asking[list[Finding]]:
    reply = yield Question(selector.key_name, "TXT")
    if reply.trouble:
        return [unchecked(Check.DKIM, selector.key_name, reply.trouble)]

    def problem(says: str, why: str, *publish: str) -> list[Finding]:
        return [_finding(Result.PROBLEM, selector, says, reply.records, why, *publish)]

    if not reply.records:
        return problem(f"There is no key at {selector.key_name}.", _WANTED, txt(selector.key_name, _NEW_KEY))
    if len(reply.records) > 1:
        return problem(
            f"There are {len(reply.records)} records at {selector.key_name}; keep the one of the key in use.",
            "With several records a receiver takes any of them (RFC 6376 section 3.6.2.2).",
        )
    text = reply.records[0]
    try:
        key = tags(text)
    except TagError as error:
        return problem(f"The key record cannot be read: {error}.", _WANTED, txt(selector.key_name, _NEW_KEY))
    if key.get("v", "DKIM1") != "DKIM1" or ("v" in key and next(iter(key)) != "v"):
        mended = "; ".join(["v=DKIM1", *(f"{name}={value}" for name, value in key.items() if name != "v")])
        return problem(
            "The record does not begin with v=DKIM1.",
            "A record with another version, or with it in another place, is ignored (RFC 6376 section 3.6.1).",
            txt(selector.key_name, mended),
        )
    if "p" not in key:
        return problem("The record holds no key (p=).", _WANTED, txt(selector.key_name, _NEW_KEY))
    if not key["p"]:
        return problem(
            "The key is revoked (p= is empty): signatures with it fail.",
            "RFC 6376 section 3.6.1. Sign with a selector whose key is published, or publish a new key here.",
            txt(selector.key_name, _NEW_KEY),
        )
    return list(_of_key(selector, text, key))


def _of_key(selector: Selector, text: str, key: dict[str, str]) -> list[Finding]:
    found: list[Finding] = []

    def add(result: Result, says: str, why: str, *publish: str) -> None:
        found.append(_finding(result, selector, says, (text,), why, *publish))

    kind = key.get("k", "rsa").lower()
    try:
        material = base64.b64decode("".join(key["p"].split()), validate=True)
        bits = rsa_bits(material) if kind == "rsa" else len(material) * 8
    except (ValueError, KeyFormatError):
        add(Result.PROBLEM, "p= is not a public key.", _WANTED, txt(selector.key_name, _NEW_KEY))
        return found
    if kind == "ed25519":
        if len(material) != _ED25519_BYTES:
            add(Result.PROBLEM, f"An Ed25519 key has {_ED25519_BYTES} bytes; this has {len(material)}.", "RFC 8463.")
        else:
            add(Result.OK, "An Ed25519 key.", "Sign with an RSA key too: many receivers know no other (RFC 8463).")
    elif kind != "rsa":
        add(Result.PROBLEM, f"The key type {kind[:20]} is unknown; receivers ignore it.", "RFC 6376 section 3.6.1.")
    elif bits < LEAST_BITS:
        add(
            Result.PROBLEM,
            f"The RSA key has {bits} bits; below {LEAST_BITS} it counts as no signature.",
            "Receivers must not take such signatures (RFC 8301 section 3.2).",
            txt(selector.key_name, _NEW_KEY),
        )
    elif bits < GOOD_BITS:
        add(
            Result.ADVICE,
            f"The RSA key has {bits} bits: it works, and {GOOD_BITS} are advised.",
            "RFC 8301 section 3.2.",
            txt(selector.key_name, _NEW_KEY),
        )
    else:
        add(Result.OK, f"An RSA key of {bits} bits.", "")
    hashes = [word.strip().lower() for word in key["h"].split(":")] if "h" in key else ["sha256"]
    if "sha256" not in hashes:
        mended = txt(selector.key_name, without_tag(text, "h"))
        add(Result.PROBLEM, "The record allows SHA-1 only (h=).", "RFC 8301 section 3.1 forbids it.", mended)
    services = [word.strip().lower() for word in key.get("s", "*").split(":")]
    if not {"*", "email"} & set(services):
        mended = txt(selector.key_name, without_tag(text, "s"))
        add(Result.PROBLEM, f"The key is not for mail (s={key['s'][:20]}).", "RFC 6376 section 3.6.1.", mended)
    if "y" in [word.strip().lower() for word in key.get("t", "").split(":")]:
        add(
            Result.ADVICE,
            "The key is marked as a test (t=y).",
            "Receivers must treat its mail as unsigned mail where a signature fails (RFC 6376 section 3.6.1).",
            txt(selector.key_name, without_tag(text, "t")),
        )
    return found


def _finding(result: Result, selector: Selector, says: str, seen: tuple[str, ...], why: str, *publish: str) -> Finding:
    return Finding(
        check=Check.DKIM, result=result, about=selector.key_name, says=says, seen=seen, why=why, publish=publish
    )
