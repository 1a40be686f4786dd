"""What two replies that say the same have in common: their text without addresses, ids and numbers.

Matching and caching both work on this form. A reply whose recipient was taken out for privacy therefore reads the same
as the reply that came, and a stored reply can be classified anew.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

# RFC 5321 allows 512 octets a line; what follows a thousand characters is a quoted message or an attack on a pattern.
MOST_CHARACTERS: Final = 1_000
_MEMORY: Final = 20_000
_LONGEST_WORD: Final = 200

_LINE_BREAK = re.compile(r"\s*[\r\n]\s*(?:[245]\d\d(?:[- ]|$))?(?:[245]\.\d{1,3}\.\d{1,3}(?:\s|$))?")
_ADDRESS = re.compile(r"[^\s<>()\[\]:;,\"]{0,64}@(?:[a-z0-9_-]{1,63}(?:\.[a-z0-9_-]{1,63}){0,9})?|\[recipient\]")
_DIGIT = re.compile(r"\d")
_VARIABLE = re.compile(
    r"""
    (?<![a-z0-9_-])(?:
        (?=[a-z_-]{0,40}\d)[a-z0-9_-]{16,}(?:\.\d+)*               # a long id
      | \d{1,3}\.\d{1,3}\.\d{1,3}\.[\d.]+(?![a-z])                 # IPv4
      | \d{4}-\d\d-\d\d(?:t[\d:.]+z?)?                            # a date
      | [0-9a-f]{1,4}:[0-9a-f:]{2,40}(?:%\w+)?                     # IPv6, a time of day
      | \d{5,}[a-z0-9]*                 # a number
      | (?=[a-z_-]{0,40}\d)(?=[\d_-]{0,40}[a-z])[a-z0-9_-]{2,63}(?=\.[a-z])     # a numbered host: mx12.…
      | (?=(?:[a-z]{0,20}\d{1,20}[a-z]{1,20}){2})[a-z0-9]{8,}(?:\.\d+)*          # a queue id
    )
    """,
    re.VERBOSE,
)
_CODES = re.compile(r"(?<![\w.#-])(?:([45]\d\d)(?:[- ]|$))?\#?([45]\.\d{1,3}\.\d{1,3})(?![\w-]|\.\d)")
_HASH_CODE = re.compile(r"\#([45]\.\d{1,3}\.\d{1,3})(?!\d|\.\d)")
_REPLY_CODE = re.compile(r"(?:^|[:;] |said: |said:|error )([45]\d\d)(?=[- ]|$)")
_LEADING = re.compile(r"(?:smtp; ?)?(?:[245]\d\d(?:[- ]|$))?(?:\#?[245]\.\d{1,3}\.\d{1,3}(?: |$))?")
_REPEATED = re.compile(r" [245]\d\d(?:[- ]\#?[245]\.\d{1,3}\.\d{1,3}(?: |$)|-(?=\S))")


class _Words(dict[str, str]):
    """Each word with its variable parts replaced; words repeat far more than replies do."""

    def __missing__(self, word: str) -> str:
        plain = word[:_LONGEST_WORD]
        if "@" in plain or "[recipient]" in plain:
            plain = _ADDRESS.sub("@", plain)
        if _DIGIT.search(plain):
            plain = _VARIABLE.sub("#", plain)
        if len(self) >= _MEMORY:
            self.clear()
        self[word] = plain
        return plain


_words = _Words()
_plain: Callable[[str], str] = _words.__getitem__


def shape_of(text: str) -> str:
    """The reply in lower case on one line, at most 1,000 characters, "@" for each address and "#" for each id.

    Codes and the providers' own short marks ("S3150", "[TSS04]") stay, as they tell the cause.
    """
    if len(text) > MOST_CHARACTERS:
        text = text[:MOST_CHARACTERS]
    if "\n" in text or "\r" in text:
        text = _LINE_BREAK.sub(" ", text)
    return " ".join(map(_plain, text.lower().split()))


def codes_in(shape: str) -> tuple[int | None, str]:
    """The reply code and the enhanced code that a text carries itself; None and "" where it has none."""
    found = _CODES.search(shape) or _HASH_CODE.search(shape)
    enhanced = found.group(found.lastindex or 1) if found else ""
    code = found.group(1) if found and found.re is _CODES else None
    if code is None:
        bare = _REPLY_CODE.search(shape)
        code = bare.group(1) if bare else None
    return (int(code) if code else None), enhanced


def without_codes(shape: str) -> str:
    """The words alone: without the codes that a multi-line reply repeats at the start of each line."""
    start = _LEADING.match(shape)
    return _REPEATED.sub(" ", shape[start.end() :] if start else shape)
