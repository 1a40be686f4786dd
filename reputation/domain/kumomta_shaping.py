"""Limits per sending IP and mailbox provider as a shaping file of KumoMTA's.

Each limit is one of its `additional_message_rate_throttles`: these add to whatever other files say (the strictest one
counts), and one name is one budget, whichever of a provider's sites the mail goes to.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import timedelta

from telemetry.domain.cells import HOUR
from telemetry.domain.mailbox_providers import ProviderDirectory

# What nobody else will have called a provider: a block of the same name would be merged with ours.
PREFIX = "good-standing "
EVERYBODY = "everybody"
# KumoMTA refuses a limit of nought; what is paused is suspended by its admin API, and this is the belt to that.
_LEAST = "1/d"

_HEAD = """\
# Good Standing: what sending IPs may send, by mailbox provider. Made anew at each request; do not edit.
"""


@dataclass(frozen=True, slots=True, order=True)
class Rate:
    """So many recipients of one provider in an hour or a day, by one sending IP."""

    provider: str
    """The mailbox provider's id; empty: all together."""
    source: str
    """KumoMTA's name of the egress source."""
    ip: str
    rule: str
    limit: int
    per: timedelta

    @property
    def name(self) -> str:
        """The budget's name: by IP, so that two egress sources of one IP share it."""
        return f"{PREFIX}{self.ip} {self.provider or EVERYBODY} {self.rule} {self._unit}"

    @property
    def spec(self) -> str:
        """As KumoMTA writes it."""
        return f"{self.limit}/{self._unit}" if self.limit > 0 else _LEAST

    @property
    def _unit(self) -> str:
        return "h" if self.per <= HOUR else "d"


def shaping(rates: Iterable[Rate], directory: ProviderDirectory) -> str:
    """The file, the same text for the same rates. A provider that KumoMTA cannot recognise is named in a comment."""
    by_provider: dict[str, list[Rate]] = defaultdict(list)
    for rate in sorted(set(rates)):
        by_provider[rate.provider].append(rate)
    blocks = [_block(provider, found, directory) for provider, found in sorted(by_provider.items())]
    return "\n".join([_HEAD, *blocks])


def _block(provider: str, rates: list[Rate], directory: ProviderDirectory) -> str:
    matches = list(_matches(provider, directory))
    if not matches:
        return f"# {_text(provider)} has no MX hosts that it could be recognised by.\n"
    head = f"provider.{_text(PREFIX + (provider or EVERYBODY))}"
    lines = [f"[{head}]", f"match = [{', '.join(matches)}]"]
    by_source: dict[str, list[Rate]] = defaultdict(list)
    for rate in rates:
        by_source[rate.source].append(rate)
    for source, found in sorted(by_source.items()):
        lines += ["", f"[{head}.sources.{_text(source)}.additional_message_rate_throttles]"]
        strictest: dict[str, Rate] = {}
        for rate in found:  # sorted, so of two about one budget the smaller comes first
            strictest.setdefault(rate.name, rate)
        lines += [f"{_text(name)} = {_text(rate.spec)}" for name, rate in sorted(strictest.items())]
    return "\n".join(lines) + "\n"


def _matches(provider: str, directory: ProviderDirectory) -> Iterator[str]:
    if not provider:
        yield '{ DomainSuffix = "" }'  # every domain ends with it
        return
    suffixes = sorted(suffix for suffix, owner in directory.suffixes.items() if owner == provider)
    if not suffixes and provider not in directory.titles and "." in provider:
        suffixes = [f".{provider}"]  # one that nobody listed goes by the base domain of its MX hosts
    # Not by recipient domains: KumoMTA compares their ends as text, and "hotmail.example" ends like "mail.example".
    for suffix in suffixes:
        yield f"{{ MXSuffix = {_text(suffix)} }}"


def _text(value: str) -> str:
    """A TOML basic string; of plain printable text JSON's is one."""
    return json.dumps(value, ensure_ascii=False)
