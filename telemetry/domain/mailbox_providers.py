"""Who runs the mailbox: by the MX host where it is known, else by the recipient's domain.

Providers judge senders separately, so everything is counted by provider. A gateway hides the mailbox behind it and is
its own provider. A host that serves the mail of other domains is a provider too, even one that nobody listed: it gets a
bucket by its base domain. A domain's own server does not, or there would be a bucket for every recipient domain.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

OTHER = "other"
# The stored column is this wide.
LONGEST_ID = 60
# Labels that stand directly under a country and are registries of their own, as in "example.co.uk". The full list of
# public suffixes has ten thousand entries and changes weekly; what is missed here becomes one bucket too wide.
_REGISTRY_LABELS = frozenset(
    ("ac", "co", "com", "edu", "gob", "gouv", "gov", "ltd", "mil", "ne", "net", "nom", "or", "org", "plc", "sch")
)


@dataclass(frozen=True)
class ProviderDirectory:
    """Finds the provider of a host or domain; made once from the stored directory."""

    suffixes: Mapping[str, str]
    globs: tuple[tuple[str, str], ...]
    domains: Mapping[str, str]
    titles: Mapping[str, str] = field(default_factory=dict)
    families: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, providers: Iterable[Mapping[str, Any]]) -> ProviderDirectory:
        """From entries with id, title, family, mx_suffixes, mx_globs and domains."""
        entries = list(providers)
        return cls(
            suffixes={suffix: entry["id"] for entry in entries for suffix in entry["mx_suffixes"]},
            globs=tuple((glob, entry["id"]) for entry in entries for glob in entry["mx_globs"]),
            domains={domain: entry["id"] for entry in entries for domain in entry["domains"]},
            titles={entry["id"]: entry["title"] for entry in entries},
            families={entry["id"]: entry["family"] or entry["id"] for entry in entries},
        )

    @classmethod
    def from_toml(cls, text: str) -> ProviderDirectory:
        """Read the data file's text: one ``[[provider]]`` table each."""
        return cls.of(tomllib.loads(text)["provider"])

    def provider(self, mx_host: str, recipient_domain: str) -> str:
        """The provider's id: longest MX suffix, then MX name or pattern, then recipient domain, then the MX's base.

        "other" for a domain that runs its own mail server and where nothing is known.
        """
        if mx_host:
            found = self._by_suffix(mx_host)
            if found is None:
                found = next((name for glob, name in self.globs if fnmatchcase(mx_host, glob)), None)
            if found is not None:
                return found
        listed = self.domains.get(recipient_domain)
        return listed if listed is not None else _bucket(mx_host, recipient_domain)

    def _by_suffix(self, mx_host: str) -> str | None:
        # ".a.b.c" for "x.a.b.c": from the longest suffix to the shortest, so the most exact entry wins.
        at = mx_host.find(".")
        while at != -1:
            found = self.suffixes.get(mx_host[at:])
            if found is not None:
                return found
            at = mx_host.find(".", at + 1)
        return None


def base_domain(host: str) -> str:
    """The part of a host name that somebody registered: "example.net" of "mx1.a.example.net"; empty for an IP."""
    labels = host.rstrip(".").lower().split(".")
    if len(labels) < 2 or not all(labels) or labels[-1].isdigit() or ":" in host:
        return ""
    under_registry = len(labels) > 2 and len(labels[-1]) == 2 and labels[-2] in _REGISTRY_LABELS
    return ".".join(labels[-3 if under_registry else -2 :])


def _bucket(mx_host: str, recipient_domain: str) -> str:
    base = base_domain(mx_host)
    if not base or not recipient_domain or len(base) > LONGEST_ID or base == base_domain(recipient_domain):
        return OTHER
    return base
