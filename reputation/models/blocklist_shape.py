"""What a blocklist's tables of answers must look like. Validators, shared by the admin, the API and the models."""

from __future__ import annotations

import ipaddress
import re
from typing import Any

from django.core.exceptions import ValidationError

from reputation.domain.dnsbl import KEY_PLACE, Code, Severity, ip_version
from reputation.domain.dnsbl_reading import LOOPBACK
from telemetry.domain.clean import domain as clean_domain
from telemetry.domain.errors import ParseError

_SEVERITIES = [severity.value for severity in Severity]
_FIELDS = {"sublist", "meaning", "severity"}
_KEY = re.compile(r"[A-Za-z0-9_-]{1,63}")
MOST_ENTRIES = 200
LONGEST_TEXT = 300


def valid_zone(value: str) -> None:
    """Raise unless this is a domain in its usual form."""
    try:
        found = clean_domain(value, "This")
    except ParseError as error:
        raise ValidationError(f"{error.field} {error.message}.") from None
    if found != value or "." not in value or value.startswith("["):
        raise ValidationError("Give the zone in lower case, such as bl.example.com.")


def valid_keyed_zone(value: str) -> None:
    """Raise unless this is a domain with a place for the key."""
    if value.count(KEY_PLACE) != 1:
        raise ValidationError("Write {key} where the key belongs, such as {key}.bl.example.com.")
    valid_zone(value.replace(KEY_PLACE, "key"))


def valid_key(value: str) -> None:
    """Raise unless this can be one label of a name."""
    if not _KEY.fullmatch(value):
        raise ValidationError("A key has letters, digits, dashes and underscores, 63 at most.")


def valid_listed(value: Any) -> None:
    """Raise unless the value maps answers in 127.0.0.0/8 to what they mean."""
    for code, meaning in _entries(value, "{“127.0.0.2”: {“meaning”: “spam source”, “severity”: “high”}}"):
        _answer(code)
        _meaning(code, meaning)


def valid_not_listed(value: Any) -> None:
    """Raise unless the value maps answers in 127.0.0.0/8 to sentences."""
    for code, sentence in _entries(value, "{“127.0.0.1”: “error: query refused”}"):
        _answer(code)
        _text(code, sentence)


def valid_bits(value: Any) -> None:
    """Raise unless the value maps bits of the last octet to what they mean."""
    for bit, meaning in _entries(value, "{“8”: {“meaning”: “phishing”, “severity”: “high”}}"):
        _bit(bit)
        _meaning(bit, meaning)


def valid_informational_bits(value: Any) -> None:
    """Raise unless the value maps bits of the last octet to sentences."""
    for bit, sentence in _entries(value, "{“4”: “grey”}"):
        _bit(bit)
        _text(bit, sentence)


def valid_test_points(value: Any) -> None:
    """Raise unless the value is a list of IPs and domains."""
    if not isinstance(value, list) or len(value) > MOST_ENTRIES or not all(isinstance(entry, str) for entry in value):
        raise ValidationError("Give a JSON list, such as [“127.0.0.2”].")
    for entry in value:
        if ip_version(entry) is None:
            try:
                clean_domain(entry, entry)
            except ParseError as error:
                raise ValidationError(f"{error.field} {error.message}.") from None


def as_code(stored: dict[str, str]) -> Code:
    """A stored meaning as a value."""
    severity = Severity(stored.get("severity", Severity.MEDIUM))
    return Code(stored["meaning"], severity, stored.get("sublist", ""))


def _entries(value: Any, example: str) -> list[tuple[str, Any]]:
    if not isinstance(value, dict) or len(value) > MOST_ENTRIES:
        raise ValidationError(f"Give a JSON object such as {example}.")
    return list(value.items())


def _answer(code: str) -> None:
    try:
        known = ipaddress.IPv4Address(code) in LOOPBACK
    except ValueError:
        known = False
    if not known:
        raise ValidationError(f"{code!r} is no address in 127.0.0.0/8.")


def _bit(bit: str) -> None:
    if bit not in {str(1 << place) for place in range(8)}:
        raise ValidationError(f"{bit!r} is not 1, 2, 4, 8, 16, 32, 64 or 128.")


def _meaning(code: str, meaning: Any) -> None:
    if not isinstance(meaning, dict) or not {"meaning"} <= set(meaning) <= _FIELDS:
        raise ValidationError(f"{code}: give “meaning”, and “severity” and “sublist” where there are any.")
    for text in meaning.values():
        _text(code, text)
    if meaning.get("severity", _SEVERITIES[0]) not in _SEVERITIES:
        raise ValidationError(f"{code}: the severity is one of {', '.join(_SEVERITIES)}.")


def _text(code: str, text: Any) -> None:
    if not isinstance(text, str) or not 0 < len(text) <= LONGEST_TEXT or not text.isprintable():
        raise ValidationError(f"{code}: give a text of 1 to {LONGEST_TEXT} characters.")
